"""The map of `three_level_gp`: which columns of the features everyone's reward reads, and how much people differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.config import ThreeLevelGPConfig
from fspo_jax.models.features.approval import APPROVAL
from fspo_jax.models.features.interaction import INTERACTION
from fspo_jax.models.features.style import FEATURES, STYLE
from fspo_jax.models.scorers.contract import Community, Params

TILT = 1.0
"""By how much a block's log amplitudes start above, and the other blocks' below, in the sets where it stands out."""

DOUBT = 2.0
"""Standard deviation of a penalty, as a multiple of it. A penalty decides a ranking, but people prefer many a real
response that looks off-topic to a small encoder."""

FIRST_LOG_TRUST = -1.5
"""Logarithm of the share of a community's evidence for a kind of people that counts for a person inside it, at first.
All of it would count if all people of a community were of one kind."""

EVERYONE = "everyone"
"""Name of the part that holds the reward of everyone."""

WIDE = ("sentence", "hidden_layer")
"""Names of wide blocks begin with one of these: one amplitude for all columns. Others have one for each column."""

STARTS = {
    (STYLE, list(FEATURES).index("log_characters")): 0.6,
    (APPROVAL, 0): 0.7,
}
"""Columns that everyone's reward reads, by block and number, and the weight that training starts from."""

SMALL, SMALL_STYLE = -1.0, -2.5
"""Log amplitudes of a column of a narrow block at the start, and of a column of style."""


class ThreeLevelMap(nnx.Module):
    """Maps features to `[s - penalty, s, features, penalty]`; holds the amplitudes of the parts of psi.

    A part is the reward of everyone, a wide block, or one column of a narrow block. The block `interaction` is no part:
    the sum of its penalties is in s, without a learned weight, and is the last column, where it only adds doubt.
    """

    def __init__(self, blocks: Mapping[str, int], config: ThreeLevelGPConfig):
        starts = dict(zip(blocks, itertools.accumulate(blocks.values(), initial=0), strict=False))
        read = {starts[name] + column: weight for (name, column), weight in STARTS.items() if name in starts}
        parts = _parts(blocks)
        self.columns = tuple(read)
        places = {name: range(starts[name], starts[name] + width) for name, width in blocks.items()}
        self.penalties = tuple(places.pop(INTERACTION, ()))
        self.own = tuple(itertools.chain.from_iterable(places.values()))
        self.sizes = tuple(size for _, size in parts)
        self.everyone = nnx.Param(jnp.array(list(read.values())))
        names = [name for name, _ in parts]
        self.log_amplitudes = nnx.Param(_first_log_amplitudes(config.components, names))
        sizes = _sizes(-2.5, 0.5, config.community_components)
        self.log_community = nnx.Param(sizes[:, None] + _first_log_amplitudes(1, names).mean(0))
        self.log_community_shares = nnx.Param(jnp.zeros(config.community_components))
        self.log_text = nnx.Param(jnp.array(-0.5))
        # Of people of whose community nobody is known, and of people inside a known one.
        self.log_shares = nnx.Param(jnp.zeros((2, len(self.log_amplitudes))))
        self.log_trust = nnx.Param(jnp.array(FIRST_LOG_TRUST))

    def __call__(self, features: jax.Array) -> jax.Array:
        everyone = features[..., np.array(self.columns)] @ self.everyone[...]
        penalty = features[..., np.array(self.penalties, int)].sum(-1)
        first = jnp.stack([everyone - penalty, everyone], axis=-1)
        last = penalty[..., None] if self.penalties else first[..., :0]
        return jnp.concatenate([first, features[..., np.array(self.own)], last], axis=-1)

    def variances(self, log_amplitudes: jax.Array) -> jax.Array:
        """From log amplitudes of the parts, `[P]`, to prior variances of the columns of psi, `[R]`."""
        parts = [
            jnp.full(size, jnp.exp(2.0 * value) / size)
            for value, size in zip(log_amplitudes, self.sizes, strict=True)
        ]
        return jnp.concatenate([*parts, jnp.zeros(1 if self.penalties else 0)])  # no taste for penalties

    def doubt(self, rows: jax.Array) -> jax.Array:
        """Variance of margins from doubt of their penalties, for differences `[N, R]`: `[N]`."""
        return jnp.square(DOUBT * rows[:, -1]) if self.penalties else jnp.zeros(len(rows))

    def community(self, params: Params) -> Community:
        """The community in the parameters. If nobody is known, it is of one of the kinds, with diagonal covariances."""
        if "community" in params:
            return Community(**params["community"])
        variances = jax.vmap(self.variances)(self.log_community[...])
        kinds = jnp.zeros((len(variances), len(self.log_amplitudes[...])))
        return Community(jnp.zeros_like(variances), variances, self.log_community_shares[...], kinds)


def _parts(blocks: Mapping[str, int]) -> list[tuple[str, int]]:
    """Block and size of each part, in the order of the columns of psi."""
    parts = [(EVERYONE, 1)]
    for name, width in blocks.items():
        if name != INTERACTION:
            parts += [(name, width)] if name.startswith(WIDE) else [(name, 1)] * width
    return parts


def wide_places(blocks: Mapping[str, int]) -> tuple[tuple[str, int, int], ...]:
    """Name, first column of psi and the one after the last of each wide block."""
    found, start = [], 1
    for name, width in blocks.items():
        if name.startswith(WIDE):
            found.append((name, start, start + width))
        start += width if name != INTERACTION else 0
    return tuple(found)


def _first_log_amplitudes(components: int, parts: list[str]) -> jax.Array:
    """`[S, P]`: sets of every size for every wide block that stands out; narrow blocks start small."""
    wide = [name for name in dict.fromkeys(parts) if name.startswith(WIDE)]
    sizes = _sizes(-3.0, 1.5, components)
    start = np.zeros((max(len(wide), 1), len(parts)), np.float32)
    for i, name in enumerate(parts):
        if name in wide and len(wide) > 1:
            start[:, i] = np.where(np.arange(len(wide)) == wide.index(name), TILT, -TILT)
        elif name == STYLE:
            start[:, i] = SMALL_STYLE
        elif name not in (*wide, EVERYONE, APPROVAL):
            start[:, i] = SMALL
    return (sizes[:, None, None] + start).reshape(-1, len(parts))


def _sizes(smallest: float, largest: float, count: int) -> jax.Array:
    return jnp.linspace(smallest, largest, count) if count > 1 else jnp.zeros(1)


def times(rows: jax.Array, covariance: jax.Array) -> jax.Array:
    """Returns `rows @ covariance` for a full covariance `[R, R]` or a diagonal `[R]`."""
    return rows * covariance if covariance.ndim == 1 else rows @ covariance
