"""Whatever callers pass: ordered collections are read by place, anything else is refused with what is wanted."""

import os
from collections import deque
from typing import Any

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, make_reward

from fspo_jax import rerank
from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.config import load_config
from fspo_jax.errors import DataError, FspoError, LimitError
from fspo_jax.evaluation import evaluate
from fspo_jax.generation import best_of_n, openai_endpoint
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.training.train import train
from fspo_jax.types import Message, Preference, User


@pytest.mark.parametrize(
    ("prompt", "candidates", "error", "message"),
    [
        ("p", "one string", DataError, "candidates must be a list"),
        ("p", ["fine", 3], DataError, r"candidates\[1\] must be a string, not int"),
        ("p", ["\ud800"], DataError, r"candidates\[0\] has a lone surrogate at character 0"),
        ("\udfff", ["x"], DataError, "prompt has a lone surrogate"),
        (None, ["x"], DataError, "prompt must be a string or a non-empty list"),
        ([], ["x"], DataError, "prompt must be a string or a non-empty list"),
        ([{"role": "user"}], ["x"], DataError, r"prompt\[0\] must have the keys 'role' and 'content'"),
        ("p", ["x" * 100_000], LimitError, "100,000 characters; at most 50,000"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), ["x"], LimitError, "prompt has 50,001 characters"),
    ],
)
def test_score_bad_input_raises(reward, prompt, candidates, error, message):
    with pytest.raises(error, match=message):
        reward.adapt(PAIRS).score(prompt, candidates)


def test_adapt_more_pairs_than_the_limit_raises():
    reward = make_reward("set_transformer")
    many = [Preference("p", f"a{i}", f"b{i}") for i in range(9)]
    with pytest.raises(LimitError, match=r"context has 9 preferences.*at most 8"):
        reward.adapt(many)
    with pytest.raises(LimitError, match="context has 9 preferences"):
        reward.adapt(many[:8]).update(many[8:])


NO_SEQUENCES = [
    None, 3, 2.5, "text", b"text", bytearray(b"text"), {}, {"a": 1}, {"a"}, frozenset("ab"), object(), PAIRS[0],
    Message("user", "hi"), np.array("text"), np.array([["a", "b"]]), np.zeros((0, 2)),
]  # fmt: skip
"""What is no ordered collection of anything."""


def functions(reward: PersonalizedReward) -> dict:
    """Every public function of a sequence, as a function of that sequence alone."""
    user = reward.adapt(PAIRS)
    return {
        "score": lambda texts: user.score("p", texts),
        "uncertainty": lambda texts: user.uncertainty("p", texts),
        "rerank": lambda texts: rerank(user, "p", texts),
        "best_of_n": lambda texts: best_of_n(user, "p", 2, lambda *_: texts),
        "adapt": lambda pairs: reward.adapt(pairs),
        "update": lambda pairs: reward.adapt().update(pairs),
        "calibrated": lambda people: reward.calibrated(people),
        "calibrated, one person": lambda pairs: reward.calibrated([pairs]),
        "margins, contexts": lambda people: reward.margins(people, [PAIRS]),
        "margins, queries": lambda people: reward.margins([PAIRS], people),
        "margins, one query": lambda pairs: reward.margins([[]], [pairs]),
        "evaluate": lambda users: evaluate(reward, users),
        "evaluate, one person": lambda pairs: evaluate(reward, [User("u", pairs)]),
        "evaluate, shots": lambda shots: evaluate(reward, [User("u", tuple(PAIRS))], shots=shots),
    }


@pytest.mark.parametrize("name", functions(make_reward()))
def test_what_is_no_ordered_collection_is_refused_alike(reward, name):
    call = functions(reward)[name]
    for value in NO_SEQUENCES:
        if (
            name in ("evaluate", "evaluate, shots") and value is None
        ):  # the people of the config; the usual shots
            continue
        with pytest.raises(DataError, match=r"must be (a|one) .*, not "):
            call(value)
    with pytest.raises(DataError, match=r"\[0\] must be a"):
        call([object()])


def test_prompts_that_are_no_conversation_are_refused_alike(reward):
    user = reward.adapt(PAIRS)
    for prompt in (value for value in NO_SEQUENCES if not isinstance(value, str)):
        for call in (
            lambda prompt: user.score(prompt, ["x"]),
            lambda prompt: user.preference_probability(prompt, "a", "b"),
            lambda prompt: rerank(user, prompt, ["x"]),
            lambda prompt: best_of_n(user, prompt, 1, lambda *_: ["x"]),
            lambda prompt: Preference(prompt, "a", "b"),
        ):
            with pytest.raises(DataError, match="prompt"):
                call(prompt)


