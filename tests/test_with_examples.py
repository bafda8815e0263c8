"""A writer that is shown what a person liked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_decoder import LLAMA, write_decoder
from tiny_reward import make_reward
from tokenizers import Tokenizer, decoders

import fspo_jax as fspo
from fspo_jax.errors import DataError, LimitError
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


@pytest.mark.parametrize("role", ["system", "developer"])
def test_all_instructions_at_the_start_stay_first_and_alone_they_are_the_question(role: str) -> None:
    heard, rules = Heard(), (Message(role, "Rhyme."), Message("system", "Be brief."))
    writer = fspo.with_examples(heard, [fspo.Preference(rules, "A coin.", "A vector."), LIKED[1]])
    turns = (*rules, Message("assistant", "A coin."), *TURNS[2:])
    assert writer.turns == turns
    writer((*rules, Message("user", "Sky?")), 1)
    writer(rules, 1)
    assert heard.prompts == [(*rules, *turns, Message("user", "Sky?")), (*turns, *rules)]


def test_nested_examples_are_shown_from_the_inside_out() -> None:
    heard = Heard()
    fspo.with_examples(fspo.with_examples(heard, LIKED[:1]), LIKED[1:])("Sky?", 1)
    assert heard.prompts == [(*TURNS, Message("user", "Sky?"))]


@pytest.mark.parametrize("call", ["begin", "generator"])
def test_a_writer_that_is_called_by_itself_reads_prompts_in_every_form(call: str) -> None:
    heard = Heard()
    writer = fspo.with_examples(heard, LIKED[:1])
    endpoint = fspo.openai_endpoint("http://127.0.0.1:1/v1", "m")

    def read(pen: Any, prompt: Any) -> Any:
        return pen.begin(prompt, Sampling()) if call == "begin" else pen(prompt, 1)

    read(writer, [{"role": "user", "content": "Sky?"}])
    assert heard.prompts == [(*TURNS[:2], Message("user", "Sky?"))]
    for pen in (writer, endpoint):
        for odd in (None, 3, [], [{"role": "user"}]):
            with pytest.raises(DataError, match="prompt"):
                read(pen, odd)


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
    long = fspo.with_examples(writer, LIKED * 20)
    for write in (lambda: user.generate("Sky?", writer=long), lambda: long("Sky?", 1)):
        with pytest.raises(
            LimitError, match=r"with the examples before it, the prompt has .* Show fewer pairs"
        ):
            write()
    with pytest.raises(LimitError, match=r"^prompt has 50,001 characters"):
        long("x" * 50_001, 1)
    with pytest.raises(LimitError, match=r"^the prompt has"):
        fspo.with_examples(writer, [])("word " * 100, 1)


def test_what_cannot_write_or_be_shown_is_refused() -> None:
    with pytest.raises(DataError, match="writer must come from load_writer or openai_endpoint"):
        fspo.with_examples(lambda prompt, n: ["x"] * n, LIKED)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"not <class '.*Heard'>"):
        fspo.with_examples(Heard, LIKED)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"pairs\[0\] must be a Preference, not str"):
        fspo.with_examples(Heard(), ["x"])  # type: ignore[list-item]


def test_a_writer_that_does_not_say_whether_it_continues_is_refused_and_no_server_is_asked() -> None:
    class Silent:
        begin, continuations = Heard.begin, Heard.continuations

    class Around:
        """Passes everything on, as a log does."""

        def __init__(self, writer: Any) -> None:
            self.writer = writer

        def __getattr__(self, name: str) -> Any:
            return getattr(self.writer, name)

    likes = Likes()
    for make in (
        lambda: fspo.with_examples(Silent(), LIKED),
        lambda: likes.generate("Sky?", writer=Silent()),
    ):
        with pytest.raises(
            DataError, match=r"writer must .* or have their begin, continuations and continues"
        ):
            make()
    assert likes.generate("Sky?", writer=fspo.with_examples(Around(Heard()), LIKED))
    fspo.with_examples(fspo.openai_endpoint("http://127.0.0.1:1/v1", "m"), LIKED)


@pytest.mark.parametrize("caution", ["2", -1, float("nan"), 101, True, np.True_])
def test_a_wrong_caution_is_refused_before_anything_is_written(caution: Any) -> None:
    heard = Heard()
    with pytest.raises(DataError, match="caution must be a number between 0 and 100"):
        fspo.best_of_n(Likes(), "Sky?", 2, heard, caution=caution)
    assert not heard.prompts
