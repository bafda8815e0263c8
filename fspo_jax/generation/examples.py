"""A writer that is shown what a person liked: few-shot prompting, alone or under guidance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError, LimitError
from fspo_jax.generation.best_of_n import Generator
from fspo_jax.text.prompts import messages_of
from fspo_jax.types import (
    Draft,
    Message,
    Preference,
    Prompt,
    Sampling,
    Writer,
    check_preferences,
    check_writer,
)

INSTRUCTING = ("system", "developer")
"""Roles of instructions. Those that a prompt begins with stay first."""


@dataclass(frozen=True)
class WithExamples:
    """Writes as `writer` does after earlier turns of the conversation; made by `with_examples`.

    Attributes:
        writer: Writes, and is called as a generator.
        turns: What it is shown before each prompt.
    """

    writer: Writer
    turns: tuple[Message, ...]

    @property
    def continues(self) -> bool:
        return self.writer.continues

    @property
    def continued_by(self) -> Writer:
        """The writer that goes on with drafts, unchanged."""
        return self.writer

    def __call__(self, prompt: Prompt, n: int) -> Sequence[str]:
        if not callable(self.writer):
            raise DataError(
                f"the writer must be a function of the prompt and n, too, not {shown(self.writer)}."
            )
        generator: Generator = self.writer
        with self._after_turns(prompt) as messages:
            return generator(messages, n)

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        with self._after_turns(prompt) as messages:
            return self.writer.begin(messages, sampling)

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        return self.writer.continuations(draft, n, tokens)

    @contextlib.contextmanager
    def _after_turns(self, prompt: Prompt) -> Iterator[tuple[Message, ...]]:
        """Puts the turns before a prompt. If that makes it too long for the writer, the error says so."""
        instructions, question = _parts(messages_of(prompt))
        try:
            yield (*instructions, *self.turns, *question)
        except LimitError as error:
            if not self.turns:
                raise
            raise LimitError(f"with the examples before it, {error} Show fewer pairs.") from error


def _parts(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """The instructions that a conversation begins with, and the rest; if there is no rest, they are the question."""
    first = next((i for i, message in enumerate(messages) if message.role not in INSTRUCTING), 0)
    return messages[:first], messages[first:]


def with_examples(writer: Writer, pairs: Iterable[Preference]) -> WithExamples:
    """Shows a writer what a person liked: the prompts and chosen responses of pairs, as earlier turns.

    This is few-shot prompting. It costs nothing but a longer prompt, and goes together with guidance: the writer knows
    the style, the reward picks. Not shown are rejected responses, and the instructions (roles `system` and `developer`)
    before the question of a pair. The reward reads the prompt without the examples.

    Args:
        writer: From `load_writer` or `openai_endpoint`; also any object with their `begin`, `continuations` and
            `continues`.
        pairs: The person's labelled pairs, the oldest first.

    Returns:
        A writer, which is a generator for `best_of_n`, too, if `writer` is one.

    Raises:
        DataError: The writer cannot write, or `pairs` are no preferences. A prompt that becomes too long for the writer
            is an error when it writes.

    Example:
        >>> class Echo:
        ...     continues = True
        ...     def begin(self, prompt, sampling): ...
        ...     def continuations(self, draft, n, tokens): ...
        ...     def __call__(self, prompt, n): return [prompt[1].content] * n
        >>> liked = [Preference("A qubit?", chosen="A spinning coin.", rejected="A unit vector.")]
        >>> with_examples(Echo(), liked)("Entropy?", 1)
        ['A spinning coin.']
    """
    turns: list[Message] = []
    for pair in check_preferences(pairs, "pairs"):
        turns += [*_parts(messages_of(pair.prompt))[1], Message("assistant", pair.chosen)]
    return WithExamples(check_writer(writer), tuple(turns))
