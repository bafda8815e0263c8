"""Every method recovers users who are as its own model assumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fspo_jax.config import (
    FastWeightsConfig,
    GroupPreferenceConfig,
    LowRankConfig,
    MetaRewardConfig,
    MixtureConfig,
    PreferentialGPConfig,
    PrototypesConfig,
    VariationalConfig,
)
from fspo_jax.losses import bradley_terry, probit_scale
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.tasks.head_step import episode_loss
from fspo_jax.types import Episode

WIDTH, USERS, SHOTS, QUERIES = 6, 64, 8, 8
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)

Utility = Callable[[jax.Array, jax.Array], jax.Array]
"""From a key and responses `[B, N, 2, F]` to their utilities for B new users, `[B, N, 2]`, in nats."""


def free_weights(key: jax.Array, responses: jax.Array) -> jax.Array:
    weights = jax.random.normal(key, (USERS, 2))
    return 4.0 * jnp.einsum("bnsf,fk,bk->bns", responses, BASIS[:, :2], weights)


def simplex_weights(key: jax.Array, responses: jax.Array) -> jax.Array:
    weights = jax.random.dirichlet(key, jnp.full(4, 0.2), (USERS,))
    return 6.0 * jnp.einsum("bnsf,fk,bk->bns", responses, BASIS[:, :4], weights)


def ideal_points(key: jax.Array, responses: jax.Array) -> jax.Array:
    """In the corners of a triangle on the plane of the first two basis vectors."""
    corners = 2.0 * jnp.array([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    ideal = corners[jax.random.randint(key, (USERS,), 0, 3)]
    return -2.0 * jnp.square(responses @ BASIS[:, :2] - ideal[:, None, None]).sum(-1)


def groups(key: jax.Array, responses: jax.Array) -> jax.Array:
    """Three groups, each with a reward of its own."""
    group = jax.random.randint(key, (USERS,), 0, 3)
    return 5.0 * jnp.take_along_axis(responses @ BASIS[:, :3], group[:, None, None, None], axis=-1)[..., 0]


WORLDS: list[tuple[Any, Utility, int]] = [
    # What each needs to learn its world: half of the steps are left out where half suffice.
    (PreferentialGPConfig("preferential_gp", hidden=16, width=8), free_weights, 200),
    (LowRankConfig("low_rank", rank=4), free_weights, 200),
    (LowRankConfig("low_rank", rank=4, weights="simplex"), simplex_weights, 400),
    (PrototypesConfig("prototypes", prototypes=3, width=4, hidden=32), ideal_points, 200),
    (GroupPreferenceConfig("group_preference", width=32, heads=2, layers=2), free_weights, 200),
    (VariationalConfig("variational", latent=8, hidden=64), free_weights, 200),
    (VariationalConfig("variational", latent=8, hidden=64, swap=0.01), free_weights, 200),
    (MetaRewardConfig("meta_reward", bases=8, hidden=32), free_weights, 200),
    (FastWeightsConfig("fast_weights", hidden=32, width=8), free_weights, 200),
    (MixtureConfig("mixture", groups=3, hidden=32), groups, 400),
]


def episode_of(key: jax.Array, utility: Utility) -> tuple[Episode, jax.Array]:
    """An episode of new users with Bradley-Terry labels, and the true margins of its queries."""
    keys = jax.random.split(key, 4)
    responses = jax.random.normal(keys[0], (USERS, SHOTS + QUERIES, 2, WIDTH))
    values = utility(keys[1], responses)
    first = jax.random.bernoulli(keys[2], jax.nn.sigmoid(values[..., 0] - values[..., 1]))
    labelled = jnp.where(first[..., None, None], responses, responses[:, :, ::-1])
    margins = jnp.where(first, 1.0, -1.0) * (values[..., 0] - values[..., 1])
    shots = jax.random.randint(keys[3], (USERS, 1), 0, SHOTS + 1)
    mask = jnp.arange(SHOTS) < shots
    return (
        Episode(labelled[:, :SHOTS], mask, labelled[:, SHOTS:], jnp.ones((USERS, QUERIES), bool)),
        margins[:, SHOTS:],
    )


def recovery(scorer: Scorer, utility: Utility, steps: int) -> Callable[[Params], tuple[jax.Array, ...]]:
    """Trains from initial parameters and measures, in one program.

    Returns:
        A function that gives the accuracy on new users with all shots, with none, and that of somebody who
        knows the user's utility.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, state = carry
        episode, _ = episode_of(key, utility)
        gradient = jax.grad(lambda p: episode_loss(scorer, bradley_terry, p, episode))(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def run(params: Params) -> tuple[jax.Array, ...]:
        carry = (params, optimizer.init(params))
        (params, _), _ = jax.lax.scan(step, carry, jax.random.split(jax.random.key(1), steps))
        episode, truth = episode_of(jax.random.key(2), utility)

        def accuracy(shots: jax.Array) -> jax.Array:
            seen = episode._replace(context_mask=jnp.broadcast_to(jnp.arange(SHOTS) < shots, (USERS, SHOTS)))
            return (probit_scale(*query_margins(scorer, params, seen)) > 0).mean()

        return *jax.lax.map(accuracy, jnp.array([SHOTS, 0])), (truth > 0).mean()

    return jax.jit(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "utility", "steps"),
    WORLDS,
    ids=[f"{config.kind}-{utility.__name__}" for config, utility, _ in WORLDS],
)
def test_method_recovers_users_who_are_as_it_assumes(config: Any, utility: Utility, steps: int) -> None:
    scorer = make_scorer(config, {"features": WIDTH})
    adapted, population, optimum = recovery(scorer, utility, steps)(scorer.init(jax.random.key(0)))
    assert adapted > optimum - 0.15
    assert adapted > population + 0.15