def orderings(values: list) -> dict:
    """The same values in every ordered collection that people have."""
    objects = np.empty(len(values), object)
    objects[:] = values
    return {
        "list": values,
        "tuple": tuple(values),
        "iterator": iter(values),
        "generator": (value for value in values),
        "array": objects,
        "values of a dict": dict(enumerate(values)).values(),
        "deque": deque(values),
        "column": column(values, index=range(len(values) + 7, 7, -1)),
        "filtered column": column([None, *values], dtype=object)[1:],
    }


def column(values: list, **options: Any) -> Any:
    """A column of pandas, or in its place a list where pandas is missing."""
    try:
        import pandas
    except ImportError:
        return values
    return pandas.Series(values, **options)


@pytest.mark.parametrize("name", orderings([]))
def test_every_ordered_collection_is_read_by_place(reward, name):
    user = reward.adapt(PAIRS)
    expected = rerank(user, "p", CANDIDATES)
    ranked = rerank(user, "p", orderings(CANDIDATES)[name])
    assert ranked == expected and {type(line.text) for line in ranked} == {str}
    assert reward.adapt(orderings(PAIRS)[name]).score("p", CANDIDATES).tolist() == [
        line.score for line in sorted(expected, key=lambda line: line.index)
    ]
    assert reward.calibrated(orderings([PAIRS, PAIRS[:2]])[name]).temperature != 1.0
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    np.testing.assert_array_equal(user.score(orderings(talk)[name], ["x"]), user.score(talk, ["x"]))


def test_arrays_and_columns_of_strings_are_texts(reward):
    user = reward.adapt(PAIRS)
    for texts in (np.array(CANDIDATES), column(CANDIDATES, dtype="string")):
        ranked = rerank(user, "p", texts)
        assert ranked == rerank(user, "p", CANDIDATES) and {type(line.text) for line in ranked} == {str}
    with pytest.raises(DataError, match=r"candidates\[1\] must be a string, not float"):
        user.score("p", column(["a", float("nan")], dtype=object))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3", None, float("nan"), [1], np.float32(2)])
def test_numbers_that_are_no_positive_integers_are_refused(reward, wrong):
    user = reward.adapt()
    if wrong is not None:
        with pytest.raises(DataError, match="top_k must be a positive integer"):
            rerank(user, "p", CANDIDATES, top_k=wrong)
    with pytest.raises(DataError, match="n must be a positive integer"):
        best_of_n(user, "p", wrong, lambda *_: ["x"])
    assert len(rerank(user, "p", CANDIDATES, top_k=np.int64(3))) == 3


def test_deep_and_unprintable_values_are_described_in_short(reward):
    class Unprintable:
        def __repr__(self):
            raise RuntimeError

    deep: list = []
    for _ in range(3000):
        deep = [deep]
    for prompt in (deep, [Unprintable()], [{"role": deep, "content": "x"}], [{deep[0].__class__: 1}]):
        with pytest.raises(DataError) as caught:
            reward.adapt().score(prompt, ["x"])
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("path", ["/dev/null", "x" * 5000, "nul\0nul", "\ud800", "", None, 3, b"bytes"])
def test_odd_paths_are_errors_that_can_be_printed(reward, path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for odd in (path, tmp_path / "pipe"):
        for call in (
            lambda odd: PersonalizedReward.load(odd),
            lambda odd: UserReward.load(odd, reward),
            lambda odd: reward.save(odd),
            lambda odd: reward.adapt().save(odd, overwrite=True),
        ):
            with pytest.raises(FspoError) as caught:
                call(odd)
            assert len(str(caught.value).encode()) < 12_000
    with pytest.raises(DataError, match="reward must be a PersonalizedReward"):
        UserReward.load("ana", "fspo-mini")


@pytest.mark.parametrize("odd", [None, 3, "x", "nul\0nul", "\ud800", b"x", {}, [], float("nan"), object()])
def test_configs_servers_and_directories_that_are_none_are_refused(odd, tmp_path):
    with pytest.raises(FspoError, match="must be a TrainConfig"):
        train(odd, tmp_path / "run")
    with pytest.raises(FspoError, match="base_url"):
        openai_endpoint(odd, "model")
    (tmp_path / "config.toml").write_text("seed = 0")
    with pytest.raises(FspoError):
        load_config(tmp_path / "config.toml", odd)
    if odd != "x":
        with pytest.raises(FspoError) as caught:
            train(make_reward().config, odd)
        str(caught.value).encode()
