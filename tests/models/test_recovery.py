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
from fspo_jax.models.scorers.contract import Scorer, query_margins
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


WORLDS: list[tuple[Any, Utility]] = [
    (PreferentialGPConfig("preferential_gp", hidden=16, width=8), free_weights),
    (LowRankConfig("low_rank", rank=4), free_weights),
    (LowRankConfig("low_rank", rank=4, weights="simplex"), simplex_weights),
    (PrototypesConfig("prototypes", prototypes=3, width=4, hidden=32), ideal_points),
    (GroupPreferenceConfig("group_preference", width=32, heads=2, layers=2), free_weights),
    (VariationalConfig("variational", latent=8, hidden=64), free_weights),
    (VariationalConfig("variational", latent=8, hidden=64, swap=0.01), free_weights),
    (MetaRewardConfig("meta_reward", bases=8, hidden=32), free_weights),
    (FastWeightsConfig("fast_weights", hidden=32, width=8), free_weights),
    (MixtureConfig("mixture", groups=3, hidden=32), groups),
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


def trained(scorer: Scorer, utility: Utility, steps: int) -> Any:
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, state = carry
        episode, _ = episode_of(key, utility)
        gradient = jax.grad(lambda p: episode_loss(scorer, bradley_terry, p, episode))(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = scorer.init(jax.random.key(0))
    carry = (params, optimizer.init(params))
    return jax.jit(lambda c, k: jax.lax.scan(step, c, k))(carry, jax.random.split(jax.random.key(1), steps))[
        0
    ][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "utility"), WORLDS, ids=[f"{config.kind}-{utility.__name__}" for config, utility in WORLDS]
)
def test_method_recovers_users_who_are_as_it_assumes(config: Any, utility: Utility) -> None:
    scorer = make_scorer(config, WIDTH)
    params = trained(scorer, utility, 400)
    episode, truth = episode_of(jax.random.key(2), utility)

    def accuracy(shots: int) -> float:
        seen = episode._replace(context_mask=jnp.broadcast_to(jnp.arange(SHOTS) < shots, (USERS, SHOTS)))
        margins = probit_scale(*query_margins(scorer, params, seen))
        return float((margins > 0).mean())

    optimum = float((truth > 0).mean())  # of somebody who knows the user's utility
    assert accuracy(SHOTS) > optimum - 0.15
    assert accuracy(SHOTS) > accuracy(0) + 0.15
