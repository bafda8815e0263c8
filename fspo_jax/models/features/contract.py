"""What a block of features is, and what a scorer's features are.

There are three kinds of blocks. A `TextBlock` reads a response alone, an `ItemBlock` a response with its prompt. An
`EncoderBlock` is made of the vectors of the run's encoder, so that adapters can be trained through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fspo_jax.types import Prompt

ITEMS_PER_PART = 256
"""Items that become features between two reports of progress."""


class TextBlock(Protocol):
    """Features of a response's text alone. Its values are kept in the cache.

    Attributes:
        name: Of the block, unique among the blocks of a featurizer.
        width: Number of its columns.
        columns: Name of each column, and what a response with more of it has, in words that go on from "likes": "long
            responses". So what a scorer believes can be said. Empty if they have none.
        fingerprint: Name of its folder in the cache. It must change whenever the values of an equal text change.
    """

    name: str
    width: int
    columns: Mapping[str, str]
    fingerprint: str

    def values(self, texts: Sequence[str]) -> np.ndarray:
        """Values `float32 [N, width]` of N texts, each of about unit variance."""
        ...


class Items(NamedTuple):
    """N responses with their prompts.

    Attributes:
        prompts: N prompts, each a string or the messages of a conversation; `render_prompt` makes one text of it.
        responses: N texts.
        prompt_vectors, response_vectors: `float32 [N, D]`, what the run's encoder makes of the rendered prompts and of
            the responses, of unit variance: the mean square of a row is 1. It has no adapters here: they turn it from
            what a text is about to stances and wording. `[N, 0]` for a block that does not read the encoder.
    """

    prompts: Sequence[Prompt]
    responses: Sequence[str]
    prompt_vectors: np.ndarray
    response_vectors: np.ndarray


class ItemBlock(Protocol):
    """Features of a response to its prompt. Its values are kept in the cache, by prompt and response.

    Attributes:
        name, width, columns: As in `TextBlock`.
        fingerprint: Name of its folder in the cache. It must change whenever the values of an equal item change.
        reads_encoder: Whether it reads the vectors of the run's encoder without adapters. They are kept in the cache by
            text, so a prompt is encoded once. Its own folder in the cache then also has the encoder's fingerprint in
            its name. Where the run has adapters, each text costs a second pass.

    Example:
        >>> class Overlap:
        ...     name, width, fingerprint = "overlap", 1, "overlap-1"
        ...     columns = {"overlap": "responses that stay close to the prompt"}
        ...     reads_encoder = True
        ...
        ...     def values(self, items):
        ...         return (items.prompt_vectors * items.response_vectors).mean(1, keepdims=True)
    """

    name: str
    width: int
    columns: Mapping[str, str]
    fingerprint: str
    reads_encoder: bool

    def values(self, items: Items) -> np.ndarray:
        """Values `float32 [N, width]` of N distinct items, each of about unit variance.

        The values of an item depend on nothing but the item, whatever stands beside it.
        """
        ...


class EncoderBlock(Protocol):
    """Features of what the encoder makes of a response, so that the encoder's adapters can be trained through them.

    Attributes:
        name, width, columns, fingerprint: As in `TextBlock`; the fingerprint says nothing of the encoder.
        layer: Which vectors it reads: 0 for the embedding, else the mean hidden state of this layer.
    """

    name: str
    width: int
    columns: Mapping[str, str]
    fingerprint: str
    layer: int

    def init(self) -> Any:
        """Parameters of its own at the start, trained together with the encoder's adapters, or None."""
        ...

    def values(self, vectors: Any, params: Any) -> Any:
        """Values `[N, width]`, in numpy or under `jax.jit`.

        Args:
            vectors: `float32 [N, D]`, of unit variance.
            params: Its parameters, or None where there are no adapters.
        """
        ...


class FeatureFunction(Protocol):
    """Texts to features; `Featurizer` is one.

    Attributes:
        blocks: Width of each block of columns by name, in order.
        dimension: F, the sum of the widths.
        fingerprint: Changes whenever the features of an equal text change.
    """

    @property
    def blocks(self) -> Mapping[str, int]: ...

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """Features `float32 [N, F]` of N prompts and responses."""
        ...

    def warm_up(self) -> None:
        """Compiles ahead of time what a few short texts need."""
        ...


def featurize(
    featurizer: FeatureFunction,
    items: Sequence[tuple[Prompt, str]],
    on_encoded: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features `float32 [N, F]` of (prompt, response) items, in parts, so that progress can be reported.

    Args:
        featurizer: Makes them.
        items: N prompts and responses.
        on_encoded: Called with the numbers of items done and of all, first with none done.
    """
    features = np.empty((len(items), featurizer.dimension), np.float32)
    report = on_encoded or (lambda done, total: None)
    report(0, len(items))
    for start in range(0, len(items), ITEMS_PER_PART):
        part = items[start : start + ITEMS_PER_PART]
        features[start : start + len(part)] = featurizer(*zip(*part, strict=True))
        report(start + len(part), len(items))
    return features
