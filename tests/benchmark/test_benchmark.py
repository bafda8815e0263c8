"""The benchmark harness on a world of a few words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from fspo_jax.benchmark import run_benchmark, write_benchmark_report
from fspo_jax.benchmark.folds import MethodFeatures, Studies, features_of
from fspo_jax.benchmark.store import RESULTS
from fspo_jax.config import (
    ApprovalConfig,
    BaselineConfig,
    BenchmarkConfig,
    DataConfig,
    EpisodeConfig,
    ItemIdentityConfig,
    MethodConfig,
    PopulationConfig,
    PreferenceSource,
    PreferentialGPConfig,
    SentenceConfig,
    StyleConfig,
    ThreeLevelGPConfig,
    TrialConfig,
)
from fspo_jax.errors import CheckpointError, DataError
from fspo_jax.evaluation.controls import FLIPPED, OTHER_USER, SHUFFLED
from fspo_jax.evaluation.episodes import People, subset
from fspo_jax.types import Preference, User

pytestmark = pytest.mark.slow

METHODS = (
    MethodConfig("population", PopulationConfig("population", hidden=8)),
    MethodConfig("length", BaselineConfig("length")),
    MethodConfig("isotropic", BaselineConfig("isotropic_gp")),
    MethodConfig("ours", PreferentialGPConfig("preferential_gp", hidden=8, width=4, newton_steps=3)),
    MethodConfig("majority", BaselineConfig("majority")),
    MethodConfig("identity", ItemIdentityConfig("item_identity")),
    MethodConfig(
        "mismatched",
        PreferentialGPConfig("preferential_gp", hidden=8, width=4, newton_steps=3),
        mismatched=True,
    ),
)

TRAINED = 5
"""The methods before this one are trained with all settings and seeds."""


def make_config(**changes) -> BenchmarkConfig:
    sources = tuple(PreferenceSource(path=name, name=name) for name in ("a", "b"))
    config = BenchmarkConfig(
        hold_out="users",
        seeds=2,
        steps=50,
        data=DataConfig(sources),
        methods=METHODS,
        trials=(TrialConfig(1e-2, 0.0, 0.0), TrialConfig(1e-5, 0.0, 0.0)),
        amplitudes=(0.01, 3.0),
        users=20,
        queries=6,
        shots=(0, 2, 4),
        episodes=EpisodeConfig(batch_size=16, max_context=4, queries=4),
    )
    return dataclasses.replace(config, **changes)


def make_studies(config: BenchmarkConfig) -> Studies:
    """In both studies people like the first feature of a response, or its opposite; in 'b' there are groups."""
    generator = np.random.default_rng(0)
    values = {f"text {i} {'x' * int(generator.integers(9))}": generator.normal(size=3) for i in range(60)}
    texts = list(values)
    users = []
    for u in range(120):
        sign = 1 if u % 2 else -1
        pairs = {}
        for _ in range(12):
            a, b = generator.choice(texts, 2, replace=False)
            a, b = (a, b) if sign * (values[a][0] - values[b][0]) > 0 else (b, a)
            pairs[a, b] = Preference("?", a, b)
        source = "ab"[u % 4 // 2]
        users.append(User(f"u{u}", tuple(pairs.values()), source, f"g{u % 2}" if source == "b" else ""))
    users.sort(key=lambda user: user.source)
    people = People.of(users)
    features = np.array([values[text] for _, text in people.items], np.float32)
    split = np.arange(len(users)) % 10
    split = np.where(split == 0, 1, np.where(split < 4, 2, 0))
    encoder = dataclasses.replace(
        config.encoder, adapters="runs/adapters"
    )  # read where the features were made
    read = MethodFeatures(encoder, config.features, {"sentence": features.shape[1]}, features)
    return Studies(people, split, {method.name: read for method in config.methods}, config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """All methods, those behind `TRAINED` with one seed and one setting; and the directory of the others."""
    config = make_config()
    studies = make_studies(config)
    directory = tmp_path_factory.mktemp("benchmark")
    cells = run_benchmark(dataclasses.replace(config, methods=METHODS[:TRAINED]), studies, directory)
    brief = dataclasses.replace(config, methods=METHODS[TRAINED:], seeds=1, trials=config.trials[:1])
    cells += run_benchmark(
        brief, dataclasses.replace(studies, config=brief), tmp_path_factory.mktemp("brief")
    )
    return config, studies, directory, cells


def report_of(studies: Studies, cells: list[dict], directory: Path) -> str:
    write_benchmark_report(studies.config, cells, studies.people.users, directory)
    return (directory / "report.md").read_text()


def accuracy(cells: list[dict], method: str, shots: int) -> float:
    values = [
        value
        for cell in cells
        if cell["method"]["name"] == method
        for source in cell["sources"].values()
        for value in source["shots"][str(shots)]["accuracy"]
    ]
    return float(np.mean(values))


def test_personal_methods_learn_the_user_and_impersonal_ones_cannot(finished) -> None:
    _, _, _, cells = finished
    for method in ("ours", "isotropic"):
        assert accuracy(cells, method, 4) > 0.8
        assert abs(accuracy(cells, method, 0) - 0.5) < 0.1
    for method in ("population", "length"):
        assert abs(accuracy(cells, method, 4) - 0.5) < 0.12
        assert accuracy(cells, method, 0) == accuracy(cells, method, 4)


def test_a_method_trained_on_other_users_contexts_learns_to_leave_the_context_alone(finished) -> None:
    _, _, _, cells = finished
    assert accuracy(cells, "mismatched", 4) < accuracy(cells, "ours", 4) - 0.1


def test_the_better_setting_is_chosen_and_kept_for_the_other_seeds(finished) -> None:
    _, _, _, cells = finished
    chosen = {(cell["method"]["name"], cell["seed"]): cell["setting"] for cell in cells}
    assert chosen["ours", 0] == chosen["ours", 1] == 0
    assert chosen["isotropic", 0] == 1
    assert ("isotropic", 1) not in chosen  # nothing random in it


def test_controls_reverse_the_prediction_and_remove_the_gain(finished) -> None:
    _, _, _, cells = finished
    sources = next(cell for cell in cells if cell["method"]["name"] == "ours")["sources"]
    for source in sources.values():
        accuracies = {name: np.mean(scores["accuracy"]) for name, scores in source["controls"].items()}
        assert accuracies[FLIPPED] < 0.25
        assert 0.2 < accuracies[SHUFFLED] < 0.8
    assert 0.2 < np.mean(sources["a"]["controls"][OTHER_USER]["accuracy"]) < 0.8
    # In 'b' the other user is of the same group, and a group has one taste here.
    assert np.mean(sources["b"]["controls"][OTHER_USER]["accuracy"]) > 0.8


def test_a_temperature_from_the_context_alone_calibrates_the_queries(finished) -> None:
    _, studies, directory, cells = finished
    errors: dict[str, list[float]] = {"calibration_error": [], "calibrated_error": []}
    for cell in cells:
        for results in cell["sources"].values():
            assert results["shots"]["0"]["temperature"] == pytest.approx(1.0)
            if cell["method"]["name"] in ("ours", "isotropic"):
                assert results["shots"]["4"]["temperature"] < 1.0  # nobody here errs
                for name, values in errors.items():
                    values.append(results["shots"]["4"][name])
    assert np.mean(errors["calibrated_error"]) < np.mean(errors["calibration_error"])
    assert "calibrated on the people's own pairs" in report_of(studies, cells, directory)


def test_only_user_of_a_source_is_no_control_and_any_shots_make_a_report(tmp_path: Path) -> None:
    config = make_config(methods=METHODS[1:3], shots=(0, 3, 12), seeds=1)
    studies = make_studies(config)
    judged = [
        i for i, user in enumerate(studies.people.users) if studies.split[i] == 2 and user.source == "b"
    ]
    studies.split[judged[1:]] = 0
    cells = run_benchmark(config, studies, tmp_path)
    for cell in cells:
        assert len(cell["sources"]["b"]["users"]) == 1
        assert not {OTHER_USER, SHUFFLED} & set(cell["sources"]["b"]["controls"])
        assert {OTHER_USER, SHUFFLED} <= set(cell["sources"]["a"]["controls"])
    write_benchmark_report(config, cells, studies.people.users, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Controls at 3 shots" in text and "nan" not in text


def test_as_many_steps_as_asked_are_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fspo_jax.benchmark import methods

    configs, whole = [], methods.HeadTask
    monkeypatch.setattr(
        methods, "HeadTask", lambda config, *rest: (configs.append(config), whole(config, *rest))[1]
    )
    config = make_config(methods=METHODS[:1], steps=15, seeds=1, trials=(TrialConfig(1e-2, 0.0, 0.0),))
    run_benchmark(config, make_studies(config), tmp_path)
    assert [made.steps for made in configs] == [15]


def test_a_stopped_benchmark_goes_on_cell_by_cell(
    finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, studies, directory, cells = finished
    config = dataclasses.replace(config, methods=METHODS[:TRAINED])
    lines = (directory / RESULTS).read_text().splitlines()
    (tmp_path / RESULTS).write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])  # killed in mid-write
    ran = []
    from fspo_jax.benchmark import store as runs

    whole = runs._run_cell
    monkeypatch.setattr(runs, "_run_cell", lambda *arguments: ran.append(arguments) or whole(*arguments))
    again = run_benchmark(config, studies, tmp_path)
    assert len(ran) == 1
    assert [cell["sources"] for cell in again] == [cell["sources"] for cell in cells[: len(again)]]
    assert all(
        json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines() if line.endswith("}")
    )


def test_results_of_other_data_are_refused(finished) -> None:
    config, studies, directory, _ = finished
    table = studies.people.table
    swapped = dataclasses.replace(studies.people, table=table._replace(pairs=table.pairs[:, ::-1]))
    other = dataclasses.replace(studies, people=swapped)
    with pytest.raises(CheckpointError, match="of other data"):
        run_benchmark(config, other, directory)


def test_a_method_reads_the_encoder_it_names_and_runs_again_when_that_changes(
    finished, tmp_path: Path
) -> None:
    config, studies, _, cells = finished
    adapted = MethodConfig("adapted", BaselineConfig("isotropic_gp"), adapters="runs/other")
    both = dataclasses.replace(config, methods=(METHODS[2], adapted))
    read = studies.features["isotropic"]

    def ran(features: np.ndarray) -> list[dict]:
        known = {**studies.features, "adapted": read._replace(rows=features)}
        return run_benchmark(both, dataclasses.replace(studies, features=known, config=both), tmp_path)

    features = read.rows
    useless = ran(np.zeros_like(features))
    assert accuracy(useless, "isotropic", 4) > 0.8 and accuracy(useless, "adapted", 4) == 0.5
    assert accuracy(ran(features), "adapted", 4) == accuracy(cells, "isotropic", 4)


def test_a_three_level_gp_reads_the_approval_of_its_adapters_where_they_have_one() -> None:
    config = make_config()
    for name, model, has_it in (
        ("adapted", ThreeLevelGPConfig("three_level_gp"), True),
        ("isotropic", BaselineConfig("isotropic_gp"), False),
    ):
        encoder, features = features_of(MethodConfig(name, model, adapters="fspo-mini"), config)
        assert encoder.adapters == "fspo-mini"
        assert features == ((*config.features, ApprovalConfig()) if has_it else config.features)
    own = features_of(
        MethodConfig("own", ThreeLevelGPConfig("three_level_gp"), features=(StyleConfig(),)), config
    )
    assert own == (config.encoder, (StyleConfig(),))
    plain = features_of(MethodConfig("plain", ThreeLevelGPConfig("three_level_gp")), config)
    assert plain == (config.encoder, config.features)


def test_report_has_intervals_differences_groups_controls_and_costs(finished, tmp_path: Path) -> None:
    config, studies, _, cells = finished
    paths = write_benchmark_report(config, cells, studies.people.users, tmp_path)
    text = paths["report.md"].read_text()
    for title in (
        "Accuracy at 4 shots",
        "Accuracy by number of shots",
        "Accuracy at zero shots",
        "Difference to",
        "Calibration error at 4 shots",
        "Controls at 4 shots",
        "Probabilities and the worst-served users",
        "Groups at 4 shots",
        "Cost",
    ):
        assert f"## {title}" in text
    assert "| ours | b | 2 | g" in text
    assert "Ceilings that know which responses others judged: majority, identity." in text
    assert paths["report.html"].read_text().startswith("<!doctype html>")


def test_ceilings_alone_have_a_report_too(finished, tmp_path: Path) -> None:
    config, studies, _, cells = finished
    ceilings = dataclasses.replace(config, methods=METHODS[4:6])
    kept = [cell for cell in cells if cell["method"]["name"] in ("majority", "identity")]
    text = write_benchmark_report(ceilings, kept, studies.people.users, tmp_path)["report.md"].read_text()
    assert "Best at 4 shots, mean over 2 sources: " in text


COMMUNITY_METHODS = (
    METHODS[1],
    METHODS[3],
    MethodConfig("logistic", BaselineConfig("community_logistic")),
    MethodConfig("popularity", BaselineConfig("popularity")),
    MethodConfig("items", BaselineConfig("community_items")),
)


def test_every_method_has_the_same_community_and_the_report_says_who_uses_it(tmp_path: Path) -> None:
    config = make_config(
        methods=COMMUNITY_METHODS, communities=(0, 2, 4), community_pairs=3, seeds=2, shots=(0, 4), queries=4
    )
    config = dataclasses.replace(config, trials=config.trials[:1], amplitudes=(1.0, 3.0))
    config = dataclasses.replace(config, episodes=dataclasses.replace(config.episodes, communities=2))
    studies = make_studies(config)
    cells = run_benchmark(config, studies, tmp_path)
    found = {}
    for cell in cells:
        for source, results in cell["sources"].items():
            for record in results["communities"]:
                found[cell["method"]["name"], cell["seed"], source, record["people"], record["texts"]] = (
                    record
                )
    assert {key[3:] for key in found if key[0] == "length"} == {(0, "other texts")}
    everywhere = {(0, "other texts"), *((g, kind) for g in (2, 4) for kind in ("other texts", "same texts"))}
    for name in ("ours", "logistic", "popularity", "items"):
        assert {key[3:] for key in found if key[0] == name} == everywhere
    sizes = {key[1:]: record["known_people"] for key, record in found.items() if key[3] and not key[1]}
    assert all(
        record["known_people"] == sizes[key[1:]] for key, record in found.items() if key[3] and not key[1]
    )
    assert sizes[0, "a", 4, "same texts"] == 4.0

    for name in ("ours", "logistic"):  # people have opposite tastes: own pairs help, another's do not
        gains = [np.mean(found[name, 0, source, 4, "other texts"]["own_minus_other"]) for source in "ab"]
        assert np.mean(gains) > 0.15
    for source in "ab":  # nobody of the community has judged the texts of the queries
        assert set(found["popularity", 0, source, 4, "other texts"]["shots"]["4"]["accuracy"]) == {0.5}
    chosen = [cell["community_settings"] for cell in cells if cell["method"]["name"] == "ours"]
    assert chosen[0] == chosen[1] and set(chosen[0]) == {"other texts", "same texts"}

    text = report_of(studies, cells, tmp_path)
    for title in (
        "Accuracy in a community: other texts",
        "Accuracy in a community: same texts",
        "Accuracy with 4 people and 4 pairs: other texts",
        "What 4 people add to 4 pairs: same texts",
        "Calibration error in a community: other texts",
        "Own pairs against another person's at 4 pairs",
        "Groups before and after a community of 4 people at 4 pairs",
        "Size of the communities",
    ):
        assert f"## {title}" in text
    assert "length\\*" in text and "nan" not in text


def test_left_out_sources_are_never_trained_on(finished) -> None:
    config, studies, _, _ = finished
    folds = dataclasses.replace(studies, config=dataclasses.replace(config, hold_out="sources")).folds()
    assert [fold.name for fold in folds] == ["a", "b"]
    for fold in folds:
        trained = {studies.people.users[u].source for u in np.concatenate([fold.train, fold.validation])}
        assert fold.name not in trained and set(fold.test) == {fold.name}
        assert len(fold.test[fold.name]) == config.users


def test_sources_of_the_same_material_are_one_study(finished) -> None:
    config, studies, _, _ = finished
    sources = (PreferenceSource(path="x", name="a"), PreferenceSource(path="x", name="b"))
    twins = dataclasses.replace(config, hold_out="sources", data=DataConfig(sources))
    with pytest.raises(DataError, match="two materials"):
        dataclasses.replace(studies, config=twins).folds()


def test_subset_keeps_pairs_and_rows_of_the_users(finished) -> None:
    _, studies, _, _ = finished
    part = subset(studies.people.table, np.array([5, 2]))
    pairs = np.asarray(part.pairs)[part.offsets[0] : part.offsets[0] + part.counts[0]]
    assert [studies.people.items[a][1] for a, _ in pairs] == [
        p.chosen for p in studies.people.users[5].preferences
    ]
    assert part.cumulative[-1] == 1.0


def test_features_are_fitted_on_the_training_texts_of_each_fold() -> None:
    plain = make_studies(make_config())
    fold = plain.folds()[0]
    assert plain.fitted("ours", fold) is plain
    studies = make_studies(make_config(features=(SentenceConfig(standardize=True),)))
    rows, read = plain.features["ours"].rows, studies.fitted("ours", fold).features["ours"]
    trained = rows[np.unique(plain.people.pairs_of(fold.train))]
    np.testing.assert_allclose(read.rows, rows / trained.std(0, ddof=1), rtol=1e-4)
    assert studies.fitted("ours", fold).features["length"].rows is studies.features["length"].rows
