import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fspo_jax.config import CandidateSource, TraitSource
from fspo_jax.data.personas.candidates import TASTES, candidate_users, taste_values
from fspo_jax.data.personas.traits import trait_users
from fspo_jax.errors import DataError

FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0}
SPLITS = ("train", "validation", "test")


@pytest.fixture
def statements(tmp_path):
    return write_statements(tmp_path, 6)


def write_statements(directory, traits):
    path = directory / "statements.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for trait in range(traits):
            for i in range(30):
                for says in (True, False):
                    row = {"trait": f"t{trait}", "statement": f"{trait} {says} {i}", "holder_says": says}
                    file.write(json.dumps(row | {"confidence": 0.9}) + "\n")
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "corpus.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for p in range(40):
            texts = [
                " ".join(
                    generator.choice(["you", "might", "see.", "extraordinarily", "I", "a", "3!", "?"], n)
                )
                for n in generator.integers(3, 60, 6)
            ]
            row = {"prompt": f"prompt {p}", "candidates": [{"model": "m", "text": t} for t in texts]}
            file.write(json.dumps(row) + "\n")
    return str(path)


def test_trait_users_are_consistent_and_disjoint(statements):
    source = TraitSource(seed=0, path=statements, personas=40, traits=3, pairs=12)
    parts = {split: trait_users(source, split, **FRACTIONS) for split in SPLITS}
    assert sum(map(len, parts.values())) == 40
    seen = set()
    for users in parts.values():
        texts = {text for u in users for p in u.preferences for text in (p.chosen, p.rejected)}
        assert not seen & texts
        seen |= texts
        for user in users:
            says = {}
            for pair in user.preferences:
                trait, side, _ = pair.chosen.split()
                assert pair.rejected.split()[:2] == [trait, "False" if side == "True" else "True"]
                assert says.setdefault(trait, side) == side  # a persona holds a trait or does not
            assert len(says) == 3 and len(user.preferences) == 12
            assert "t0" not in str(user.preferences[0].prompt)
    assert parts["test"] == trait_users(source, "test", **FRACTIONS)


def traits_of(users):
    return {"t" + pair.chosen.split()[0] for user in users for pair in user.preferences}


def test_parts_of_the_traits_are_disjoint_and_together_all(tmp_path):
    source = TraitSource(seed=0, path=write_statements(tmp_path, 24), personas=300, traits=1, pairs=4)
    first, last, every = (
        traits_of(trait_users(dataclasses.replace(source, part=part), "train", **FRACTIONS))
        for part in ("first", "last", "all")
    )
    assert not first & last and first | last == every and len(every) == 24
    assert len(first) > len(last) > 0


