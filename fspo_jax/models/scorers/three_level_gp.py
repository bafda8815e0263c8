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
are; a learned share of that evidence counts for a person inside it, within bounds.

Several groups may stand for one community; a person's pairs weigh the groups by their evidence.

Source: Rasmussen and Williams (2006), equation 3.32, for the evidence under Laplace's approximation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.config import ThreeLevelGPConfig
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.style import STYLE
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.laplace import drift_of, laplace_dual, laplace_evidence
from fspo_jax.models.scorers.three_level_learning import contribution, learn
from fspo_jax.models.scorers.three_level_map import ThreeLevelMap, times, wide_places

MOST_AGAINST = 1.0
"""How much a community can say against a kind of people, in nats. Its evidence grows with its pairs, but its people are
not all of one kind: a person's own pairs must be able to say so. Of 0, .5, 1, 2, 4, 8 and no bound, 1 had the lowest
log loss on the meta-validation people of `fspo-mini`, with 5, 20 and up to 150 others (docs/log.md)."""


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

    @property
    def expected_weights(self) -> jax.Array:
        """Posterior mean of `v + w` over groups and kinds, `[R]`."""
        return jnp.einsum("m,ms,msr->r", self.shares, self.kinds, self.weights)


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

    def encode_context(
        params: Params, context: jax.Array, mask: jax.Array, ages: jax.Array | None = None
    ) -> Adapted:
        model, used = bind(params), mask.astype(jnp.float32)
        community = model.community(params)
        log_shares = params["log_shares"][int("community" in params)]
        difference = jnp.where((used > 0)[:, None], context[:, 0] - context[:, 1], 0.0)
        rows = difference[:, 1:]
        drift = drift_of(ages, len(rows))
        kinds = jax.vmap(model.variances)(params["log_amplitudes"])
        doubted = jnp.diag(model.doubt(rows))
        grams = jnp.einsum("kr,sr,lr->skl", rows, kinds, rows)

        def in_group(
            mean: jax.Array, covariance: jax.Array, log_kinds: jax.Array
        ) -> tuple[jax.Array, Adapted]:
            offsets = difference[:, 0] + rows @ mean
            shared = times(rows, covariance)
            in_common = shared @ rows.T
            evidences, alphas = jax.vmap(
                lambda gram: laplace_evidence(gram, offsets, used, config.newton_steps)
            )(drift.likeness * (grams + in_common) + doubted)
            against = jnp.maximum(log_kinds - log_kinds.max(), -MOST_AGAINST)
            evidences += jax.nn.log_softmax(log_shares + against)
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
        return candidates[:, 0] + candidates[:, 1:] @ state.expected_weights

    def spread(params: Params, a: jax.Array) -> jax.Array:
        """Prior variance of each reward under each group, `[N, M]`."""
        rows = a[:, 1:]
        community = bind(params).community(params)
        return jax.vmap(lambda s: (times(rows, s) * rows).sum(-1), out_axes=1)(community.covariance)

    def variance(
        params: Params, state: Adapted, a: jax.Array, b: jax.Array, spread: jax.Array | None = None
    ) -> jax.Array:
        model, difference = bind(params), (a - b)[:, 1:]

        def in_group(covariance: jax.Array, state: Adapted, spread: jax.Array | None) -> jax.Array:
            if spread is None:
                prior = (times(difference, covariance) * difference).sum(-1)
            else:
                toward = times(b[None, 1:], covariance)[0]
                prior = spread - 2.0 * a[:, 1:] @ toward + b[1:] @ toward
            prior += jnp.square(difference) @ state.personal
            cross = difference @ state.rows.T
            known = (cross @ state.precision * cross).sum(-1)
            return jnp.maximum(prior - known, 0.0)

        of_group = None if spread is None else 1
        within = model.doubt(difference) + state.shares @ jax.vmap(in_group, (0, 0, of_group))(
            model.community(params).covariance, state, spread
        )
        each = (state.shares[:, None] * state.kinds).ravel()
        means = state.weights.reshape(len(each), -1) @ difference.T
        return within + each @ jnp.square(means - each @ means)

    return Scorer(
        init,
        lambda params, features: bind(params)(features),
        encode_context,
        score,
        variance,
        learn=lambda params, given: learn(bind(params), params, given, config.newton_steps),
        text_variance=lambda params: jnp.exp(2.0 * params["log_text"]),
        spread=spread,
        weighs_pairs=True,
        linear=True,
        contribution=lambda params, *pairs: contribution(bind(params), *pairs),
        wide=wide_places(blocks),
    )
