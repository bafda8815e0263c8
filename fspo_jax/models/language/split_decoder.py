"""A decoder in two parts that writes: lower layers read one text by itself, upper layers also what is before it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.precision import in_float32
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.text.templates import MARKS
from fspo_jax.types import ReadTexts, TokenLayout


class LowerOpening(NamedTuple):
    """What the lower layers have read before a response.

    Attributes:
        params: Parameters of the lower layers.
        past: Keys and values of what stands before the response, but its last token.
        last: `int32 []`, position of that token.
    """

    params: Any
    past: KeyValues
    last: Any


@dataclass(frozen=True, eq=False)
class SplitDecoder:
    """Reads the tokens of responses one after another, as training reads whole responses.

    Attributes:
        lower: The lower layers.
        upper: The layers above them.
        opening: What the lower layers have read before the responses.
    """

    lower: Decoder
    upper: Decoder
    opening: LowerOpening

    @property
    def architecture(self) -> Architecture:
        """That of the upper layers, with the number of all layers."""
        upper = self.upper.architecture
        return replace(upper, layers=self.lower.architecture.layers + upper.layers)

    def __call__(
        self,
        tokens: jax.Array,
        layout: TokenLayout,
        past: Sequence[KeyValues] = (),
        *,
        dtype: jnp.dtype = jnp.float32,
        keep: bool = False,
    ) -> tuple[jax.Array, KeyValues | None]:
        """As `Decoder`. The last of `past` is of all layers, those before it are of the upper layers."""
        *before, own = past
        count = self.lower.architecture.layers
        below, above = (
            KeyValues(own.keys[part], own.values[part], own.layout)
            for part in (slice(count), slice(count, None))
        )
        states, low = self.lower.without_norm(tokens, layout, (self.opening.past, below), dtype=dtype)
        written = layout.position > self.opening.last
        marks = jnp.where(written, MARKS.index("asked"), MARKS.index("read"))
        read = ReadTexts(states.astype(jnp.float16), marks, tokens)
        hidden, high = self.upper(read, layout, (*before, above), dtype=dtype, keep=True)
        assert high is not None
        keys, values = (jnp.concatenate(pair) for pair in ((low.keys, high.keys), (low.values, high.values)))
        return hidden, KeyValues(keys, values, layout) if keep else None

    def output_matrix(self) -> jax.Array:
        """As `Decoder.output_matrix`."""
        return self.upper.output_matrix()


@functools.cache
def lower_network(architecture: Architecture, layers: int) -> Callable[[Any], Decoder]:
    """The first layers of a decoder, from their parameters."""
    part = architecture.lower(layers)
    return pure_module(lambda rngs: Decoder(part, 0, rngs))[1]


@functools.cache
def lower_program(architecture: Architecture, layers: int) -> Any:
    """The compiled lower layers, from tokens to states `float16 [R, T, D]`; with `keep` to keys and values instead."""

    @functools.partial(jax.jit, static_argnames="keep")
    @in_float32
    def run(params: Any, tokens: jax.Array, layout: TokenLayout, keep: bool = False) -> jax.Array | KeyValues:
        states, own = lower_network(architecture, layers)(params).without_norm(tokens, layout)
        return own if keep else states.astype(jnp.float16)

    return run
