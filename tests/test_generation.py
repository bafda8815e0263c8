from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from tiny_language import PAIRS, make_language_reward, tiny_config, tiny_params, tiny_parts
from tokenizer_kinds import KINDS

from fspo_jax.errors import DataError, FspoError
from fspo_jax.generation import best_of_n
from fspo_jax.models.language import drafting
from fspo_jax.models.language.decoder.sampling import extend
from fspo_jax.models.language.parts import make_parts
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.types import Message, TokenLayout


@pytest.fixture(scope="module")
def ana() -> UserReward:
    return make_language_reward().adapt(PAIRS)


def test_generate_at_temperature_zero_is_the_argmax_of_the_whole_sequence_every_time(ana: UserReward) -> None:
    scoring: Any = ana.base.scoring
    parts, context = scoring.parts, scoring.reader.laid(ana.state.texts)[0]
    question = parts.template.question("warm or cold?")
    tokens = np.concatenate([context.tokens, question]).tolist()
    allowed = np.arange(parts.model.architecture.vocabulary) < parts.tokenizer.text_tokens
    end = parts.tokenizer.structure["<end>"]
    allowed[end] = True
    decoder = scoring.params["decoder"]
    expected: list[int] = []
    width, size = 256, len(tokens)
    while len(expected) < 12:
        row = np.zeros((1, width), np.int32)
        row[0, : len(tokens)] = tokens
        used = (np.arange(width) < len(tokens))[None].astype(np.int32)
        group = (np.arange(width) >= len(context.tokens))[None].astype(np.int32)
        branch = (np.arange(width) >= size)[None].astype(np.int32)
        hidden = parts.model.hidden(decoder, row, TokenLayout(np.arange(width)[None], used, group, branch))
        logits = np.asarray(hidden[0, len(tokens) - 1] @ parts.model.bind(decoder).output_matrix().T)
        token = int(np.where(allowed, logits, -np.inf).argmax())
        if token == end:
            break
        expected.append(token)
        tokens.append(token)
    found = ana.generate("warm or cold?", temperature=0.0, max_tokens=12)
    assert found == [parts.tokenizer.decode(expected).strip()] and expected


def test_generate_equal_seeds_give_equal_responses(ana: UserReward) -> None:
    first, again, other = (ana.generate("p", n=3, max_tokens=6, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) > 1


@pytest.mark.parametrize("template", ["fspo_v1", "structured"])
def test_generate_samples_text_and_every_end_token_but_no_other_special_token(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TextTokenizer(KINDS["gemma"])  # its last special token has an id beyond the embedding's rows
    config = tiny_config("sft", "implicit", scorer={"template": template, "row_length": 256})
    base = dataclasses.replace(
        tiny_parts(config).model.architecture, vocabulary=tokenizer.rows, end_tokens=(2, 40)
    )
    assert tokenizer.rows < tokenizer.text_tokens
    parts = make_parts(config, base, tokenizer)
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        drafting,
        "extend",
        lambda *inputs, **given: (
            seen.update(given, size=inputs[2].tokens.shape[1], allowed=np.asarray(given["allowed"]))
            or extend(*inputs, **given)
        ),
    )
    reward = PersonalizedReward.from_language(config, parts, *tiny_params(parts))
    user = reward.adapt()
    assert len(user.generate("the cat?", n=2, max_tokens=1000)) == 2
    around = parts.template.question("the cat?"), parts.template.response("", "")
    assert seen["size"] == 256 - user.state.size - sum(map(len, around))  # what is written can be scored
    ends = {2, 40} if template == "fspo_v1" else {2, 40, tokenizer.structure["<end>"]}
    assert set(seen["end_tokens"]) == ends
    found = set(np.flatnonzero(seen["allowed"]).tolist())
    assert found == ends | set(np.flatnonzero(tokenizer.is_text).tolist())


def test_generate_with_fspo_template_and_a_conversation() -> None:
    config = tiny_config("sft", "implicit", scorer={"template": "fspo_v1"})
    parts = tiny_parts(config)
    reward = PersonalizedReward.from_language(config, parts, *tiny_params(parts))
    (found,) = reward.adapt(PAIRS[:1]).generate((Message("user", "warm?"),), max_tokens=5)
    assert isinstance(found, str)


@pytest.mark.parametrize("kind", ["scalar", "gaussian_process"])
def test_generate_reward_that_is_no_policy_says_so(kind: str) -> None:
    user = make_language_reward(kind).adapt()
    with pytest.raises(FspoError, match="scores responses, but cannot write them"):
        user.generate("p")
    with pytest.raises(FspoError, match="cannot write them"):
        best_of_n(user, "p", 2)


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_tokens": 0}]
)
def test_generate_number_out_of_range_is_data_error(ana: UserReward, wrong: dict) -> None:
    with pytest.raises(DataError, match=f"{next(iter(wrong))} must be "):
        ana.generate("p", **wrong)


def test_best_of_n_ranks_what_any_callable_makes(ana: UserReward) -> None:
    ranking = best_of_n(ana, "p", 4, lambda prompt, n: [f"warm {i}" for i in range(n)])
    scores = ana.score("p", [f"warm {i}" for i in range(4)])
    assert [c.index for c in ranking] == (-scores).argsort(kind="stable").tolist()
    own = best_of_n(make_language_reward().adapt(), "p", 3)
    assert len(own) == 3 and own[0].score >= own[-1].score


def test_best_of_n_bad_values_are_data_errors(ana: UserReward) -> None:
    for n in (0, True, 1.5):
        with pytest.raises(DataError, match="n must be a positive integer"):
            best_of_n(ana, "p", n)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="must be a UserReward, not a PersonalizedReward"):
        best_of_n(ana.base, "p", 2)  # type: ignore[arg-type]
    for made in ("one text", [1, 2]):
        with pytest.raises(DataError, match=r"what the generator returned.* must be a"):
            best_of_n(ana, "p", 2, lambda prompt, n, made=made: made)  # type: ignore[arg-type,return-value]
