"""Products of float32 keep their precision on accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from fspo_jax.config import LowRankConfig, PreferentialGPConfig, ThreeLevelGPConfig
from fspo_jax.models.encoders.bert import Bert
from fspo_jax.models.encoders.pooling import Pooling
from fspo_jax.models.encoders.text_encoder import forward_function
from fspo_jax.models.scorers.contract import query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.types import Episode


def precisions(jaxpr: Any) -> Iterator[Any]:
    """Of every matrix product of a traced program, inner ones too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from precisions(inner)


def all_highest(function: Any, *arguments: Any) -> bool:
    found = list(precisions(jax.make_jaxpr(function)(*arguments).jaxpr))
    assert found
    return all(set(one or ()) == {jax.lax.Precision.HIGHEST} for one in found)


def test_products_are_found() -> None:
    def power(a: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda b, _: (b @ a, None), a, None, 3)[0]

    assert not all_highest(jax.vmap(power), jnp.ones((2, 4, 4)))


@pytest.mark.parametrize(
    "config",
    [
        PreferentialGPConfig("preferential_gp", hidden=8, width=4),
        ThreeLevelGPConfig("three_level_gp", components=2),
        LowRankConfig("low_rank"),
    ],
    ids=lambda config: config.kind,
)
def test_scorers_and_their_gradients_multiply_in_float32(config: Any) -> None:
    scorer = make_scorer(config, {"sentence": 13, "style": 27})
    params = scorer.init(jax.random.key(0))
    mask = jnp.ones((2, 3), bool)
    episode = Episode(jnp.ones((2, 3, 2, 40)), mask, jnp.ones((2, 3, 2, 40)), mask)

    def loss(params: Any) -> jax.Array:
        mean, variance = query_margins(scorer, params, episode)
        return (mean / (1 + variance)).sum()

    assert all_highest(jax.grad(loss), params)


def test_encoder_multiplies_in_float32() -> None:
    from flax import nnx

    network = Bert(50, 2, 8, 2, 2, 16, 12, 1e-6)
    forward = forward_function(network, Pooling("mean", True))
    params = nnx.state(network.module(0, 0, nnx.Rngs(0)))
    ids, lengths = jnp.ones((2, 5), jnp.int32), jnp.full(2, 5)
    assert all_highest(lambda p: forward(p, ids, lengths, layers=(1,)), nnx.to_pure_dict(params))
