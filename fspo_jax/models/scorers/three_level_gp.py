"""A preferential Gaussian process with three levels: everyone, a community, a person. Few parameters, no learned map.

A learned map separates the topics of meta-training and is wrong about other topics. Only coarse properties hold in all
studies: most people like the more thorough response and approve of similar things, some more and some less; some people
answer by style, some by content, some almost at random; and people of one place have much in common. So

`r = s + v_c . psi + w_u . psi`, with `psi = [s, features]`, `v_c ~ N(0, A)`, `w_u ~ N(0, B)`.

Everyone has the reward `s`, a weighted sum of two named columns: length and approval. Community c moves
it by `v_c`, person u by `w_u`. The block `interaction` belongs to everyone only: what is off-topic or no answer at all
loses its penalty in nats, whatever anybody likes. A and B are diagonal, with one learned amplitude for each coarse part
of the features: a whole embedding, or one named column. The first column of psi says how much people differ in
following everyone.

`learn` gives the posterior N(m, S) of `v_c` from pairs of several people. It is the exact Laplace approximation of the
joint posterior of `v_c`, all `w_u`, and an effect of every text: in the dual the three have the kernels `D A D^T`,
`D B D^T` between pairs of the same person, and a constant for equal texts. A person inside the community is a Gaussian
process with prior mean `s + m . psi` and covariance `S + B`; without a community m = 0 and S = A.

A person has amplitudes B of their own. There are a few learned sets of amplitudes, which stand for kinds of people. The
posterior is a mixture over the kinds, weighted by the evidence of the person's pairs. The sets differ in size and in
the block that dominates. Contradictory labels are evidence for small amplitudes, consistent labels for large ones, and
pairs that one block explains for more of that block. Without pairs the prior weights of the sets decide. They are
learned apart for people of whose community nobody is known, and for people inside a known one. The mean of the mixture
and the variance between its kinds are exact. The variance within a kind is that of one kind with the geometric mean of
the amplitudes. A community has one of a few learned sets of amplitudes A. Its pairs also say of what kind its people
are; a learned share of that evidence counts for a person inside it.

Several groups may stand for one community; a person's pairs weigh the groups by their evidence.

Source: Rasmussen and Williams (2006), equation 3.32, for the evidence under Laplace's approximation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.config import ThreeLevelGPConfig
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.approval import APPROVAL
from fspo_jax.models.features.interaction import INTERACTION
from fspo_jax.models.features.style import FEATURES, STYLE
from fspo_jax.models.scorers.contract import (
    Community,
    CommunityPairs,
    Contribution,
    Learned,
    Params,
    Scorer,
    pure_module,
)
from fspo_jax.models.scorers.laplace import (
    drift_of,
    laplace_dual,
    spd_inverse,
    spd_log_determinant,
)

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


def _parts(blocks: Mapping[str, int]) -> list[tuple[str, int]]:
    """Block and size of each part, in the order of the columns of psi."""
    parts = [(EVERYONE, 1)]
    for name, width in blocks.items():
        if name != INTERACTION:
            parts += [(name, width)] if name.startswith(WIDE) else [(name, 1)] * width
    return parts


def _wide_places(blocks: Mapping[str, int]) -> tuple[tuple[str, int, int], ...]:
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


class Adapted(NamedTuple):
    """One user's posterior. M groups, S kinds of people, K pairs, R columns of psi.

    Attributes:
        shares: `float32 [M]`, probability of each group.
        kinds: `float32 [M, S]`, probability of each kind in each group.
        weights: `float32 [M, S, R]`, posterior mean of `v + w`.
        personal: `float32 [M, R]`, prior variances of `w`.
        rows: `float32 [M, K, R]`, `D (S + B)`: prior covariances of the pairs' margins and of `v + w` of today.
        precision: `float32 [M, K, K]`, as in `Dual`.
    """

    shares: jax.Array
    kinds: jax.Array
    weights: jax.Array
    personal: jax.Array
    rows: jax.Array
    precision: jax.Array


def three_level_gp(config: ThreeLevelGPConfig, blocks: Mapping[str, int]) -> Scorer:
    """The scorer. It reads the `style` block, and any others.

    Raises:
        ConfigError: There is no `style` block.
    """
    if STYLE not in blocks:
        raise ConfigError(
            f'a "three_level_gp" scorer reads the style block, but the features are {", ".join(blocks)}. '
            "Add kind = \"style\" to 'features'."
        )
    init, bind_map = pure_module(lambda rngs: ThreeLevelMap(blocks, config))
    names = tuple(jax.eval_shape(lambda: init(jax.random.key(0))))  # what else is in params is not of the map

    def bind(params: Params) -> ThreeLevelMap:
        return bind_map({name: params[name] for name in names})

    def community_of(params: Params) -> Community:
        """The community in the parameters. If nobody is known, it is of one of the kinds, with diagonal covariances."""
        if "community" in params:
            return Community(**params["community"])
        variances = jax.vmap(bind(params).variances)(params["log_community"])
        kinds = jnp.zeros((len(variances), len(params["log_amplitudes"])))
        return Community(jnp.zeros_like(variances), variances, params["log_community_shares"], kinds)

    def own_variances(params: Params) -> jax.Array:
        """Prior variances of a person of a community before any pair, `[R]`."""
        return bind(params).variances(jax.nn.softmax(params["log_shares"][1]) @ params["log_amplitudes"])

    def doubt(rows: jax.Array) -> jax.Array:
        """Variance of margins from doubt of their penalties, for differences `[N, R]`: `[N]`."""
        return jnp.square(DOUBT * rows[:, -1]) if INTERACTION in blocks else jnp.zeros(len(rows))

    def evidence(gram: jax.Array, offsets: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log probability of the labels of margins with this prior, nats, and `Dual.alpha`."""
        dual = laplace_dual(gram, offsets, weights, config.newton_steps)
        margins = offsets + gram @ dual.alpha
        slope = weights * jnp.maximum(jax.nn.sigmoid(margins) * jax.nn.sigmoid(-margins), 1e-6)
        root = jnp.where(weights > 0, jnp.sqrt(jnp.where(weights > 0, slope, 1.0)), 0.0)
        volume = spd_log_determinant(jnp.eye(len(weights)) + root[:, None] * gram * root)
        fit = (weights * jax.nn.log_sigmoid(margins)).sum()
        return fit - 0.5 * dual.alpha @ gram @ dual.alpha - 0.5 * volume, dual.alpha

    def encode_context(
        params: Params, context: jax.Array, mask: jax.Array, ages: jax.Array | None = None
    ) -> Adapted:
        model, community, used = bind(params), community_of(params), mask.astype(jnp.float32)
        log_shares = params["log_shares"][int("community" in params)]
        difference = jnp.where((used > 0)[:, None], context[:, 0] - context[:, 1], 0.0)
        rows = difference[:, 1:]
        drift = drift_of(ages, len(rows))
        kinds = jax.vmap(model.variances)(params["log_amplitudes"])
        doubted = jnp.diag(doubt(rows))
        grams = jnp.einsum("kr,sr,lr->skl", rows, kinds, rows)

        def in_group(
            mean: jax.Array, covariance: jax.Array, log_kinds: jax.Array
        ) -> tuple[jax.Array, Adapted]:
            offsets = difference[:, 0] + rows @ mean
            shared = _times(rows, covariance)
            in_common = shared @ rows.T
            evidences, alphas = jax.vmap(evidence, (0, None, None))(
                drift.likeness * (grams + in_common) + doubted, offsets, used
            )
            evidences += jax.nn.log_softmax(log_shares + log_kinds)
            shares = jax.nn.softmax(evidences)
            moved = alphas * drift.today
            weights = mean + moved @ shared + (moved @ rows) * kinds
            personal = model.variances(shares @ params["log_amplitudes"])
            spread = shared + rows * personal
            gram = drift.likeness * (spread @ rows.T) + doubted
            precision = laplace_dual(gram, offsets, used, config.newton_steps).precision
            total = jax.nn.logsumexp(evidences)
            return total, Adapted(total, shares, weights, personal, drift.today[:, None] * spread, precision)

        totals, adapted = jax.vmap(in_group)(community.mean, community.covariance, community.log_kinds)
        return adapted._replace(shares=jax.nn.softmax(community.log_weights + totals))

    def score(params: Params, state: Adapted, candidates: jax.Array) -> jax.Array:
        return candidates[:, 0] + candidates[:, 1:] @ jnp.einsum(
            "m,ms,msr->r", state.shares, state.kinds, state.weights
        )

    def spread(params: Params, a: jax.Array) -> jax.Array:
        """Prior variance of each reward under each group, `[N, M]`."""
        rows = a[:, 1:]
        return jax.vmap(lambda s: (_times(rows, s) * rows).sum(-1), out_axes=1)(
            community_of(params).covariance
        )

    def variance(
        params: Params, state: Adapted, a: jax.Array, b: jax.Array, spread: jax.Array | None = None
    ) -> jax.Array:
        difference, community = (a - b)[:, 1:], community_of(params)

        def in_group(covariance: jax.Array, state: Adapted, spread: jax.Array | None) -> jax.Array:
            if spread is None:
                prior = (_times(difference, covariance) * difference).sum(-1)
            else:
                toward = _times(b[None, 1:], covariance)[0]
                prior = spread - 2.0 * a[:, 1:] @ toward + b[1:] @ toward
            prior += jnp.square(difference) @ state.personal
            cross = difference @ state.rows.T
            known = (cross @ state.precision * cross).sum(-1)
            return jnp.maximum(prior - known, 0.0)

        of_group = None if spread is None else 1
        within = doubt(difference) + state.shares @ jax.vmap(in_group, (0, 0, of_group))(
            community.covariance, state, spread
        )
        each = (state.shares[:, None] * state.kinds).ravel()
        means = state.weights.reshape(len(each), -1) @ difference.T
        return within + each @ jnp.square(means - each @ means)

    def learn(params: Params, given: CommunityPairs) -> Learned:
        model, before, used = bind(params), community_of(params), given.weights
        difference = jnp.where((used > 0)[:, None], given.pairs[:, 0] - given.pairs[:, 1], 0.0)
        rows = difference[:, 1:]
        mean, covariance = before.mean[0], before.covariance[0]
        offsets = difference[:, 0] + rows @ mean
        same_person = given.person[:, None] == given.person
        # How often pair i has text j's side on its own side, minus on the other: effects of texts in the margins.
        signs = jnp.array([1.0, -1.0])
        equal = (given.texts[:, :, None, None] == given.texts) * signs[:, None, None] * signs
        effect = jnp.einsum("iajb,jb->ija", equal, given.variances)
        rest = effect.sum(-1) + jnp.diag(doubt(rows))

        def gram_of(covariance: jax.Array, personal: jax.Array) -> jax.Array:
            return _times(rows, covariance) @ rows.T + same_person * (rows * personal @ rows.T) + rest

        def evidences(grams: jax.Array) -> jax.Array:
            return jax.vmap(evidence, (0, None, None))(grams, offsets, used)[0]

        if "community" not in params:  # its kind is not known yet
            covariance = model.variances(jax.nn.softmax(before.log_weights) @ params["log_community"])
        kinds = jax.vmap(model.variances)(params["log_amplitudes"])
        found = evidences(jax.vmap(gram_of, (None, 0))(covariance, kinds))
        log_kinds = before.log_kinds[0] + jnp.exp(params["log_trust"]) * (found - found.max())
        personal = model.variances(
            jax.nn.softmax(params["log_shares"][1] + log_kinds) @ params["log_amplitudes"]
        )
        if "community" not in params:
            found = evidences(jax.vmap(gram_of, (0, None))(before.covariance, personal))
            covariance = model.variances(jax.nn.softmax(before.log_weights + found) @ params["log_community"])
        shared = _times(rows, covariance)
        gram = gram_of(covariance, personal)
        dual = laplace_dual(gram, offsets, used, config.newton_steps)
        # For each distinct text, sums over the places where it stands, minus those where it was rejected.
        numbers = jnp.unique(given.texts, return_inverse=True, size=2 * len(rows))[1].reshape(
            given.texts.shape
        )

        def summed(values: jax.Array) -> jax.Array:
            return jax.ops.segment_sum(values, numbers.ravel(), 2 * len(rows))

        texts = given.variances * summed(jnp.outer(dual.alpha, signs).ravel())[numbers]
        certain = summed((dual.precision[:, None] * signs[:, None]).reshape(-1, len(rows)))
        certain = summed((certain[numbers, jnp.arange(len(rows))[:, None]] * signs).ravel())[numbers]
        left = given.variances * (1.0 - given.variances * certain)
        known = shared.T @ dual.precision @ shared
        full = covariance if covariance.ndim == 2 else jnp.diag(covariance)
        community = Community(
            (mean + dual.alpha @ shared)[None], (full - known)[None], jnp.zeros(1), log_kinds[None]
        )
        return Learned(community, texts, jnp.maximum(left, 0.0))

    def contribution(
        params: Params, pairs: jax.Array, weights: jax.Array, directions: jax.Array
    ) -> Contribution:
        difference = jnp.where((weights > 0)[:, None], pairs[:, 0] - pairs[:, 1], 0.0)
        rows, offsets = difference[:, 1:], difference[:, 0]
        own = rows * own_variances(params) @ rows.T + jnp.diag(doubt(rows))
        # The own part of each margin blunts its sigmoid; between the pairs it correlates them.
        blunt = jax.lax.rsqrt(1.0 + jnp.pi / 8.0 * jnp.diagonal(own))
        wrong = jnp.clip(jax.nn.sigmoid(-blunt * offsets), 1e-4, 1.0 - 1e-4)
        slope = blunt**2 * wrong * (1.0 - wrong)
        left = slope * (1.0 - slope * jnp.diagonal(own))
        root = weights * slope / jnp.sqrt(left)
        precision = root[:, None] * spd_inverse(jnp.eye(len(rows)) + root[:, None] * own * root) * root
        along = rows @ directions
        return Contribution((blunt * wrong / slope) @ precision @ along, (along * (precision @ along)).sum(0))

    return Scorer(
        init,
        lambda params, features: bind(params)(features),
        encode_context,
        score,
        variance,
        learn=learn,
        text_variance=lambda params: jnp.exp(2.0 * params["log_text"]),
        spread=spread,
        weighs_pairs=True,
        linear=True,
        contribution=contribution,
        wide=_wide_places(blocks),
    )


def _times(rows: jax.Array, covariance: jax.Array) -> jax.Array:
    """Returns `rows @ covariance` for a full covariance `[R, R]` or a diagonal `[R]`."""
    return rows * covariance if covariance.ndim == 1 else rows @ covariance
