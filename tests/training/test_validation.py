"""The metrics that select the model."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import FEATURES, tiny_config, tiny_world

from fspo_jax.data.episodes import EpisodeTable, evaluation_episodes
from fspo_jax.models.scorers.contract import Scorer
from fspo_jax.partitioning import make_mesh
from fspo_jax.training.tasks.head_validation import CHUNK, QUERIES, make_validation, validation_shots


def tastes_of_context(params, context, mask):
    """The sum of the context's differences: a user state that depends on every shot."""
    return ((context[:, 0] - context[:, 1]) * mask[:, None]).sum(0)


SUMS = Scorer(
    init=lambda key: {"scale": jnp.float32(0.7)},
    represent=lambda params, features: params["scale"] * features,
    encode_context=tastes_of_context,
    score=lambda params, state, candidates: candidates @ state,
    variance=lambda params, state, a, b: jnp.square(a - b).sum(-1),
)


def by_hand(table: EpisodeTable, features: np.ndarray, shots: int) -> tuple[float, float]:
    """Log loss and accuracy of `SUMS`, user by user."""
    config = tiny_config()
    episode = evaluation_episodes(
        table, max_context=config.episodes.max_context, queries=QUERIES, seed=config.data.split_seed
    )
    losses, accuracies = [], []
    for u in range(len(table.counts)):
        if not episode.query_mask[u].any():
            continue
        pairs = 0.7 * features[episode.context[u][episode.context_mask[u]][:shots]]
        state = (pairs[:, 0] - pairs[:, 1]).sum(0) if len(pairs) else np.zeros(FEATURES)
        queries = 0.7 * features[episode.queries[u][episode.query_mask[u]]]
        difference = queries[:, 0] - queries[:, 1]
        margins = difference @ state / np.sqrt(1 + np.pi * np.square(difference).sum(-1) / 8)
        losses.append(np.log1p(np.exp(-margins)).mean())
        accuracies.append(np.where(margins == 0, 0.5, margins > 0).mean())
    return float(np.mean(losses)), float(np.mean(accuracies))


@pytest.mark.parametrize("users", [5, CHUNK + 3])
def test_validate_equals_means_over_users_computed_one_by_one(users: int):
    table, features = tiny_world(5, users=users)
    texts = table.texts.copy()
    first = table.pairs[table.offsets[0] : table.offsets[0] + table.counts[0]]
    texts[first] = texts[first[0, 0]]  # the first user has one text only, so no query, and does not count
    table = table._replace(texts=texts)
    metrics = make_validation(tiny_config(), SUMS, table, features, make_mesh(1))({"scale": jnp.float32(0.7)})
    expected = {shots: by_hand(table, features, shots) for shots in validation_shots(4)}
    for shots, (loss, accuracy) in expected.items():
        assert metrics[f"log_loss@{shots}"] == pytest.approx(loss, abs=1e-5)
        assert metrics[f"accuracy@{shots}"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(np.mean([loss for loss, _ in expected.values()]), abs=1e-5)
    assert metrics["accuracy@0"] == 0.5  # without shots every margin is a tie
    assert metrics["log_loss@4"] != metrics["log_loss@2"] != metrics["log_loss@0"]


@pytest.mark.parametrize(
    ("max_context", "expected"), [(0, (0,)), (1, (0, 1)), (4, (0, 2, 4)), (16, (0, 2, 8, 16))]
)
def test_validation_shots_run_from_none_to_all(max_context: int, expected: tuple[int, ...]):
    assert validation_shots(max_context) == expected