def test_personas_of_a_cohort_share_few_statements_and_a_split(statements):
    source = TraitSource(seed=0, path=statements, personas=80, traits=2, pairs=12, cohort=8)
    numbers = set()
    for split in SPLITS:
        users = trait_users(source, split, **FRACTIONS)
        assert len(users) % 8 == 0
        for start in range(0, len(users), 8):
            cohort = users[start : start + 8]
            texts = {text for u in cohort for p in u.preferences for text in (p.chosen, p.rejected)}
            assert len(texts) <= 6 * 2 * 8  # all six traits, two sides, eight statements a side
            assert len({int(u.user_id[-5:]) // 8 for u in cohort}) == 1
        numbers |= {u.user_id for u in users}
    assert len(numbers) == 80
    with pytest.raises(DataError, match="multiple"):
        trait_users(dataclasses.replace(source, personas=81), "train", **FRACTIONS)


def test_cohort_has_a_part_of_the_traits_and_its_personas_no_other(tmp_path):
    path = write_statements(tmp_path, 20)
    source = TraitSource(seed=0, path=path, personas=320, traits=4, pairs=12, cohort=64)
    users = trait_users(source, "train", **FRACTIONS)
    assert len(traits_of(users[:64])) == 12 and len(traits_of(users)) > 12
    with pytest.raises(DataError, match="a cohort has 12 traits"):
        trait_users(dataclasses.replace(source, traits=13), "train", **FRACTIONS)


def test_trait_users_too_few_traits_say_what_excluded_them(statements, tmp_path):
    norms = tmp_path / "norms.toml"
    norms.write_text("t0 = 0.9\n")
    source = TraitSource(seed=0, path=statements, personas=40, traits=2, norms=str(norms))
    with pytest.raises(DataError, match=r"has 1 trait named in .*norms\.toml with at least"):
        trait_users(source, "train", **FRACTIONS)


def test_norms_decide_which_traits_and_how_many_hold_them(statements, tmp_path):
    norms = tmp_path / "norms.toml"
    norms.write_text("t0 = 0.9\nt3 = 0.2\n")
    source = TraitSource(seed=0, path=statements, personas=1000, traits=2, pairs=8, norms=str(norms))
    users = trait_users(source, "train", **FRACTIONS)
    held = {"t0": [], "t3": []}
    for user in users:
        assert traits_of([user]) == {"t0", "t3"}
        for trait in held:
            held[trait].append(any(p.chosen.startswith(f"{trait[1:]} True") for p in user.preferences))
    assert abs(np.mean(held["t0"]) - 0.9) < 0.05 and abs(np.mean(held["t3"]) - 0.2) < 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t0 = 1.5", "'t0' must be a share"),
        ("t00 = 0.5", "'t00' is not in .*t0"),
        ("t0 = ", "cannot be read"),
    ],
)
def test_norms_of_traits_wrong_are_refused(statements, tmp_path, text, message):
    norms = tmp_path / "norms.toml"
    norms.write_text(text)
    source = TraitSource(seed=0, path=statements, personas=10, traits=1, norms=str(norms))
    with pytest.raises(DataError, match=message):
        trait_users(source, "train", **FRACTIONS)


def test_trait_users_label_noise_flips_its_share(statements):
    source = TraitSource(seed=0, path=statements, personas=200, traits=1, pairs=20, label_noise=0.3)
    minority = [
        min(share, 1 - share)
        for user in trait_users(source, "train", **FRACTIONS)
        for share in [np.mean([p.chosen.split()[1] == "True" for p in user.preferences])]
    ]
    assert abs(np.mean(minority) - 0.3) < 0.05


def test_candidate_users_labels_follow_the_utilities_and_splits_are_disjoint(corpus):
    source = CandidateSource(seed=0, path=corpus, personas=60, pairs=16)
    parts = {split: candidate_users(source, split, **FRACTIONS) for split in SPLITS}
    prompts = [{p.prompt for u in users for p in u.preferences} for users in parts.values()]
    assert not prompts[0] & prompts[1] and not prompts[0] & prompts[2] and not prompts[1] & prompts[2]
    users = parts["train"]
    for user in users:
        assert not {s.prompt for s in user.candidate_sets} & {p.prompt for p in user.preferences}
        assert all(len(s.utilities) == len(s.candidates) for s in user.candidate_sets)
    # What a persona cares for can be read off its labels: weights fitted to candidate sets predict its pairs.
    right = []
    for user in users:
        rows = [taste_values(text) for s in user.candidate_sets for text in s.candidates]
        utilities = [value for s in user.candidate_sets for value in s.utilities]
        fit = np.linalg.lstsq(np.c_[rows, np.ones(len(rows))], utilities, rcond=None)[0][:-1]
        right += [
            (np.array(taste_values(p.chosen)) - taste_values(p.rejected)) @ fit > 0 for p in user.preferences
        ]
    assert np.mean(right) > 0.8


def write_models(tmp_path, models=12, prompts=40):
    """Responses that say who wrote them, and to which prompt."""
    path = tmp_path / "models.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for p in range(prompts):
            candidates = [{"model": f"m{m}", "text": f"m{m} to {p}"} for m in range(models)]
            file.write(json.dumps({"prompt": f"prompt {p}", "candidates": candidates}) + "\n")
    return str(path)


def writer(text):
    return text.split()[0]


