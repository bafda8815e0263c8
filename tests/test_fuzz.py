"""Thousands of calls of public functions with nasty values: a documented error that prints, or a correct result."""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_encoder import write_encoder
from tiny_language import tiny_config, tiny_params, tiny_parts
from tiny_reward import make_reward

import fspo_jax as fspo
from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.config import EncoderConfig
from fspo_jax.generation import best_of_n
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.reward.engines.distinct_pairs import distinct
from fspo_jax.types import Message, Preference, User

CALLS = 3_000

TEXTS = [
    "", " ", "\n\t\r", "\0", "a\0b", "\ud800", "x\udfff", "\ufeff", "\u202eright to left\u202c", "\u05e9\u05dc\u05d5",
    "\U0001f600" * 50, "\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301" * 300, "\u4f60\u597d\u3002",
    "a" * 5_000, "a b " * 2_000, "1" * 400, "." * 2_000, "x" * MAX_TEXT_CHARACTERS, "x" * (MAX_TEXT_CHARACTERS + 1),
    "<s></s><|im_end|>[CLS][SEP][MASK]", "{{ 7 * 7 }}", "**bold**\n- a\n1) b\n# c\n```d```", "nan", "null", "[]",
    '{"role": "user"}', "\\u0000", "%s%n", "the cat sat", "a dog ran far", "good", "bad", "warm and short",
]  # fmt: skip

LEAVES = [
    None, True, False, 0, -1, 3, 10**30, 0.5, float("nan"), float("inf"), b"", b"text", object(), int, ..., range(3),
    np.float32(1), np.int64(2), np.array("text"), np.zeros((2, 2)), np.array(["a", "b"]), Path("x"),
]  # fmt: skip


