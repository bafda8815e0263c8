"""The contract that every scorer keeps, and the compositions that training and serving share.

A scorer is a named tuple of pure functions over a parameter pytree. With phi the features of a response and D the
labelled pairs (chosen, rejected) of one user, it computes

    z = represent(phi)            reads one response at a time and knows no user
    u = encode_context(z of D)    reads the pairs of one user
    r = score(u, z)               the reward, in nats; only differences within one prompt mean anything

and the probability that the user prefers response a to b is `sigmoid(m / sqrt(1 + pi v / 8))`, where
`m = r(a) - r(b)` and v is the posterior variance of that difference (0 for scorers without a posterior).
Meta-training minimises the negative log of this probability on queries, pairs of the same user that are not in D.
Everything is written for one user; callers use `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.types import Episode

Params = Any
UserState = Any
Module = TypeVar("Module", bound=nnx.Module)


class Community(NamedTuple):
    """What is known of the weights `v` that people have in common: a Gaussian for each of M groups of people.

    A scorer reads it from `params["community"]`, a dict of these fields; without it, nobody is known.

    Attributes:
        mean: `float32 [M, R]`, posterior means.
        covariance: `float32 [M, R, R]`, posterior covariances, or their diagonals `[M, R]`.
        log_weights: `float32 [M]`, log of the share of people in each group, up to a constant.
        log_kinds: `float32 [M, S]`, what the pairs of each group say of the S kinds of people, in nats, up to a
            constant; it is added to what is known of people inside any community.
    """

    mean: jax.Array
    covariance: jax.Array
    log_weights: jax.Array
    log_kinds: jax.Array


class CommunityPairs(NamedTuple):
    """Labelled pairs of several people: N pairs.

    Attributes:
        pairs: `float32 [N, 2, 1 + R]`, representations of (chosen, rejected), the texts' known effects added to the
            first column.
        person: `int32 [N]`, equal for pairs of the same person.
        weights: `float32 [N]`, from 0 to 1, how much each label counts; 0 for padding.
        texts: `int32 [N, 2]`, equal for equal response texts.
        variances: `float32 [N, 2]`, prior variance of each text's effect, in nats squared: `Scorer.text_variance` for
            texts that were not seen before, 0 for no effects.
    """

    pairs: jax.Array
    person: jax.Array
    weights: jax.Array
    texts: jax.Array
    variances: jax.Array


class Learned(NamedTuple):
    """What a scorer learns from the pairs of a community.

    Attributes:
        community: The posterior of what they have in common, of one group.
        effects: `float32 [N, 2]`, posterior mean of the effect of each text, in nats; equal for equal texts.
        variances: `float32 [N, 2]`, its posterior variance.
    """

    community: Community
    effects: jax.Array
    variances: jax.Array


class Contribution(NamedTuple):
    """What one person's pairs say of the weights that people have in common, linearised at the prior mean.

    The person's own part is integrated out. J directions of the weights.

    Attributes:
        gradient: `float32 [J]`, of the log-likelihood along each direction.
        curvature: `float32 [J]`, its negative second derivative along each direction.
    """

    gradient: jax.Array
    curvature: jax.Array


class Scorer(NamedTuple):
    """Pure functions of a reward model. F: features of a response, R: width of its representation.

    Attributes:
        init: `key -> params`, nested dicts of float32 arrays.
        represent: `(params, features [..., F]) -> [..., R]`.
        encode_context: `(params, context [K, 2, R], mask bool [K]) -> user state`; axis 1 is (chosen,
            rejected). A pytree of fixed shapes for one K. Scorers with `weighs_pairs` take as mask how much each pair
            counts, float32, and `ages=None`, float32 in half-lives: the state is then that of the taste of today.
        score: `(params, user state, candidates [C, R]) -> rewards [C]` in nats. A reward depends on the user
            and on its own candidate only.
        variance: `(params, user state, a [N, R], b [N, R]) -> [N]`, posterior variance of r(a) - r(b) in
            nats squared, or None for scorers without a posterior.
        penalty: `(params, context [K, 2, R], mask) -> nats`, what training adds to the loss of an episode, or None.
        learn: `(params, CommunityPairs) -> Learned`, what people have in common, or None for scorers without a level
            of communities. With a community in `params`, it goes on from there.
        text_variance: `params -> nats squared`, prior variance of the effect of a text on everyone, or None.
        weighs_pairs: Whether `encode_context` takes weights and ages, and scores are linear in a representation. Then
            people with any number of pairs are served, and tastes that change.
        spread: `(params, a [N, R]) -> [N, M]`, what is slow to compute of the variance and knows no user, so that
            callers can keep it for each response; or None. With it, `variance` takes b as one row `[R]`, and `spread`
            of a as a fifth argument.
        contribution: `(params, pairs [K, 2, 1 + R], weights [K], directions [R, J]) -> Contribution` of one person, or
            None.
        linear: Whether rewards are linear in the features, so that each column has a worth of its own.
        wide: Name of each wide block of features, and the first of the community's weights that are its own and the
            first that is not, in order.

    Example:
        A scorer whose user is the mean difference of the pairs, `u = w / (K + 1) sum_k (z_chosen - z_rejected)`:

        >>> def encode_context(params, context, mask):
        ...     differences = jnp.where(mask[:, None], context[:, 0] - context[:, 1], 0.0)
        ...     return params["weight"] * differences.sum(0) / (mask.sum() + 1)
        >>> mean_difference = Scorer(
        ...     init=lambda key: {"weight": jnp.ones(())},
        ...     represent=lambda params, features: features,
        ...     encode_context=encode_context,
        ...     score=lambda params, user, candidates: candidates @ user,
        ...     variance=None,
        ... )
        >>> params = mean_difference.init(jax.random.key(0))
        >>> context = jnp.array([[[1.0, 0.0], [0.0, 0.0]]])  # one pair: the first feature was preferred
        >>> user = mean_difference.encode_context(params, context, jnp.array([True]))
        >>> mean_difference.score(params, user, jnp.array([[2.0, 0.0], [0.0, 2.0]])).tolist()
        [1.0, 0.0]
    """

    init: Callable[[jax.Array], Params]
    represent: Callable[[Params, jax.Array], jax.Array]
    encode_context: Callable[..., UserState]
    score: Callable[[Params, UserState, jax.Array], jax.Array]
    variance: Callable[..., jax.Array] | None
    penalty: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None
    learn: Callable[[Params, CommunityPairs], Learned] | None = None
    text_variance: Callable[[Params], jax.Array] | None = None
    weighs_pairs: bool = False
    spread: Callable[[Params, jax.Array], jax.Array] | None = None
    contribution: Callable[[Params, jax.Array, jax.Array, jax.Array], Contribution] | None = None
    linear: bool = False
    wide: tuple[tuple[str, int, int], ...] = ()

    @property
    def wide_places(self) -> dict[str, slice]:
        """Which of the community's weights belong to each wide block of features."""
        return {name: slice(start, stop) for name, start, stop in self.wide}