def test_persona_that_likes_models_labels_by_the_model_that_wrote(tmp_path):
    source = CandidateSource(seed=0, path=write_models(tmp_path), personas=200, models=3, pairs=24)
    users = candidate_users(source, "train", **FRACTIONS)
    assert {writer(p.chosen) for u in users for p in u.preferences} == {f"m{m}" for m in range(12)}
    consistent = []
    for user in users:
        known = user.candidate_sets[0]
        liking = dict(zip(map(writer, known.candidates), known.utilities, strict=True))
        assert len(liking) == 3 and len(user.preferences) == 24
        for s in user.candidate_sets:  # the same for a model at every prompt
            assert dict(zip(map(writer, s.candidates), s.utilities, strict=True)) == liking
        consistent += [liking[writer(p.chosen)] > liking[writer(p.rejected)] for p in user.preferences]
    assert np.mean(consistent) > 0.85


def test_a_cohort_of_candidate_personas_shares_prompts_and_models(tmp_path):
    source = CandidateSource(seed=0, path=write_models(tmp_path), personas=320, models=3, pairs=18, cohort=32)
    users = candidate_users(source, "train", **FRACTIONS)
    first = users[:32]
    assert len({p.prompt for u in first for p in u.preferences}) == 8
    assert len({writer(t) for u in first for p in u.preferences for t in (p.chosen, p.rejected)}) == 8
    assert len({p.prompt for u in users for p in u.preferences}) > 8
    assert len({writer(p.chosen) for u in users for p in u.preferences}) > 8
    assert all(len(u.preferences) == 18 for u in users)
    prompts = [
        {p.prompt for u in candidate_users(source, split, **FRACTIONS) for p in u.preferences}
        for split in SPLITS
    ]
    assert not prompts[0] & prompts[1] and not prompts[0] & prompts[2]


def test_two_sources_of_one_corpus_split_its_prompts_the_same_way(tmp_path):
    path = write_models(tmp_path)
    one, other = (
        {
            split: {p.prompt for u in candidate_users(source, split, **FRACTIONS) for p in u.preferences}
            for split in SPLITS
        }
        for source in (
            CandidateSource(seed=0, path=path, personas=60, models=3, name="one"),
            CandidateSource(seed=1, path=path, personas=60, name="other"),
        )
    )
    assert not one["train"] & other["validation"] and not other["train"] & one["test"]


def test_persona_whose_models_answer_no_common_prompt_is_refused(tmp_path):
    path = tmp_path / "sparse.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for p in range(40):
            candidates = [{"model": f"m{m}", "text": f"{m} {p}"} for m in (2 * (p % 6), 2 * (p % 6) + 1)]
            file.write(json.dumps({"prompt": f"prompt {p}", "candidates": candidates}) + "\n")
    source = CandidateSource(seed=0, path=str(path), personas=30, models=2)
    with pytest.raises(
        DataError, match="no prompt of the train split has responses from two of the 2 models of persona"
    ):
        candidate_users(source, "train", **FRACTIONS)


def test_corpus_without_models_gives_personas_that_like_styles(tmp_path):
    path = tmp_path / "unnamed.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for p in range(40):
            candidates = [{"model": None, "text": f"Yes, {p}."}, {"text": f"I might say {p}!"}]
            file.write(json.dumps({"prompt": f"prompt {p}", "candidates": candidates}) + "\n")
    source = CandidateSource(seed=0, path=str(path), personas=30)
    assert candidate_users(source, "train", **FRACTIONS)
    with pytest.raises(DataError, match=r"unnamed\.jsonl names 0 models; 'models' must be at least 2"):
        candidate_users(dataclasses.replace(source, models=2), "train", **FRACTIONS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m0 = inf", "'m0' must be a finite number"),
        ("m0 = true", "'m0' must be a finite number"),
        (f"m0 = {10**400}", "'m0' must be a finite number"),
        ("m0 = " + "1" * 5000, r"norms\.toml: cannot be read"),
        ("m77 = 1.0", "'m77' is not in .*m7"),
        ("m.7 = 1.0", "'m' is not in .*in quotes"),
        ("m0 = 1\n", "names 1 model; 'models' must be at least 2"),
    ],
)
def test_norms_of_models_wrong_are_refused(tmp_path, text, message):
    norms = tmp_path / "norms.toml"
    norms.write_text(text)
    source = CandidateSource(seed=0, path=write_models(tmp_path), personas=10, models=2, norms=str(norms))
    with pytest.raises(DataError, match=message):
        candidate_users(source, "train", **FRACTIONS)


