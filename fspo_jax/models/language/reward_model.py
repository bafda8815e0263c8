"""A causal language model as a reward: it reads a user's labelled pairs as tokens.

There are three kinds of reward. `implicit` is `beta (log pi(y) - log pi_ref(y))`, summed over the tokens of the
response. `scalar` is a linear head on the hidden state at the end of the response. `gaussian_process` is the
preferential Gaussian process on these hidden states, computed without context.

Source: Singh et al. (2025), FSPO, arXiv 2502.19312, equation 4; Rafailov et al. (2023), arXiv 2305.18290.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fspo_jax.config import LanguageModelConfig, PreferentialGPConfig
from fspo_jax.models.language.decoder.adapters import join_adapters, split_adapters
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.log_probabilities import OutputTokens, response_log_probabilities
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.text.templates import MARKS
from fspo_jax.types import Episode, PackedRows, ReadTexts, TokenLayout

Tree = Mapping[str, Any]

COMPUTE = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """Pure functions of the reward. R rows, T tokens, P pairs per row, D width.

    There are two trees of parameters. Trained: `decoder`, or `adapters` and `marks` (the embeddings of structure
    tokens, which pretrained models do not have); `reward` for the scalar head; `process` for the Gaussian process.
    Frozen: the `decoder` that has adapters, which is also the reference; else `reference`, if there is one; in training
    perhaps `output_tokens`, from which normalisers are estimated. With
    `config.split_layer` the decoder consists of the upper layers, and its marks are those of `text.templates.MARKS`.

    Attributes:
        config: The scorer's config.
        architecture: Architecture of the decoder, with structure tokens in its vocabulary; of its upper layers if it
            is split.
        text_tokens: First id of a structure token.
        reference: Whether the implicit reward has a separate reference. Without a reference `log pi_ref` is 0.
    """

    config: LanguageModelConfig
    architecture: Architecture
    text_tokens: int
    reference: bool = False

    def init_decoder(self, key: jax.Array) -> Tree:
        """Makes a random decoder. Pure."""
        return pure_module(lambda rngs: Decoder(self.architecture, 0, rngs, self.marks))[0](key)

    def init(self, key: jax.Array, decoder: Tree) -> tuple[Params, Params]:
        """Makes the initial trained and frozen parameters from those of a decoder. Pure.

        The policy starts equal to the reference, so all implicit rewards start at 0.
        """
        keys = jax.random.split(key, 2)
        params: dict[str, Any] = {"decoder": decoder}
        frozen: dict[str, Any] = {"reference": decoder} if self.reference else {}
        if self.config.lora_rank:
            adapted = pure_module(lambda rngs: Decoder(self.architecture, self.config.lora_rank, rngs))[0]
            marks = {name: table[self._first_mark(name) :] for name, table in self._tables(decoder).items()}
            params = {"adapters": split_adapters(adapted(keys[0]))[1], "marks": marks}
            frozen = {"decoder": decoder}
        if self.config.reward == "scalar":
            params["reward"] = {"weight": jnp.zeros(self.architecture.width)}
        if self.config.reward == "gaussian_process":
            params["process"] = self.process.init(keys[1])
        return params, frozen

    def decoder_of(self, params: Params, frozen: Params) -> Tree:
        """Returns the policy's decoder: the trained one, or the frozen one with adapters and marks."""
        if "decoder" in params:
            return params["decoder"]
        base = dict(frozen["decoder"])
        for name, marks in params["marks"].items():
            base[name] = base[name].at[self._first_mark(name) :].set(marks.astype(base[name].dtype))
        return join_adapters(base, params["adapters"])

    def reference_of(self, frozen: Params) -> Tree | None:
        """Returns the decoder of the reference, or None."""
        return frozen.get("reference", frozen.get("decoder"))

    def hidden(self, decoder: Tree, tokens: jax.Array | ReadTexts, layout: TokenLayout) -> jax.Array:
        """Returns the hidden states `[R, T, D]` of rows."""
        c = self.config
        states, _ = self.bind(decoder)(
            tokens, layout, dtype=COMPUTE[c.compute], attention=c.attention, remat=c.remat
        )
        return states

    def bind(self, decoder: Tree) -> Decoder:
        """Returns the network with these parameters."""
        rank = self.config.lora_rank if "lora_a" in decoder["layers"]["query"] else 0
        return _binder(self.architecture, rank, self.marks)(decoder)

    def log_probabilities(
        self, decoder: Tree, rows: PackedRows, among: OutputTokens | None = None
    ) -> jax.Array:
        """Returns the log-probability of every response, summed over its tokens, `float32 [R, P, 2]`, in nats.

        Args:
            decoder: Parameters of the decoder.
            rows: The responses.
            among: Tokens from which the normaliser is estimated, with all of the responses; None for the whole
                vocabulary.
        """
        hidden = self.hidden(decoder, rows.tokens, rows.layout)
        matrix = self.bind(decoder).output_matrix()
        return response_log_probabilities(hidden, matrix, rows, self.architecture.logit_softcap, among)

    def reference_log_probabilities(self, frozen: Params, rows: PackedRows) -> jax.Array:
        """Returns the same under the reference, or zeros without one. No gradient."""
        decoder = self.reference_of(frozen)
        if decoder is None:
            return jnp.zeros(rows.ends.shape, jnp.float32)
        among = frozen.get("output_tokens")
        return jax.lax.stop_gradient(self.log_probabilities(jax.lax.stop_gradient(decoder), rows, among))

    def end_states(self, params: Params, frozen: Params, rows: PackedRows) -> jax.Array:
        """Returns the hidden states at the end of every response, `float32 [R, P, 2, D]`."""
        hidden = self.hidden(self.decoder_of(params, frozen), rows.tokens, rows.layout)
        ends = rows.ends.reshape(len(hidden), -1, 1)
        states = jnp.take_along_axis(hidden, ends, axis=1).astype(jnp.float32)
        return states.reshape(*rows.ends.shape, -1)

    def rewards(self, params: Params, frozen: Params, rows: PackedRows) -> jax.Array:
        """Returns the rewards of all responses, `float32 [R, P, 2]`, in nats. Not for the Gaussian process."""
        if self.config.reward == "scalar":
            return self.end_states(params, frozen, rows) @ params["reward"]["weight"]
        policy = self.log_probabilities(self.decoder_of(params, frozen), rows)
        return self.config.beta * (policy - self.reference_log_probabilities(frozen, rows))

    def process_margins(
        self, params: Params, frozen: Params, rows: PackedRows, episode: Episode
    ) -> tuple[jax.Array, jax.Array]:
        """Returns mean and variance of the queries' margins under the Gaussian process, each `[B, Q]`.

        Args:
            rows: Pairs without context.
            episode: Places of the pairs, `row * P + pair`: `int32 [B, K]` and `[B, Q]`, with masks.
        """
        states = self.end_states(params, frozen, rows)
        states = states.reshape(-1, *states.shape[2:])
        features = episode._replace(context=states[episode.context], queries=states[episode.queries])
        return query_margins(self.process, params["process"], features)

    def prefill(
        self, decoder: Tree, tokens: jax.Array | ReadTexts, layout: TokenLayout, *past: KeyValues
    ) -> KeyValues:
        """Returns keys and values of tokens, for later tokens that see them."""
        _, kept = self.bind(decoder)(tokens, layout, past, dtype=COMPUTE[self.config.compute], keep=True)
        assert kept is not None
        return kept

    @functools.cached_property
    def process(self) -> Scorer:
        """The Gaussian process on hidden states."""
        return make_scorer(PreferentialGPConfig("preferential_gp"), {"hidden_state": self.architecture.width})

    @property
    def marks(self) -> int:
        """Number of marks that are added to the states of lower layers; 0 without lower layers."""
        return len(MARKS) if self.config.split_layer else 0

    def _tables(self, decoder: Tree) -> dict[str, jax.Array]:
        names = ("marks",) if self.marks else ("embedding", "head")
        return {name: decoder[name] for name in names if name in decoder}

    def _first_mark(self, table: str) -> int:
        return 0 if table == "marks" else self.text_tokens


@functools.cache
def _binder(architecture: Architecture, rank: int, marks: int) -> Any:
    return pure_module(lambda rngs: Decoder(architecture, rank, rngs, marks))[1]
