"""A writer that is shown what a person liked: few-shot prompting, alone or under guidance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError
from fspo_jax.generation.best_of_n import Generator
from fspo_jax.text.prompts import messages_of
from fspo_jax.types import Draft, Message, Preference, Prompt, Sampling, Writer, check_preferences


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

    def __call__(self, prompt: Prompt, n: int) -> Sequence[str]:
        if not callable(self.writer):
            raise DataError(
                f"the writer must be a function of the prompt and n, too, not {shown(self.writer)}."
            )
        generator: Generator = self.writer
        return generator(self._after_turns(prompt), n)

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        return self.writer.begin(self._after_turns(prompt), sampling)

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        return self.writer.continuations(draft, n, tokens)

    def _after_turns(self, prompt: Prompt) -> tuple[Message, ...]:
        messages = messages_of(prompt)
        system = sum(message.role == "system" for message in messages[:1])
        return (*messages[:system], *self.turns, *messages[system:])


def with_examples(writer: Writer, pairs: Iterable[Preference]) -> WithExamples:
    """Shows a writer what a person liked: the prompts and chosen responses of pairs, as earlier turns.

    This is few-shot prompting. It costs nothing but a longer prompt, and goes together with guidance: the writer knows
    the style, the reward picks. Rejected responses are not shown. The reward reads the prompt without the examples.

    Args:
        writer: From `load_writer` or `openai_endpoint`; also any object with their methods.
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
    if not (hasattr(writer, "begin") and hasattr(writer, "continuations")):
        raise DataError(f"writer must come from load_writer or openai_endpoint, not {shown(writer)}.")
    turns: list[Message] = []
    for pair in check_preferences(pairs, "pairs"):
        turns += [message for message in messages_of(pair.prompt) if message.role != "system"]
        turns.append(Message("assistant", pair.chosen))
    return WithExamples(writer, tuple(turns))
