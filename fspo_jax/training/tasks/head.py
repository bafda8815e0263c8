"""Meta-trains a scorer on fixed features; the text encoder is not trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.checkpoints import write_reward
from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.models.scorers.contract import Params, Scorer
from fspo_jax.partitioning import make_mesh, replicated
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.state import StepMetrics, TrainState, first_state, random_keys
from fspo_jax.training.tasks.head_step import make_dispatch, make_loss, make_step
from fspo_jax.training.tasks.head_validation import make_validation


class HeadTask:
    """Trains a scorer on given tables and features. Reads no texts.

    Args:
        config: Everything that decides the run. `data` and `encoder` are stored, but not read.
        scorer: The result of `make_scorer` for `config.scorer`.
        train_table: Pairs of the meta-training users.
        train_features: `float32 [N, F]`, one row per feature row of `train_table`.
        validation_table: Pairs of the meta-validation users, who are not in the other table.
        validation_features: `float32 [M, F]`, one row per feature row of `validation_table`.
        featurizer: The featurizer that made the features. The exported reward stores its fingerprint and adapters.
        start: Parameters to begin with; None for new ones.

    Raises:
        ConfigError: The batch cannot be divided over the devices, or the warm-up is not shorter than the run.
        DataError: `episodes.mismatched` is set, but a source has only one user.
    """

    def __init__(
        self,
        config: TrainConfig,
        scorer: Scorer,
        train_table: EpisodeTable,
        train_features: np.ndarray,
        validation_table: EpisodeTable,
        validation_features: np.ndarray,
        *,
        featurizer: FeatureFunction | None = None,
        start: Params | None = None,
    ):
        self.config = config
        self.tables = (train_table, validation_table)
        self.dimension = train_features.shape[1]
        self._scorer, self._featurizer, self._start = scorer, featurizer, start
        self._train_features, self._validation_features = train_features, validation_features
        self._mesh = make_mesh(config.devices)
        if config.episodes.batch_size % self._mesh.size:
            raise ConfigError(
                f"'episodes.batch_size' is {config.episodes.batch_size}, which cannot be divided over "
                f"{self._mesh.size} devices. Change it, or set 'devices'."
            )
        self._optimizer = make_optimizer(config.optimizer, config.steps)
        self._sample = make_sampler(config, train_table)

    def init(self) -> TrainState:
        """See `Task.init`. Compiles everything ahead of time."""
        config, scorer, optimizer = self.config, self._scorer, self._optimizer
        everywhere = replicated(self._mesh)

        def start() -> TrainState:
            given = scorer.init(random_keys(config.seed)[0]) if self._start is None else self._start
            return first_state(jax.tree.map(jnp.asarray, given), optimizer)

        state = jax.jit(start, out_shardings=everywhere)()
        self._placed = jax.device_put((self.tables[0], self._train_features), everywhere)
        blocks = self._featurizer.blocks if self._featurizer else None
        step = make_step(self._sample, make_loss(config, scorer, blocks), optimizer, self._mesh)
        dispatch = make_dispatch(step, config.steps_per_dispatch, self._mesh)
        self._dispatch: Any = dispatch.lower(state, *self._placed).compile()
        self._validate = make_validation(
            config, scorer, self.tables[1], self._validation_features, self._mesh
        )
        return state

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """See `Task.dispatch`."""
        return self._dispatch(state, *self._placed)

    def validate(self, params: Params) -> dict[str, float]:
        """See `Task.validate`."""
        return self._validate(params)

    def export(self, directory: Path, params: Params, validation: Mapping[str, float]) -> None:
        """See `Task.export`."""
        write_reward(
            directory,
            params,
            self.config,
            featurizer_fingerprint=self._featurizer.fingerprint if self._featurizer else "",
            adapters=getattr(self._featurizer, "adapters", None),
            fitted=getattr(self._featurizer, "fitted", None),
            blocks=getattr(self._featurizer, "optional", None),
            validation=validation,
        )