def test_norms_of_models_make_typical_raters(tmp_path):
    norms = tmp_path / "norms.toml"
    norms.write_text("m0 = 1.0\nm3 = -1.0\nm5 = 0.0\n")
    source = CandidateSource(
        seed=0, path=write_models(tmp_path), personas=400, models=2, norms=str(norms), pairs=8
    )
    labels = {}
    for user in candidate_users(source, "train", **FRACTIONS):
        for p in user.preferences:
            both = sorted((writer(p.chosen), writer(p.rejected)))
            labels.setdefault(tuple(both), []).append(writer(p.chosen) == both[0])
    assert set(labels) == {("m0", "m3"), ("m0", "m5"), ("m3", "m5")}
    # Normal(2, sqrt 2) and Normal(1, sqrt 2) above zero: .92 and .76, a little less after the logistic draw.
    assert abs(np.mean(labels["m0", "m3"]) - 0.91) < 0.06
    assert abs(np.mean(labels["m0", "m5"]) - 0.75) < 0.09


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"models": 13}, "names 12 models; 'models' must be from 2 to 12, not 13"),
        ({"models": 9, "cohort": 2}, "2 to 8, not 9"),
        ({"models": 1}, "2 to 12, not 1"),
        ({"cohort": 2}, "need models\\. Set 'models'"),
        ({"norms": "norms.toml"}, "need models\\. Set 'models'"),
        ({"models": 2, "cohort": 3}, "20 personas cannot be divided into cohorts of 3"),
    ],
)
def test_candidate_source_out_of_range_is_refused(tmp_path, fields, message):
    source = CandidateSource(seed=0, path=write_models(tmp_path), personas=20, **fields)
    with pytest.raises(DataError, match=message):
        candidate_users(source, "train", **FRACTIONS)


@pytest.mark.parametrize("text", ["", "...", "\x00", "word", "¿?"])
def test_taste_values_any_text_is_finite(text):
    if text:
        assert np.isfinite(taste_values(text)).all() and len(taste_values(text)) == len(TASTES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"trait": "a", "statement": "b"}', r"rows.jsonl:1: column 'holder_says' is missing"),
        (
            '{"trait": "a", "statement": 3, "holder_says": true}',
            r"rows.jsonl:1: 'statement' must be str, not 3",
        ),
        ("{broken", r"rows.jsonl:1: "),
        ('{"trait": "a", "statement": "b", "holder_says": true}', "has 0 traits with at least 6 statements"),
    ],
)
def test_trait_users_bad_file_says_where(tmp_path, rows, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(rows + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        trait_users(TraitSource(seed=0, path=str(path), personas=10), "train", **FRACTIONS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "candidates": ["text"]}, r":1: candidates\[0\].text must be a string"),
        ({"prompt": "p", "candidates": "text"}, ":1: 'candidates' must be list"),
        ({"prompt": "p", "candidates": [{"text": "same"}, {"text": "same"}]}, "no prompt has two different"),
    ],
)
def test_candidate_users_bad_file_says_where(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        candidate_users(CandidateSource(seed=0, path=str(path), personas=10), "train", **FRACTIONS)


def test_corpora_of_the_shared_data_load(shared_data):
    traits = TraitSource(
        seed=0, path=str(shared_data / "data/personas/trait_statements.jsonl.gz"), personas=20
    )
    assert len(trait_users(traits, "train", **FRACTIONS)[0].preferences) == traits.pairs
    candidates = CandidateSource(
        seed=0, path=str(shared_data / "data/candidates/vicuna80.jsonl.gz"), personas=20
    )
    assert candidate_users(candidates, "train", **FRACTIONS)[0].candidate_sets
    norms = Path(__file__).parents[2] / "configs/norms/models.toml"
    raters = dataclasses.replace(candidates, models=4, norms=str(norms))
    assert len(candidate_users(raters, "train", **FRACTIONS)[0].preferences) == raters.pairs
