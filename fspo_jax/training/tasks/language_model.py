"""Meta-trains a language model, from texts to an exported reward."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax

from fspo_jax.checkpoints.language import write_language_reward
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.data.batches import Packer, RowBatch, with_room_for_pairs
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import ConfigError
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import make_mesh, put_batch, replicated, tree_sharding
from fspo_jax.processes import on_main, to_host
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.prefetch import Prefetch
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.state import StepMetrics, TrainState, first_state, take_steps
from fspo_jax.training.tasks.language_start import Items, OutputTokenDraws, start_language_model
from fspo_jax.training.tasks.language_step import References, make_language_step
from fspo_jax.training.tasks.language_stream import EpisodeStream
from fspo_jax.training.tasks.language_validation import make_language_validation

_log = logging.getLogger(__name__)


class LanguageModelTask:
    """Trains the language model of `config.scorer`.

    The state is divided over the mesh as in `partitioning`. A thread packs batches ahead of the device.

    Args:
        config: Everything that decides the run. `encoder` is not read.
        train_items: (prompt, response) of each item of `train_table`.
        train_table: Pairs of the meta-training users.
        validation_items: The same for `validation_table`.
        validation_table: Pairs of the meta-validation users, who are not in the other table.
        descriptions: Description of each meta-training user, for `scorer.description_weight`.

    Raises:
        ConfigError: `scorer.description_weight` is set, but no user has a description; or the devices cannot be
            divided as the config says.
        DataError: `episodes.mismatched` is set, but a source has only one user.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_items: Items,
        train_table: EpisodeTable,
        validation_items: Items,
        validation_table: EpisodeTable,
        *,
        descriptions: Sequence[str] = (),
    ):
        scorer = config.scorer
        assert isinstance(scorer, LanguageModelConfig)
        if scorer.description_weight and not any(descriptions):
            raise ConfigError(
                "'scorer.description_weight' is above 0, but no meta-training user has a description. Personas have "
                "one, and so do users whose rows have a `description`."
            )
        self.config = config
        self.tables = (train_table, validation_table)
        self._scorer, self._items = scorer, (train_items, validation_items)
        self._descriptions = descriptions if scorer.description_weight else ()
        self._mesh = make_mesh(config.devices, config.fsdp, config.tensor)
        self._optimizer = make_optimizer(config.optimizer, config.steps)
        self._sample = make_sampler(config, train_table)
        self._batches: Prefetch[tuple[int, RowBatch, int]] | None = None
        self._draws: OutputTokenDraws | None = None

    @property
    def dimension(self) -> int:
        """See `Task.dimension`."""
        return self._parts.dimension

    def init(self) -> TrainState:
        """See `Task.init`.

        Raises:
            LimitError: A pair does not fit into a row.
        """
        config, scorer, mesh = self.config, self._scorer, self._mesh
        self._parts, params, self._frozen = start_language_model(config, self._items[0], mesh)
        parts = self._parts
        if scorer.output_tokens:
            self._draws = OutputTokenDraws(parts, self._items, scorer.output_tokens, config.seed)

        def start(params: Params) -> TrainState:
            return first_state(params, self._optimizer)

        placed = tree_sharding(mesh, jax.eval_shape(start, params))
        state = jax.jit(start, out_shardings=placed)(params)

        context_free = scorer.reward == "gaussian_process"
        packer, validation_packer = with_room_for_pairs(
            [
                Packer(
                    self._items[0],
                    parts.template,
                    parts.form,
                    context_free,
                    parts.read_rows,
                    self._descriptions,
                    parts.reading,
                    config.objective == "sft",
                ),
                Packer(
                    self._items[1],
                    parts.template,
                    parts.form,
                    context_free,
                    parts.read_rows,
                    reading=parts.reading,
                ),
            ],
            self.tables,
        )
        self._context_length = packer.form.context
        self._stream = EpisodeStream(packer, self.tables[0], self._sample)
        self._validate = make_language_validation(
            config, parts.model, validation_packer, self.tables[1], mesh
        )
        step = make_language_step(config, parts.model, self._optimizer, mesh)
        self._step = jax.jit(step, out_shardings=(placed, None), donate_argnums=0)
        self._references = References(parts.model, mesh)
        return state

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """See `Task.dispatch`."""
        config, scorer = self.config, self._scorer
        if self._batches is None:
            self._batches = Prefetch(self._batch, int(state.step), config.steps)
        batches = self._batches
        fixed = scorer.distinct_batches > 0 and scorer.reward == "implicit" and config.objective != "sft"

        def step(state: TrainState) -> tuple[TrainState, StepMetrics]:
            number, batch, tokens = batches.next()
            frozen = self._frozen_with_tokens(number)
            if fixed:
                batch = self._references.added(number, frozen, batch)
            state, metrics = self._step(state, frozen, batch)
            return state, metrics._replace(tokens=tokens)

        return take_steps(step, state, config.steps_per_dispatch)

    def validate(self, params: Params) -> dict[str, float]:
        """See `Task.validate`."""
        return self._validate(params, self._frozen_with_tokens(0))

    def export(self, directory: Path, params: Params, validation: Mapping[str, float]) -> None:
        """See `Task.export`."""
        stream = self._stream
        if stream.dropped_shots:
            _log.warning(
                "%s of %s shots did not fit into contexts of %s tokens and were left out. Raise 'scorer.row_length'.",
                f"{stream.dropped_shots:,}",
                f"{stream.shots:,}",
                f"{self._context_length:,}",
            )
        reference = {name: tree for name, tree in self._frozen.items() if name == "reference"}
        trained, reference = to_host(params), to_host(reference)
        config = replace(self.config, scorer=replace(self._scorer, context_length=self._context_length))
        on_main(lambda: write_language_reward(directory, self._parts, trained, reference, config, validation))

    def _frozen_with_tokens(self, batch: int) -> Params:
        """The frozen parameters, with the tokens from which the normalisers of a batch are estimated."""
        if self._draws is None:
            return self._frozen
        drawn = jax.device_put(self._draws.draw(batch), replicated(self._mesh))
        return {**self._frozen, "output_tokens": drawn}

    def _batch(self, step: int) -> tuple[int, RowBatch, int]:
        """Returns the number of a step, its batch on the devices, and its number of tokens."""
        number = step % (self._scorer.distinct_batches or self.config.steps)
        before = self._stream.tokens
        batch = self._stream.batch(number)
        return number, put_batch(self._mesh, batch), self._stream.tokens - before
