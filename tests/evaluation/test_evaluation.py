"""The protocol on users of a known taste: one feature of a text is all that matters, with the user's own sign."""

import dataclasses
import html
import json
import math
import re
import tomllib
import zlib
from types import MappingProxyType

import jax
import numpy as np
import pytest
from markdown_it import MarkdownIt
from tiny_language import CANDIDATES, PAIRS, make_language_reward

from fspo_jax.config import config_from_dict
from fspo_jax.errors import DataError, LimitError
from fspo_jax.evaluation import Predictor, evaluate, write_report
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.findings import Findings
from fspo_jax.evaluation.pages import page_of
from fspo_jax.evaluation.predict import reward_method
from fspo_jax.evaluation.render import Page, Table, to_html, to_markdown
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import CandidateSet, Preference, User


def value(text: str) -> float:
    """What every user judges a text by; users differ in its sign."""
    return zlib.crc32(text.encode()) / 2**32 - 0.5


class ValueFeatures:
    blocks = MappingProxyType({"f": 2})
    dimension = 2
    fingerprint = "value"

    def __call__(self, prompts, responses):
        return np.array([[8 * value(text), 0.01 * len(text)] for text in responses], np.float32)


def make_users(count=40, pairs=24, source="world"):
    generator = np.random.default_rng(0)
    users = []
    for u in range(count):
        sign = 1 if u % 2 else -1
        preferences = []
        for i in range(pairs):
            a, b = (f"<b>answer</b> {generator.integers(10**6)} | {u} {i} {side}" for side in "ab")
            chosen, rejected = (a, b) if sign * value(a) > sign * value(b) else (b, a)
            preferences.append(Preference(f"question {i}", chosen, rejected))
        texts = tuple(f"candidate {u} {i}" for i in range(6))
        sets = (CandidateSet("q", texts, tuple(sign * value(t) for t in texts)),)
        users.append(User(f"{source}{u}", tuple(preferences), source, f"<group {u % 2}>", sets))
    return users


@pytest.fixture(scope="module")
def rewards():
    """A scorer whose kernel is strong, and the population model."""
    made = []
    for kind in ("preferential_gp", "population"):
        config = config_from_dict(
            {
                "seed": 0,
                "steps": 10,
                "steps_per_dispatch": 10,
                "evaluate_every": 10,
                "objective": "bradley_terry",
                "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
                "scorer": {"kind": kind},
                "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
                "episodes": {"max_context": 8},
            }
        )
        params = jax.tree.map(
            lambda leaf: 0 * leaf, make_scorer(config.scorer, {"f": 2}).init(jax.random.key(0))
        )
        if kind == "preferential_gp":
            params["log_amplitudes"] = params["log_amplitudes"] + 1.0
        made.append(PersonalizedReward.from_parts(config, params, ValueFeatures()))
    return made


@pytest.fixture(scope="module")
def report(rewards):
    known = Predictor(
        lambda context, queries: np.array([1.0 if context else 0.5] * len(queries)),
        lambda context, candidates: np.array(candidates.utilities),
    )
    return evaluate(
        rewards[0],
        make_users(),
        baselines={"population": rewards[1]},
        predictors={"known": known},
        shots=(1, 4, 8),
        queries=6,
    )


def test_evaluate_known_taste_gives_known_numbers(report):
    assert report.shots == (0, 1, 4, 8)  # zero shots always
    assert report.row("model", 0).accuracy.mean == 0.5  # no population reward: all ties
    assert report.row("model", 1).accuracy.mean == 1.0
    assert report.row("population", 8).accuracy.mean == 0.5
    assert report.row("isotropic GP", 8).accuracy.mean == 1.0
    assert report.row("known", 8).log_loss == pytest.approx(0, abs=1e-6)
    assert report.row("model", 8).log_loss < report.row("model", 1).log_loss < math.log(2)
    with pytest.raises(KeyError):
        report.row("model", 3)


def test_evaluate_controls_fail_on_purpose(report):
    controls = {row.name: row.accuracy.mean for row in report.controls}
    assert controls["flipped labels"] == 0.0
    assert controls["random"] == 0.5
    assert controls["another user's context"] == 1.0  # of the same group, which here shares the taste
    assert report.label_sensitivity.flip_rate == 1.0
    assert report.label_sensitivity.changed == report.label_sensitivity.queries


