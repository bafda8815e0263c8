"""A writer that is shown what a person liked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_decoder import LLAMA, write_decoder
from tiny_reward import make_reward
from tokenizers import Tokenizer, decoders

import fspo_jax as fspo
from fspo_jax.errors import DataError
from fspo_jax.types import Draft, Message, Prompt, Sampling

LIKED = [
    fspo.Preference("A qubit?", chosen="A coin.", rejected="A vector."),
    fspo.Preference(
        (
            Message("system", "Be brief."),
            Message("user", "Hi"),
            Message("assistant", "Hello"),
            Message("user", "Why?"),
        ),
        chosen="So.",
        rejected="Because.",
    ),
]
TURNS = (
    *(Message("user", "A qubit?"), Message("assistant", "A coin.")),
    *(
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Why?"),
        Message("assistant", "So."),
    ),
)


class Heard:
    """Keeps the prompts that it is given."""

    continues = False

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def __call__(self, prompt: Prompt, n: int) -> list[str]:
        self.prompts.append(prompt)
        return [str(i) for i in range(n)]

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        self.prompts.append(prompt)
        return Draft("", sampling.max_tokens, False, ())

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        return [Draft(f"{i}", 0, True, ()) for i in range(n)]


class Likes(fspo.UserReward):
    """Likes large numbers, and keeps the prompts that it reads."""

    def __init__(self) -> None:
        object.__setattr__(self, "prompts", [])

    def score_with_uncertainty(self, prompt: Any, candidates: Any) -> Any:
        import numpy as np

        self.prompts.append(prompt)
        return np.array([float(text) for text in candidates], np.float32), np.zeros(
            len(candidates), np.float32
        )


def test_the_writer_sees_what_was_chosen_and_the_reward_only_the_prompt() -> None:
    heard, likes = Heard(), Likes()
    writer = fspo.with_examples(heard, LIKED)
    (found,) = likes.generate("Sky?", writer=writer, guidance=fspo.Blockwise(3, 4))
    assert found == "2" and found.way == "best of n"
    assert heard.prompts == [(*TURNS, Message("user", "Sky?"))] and set(likes.prompts) == {"Sky?"}
    assert fspo.best_of_n(likes, "Sky?", 3, writer)[0].text == "2"
    assert heard.prompts[1] == heard.prompts[0] and set(likes.prompts) == {"Sky?"}


def test_instructions_of_the_system_stay_first() -> None:
    heard = Heard()
    rule = Message("system", "Rhyme.")
    fspo.with_examples(heard, LIKED)((rule, Message("user", "Sky?")), 1)
    fspo.with_examples(heard, [])("Sky?", 1)
    assert heard.prompts == [(rule, *TURNS, Message("user", "Sky?")), (Message("user", "Sky?"),)]


def test_a_model_writes_as_after_an_earlier_conversation(tmp_path: Path) -> None:
    folder = write_decoder(tmp_path / "writer", LLAMA)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    writer, user = fspo.load_writer(folder), make_reward().adapt()
    given: dict[str, Any] = {"max_tokens": 6, "seed": 2, "n": 2}
    shown = user.generate("Sky?", writer=fspo.with_examples(writer, LIKED[:1]), **given)
    assert shown == user.generate((*TURNS[:2], Message("user", "Sky?")), writer=writer, **given)
    assert shown != user.generate("Sky?", writer=writer, **given)


def test_what_cannot_write_or_be_shown_is_refused() -> None:
    with pytest.raises(DataError, match="writer must come from load_writer or openai_endpoint"):
        fspo.with_examples(lambda prompt, n: ["x"] * n, LIKED)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"pairs\[0\] must be a Preference, not str"):
        fspo.with_examples(Heard(), ["x"])  # type: ignore[list-item]
