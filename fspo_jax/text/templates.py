"""Templates turn a context, a question and a response into tokens.

`structured`, the default, marks each part with structure tokens, which no text can contain. `fspo_v1` is the markdown
of FSPO's reference code, byte for byte, for checkpoints that were trained on it. A text can contain its headings.

Source: Singh et al. (2025), FSPO, arXiv 2502.19312.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from fspo_jax.text.prompts import render_prompt
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.types import Preference, Prompt

MARKS = ("read", "liked", "disliked", "asked")
"""What a row says of a text that lower layers have read: nothing (a prompt), its label, or that it is asked about."""

TemplateName = Literal["structured", "fspo_v1"]


class Template(NamedTuple):
    """Functions that return tokens, each `int32 [n]`.

    Attributes:
        head: `(number of shots)`, the tokens before the shots. They begin as the tokenizer begins a text.
        shot: `(number from 1, preference)`, one labelled pair.
        tail: `(number of shots)`, the tokens between the shots and a question.
        question: `(prompt)`, everything up to the response.
        opening: `()`, the tokens that every response begins with.
        response: `(prompt, text)`, the opening, the text and the end token.
        describe: `()`, the request for a description of the user. `described` follows, then the questions.
        described: `(text)`, a description and its end token.
    """

    head: Callable[[int], np.ndarray]
    shot: Callable[[int, Preference], np.ndarray]
    tail: Callable[[int], np.ndarray]
    question: Callable[[Prompt], np.ndarray]
    opening: Callable[[], np.ndarray]
    response: Callable[[Prompt, str], np.ndarray]
    describe: Callable[[], np.ndarray]
    described: Callable[[str], np.ndarray]


def make_template(
    name: TemplateName, tokenizer: TextTokenizer, end_token: int, *, remember: int = 0
) -> Template:
    """Makes the template of that name.

    Args:
        name: `"structured"` or `"fspo_v1"`.
        tokenizer: Turns texts into tokens.
        end_token: The checkpoint's own token for the end of a text, with which `fspo_v1` ends responses.
        remember: Number of most recently used texts whose tokens are kept in memory.
    """

    @functools.lru_cache(maxsize=remember)
    def text(value: str) -> np.ndarray:
        tokens = tokenizer.encode([value])[0]
        tokens.setflags(write=False)
        return tokens

    return _structured(tokenizer, text) if name == "structured" else _fspo_v1(tokenizer, text, end_token)


def _structured(tokenizer: TextTokenizer, text: Callable[[str], np.ndarray]) -> Template:
    mark = {name.strip("<>"): np.array([token], np.int32) for name, token in tokenizer.structure.items()}

    def prompt_tokens(prompt: Prompt) -> np.ndarray:
        if isinstance(prompt, str):
            return np.concatenate([mark["prompt"], text(prompt)])
        parts = [mark["prompt"]]
        for message in prompt:
            known = mark.get(message.role) if message.role in ("system", "user", "assistant") else None
            role = [mark["role"], text(message.role), mark["role"]] if known is None else [known]
            parts += [*role, text(message.content)]
        return np.concatenate(parts)

    def shot(_: int, pair: Preference) -> np.ndarray:
        return np.concatenate(
            [
                mark["shot"],
                prompt_tokens(pair.prompt),
                mark["chosen"],
                text(pair.chosen),
                mark["rejected"],
                text(pair.rejected),
            ]
        )

    return Template(
        # Never empty, so that a question with zero shots has something to attend to.
        head=lambda shots: np.concatenate([tokenizer.beginning, mark["end"]]),
        shot=shot,
        tail=lambda shots: np.zeros(0, np.int32),
        question=lambda prompt: np.concatenate([prompt_tokens(prompt), mark["chosen"]]),
        opening=lambda: np.zeros(0, np.int32),
        response=lambda prompt, response: np.concatenate([text(response), mark["end"]]),
        describe=lambda: mark["describe"],
        described=lambda value: np.concatenate([text(value), mark["end"]]),
    )


def split_template(
    first: np.ndarray, places: Callable[[Prompt, str | None, int, int], np.ndarray], *, pool: int, asked: int
) -> Template:
    """Makes the template of rows whose texts lower layers have read, each by itself.

    Labels are marks that are added to the states of a text, on every token of it. A row has no other structure. The
    lower layers have read each response behind its prompt, so shots contain responses only, and a question whose
    responses are not read token by token is its last token only.

    Args:
        first: The place of the first token of every prompt, which models put much of their attention on.
        places: `(prompt, response or None, mark, pool)`, the places `int32 [n]` of a text's tokens.
        pool, asked: Number of neighbouring tokens that share a place, in shots and in responses that are asked about.
    """
    nothing = np.zeros(0, np.int32)

    def shot(_: int, pair: Preference) -> np.ndarray:
        texts = ((pair.chosen, 1), (pair.rejected, 2))
        return np.concatenate([places(pair.prompt, text, mark, pool) for text, mark in texts])

    def refuse(*_: object) -> np.ndarray:
        raise NotImplementedError("a model with lower layers reads no descriptions")

    return Template(
        head=lambda shots: first,
        shot=shot,
        tail=lambda shots: nothing,
        question=lambda prompt: places(prompt, None, 0, 1)[-1 if asked > 1 else 0 :],
        opening=lambda: nothing,
        response=lambda prompt, response: places(prompt, response, 3, asked),
        describe=refuse,
        described=refuse,
    )


TASK = "# Task\nGiven the examples above, generate a preferred response to the following question.\n"
ZERO_SHOT_TASK = "# Task\nGenerate a response to the following question.\n"


def _fspo_v1(tokenizer: TextTokenizer, text: Callable[[str], np.ndarray], end_token: int) -> Template:
    def piece(value: str, before: str = "\n", after: str = "#") -> np.ndarray:
        """Tokens of a piece of the text, read between what stands before and after it.

        The text is cut only before a '#' at the start of a line, so the tokens equal those of the whole text.
        """
        tokens = text(before + value + after)
        start = len(text(before + "#")) - 1 if before else 0
        return tokens[start : len(tokens) - len(after)]

    def shot(number: int, pair: Preference) -> np.ndarray:
        return piece(
            f"# Example {number}\n## Question \n{render_prompt(pair.prompt).strip()}\n"
            f"## Preferred Response \n{pair.chosen.strip()}\n## Dispreferred Response \n{pair.rejected.strip()}\n\n",
            before="\n" if number > 1 else "",
        )

    return Template(
        head=lambda shots: tokenizer.beginning,
        shot=shot,
        tail=lambda shots: piece(TASK) if shots else piece(ZERO_SHOT_TASK, before=""),
        question=lambda prompt: piece(f"## Question \n{render_prompt(prompt).strip()}\n"),
        opening=lambda: piece("## Preferred Response \n", after="a"),
        response=lambda prompt, response: np.append(
            piece(f"## Preferred Response \n{response.strip()}\n", after=""), np.int32(end_token)
        ).astype(np.int32),
        describe=lambda: piece("## User Description\n", after="a"),
        described=lambda value: piece(f"{value.strip()}\n"),
    )