def test_evaluate_another_users_context_of_other_taste_does_not_help(rewards):
    users = [User(u.user_id, u.preferences, u.source, "") for u in make_users()]
    controls = {row.name: row.accuracy.mean for row in evaluate(rewards[0], users, shots=(0, 8)).controls}
    assert 0.2 < controls["another user's context"] < 0.8


def test_evaluate_the_only_user_of_a_source_has_no_mismatched_context(rewards):
    users = [*make_users(2), *make_users(1, source="alone")]
    controls = {row.name: row.accuracy.mean for row in evaluate(rewards[0], users, shots=(0, 8)).controls}
    assert (
        controls["another user's context"] < 0.5
    )  # both of 'world', who want the opposite; 'alone' would add 1.0
    alone = evaluate(rewards[0], users[2:], shots=(0, 8)).controls
    assert "another user's context" not in {row.name for row in alone}


def test_evaluate_paired_groups_and_picks(report):
    gain = next(row for row in report.paired if (row.method, row.shots) == ("population", 8))
    assert gain.difference == (0.5, 0.5, 0.5)
    assert [(row.name, row.users) for row in report.sources] == [("world", 40)]
    assert [row.name for row in report.groups] == ["<group 0>", "<group 1>"]
    picks = {row.picker: row for row in report.picks}
    assert picks["personal"].winrate.mean == pytest.approx(1 - 0.5 / 6)
    assert picks["personal"].regret.mean == 0.0 == picks["true best"].regret.mean
    assert picks["random"].winrate.mean == pytest.approx(0.5, abs=0.2)


def test_evaluate_user_without_query_is_counted_and_left_out(rewards):
    pair = Preference("q", "x", "y")
    lonely = User("lonely", (pair, Preference("p", "x", "y")), "world")  # both texts recur: nothing to ask
    report = evaluate(rewards[0], [*make_users(4), lonely], shots=(0, 1))
    assert (report.users, report.left_out) == (4, 1)
    with pytest.raises(DataError, match=r"no query for any user \(1 user given\)"):
        evaluate(rewards[0], [lonely], shots=(0, 1))


def test_evaluate_shorter_contexts_are_counted(rewards):
    report = evaluate(rewards[0], [*make_users(3), *make_users(2, pairs=4, source="short")], shots=(0, 4, 8))
    assert report.full_context == {0: 5, 4: 3, 8: 3}
    assert [(row.name, row.users) for row in report.sources] == [("world", 3)]


def test_evaluate_more_shots_than_the_reward_reads_are_refused_and_the_usual_ones_are_cut(rewards):
    limit = rewards[0].max_context
    for asked in ([0, limit + 1], [40]):
        with pytest.raises(LimitError, match=f"shots has {max(asked)}, .* at most {limit} "):
            evaluate(rewards[0], make_users(4), shots=asked)
    assert evaluate(rewards[0], make_users(4)).shots == tuple(k for k in (0, 1, 2, 4, 8, 16) if k <= limit)


def test_evaluate_same_seed_same_report(rewards):
    first, second = (evaluate(rewards[0], make_users(6), seed=3).to_json() for _ in range(2))
    assert first == second


def test_report_json_is_strict_and_whole(report):
    read = json.loads(report.to_json())
    assert read["users"] == 40 and len(read["curve"]) == 5 * 4
    assert None in [row[0] for row in read["reliability"]]  # an empty bin is null, not NaN


def test_accuracy_where_the_model_is_sure_and_with_the_general_order_elsewhere():
    # Two people, two queries each. One is sure and right, else unsure and wrong where everybody's order is right.
    own, general = np.array([[3.0, -0.1], [3.0, 0.1]]), np.array([[-1.0, 1.0], [-1.0, -1.0]])
    found = Findings(
        {("model", 0): general, ("model", 8): own}, np.array([[True, True], [True, False]]), "model", 0
    )
    everything, *_, sure = found.certainty(8)
    assert (everything.certainty, everything.coverage) == (0.5, 1.0)
    assert everything.accuracy.mean == everything.with_general.mean == 0.75  # one of two, and one of one
    assert (sure.certainty, sure.coverage) == (0.9, 2 / 3)
    assert sure.accuracy.mean == sure.with_general.mean == 1.0
    never = Findings({("model", 0): general, ("model", 8): own / 100}, found.mask, "model", 0).certainty(8)[
        -1
    ]
    assert never.coverage == 0.0 and np.isnan(never.accuracy.mean) and never.with_general.mean == 0.25


