"""The compiled programs of a scorer. Rewards with equal scorers share them, so none is compiled for each community."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from fspo_jax.models.scorers.contract import Params, Scorer, UserState, query_margins
from fspo_jax.reward.engines.margin_programs import MarginPrograms, taste_of


class ScorerPrograms:
    """Compiled programs. All that rewards with this scorer differ in are arguments: parameters and features.

    Use `programs_of`, which gives equal scorers the same.

    Args:
        scorer: The scorer.

    Attributes:
        scorer: As given.
        init, represent, score, variance, learn: The functions of the scorer of these names.
        encode_context: `(params, features [K, 2, F], mask [K]) -> user state`.
        encode_weighed: The same with ages `[K]`, for scorers that weigh pairs.
        encode_folded: The same with folded pairs `[J, 2, R]`, their weights `[J]` and their age behind the ages.
        score_and_deviation: `(params, state, features [C, F], spread, count) -> rewards [C], deviations [C]`, of which
            the first `count` are meant; the deviation is that of the difference to their mean. NaN without a variance.
        spread_of: `(params, features) -> spread`.
        margins: The posterior of margins.
        query_margins: `(params, episode) -> mean, variance`, as in meta-training.
        taste: As `taste_of`.
    """

    def __init__(self, scorer: Scorer):
        self.scorer = scorer
        self.init, self.represent, self.score = map(jax.jit, (scorer.init, scorer.represent, scorer.score))
        self.variance = scorer.variance and jax.jit(scorer.variance)
        self.learn = scorer.learn and jax.jit(scorer.learn)
        self.encode_context = jax.jit(functools.partial(_encode_context, scorer))
        self.encode_weighed = jax.jit(functools.partial(_encode_weighed, scorer))
        self.encode_folded = jax.jit(functools.partial(_encode_folded, scorer))
        self.score_and_deviation = jax.jit(functools.partial(_score_and_deviation, scorer))
        self.spread_of = jax.jit(functools.partial(_spread_of, scorer))
        self.margins = MarginPrograms(scorer)
        self.query_margins = jax.jit(functools.partial(query_margins, scorer))
        self.taste = jax.jit(taste_of(scorer))


@functools.lru_cache(maxsize=16)
def programs_of(scorer: Scorer) -> ScorerPrograms:
    """The programs of a scorer: the same for the same scorer, as `make_scorer` gives it for equal configs."""
    return ScorerPrograms(scorer)


def _encode_context(scorer: Scorer, params: Params, pairs: jax.Array, mask: jax.Array) -> UserState:
    return scorer.encode_context(params, scorer.represent(params, pairs), mask)


def _encode_weighed(
    scorer: Scorer, params: Params, pairs: jax.Array, mask: jax.Array, ages: jax.Array
) -> UserState:
    return scorer.encode_context(params, scorer.represent(params, pairs), mask.astype(jnp.float32), ages)


def _encode_folded(
    scorer: Scorer,
    params: Params,
    pairs: jax.Array,
    mask: jax.Array,
    ages: jax.Array,
    folded: jax.Array,
    weights: jax.Array,
    age: jax.Array,
) -> UserState:
    rows = jnp.concatenate([folded, scorer.represent(params, pairs)])
    ages = jnp.concatenate([jnp.full(len(folded), age), ages])
    return scorer.encode_context(params, rows, jnp.concatenate([weights, mask]), ages)


def _score_and_deviation(
    scorer: Scorer,
    params: Params,
    state: UserState,
    features: jax.Array,
    spread: jax.Array | None,
    count: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    rows = scorer.represent(params, features)
    rewards = scorer.score(params, state, rows)
    if scorer.variance is None:
        return rewards, jnp.full_like(rewards, jnp.nan)
    used = (jnp.arange(len(rows)) < count)[:, None]
    mean = jnp.where(used, rows, 0.0).sum(0) / count
    if spread is not None:
        return rewards, jnp.sqrt(scorer.variance(params, state, rows, mean, spread))
    return rewards, jnp.sqrt(scorer.variance(params, state, rows, jnp.broadcast_to(mean, rows.shape)))


def _spread_of(scorer: Scorer, params: Params, features: jax.Array) -> jax.Array:
    assert scorer.spread is not None
    return scorer.spread(params, scorer.represent(params, features))
