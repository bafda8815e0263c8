"""A preferential Gaussian process for unseen studies: few parameters, and no learned feature map.

A learned map separates the topics of meta-training and is wrong about other topics. Only coarse properties hold in all
studies: most people like the more thorough response and approve of similar things, some more and some less; some people
answer by style, some by content, some almost at random. So the population reward `s` reads the length, and the approval
if there is one, and the kernel has one amplitude for each coarse part of the features:

`r_u = s (1 + c w_0) + a_1 w_1 . e_1 + ... + w_S . (a_S style)`, all `w ~ N(0, I)`.

`c` is how much people differ in following the population. The blocks `e_i` are the encoder's features (its embedding,
its hidden layer). The approval and every style feature have their own amplitudes.

Each user has amplitudes of their own. There are a few learned sets of amplitudes, which stand for kinds of people. A
user gets the geometric mean of the sets, weighted by the evidence of the user's pairs; the factors of the posterior's
mean and variance are averaged in the same way. The sets differ in size and in the block that dominates. Contradictory
labels are evidence for small amplitudes, consistent labels for large ones, and pairs that one block explains for more
of that block. Without pairs the prior weights of the sets decide. The leave-one-out likelihood of the user's pairs
shows how predictable the user is: the factors grow with it, and with the number of pairs.

Sources: Rasmussen and Williams (2006), equation 3.32, for the evidence under Laplace's approximation; Vehtari et al.
(2016), Bayesian leave-one-out cross-validation approximations for Gaussian latent variable models, section 3.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.config import TransferGPConfig
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.approval import APPROVAL
from fspo_jax.models.features.style import FEATURES, STYLE
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.laplace import (
    drift_of,
    laplace_dual,
    left_out_log_likelihood,
    posterior_variance,
    spd_log_determinant,
)

CONSISTENCY = 4.0
"""About where training settles from any start; from zero it would not get there in the steps that amplitudes take."""

PRIOR_PAIRS = 4.0
"""Pairs without a word on their user's consistency that are added to the user's own."""

TILT = 1.0
"""By how much a block's log amplitudes start above, and the other blocks' below, in the sets where it stands out."""

POPULATION = "population"
"""Name of the part that holds the population reward."""

LENGTH = list(FEATURES).index("log_characters")


class TransferMap(nnx.Module):
    """Maps features to `[s, s, features]`; holds the amplitudes of its parts.

    A part is the population reward, a wide block, the approval, or one style feature.
    """

    def __init__(self, blocks: Mapping[str, int], config: TransferGPConfig):
        starts = dict(zip(blocks, itertools.accumulate(blocks.values(), initial=0), strict=False))
        self.length_column = starts[STYLE] + LENGTH
        self.approval_column = starts.get(APPROVAL)
        self.sizes = tuple(size for _, size in _parts(blocks))
        self.length = nnx.Param(jnp.full(1, 0.2))
        self.approval = None if self.approval_column is None else nnx.Param(jnp.ones(1))
        self.log_amplitudes = nnx.Param(_first_log_amplitudes(config, [name for name, _ in _parts(blocks)]))
        sets = len(self.log_amplitudes)
        self.log_shares = nnx.Param(jnp.zeros(sets))
        self.log_corrections = nnx.Param(jnp.zeros((sets, 2)))
        self.pairs = nnx.Param(jnp.zeros(2))
        self.consistency = nnx.Param(jnp.array([CONSISTENCY, -CONSISTENCY]))

    def __call__(self, features: jax.Array) -> jax.Array:
        population = self.length[...] * features[..., self.length_column, None]
        if self.approval is not None:
            population += self.approval[...] * features[..., self.approval_column, None]
        return jnp.concatenate([population, population, features], axis=-1)

    def scales(self, log_amplitudes: jax.Array) -> jax.Array:
        """From amplitudes of the parts, `[P]`, to those of every column behind the first, `[R]`."""
        parts = [
            jnp.full(size, jnp.exp(value) * size**-0.5)
            for value, size in zip(log_amplitudes, self.sizes, strict=True)
        ]
        return jnp.concatenate(parts)


def _parts(blocks: Mapping[str, int]) -> list[tuple[str, int]]:
    """Block and size of each part, in the order of the columns behind the first."""
    parts = [(POPULATION, 1)]
    for name, width in blocks.items():
        parts += [(STYLE, 1)] * width if name == STYLE else [(name, width)]
    return parts


def _first_log_amplitudes(config: TransferGPConfig, parts: Sequence[str]) -> jax.Array:
    """`[S, P]`: sets of every size for every wide block that stands out; style starts small."""
    wide = [name for name in dict.fromkeys(parts) if name not in (POPULATION, APPROVAL, STYLE)]
    sizes = jnp.linspace(-3.0, 1.5, config.components) if config.components > 1 else jnp.zeros(1)
    start = np.zeros((max(len(wide), 1), len(parts)), np.float32)
    for i, name in enumerate(parts):
        if name == STYLE:
            start[:, i] = -2.5
        elif name in wide and len(wide) > 1:
            start[:, i] = np.where(np.arange(len(wide)) == wide.index(name), TILT, -TILT)
    return (sizes[:, None, None] + start).reshape(-1, len(parts))


class Adapted(NamedTuple):
    """One user's posterior. K pairs, R columns.

    Attributes:
        weights: `float32 [R]`, mean of the weights of the representation's columns behind the first.
        scales: `float32 [R]`, the user's amplitudes.
        differences: `float32 [K, R]`, scaled, as in `Laplace`.
        precision: `float32 [K, K]`, as in `Laplace`.
        variance_factor: `float32 []`, what the posterior's variance is multiplied by.
    """

    weights: jax.Array
    scales: jax.Array
    differences: jax.Array
    precision: jax.Array
    variance_factor: jax.Array


def transfer_gp(config: TransferGPConfig, blocks: Mapping[str, int]) -> Scorer:
    """The scorer. It reads the `style` block, the `approval` where there is one, and any other blocks as wide ones.

    Raises:
        ConfigError: There is no `style` block.
    """
    if STYLE not in blocks:
        raise ConfigError(
            f'a "transfer_gp" scorer reads the style block, but the features are {", ".join(blocks)}. '
            "Add kind = \"style\" to 'features'."
        )
    init, bind = pure_module(lambda rngs: TransferMap(blocks, config))

    def encode_context(
        params: Params, context: jax.Array, mask: jax.Array, ages: jax.Array | None = None
    ) -> Adapted:
        model = bind(params)
        difference = context[:, 0] - context[:, 1]
        offsets = difference[:, 0]
        drift = drift_of(ages, len(mask))

        def evidence(log_amplitudes: jax.Array) -> jax.Array:
            rows = difference[:, 1:] * model.scales(log_amplitudes)
            rows = jnp.where((mask > 0)[:, None], rows, 0.0)
            gram = drift.likeness * (rows @ rows.T)
            alpha = laplace_dual(gram, offsets, mask, config.newton_steps).alpha
            margins = offsets + gram @ alpha
            slope = jax.nn.sigmoid(margins) * jax.nn.sigmoid(-margins)
            root = jnp.where(mask > 0, jnp.sqrt(jnp.maximum(mask * slope, 1e-6)), 0.0)
            volume = spd_log_determinant(jnp.eye(len(mask)) + root[:, None] * gram * root)
            fit = jnp.where(mask > 0, mask * jax.nn.log_sigmoid(margins), 0.0).sum()
            return fit - 0.5 * alpha @ gram @ alpha - 0.5 * volume

        log_amplitudes = params["log_amplitudes"]
        shares = jax.nn.softmax(params["log_shares"] + jax.vmap(evidence)(log_amplitudes))
        scales = model.scales(shares @ log_amplitudes)
        rows = jnp.where((mask > 0)[:, None], difference[:, 1:] * scales, 0.0)
        gram = drift.likeness * (rows @ rows.T)
        dual = laplace_dual(gram, offsets, mask, config.newton_steps)
        known = left_out_log_likelihood(dual, gram, offsets, mask.astype(jnp.float32)) + jnp.log(2.0)
        predicted = jnp.where(mask > 0, jnp.minimum(mask, 1) * known, 0.0)
        pairs = jnp.minimum(mask, 1).sum()
        grown = pairs * params["pairs"] + predicted.sum() * params["consistency"]
        factors = jnp.exp(shares @ params["log_corrections"] + grown / (pairs + PRIOR_PAIRS))
        today = drift.today[:, None] * rows
        return Adapted(factors[0] * (dual.alpha @ today) * scales, scales, today, dual.precision, factors[1])

    def score(params: Params, state: Adapted, candidates: jax.Array) -> jax.Array:
        return candidates[:, 0] + candidates[:, 1:] @ state.weights

    def variance(params: Params, state: Adapted, a: jax.Array, b: jax.Array) -> jax.Array:
        rows = (a - b)[:, 1:] * state.scales
        return state.variance_factor * posterior_variance(state.differences, state.precision, rows)

    return Scorer(
        init,
        lambda params, features: bind(params)(features),
        encode_context,
        score,
        variance,
        weighs_pairs=True,
    )
