"""What `three_level_gp` learns of a community from the labelled pairs of its people."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fspo_jax.models.scorers.contract import Community, CommunityPairs, Contribution, Learned, Params
from fspo_jax.models.scorers.laplace import laplace_dual, laplace_evidence, spd_inverse
from fspo_jax.models.scorers.three_level_map import ThreeLevelMap, times


def learn(model: ThreeLevelMap, params: Params, given: CommunityPairs, newton_steps: int) -> Learned:
    """What the pairs of several people teach about their community; see `Scorer.learn`.

    Args:
        model: The map of the scorer, with these parameters.
        params: As in `Scorer.learn`.
        given: The pairs.
        newton_steps: Of Laplace's approximation.
    """
    before, used = model.community(params), given.weights
    difference = jnp.where((used > 0)[:, None], given.pairs[:, 0] - given.pairs[:, 1], 0.0)
    rows = difference[:, 1:]
    mean, covariance = before.mean[0], before.covariance[0]
    offsets = difference[:, 0] + rows @ mean
    same_person = given.person[:, None] == given.person
    # How often pair i has text j's side on its own side, minus on the other: effects of texts in the margins.
    signs = jnp.array([1.0, -1.0])
    equal = (given.texts[:, :, None, None] == given.texts) * signs[:, None, None] * signs
    effect = jnp.einsum("iajb,jb->ija", equal, given.variances)
    rest = effect.sum(-1) + jnp.diag(model.doubt(rows))

    def gram_of(covariance: jax.Array, personal: jax.Array) -> jax.Array:
        return times(rows, covariance) @ rows.T + same_person * (rows * personal @ rows.T) + rest

    def evidences(grams: jax.Array) -> jax.Array:
        return jax.vmap(lambda gram: laplace_evidence(gram, offsets, used, newton_steps)[0])(grams)

    if "community" not in params:  # its kind is not known yet
        covariance = model.variances(jax.nn.softmax(before.log_weights) @ params["log_community"])
    kinds = jax.vmap(model.variances)(params["log_amplitudes"])
    found = evidences(jax.vmap(gram_of, (None, 0))(covariance, kinds))
    log_kinds = before.log_kinds[0] + jnp.exp(params["log_trust"]) * (found - found.max())
    personal = model.variances(jax.nn.softmax(params["log_shares"][1] + log_kinds) @ params["log_amplitudes"])
    if "community" not in params:
        found = evidences(jax.vmap(gram_of, (0, None))(before.covariance, personal))
        covariance = model.variances(jax.nn.softmax(before.log_weights + found) @ params["log_community"])
    shared = times(rows, covariance)
    gram = gram_of(covariance, personal)
    dual = laplace_dual(gram, offsets, used, newton_steps)
    # For each distinct text, sums over the places where it stands, minus those where it was rejected.
    numbers = jnp.unique(given.texts, return_inverse=True, size=2 * len(rows))[1].reshape(given.texts.shape)

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
    model: ThreeLevelMap, pairs: jax.Array, weights: jax.Array, directions: jax.Array
) -> Contribution:
    """What one person's pairs say of the community, before any pair is known; see `Scorer.contribution`."""
    difference = jnp.where((weights > 0)[:, None], pairs[:, 0] - pairs[:, 1], 0.0)
    rows, offsets = difference[:, 1:], difference[:, 0]
    shares = jax.nn.softmax(model.log_shares[...][1])
    personal = model.variances(shares @ model.log_amplitudes[...])  # of a person of a community
    own = rows * personal @ rows.T + jnp.diag(model.doubt(rows))
    # The own part of each margin blunts its sigmoid; between the pairs it correlates them.
    blunt = jax.lax.rsqrt(1.0 + jnp.pi / 8.0 * jnp.diagonal(own))
    wrong = jnp.clip(jax.nn.sigmoid(-blunt * offsets), 1e-4, 1.0 - 1e-4)
    slope = blunt**2 * wrong * (1.0 - wrong)
    left = slope * (1.0 - slope * jnp.diagonal(own))
    root = weights * slope / jnp.sqrt(left)
    precision = root[:, None] * spd_inverse(jnp.eye(len(rows)) + root[:, None] * own * root) * root
    along = rows @ directions
    return Contribution((blunt * wrong / slope) @ precision @ along, (along * (precision @ along)).sum(0))