def test_write_report_page_is_self_contained_and_escaped(report, tmp_path):
    paths = write_report(report, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(paths)
    assert paths["k_curve.png"].read_bytes().startswith(b"\x89PNG")
    page = to_html(page_of(report))
    assert "<group 0>" not in page and "&lt;group 0&gt;" in page
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?https?:", page) and page.count("<svg") == 2
    assert page == to_html(page_of(report))


def test_to_markdown_has_every_table_with_whole_rows(report):
    text = to_markdown(page_of(report))
    for title in (
        "Accuracy by number of shots",
        "Methods",
        "Controls",
        "Label sensitivity",
        "Sources",
        "Groups",
        "Best of n",
    ):
        assert f"## {title}" in text
    assert "| isotropic GP | a Gaussian process on the person's own" in text
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_page_shows_the_config_as_toml_and_explains_fingerprint_and_temperature(report):
    page = page_of(report)
    found = tomllib.loads(page.provenance)
    assert found == report.provenance and "\n[[config.data.sources]]\n" in page.provenance
    assert (
        "equal fingerprints mean equal weights. Temperature: 1.00; all scores are divided by it" in page.facts
    )


def test_page_says_who_has_fewer_pairs_only_if_somebody_has(report):
    assert "fewer than K pairs" not in page_of(report).tables[0].note
    short = dataclasses.replace(report, full_context={0: 40, 8: 38})
    assert page_of(short).tables[0].note.endswith("measured with all they have: 2 at 8 shots.")


MARKUP = (
    "<img src=x>", "[a](javascript:b)", "![a](b)", "*a*", "_a_", "`a`", "a|b", "a\n# b", "&lt;", "~~a~~",
    "\\*", "[a]: b",
)  # fmt: skip


@pytest.mark.parametrize("name", MARKUP)
def test_names_from_data_are_no_markup_in_a_report(report, name):
    page = Page(
        "Title", "Lead", [Table("T", f"Worst: {name}.", ("group",), ((name,),))], "facts", warnings=(name,)
    )
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(to_markdown(page))
    plain = html.escape(re.sub(r"\s+", " ", name), quote=False)
    assert f"<td>{plain}</td>" in shown and f"<p>Worst: {plain}.</p>" in shown
    assert f"</strong> {plain}</p>" in shown


def test_write_report_unwritable_directory_raises(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(report, tmp_path / "file")


@pytest.mark.parametrize("name", ["model", "Bayes-optimal", "isotropic GP", "twice"])
def test_evaluate_refuses_two_methods_of_one_name(rewards, name):
    known = Predictor(lambda context, queries: np.full(len(queries), 0.5))
    with pytest.raises(DataError, match=f"two methods would be called '{name}'"):
        evaluate(rewards[0], make_users(2), baselines={name: rewards[1]}, predictors={name: known})


def test_picks_of_a_reward_that_reads_texts_are_those_of_its_scores():
    """Such a reward is asked once for the sets of all users, by margins; a feature reward set by set."""
    reward = make_language_reward("scalar")
    sets = tuple(CandidateSet(f"q {i}", (*CANDIDATES[i:], CANDIDATES[i]), (0.0,) * (8 - i)) for i in range(2))
    contexts = [PAIRS[:2], (), PAIRS]
    people = People.of([User("u", tuple(PAIRS))])
    picker = reward_method("m", reward, people).best_of_n
    found = picker(contexts, [sets, sets[:1], ()])
    assert [len(of_user) for of_user in found] == [2, 1, 0]
    for context, those, of_user in zip(contexts, [sets, sets[:1], ()], found, strict=True):
        for one, values in zip(those, of_user, strict=True):
            expected = reward.adapt(context).score(one.prompt, one.candidates)
            np.testing.assert_allclose(values, expected - expected[0], atol=1e-4)
