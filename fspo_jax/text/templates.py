"""How a context, a question and a response become tokens.

`structured` marks everything with structure tokens, which no text can forge; it is the default. `fspo_v1` is the
markdown of FSPO's reference code, byte for byte, for checkpoints that were trained on it; a text may contain its
headings.

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

TemplateName = Literal["structured", "fspo_v1"]


class Template(NamedTuple):
    """Functions from texts to tokens, each `int32 [...]`.

    Attributes:
        shot: `(number from 1, preference)`, one labelled pair.
        head: `(shots)`, what stands before the shots; `tail` what stands between them and a question.
        tail: `(shots)`.
        question: `(prompt)`, up to the place where the response begins.
        opening: What every response begins with.
        response: `(text)`, with the opening and the token that ends it.
        describe: Asks for a description of the user; what follows is `described`, then the questions.
        described: `(text)`, a description with the token that ends it.
    """

    head: Callable[[int], np.ndarray]
    shot: Callable[[int, Preference], np.ndarray]
    tail: Callable[[int], np.ndarray]
    question: Callable[[Prompt], np.ndarray]
    opening: Callable[[], np.ndarray]
    response: Callable[[str], np.ndarray]
    describe: Callable[[], np.ndarray]
    described: Callable[[str], np.ndarray]


def make_template(
    name: TemplateName, tokenizer: TextTokenizer, end_token: int, *, remember: int = 0
) -> Template:
    """Returns a template.

    Args:
        end_token: The checkpoint's own end of text, which `fspo_v1` ends responses with.
        remember: Number of texts whose tokens are kept, the most recently used ones.
    """

    @functools.lru_cache(maxsize=remember)
    def text(value: str) -> np.ndarray:
        tokens = tokenizer.encode([value])[0]
        tokens.setflags(write=False)
        return tokens

    return _structured(tokenizer, text) if name == "structured" else _fspo_v1(text, end_token)


def _structured(tokenizer: TextTokenizer, text: Callable[[str], np.ndarray]) -> Template:
    mark = {name.strip("<>"): np.array([token], np.int32) for name, token in tokenizer.structure.items()}

    def prompt_tokens(prompt: Prompt) -> np.ndarray:
        if isinstance(prompt, str):
            return np.concatenate([mark["prompt"], text(prompt)])
        parts = [mark["prompt"]]
        for message in prompt:
            known = mark.get(message.role) if message.role in ("system", "user", "assistant") else None
            role = [mark["role"], text(message.role)] if known is None else [known]
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
        head=lambda shots: mark["end"],  # one token that is always there: zero shots have something to see
        shot=shot,
        tail=lambda shots: np.zeros(0, np.int32),
        question=lambda prompt: np.concatenate([prompt_tokens(prompt), mark["chosen"]]),
        opening=lambda: np.zeros(0, np.int32),
        response=lambda response: np.concatenate([text(response), mark["end"]]),
        describe=lambda: mark["describe"],
        described=lambda value: np.concatenate([text(value), mark["end"]]),
    )


TASK = "# Task\nGiven the examples above, generate a preferred response to the following question.\n"
ZERO_SHOT_TASK = "# Task\nGenerate a response to the following question.\n"


def _fspo_v1(text: Callable[[str], np.ndarray], end_token: int) -> Template:
    # Pieces are cut in front of a '#' at the start of a line only: there no tokenizer of the covered families has a
    # token that spans the cut, so the tokens are those of the whole text.
    def shot(number: int, pair: Preference) -> np.ndarray:
        return text(
            f"# Example {number}\n## Question \n{render_prompt(pair.prompt).strip()}\n"
            f"## Preferred Response \n{pair.chosen.strip()}\n## Dispreferred Response \n{pair.rejected.strip()}\n\n"
        )

    return Template(
        head=lambda shots: np.zeros(0, np.int32),
        shot=shot,
        tail=lambda shots: text(TASK if shots else ZERO_SHOT_TASK),
        question=lambda prompt: text(f"## Question \n{render_prompt(prompt).strip()}\n"),
        opening=lambda: text("## Preferred Response \n"),
        response=lambda response: np.append(
            text(f"## Preferred Response \n{response.strip()}\n"), np.int32(end_token)
        ).astype(np.int32),
        describe=lambda: text("## User Description\n"),
        described=lambda value: text(f"{value.strip()}\n"),
    )