def query_margins(scorer: Scorer, params: Params, episode: Episode) -> tuple[jax.Array, jax.Array]:
    """Margins of all queries of a batch of episodes.

    Args:
        scorer: The scorer.
        params: Its parameters.
        episode: Features, `context [B, K, 2, F]` and `queries [B, Q, 2, F]`, with masks.

    Returns:
        Mean and variance of r(chosen) - r(rejected), each `[B, Q]`; the variance is zero for scorers without
        a posterior. Masked queries hold finite values that mean nothing.
    """
    shots = episode.context.shape[1]
    rows = scorer.represent(params, jnp.concatenate([episode.context, episode.queries], axis=1))

    def one_user(rows: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = scorer.encode_context(params, rows[:shots], mask)
        chosen, rejected = rows[shots:, 0], rows[shots:, 1]
        rewards = scorer.score(params, state, jnp.concatenate([chosen, rejected]))
        mean = rewards[: len(chosen)] - rewards[len(chosen) :]
        if scorer.variance is None:
            return mean, jnp.zeros_like(mean)
        return mean, scorer.variance(params, state, chosen, rejected)

    return jax.vmap(one_user)(rows, episode.context_mask)


def pure_module(
    make: Callable[[nnx.Rngs], Module],
) -> tuple[Callable[[jax.Array], Params], Callable[[Params], Module]]:
    """Splits a Flax module into `init: key -> params` and `bind: params -> module`, both pure."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.split(make(nnx.Rngs(key)))[1])

    return init, lambda params: nnx.merge(graph, nnx.State(params))