class Nasty:
    """Draws values that people pass by mistake or on purpose."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def one_of(self, values: Any) -> Any:
        return values[int(self.generator.integers(len(values)))]

    def often(self, share: float) -> bool:
        return bool(self.generator.random() < share)

    def text(self) -> Any:
        return self.one_of(TEXTS) if self.often(0.95) else self.value()

    def message(self) -> Any:
        role, content = self.one_of(["user", "assistant", "system", "", "x", self.text()]), self.text()
        return self.one_of(
            [
                {"role": role, "content": content}, {"role": role, "content": content}, Message(role, content),
                {"role": role}, {"content": content}, {"role": role, "content": content, "name": None}, {},
                (role, content), [role, content], {"role": role, "content": [{"type": "text", "text": content}]},
            ]
        )  # fmt: skip

    def prompt(self) -> Any:
        if self.often(0.6):
            return self.text()
        return self.container([self.message() for _ in range(self.generator.integers(4))])

    def container(self, values: list) -> Any:
        return self.one_of([list, list, list, tuple, iter, deque, lambda v: (x for x in v), list])(values)

    def texts(self) -> Any:
        if self.often(0.05):
            return self.value()
        return self.container([self.text() for _ in range(self.generator.integers(12))])

    def pair(self) -> Any:
        if self.often(0.03):
            return self.value()
        try:
            return Preference(self.prompt(), self.text(), self.text())
        except fspo.FspoError:
            return Preference("p", "good", self.one_of(["bad", "cold", "the cat sat"]))

    def pairs(self, most: int = 6) -> Any:
        if self.often(0.05):
            return self.value()
        return self.container([self.pair() for _ in range(self.generator.integers(most))])

    def value(self, depth: int = 0) -> Any:
        if depth > 3 or self.often(0.5):
            return self.one_of(LEAVES + TEXTS)
        if self.often(0.1):
            deep: Any = []
            for _ in range(2_000):
                deep = self.one_of([[deep], {"role": deep}, (deep,)])
            return deep
        inner = [self.value(depth + 1) for _ in range(self.generator.integers(4))]
        return self.one_of(
            [inner, tuple(inner), {str(i): v for i, v in enumerate(inner)}, iter(inner), {"a", "b"}]
        )

    def number(self) -> Any:
        return self.one_of([0, 1, 2, 7]) if self.often(0.7) else self.value()


def check_scores(user: UserReward, prompt: Any, texts: list[str], scores: np.ndarray) -> None:
    assert scores.dtype == np.float32 and scores.shape == (len(texts),) and np.isfinite(scores).all()
    for i in range(0, len(texts), 4):
        np.testing.assert_allclose(user.score(prompt, [texts[i]])[0], scores[i], atol=1e-4)


def calls(nasty: Nasty, reward: PersonalizedReward, directory: Path) -> dict[str, Callable[[], None]]:
    """Each function draws the values of one call, makes it and checks the result."""
    known = [Preference("p", "good", "bad"), Preference("p", "warm and short", "a b " * 20)]
    users = [reward.adapt(), reward.adapt(known[:1]), reward.adapt(known)]

    def listed(values: Any) -> tuple[Any, Any]:
        """The values as they are passed, and a list of them for the checks."""
        if isinstance(values, list | tuple | deque) or not hasattr(values, "__next__"):
            return values, values
        kept = list(values)
        return iter(kept), kept

    def preference() -> None:
        made = Preference(nasty.prompt(), nasty.text(), nasty.text())
        assert made.chosen != made.rejected and hash(made) == hash(
            Preference(*map(made.__getattribute__, made.__slots__))
        )

    def score() -> None:
        user, (prompt, again), (texts, kept) = (
            nasty.one_of(users),
            listed(nasty.prompt()),
            listed(nasty.texts()),
        )
        scores = user.score(prompt, texts)
        check_scores(user, again, list(kept), scores)

    def rerank() -> None:
        user, (texts, kept), top_k = (
            nasty.one_of(users),
            listed(nasty.texts()),
            nasty.one_of([None, nasty.number()]),
        )
        (prompt, again) = listed(nasty.prompt())
        ranked = fspo.rerank(user, prompt, texts, top_k=top_k)
        whole = fspo.rerank(user, again, list(kept))
        assert repr(ranked) == repr(whole[:top_k])  # uncertainties may be NaN
        assert sorted(line.index for line in whole) == list(range(len(whole)))
        assert all(a.score >= b.score for a, b in itertools.pairwise(whole))
        assert all(np.isfinite(line.score) and line.text == kept[line.index] for line in whole)

    def adapt() -> None:
        pairs, kept = listed(nasty.pairs(10))
        made = reward.adapt(pairs)
        assert made.shots == len(distinct(kept))
        check_scores(made, "p", ["good", "bad"], made.score("p", ["good", "bad"]))
        if not len(kept):
            np.testing.assert_array_equal(made.score("p", ["good"]), users[0].score("p", ["good"]))

    def update() -> None:
        (first, kept), (more, added) = listed(nasty.pairs()), listed(nasty.pairs())
        made = reward.adapt(first).update(more)
        expected = reward.adapt([*kept, *added]).score("p", ["good", "bad"])
        np.testing.assert_allclose(made.score("p", ["good", "bad"]), expected, atol=1e-4)

    def probability() -> None:
        user, (prompt, again), a, b = nasty.one_of(users), listed(nasty.prompt()), nasty.text(), nasty.text()
        forward = user.preference_probability(prompt, a, b)
        assert 0.0 <= forward <= 1.0
        assert abs(forward + user.preference_probability(again, b, a) - 1.0) < 1e-5

    def margins() -> None:
        people = [nasty.pairs(4) for _ in range(nasty.generator.integers(3))]
        (contexts, _), (queries, kept) = (
            listed(nasty.container(people)),
            listed([nasty.pairs(4) for _ in people]),
        )
        mean, variance = reward.margins(contexts, queries)
        assert (
            mean.shape == variance.shape
            and len(mean) == len(kept)
            and np.isfinite(mean).all()
            and (variance >= 0).all()
        )

    def calibrated() -> None:
        made = reward.calibrated(
            nasty.container([nasty.pairs(4) for _ in range(nasty.generator.integers(4))])
        )
        assert np.exp(-3.01) < made.temperature < np.exp(3.01)

    def best() -> None:
        texts, n = nasty.texts(), nasty.number()
        ranked = best_of_n(
            nasty.one_of(users),
            nasty.prompt(),
            n,
            nasty.one_of([lambda *_: texts] * 4 + [None, nasty.value()]),
        )
        assert sorted(line.index for line in ranked) == list(range(len(ranked)))

    def writing() -> None:
        user, size = nasty.one_of(users), nasty.one_of([0, 1, 4, 4, None, nasty.value()])
        numbers = {
            "temperature": nasty.one_of([0, 1.0, nasty.value()]),
            "seed": nasty.one_of([0, 7, nasty.value()]),
        }
        made = nasty.one_of(
            [
                lambda: user.generate(nasty.prompt(), n=nasty.number(), max_tokens=size, **numbers)[0],
                lambda: user.describe(max_tokens=size, **numbers),
                lambda: user.with_description(nasty.text()).context.description,
                lambda: fspo.rerank(nasty.value(), "p", ["x"]),
                lambda: UserReward.load(directory / "ana", nasty.value()),
            ]
        )()
        assert reward.writing is not None and isinstance(made, str)

    def paths() -> None:
        path = nasty.one_of([nasty.value(), nasty.text(), directory / "ana", directory, "/dev/null"])
        if isinstance(path, str | Path):  # nothing outside of the directory is written
            path = directory / path if "\0" not in str(path) else path
        nasty.one_of(
            [
                lambda: PersonalizedReward.load(
                    path, base=nasty.one_of(["", path]), cache=nasty.one_of(["", path])
                ),
                lambda: UserReward.load(path, reward).score("p", ["good"]),
                lambda: nasty.one_of(users).save(path, overwrite=True),
            ]
        )()

    def evaluate() -> None:
        given = [
            (nasty.value(), [User("u", ())]),
            (reward, [nasty.value()]),
            (reward, [User("u", nasty.value())]),
        ]
        fspo.evaluate(*nasty.one_of(given))
        raise AssertionError("evaluated without a pair")

    def rows() -> None:
        lines = []
        for _ in range(nasty.generator.integers(1, 5)):
            row = {
                nasty.one_of(["user_id", "user"]): nasty.one_of(["u", 3, nasty.text()]),
                nasty.one_of(["prompt", "prompt", "messages", "question"]): nasty.one_of(
                    [nasty.prompt(), "p"]
                ),
                "chosen": nasty.text(),
                "rejected": nasty.one_of([nasty.text(), [nasty.message()]]),
            }
            try:
                lines.append(json.dumps(row, default=str))
            except RecursionError:  # deeper than Python writes; files can be deeper still
                lines.append("[" * 3_000)
        data = "\n".join(lines).encode(errors="surrogatepass")
        cut = nasty.one_of([len(data), len(data) // 2])
        (directory / "rows.jsonl").write_bytes(data[:cut])
        for user in fspo.load_users(directory / "rows.jsonl"):
            assert user.preferences and all(isinstance(pair, Preference) for pair in user.preferences)

    functions = (preference, score, rerank, adapt, update, probability, margins, calibrated, best)
    return {function.__name__: function for function in (*functions, writing, paths, evaluate, rows)}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> PersonalizedReward:
    """A reward that reads the texts with an encoder and their style."""
    directory = tmp_path_factory.mktemp("encoder")
    plain = make_reward()
    config = EncoderConfig(model=str(write_encoder(directory / "model")), cache=str(directory / "cache"))
    featurizer = make_featurizer(config)
    params = make_scorer(plain.config.scorer, featurizer.blocks).init(jax.random.key(0))
    return PersonalizedReward.from_parts(plain.config, params, featurizer)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*do not fit into:UserWarning")
def test_calls_with_nasty_values_give_documented_errors_or_correct_results(
    encoded: PersonalizedReward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    language = tiny_parts(config := tiny_config("dpo", "implicit"))
    rewards = (
        (encoded, CALLS // 3),
        (make_reward(), CALLS // 3),
        (make_reward("set_transformer"), CALLS * 7 // 24),
        (PersonalizedReward.from_language(config, language, *tiny_params(language)), CALLS // 24),
    )
    seen: Counter[tuple[str, str]] = Counter()
    for part, (reward, count) in enumerate(rewards):
        nasty = Nasty(part)
        functions = calls(nasty, reward, tmp_path)
        for call in range(count):
            name = nasty.one_of(list(functions))
            try:
                functions[name]()
                outcome = "result"
            except fspo.FspoError as error:
                str(error).encode()
                assert str(error) and len(str(error)) < 12_000
                outcome = type(error).__name__
            except Exception as error:
                error.add_note(f"call {call} of part {part}: {name}")
                raise
            seen[name, outcome] += 1
    assert sum(seen.values()) == CALLS
    for name in functions.keys() - {"writing", "evaluate"}:
        assert seen[name, "result"] > CALLS // 150, f"{name} hardly ever succeeds: {seen}"
    assert sum(count for (_, outcome), count in seen.items() if outcome != "result") > CALLS // 5
