"""Meta-trains a scorer together with adapters of its text encoder, end to end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fspo_jax.checkpoints import write_reward
from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.scorers.contract import Params
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.partitioning import make_mesh, replicated
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.state import (
    StepMetrics,
    TrainState,
    first_state,
    next_state,
    random_keys,
    take_steps,
)
from fspo_jax.training.tasks.adapted_encoder import AdaptedEncoder, Items, read_items
from fspo_jax.training.tasks.head_step import make_loss
from fspo_jax.training.tasks.head_validation import make_validation
from fspo_jax.types import Episode

VALIDATION_USERS = 128
"""Largest number of meta-validation users, evenly spaced; their texts are encoded at every evaluation."""


class AdaptersTask:
    """Trains a scorer and adapters of rank `config.encoder.adapter_rank`.

    Args:
        config: Everything that decides the run.
        featurizer: The featurizer with the encoder to begin with.
        train_items: (prompt, response) of each feature row of `train_table`.
        train_table: Pairs of the meta-training users.
        validation_items: The same for `validation_table`.
        validation_table: Pairs of the meta-validation users, who are not in the other table. Their texts are encoded at
            every evaluation.
        start: Parameters of the scorer to begin with; None for new ones.

    Raises:
        ConfigError: The encoder has fewer layers than `encoder.adapter_layers`.
        DataError: `episodes.mismatched` is set, but a source has only one user.
    """

    def __init__(
        self,
        config: TrainConfig,
        featurizer: Featurizer,
        train_items: Items,
        train_table: EpisodeTable,
        validation_items: Items,
        validation_table: EpisodeTable,
        *,
        start: Params | None = None,
    ):
        layers = featurizer.encoder.layers
        if config.encoder.adapter_layers > layers:
            raise ConfigError(
                f"'encoder.adapter_layers' is {config.encoder.adapter_layers}, but '{config.encoder.model}' has "
                f"{layers} layers."
            )
        self.config = config
        self.tables = (train_table, validation_table)
        self.dimension = featurizer.dimension
        self._featurizer, self._start = featurizer, start
        self._items = (train_items, validation_items)
        self._mesh = make_mesh(config.devices)
        self._sample = make_sampler(config, train_table)
        rate = config.optimizer.learning_rate
        # Updates of AdamW are proportional to the learning rate.
        relative = (config.encoder.adapter_learning_rate or rate) / rate
        self._optimizer = optax.chain(
            make_optimizer(config.optimizer, config.steps),
            optax.masked(optax.scale(relative), {"encoder": True, "scorer": False}),
        )

    def init(self) -> TrainState:
        """See `Task.init`."""
        config, featurizer, optimizer = self.config, self._featurizer, self._optimizer
        scorer = make_scorer(config.scorer, featurizer.blocks)

        def start() -> TrainState:
            keys = jax.random.split(random_keys(config.seed)[0])
            rank, layers = config.encoder.adapter_rank, config.encoder.adapter_layers
            adapters = featurizer.init_adapters(keys[0], rank, layers)
            given = scorer.init(keys[1]) if self._start is None else self._start
            return first_state({"encoder": adapters, "scorer": given}, optimizer)

        self._texts, self._validation_texts = (read_items(featurizer, items) for items in self._items)
        self._encoder = AdaptedEncoder(featurizer, self._mesh)
        nothing = np.zeros((len(self._items[1]), featurizer.dimension), np.float32)
        self._validate = make_validation(config, scorer, self.tables[1], nothing, self._mesh)
        loss, sample, table = make_loss(config, scorer), self._sample, jax.device_put(self.tables[0])
        self._episode = jax.jit(lambda step: sample(step, table).episode)

        @jax.jit
        def scored(
            params: Params, vectors: jax.Array, beside: jax.Array, rows: Episode, step: jax.Array
        ) -> tuple[jax.Array, tuple[Params, jax.Array]]:
            def loss_of(params: Params, vectors: jax.Array) -> jax.Array:
                return loss(params, rows, jnp.concatenate([vectors, beside], axis=1), step)

            return jax.value_and_grad(loss_of, argnums=(0, 1))(params, vectors)

        self._scored = scored
        self._updated = jax.jit(lambda state, loss, gradient: next_state(state, loss, gradient, optimizer))
        return jax.jit(start, out_shardings=replicated(self._mesh))()

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """See `Task.dispatch`."""
        return take_steps(self._step, state, self.config.steps_per_dispatch)

    def validate(self, params: Params) -> dict[str, float]:
        """See `Task.validate`."""
        features = self._encoder.features(params["encoder"], self._validation_texts)
        return self._validate(params["scorer"], features)

    def export(self, directory: Path, params: Params, validation: Mapping[str, float]) -> None:
        """See `Task.export`."""
        write_reward(
            directory,
            params["scorer"],
            self.config,
            featurizer_fingerprint=self._featurizer.adapted(params["encoder"]).fingerprint,
            adapters=params["encoder"],
            fitted=self._featurizer.fitted,
            blocks=self._featurizer.optional,
            validation=validation,
        )

    def _step(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        texts = self._texts
        episode = Episode(*map(np.asarray, jax.device_get(self._episode(state.step))))
        masks = {"context": episode.context_mask, "queries": episode.query_mask}
        items = np.unique(
            np.concatenate([getattr(episode, name)[mask].ravel() for name, mask in masks.items()])
        )

        def loss_gradient(vectors: jax.Array, places: np.ndarray) -> tuple[Any, jax.Array]:
            beside = np.zeros((len(vectors), texts.columns.shape[1]), np.float32)
            beside[places] = texts.columns[items]

            def moved(rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
                place = places[np.searchsorted(items, rows).clip(max=len(items) - 1)]
                return np.where(mask[..., None], place, 0)

            rows = episode._replace(
                context=moved(episode.context, episode.context_mask),
                queries=moved(episode.queries, episode.query_mask),
            )
            loss, (gradient, cotangent) = self._scored(
                state.params["scorer"], vectors, beside, rows, state.step
            )
            return (loss, gradient), cotangent

        encoder = state.params["encoder"]
        (loss, gradient), of_adapters = self._encoder.gradient(encoder, texts, items, loss_gradient)
        return self._updated(state, loss, {"encoder": of_adapters, "scorer": gradient})
