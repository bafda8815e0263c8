"""Meta-training of a scorer together with adapters of its text encoder, end to end.

A step has three parts: the texts of a batch of episodes go through the encoder in batches of one length each, the
scorer's loss gives the gradient of their features, and that goes back through each batch. So long texts and short ones
share a step without padding to the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fspo_jax.checkpoints import CHECKPOINTS, REWARD, write_reward
from fspo_jax.config import EncoderConfig, TrainConfig, config_to_dict
from fspo_jax.data.episodes import EpisodeTable, sample_episodes
from fspo_jax.errors import ConfigError
from fspo_jax.models.encoders.adapters import (
    init_adapters,
    join_encoder_adapters,
    merge_encoder_adapters,
)
from fspo_jax.models.encoders.text_encoder import TextEncoder, forward_function, token_batches
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.scorers.contract import Params, Scorer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.partitioning import make_mesh, put_batch, replicated
from fspo_jax.training.fit import Progress, interrupted, run_steps
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.run.checkpoints import RunCheckpoints
from fspo_jax.training.run.directory import check_data, is_finished, open_run
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.run.signals import StopSignal
from fspo_jax.training.state import TrainState, random_keys
from fspo_jax.training.tasks.head import LOSSES, StepMetrics, drop_features, episode_loss, gather
from fspo_jax.training.tasks.head_validation import make_validation
from fspo_jax.types import Episode, Prompt

WINDOW = 128
"""Tokens of a text that training reads, from its beginning; serving reads all."""

VALIDATION_USERS = 128
"""Meta-validation users at most, taken evenly from all: their texts are encoded at every evaluation."""

ROW_UNIT = 64
"""The number of texts of a step is padded to a multiple, so that few programs are compiled."""

Items = Sequence[tuple[Prompt, str]]


class ItemTexts(NamedTuple):
    """What the encoder reads of each item, and what it does not.

    Attributes:
        windows: Token ids.
        style: `float32 [N, S]`, features beside the encoder's.
    """

    windows: list[list[int]]
    style: np.ndarray


def read_items(featurizer: Featurizer, items: Items) -> ItemTexts:
    """Tokens and style of items."""
    texts = [featurizer.text(prompt, response) for prompt, response in items]
    length = min(WINDOW, featurizer.encoder.max_tokens)
    windows = [of_text[0] for of_text in featurizer.encoder.windows(texts, length)]
    return ItemTexts(windows, featurizer.style([response for _, response in items]))


class AdaptedEncoder:
    """The encoder's features as a function of its adapters, forwards and backwards.

    Args:
        featurizer: Holds the encoder and the recipe.
        config: Rank and number of layers of the adapters.
        mesh: Batches of texts are divided over its devices.
    """

    def __init__(self, featurizer: Featurizer, config: EncoderConfig, mesh: Mesh):
        encoder: TextEncoder = featurizer.encoder
        beside = forward_function(encoder.config, config.adapter_rank, config.adapter_layers)
        plain = forward_function(encoder.config)
        layer = featurizer.hidden_layer

        def pulled(
            frozen: Params, adapters: Params, ids: jax.Array, lengths: jax.Array
        ) -> tuple[jax.Array, Any]:
            def of_adapters(adapters: Params) -> jax.Array:
                joined = join_encoder_adapters(frozen, adapters)
                return featurizer.scaled(beside(joined, ids, lengths, layer=layer), adapters)

            return jax.vjp(of_adapters, adapters)

        self._frozen = jax.device_put(encoder.params, replicated(mesh))
        self._merged, self._pulled = jax.jit(merge_encoder_adapters), jax.jit(pulled)
        # Two programs: as one, XLA of jax 0.11.2 does not compile it for a GPU.
        self._pooled, self._scaled = jax.jit(plain, static_argnames="layer"), jax.jit(featurizer.scaled)
        self._layer = layer
        self._back = jax.jit(lambda pullback, cotangent: pullback(cotangent)[0])
        self._add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
        self._mesh = mesh
        self._window = min(WINDOW, encoder.max_tokens)

    def features(self, adapters: Params, texts: ItemTexts) -> np.ndarray:
        """Features `float32 [N, F]` of all items, by weights with the adapters merged, as in serving."""
        merged = self._merged(self._frozen, adapters)
        result: np.ndarray | None = None
        for taken, ids, lengths in token_batches(texts.windows, self._window):
            pooled = self._pooled(merged, *put_batch(self._mesh, (ids, lengths)), layer=self._layer)
            rows = np.asarray(self._scaled(pooled, adapters))
            if result is None:
                result = np.zeros((len(texts.windows), rows.shape[1]), np.float32)
            result[taken] = rows[: len(taken)]
        assert result is not None
        return np.concatenate([result, texts.style], axis=1)

    def gradient(
        self,
        adapters: Params,
        texts: ItemTexts,
        items: np.ndarray,
        loss_gradient: Callable[[jax.Array, np.ndarray], tuple[Any, jax.Array]],
    ) -> tuple[Any, Params]:
        """Runs some items through the encoder and a loss, and back.

        Args:
            adapters: Of the encoder.
            texts: Of all items.
            items: `int32 [M]`, those that the loss reads.
            loss_gradient: From features `[R, F]` of the encoder and the place of each item in them, `int32 [M]`, to
                anything and the gradient with respect to the features.

        Returns:
            The first result of `loss_gradient` and the gradient with respect to the adapters.
        """
        parts, pullbacks, places = [], [], np.zeros(len(items), np.int32)
        rows = 0
        for taken, ids, lengths in token_batches([texts.windows[i] for i in items], self._window):
            part, pullback = self._pulled(self._frozen, adapters, *put_batch(self._mesh, (ids, lengths)))
            places[taken] = np.arange(rows, rows + len(taken))
            rows += len(part)
            parts.append(part)
            pullbacks.append(pullback)
        parts.append(jnp.zeros((-rows % ROW_UNIT, parts[0].shape[1])))
        result, cotangent = loss_gradient(jnp.concatenate(parts), places)
        total, start = None, 0
        for part, pullback in zip(parts, pullbacks, strict=False):
            gradient = self._back(pullback, cotangent[start : start + len(part)])
            start += len(part)
            total = gradient if total is None else self._add(total, gradient)
        return result, total


def meta_train_encoder(
    config: TrainConfig,
    featurizer: Featurizer,
    train_items: Items,
    train_table: EpisodeTable,
    validation_items: Items,
    validation_table: EpisodeTable,
    run_directory: str | Path,
    *,
    start: Params | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Meta-trains `config.scorer` and adapters of rank `config.encoder.adapter_rank`.

    Args:
        config: Everything that decides the run.
        featurizer: Of the encoder to begin with.
        train_items: (prompt, response) of each feature row of `train_table`.
        train_table: Pairs of the meta-training users.
        validation_items: The same for `validation_table`, users that are not trained on.
        run_directory: As for `train`.
        start: Parameters of the scorer to begin with; fresh ones when None.
        resume: As for `train`.
        on_progress: As for `train`.

    Returns:
        Directory of the exported reward: the checkpoint with the smallest validation log loss.

    Raises:
        FspoError: As `train`.
    """
    run = Path(run_directory)
    mesh = make_mesh(config.devices)
    rate = config.optimizer.learning_rate
    # Updates of AdamW are linear in the rate.
    relative = (config.encoder.adapter_learning_rate or rate) / rate
    optimizer = optax.chain(
        make_optimizer(config.optimizer, config.steps),
        optax.masked(optax.scale(relative), {"encoder": True, "scorer": False}),
    )
    layers = featurizer.encoder.config.layers
    if config.encoder.adapter_layers > layers:
        raise ConfigError(
            f"'encoder.adapter_layers' is {config.encoder.adapter_layers}, but '{config.encoder.model}' has {layers}."
        )
    open_run(run, config, resume=resume)
    if is_finished(run):
        return run / REWARD
    check_data(run, train_table, validation_table, featurizer.dimension)
    scorer = make_scorer(config.scorer, featurizer.dimension)
    train_texts, validation_texts = (
        read_items(featurizer, items) for items in (train_items, validation_items)
    )
    encoder = AdaptedEncoder(featurizer, config.encoder, mesh)

    def first_state() -> TrainState:
        keys = jax.random.split(random_keys(config.seed)[0])
        adapters = init_adapters(
            keys[0],
            featurizer.encoder.params,
            config.encoder.adapter_rank,
            config.encoder.adapter_layers,
            approval=config.encoder.approval,
        )
        params = {"encoder": adapters, "scorer": scorer.init(keys[1]) if start is None else start}
        return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    state = jax.jit(first_state, out_shardings=replicated(mesh))()
    validate = make_validation(
        config,
        scorer,
        validation_table,
        np.zeros((len(validation_items), featurizer.dimension), np.float32),
        mesh,
    )
    step = _make_step(config, scorer, optimizer, encoder, train_texts, train_table)

    with (
        StopSignal() as stop,
        RunCheckpoints(run / CHECKPOINTS, config_to_dict(config), state) as checkpoints,
    ):
        if checkpoints.newest is not None:
            state = jax.device_put(checkpoints.newest, replicated(mesh))

        def dispatch(state: TrainState) -> tuple[TrainState, StepMetrics]:
            metrics = []
            for _ in range(config.steps_per_dispatch):
                state, of_step = step(state)
                metrics.append(of_step)
            return state, jax.tree.map(lambda *values: np.array(values), *jax.device_get(metrics))

        with MetricsLog(run, int(state.step)) as log:
            run_steps(
                config,
                state,
                dispatch,
                lambda params: validate(
                    params["scorer"], encoder.features(params["encoder"], validation_texts)
                ),
                checkpoints,
                log,
                stop,
                on_progress,
            )
        best, validation = checkpoints.best()
        write_reward(
            run / REWARD,
            best.params["scorer"],
            config,
            featurizer=featurizer.adapted(best.params["encoder"]),
            adapters=best.params["encoder"],
            validation=validation,
        )
        if stop.received:
            raise interrupted(stop, config.steps, config, run / REWARD)
    return run / REWARD


def _make_step(
    config: TrainConfig,
    scorer: Scorer,
    optimizer: optax.GradientTransformation,
    encoder: AdaptedEncoder,
    texts: ItemTexts,
    table: EpisodeTable,
) -> Callable[[TrainState], tuple[TrainState, StepMetrics]]:
    """Returns `state -> (state, metrics)`. Episodes are a function of (seed, step) only."""
    shape = config.episodes
    data_key = random_keys(config.seed)[1]
    dropout_key = jax.random.fold_in(data_key, 2**31)  # no step has this number
    table = jax.device_put(table)

    @jax.jit
    def sample(step: jax.Array) -> Episode:
        return sample_episodes(
            jax.random.fold_in(data_key, step),
            table,
            batch_size=shape.batch_size,
            max_context=shape.max_context,
            queries=shape.queries,
            zero_shot_probability=shape.zero_shot_probability,
            flip_probability=shape.flip_probability,
            cohort=config.data.cohort,
        )

    @jax.jit
    def scored(
        params: Params, vectors: jax.Array, style: jax.Array, rows: Episode, step: jax.Array
    ) -> tuple[jax.Array, tuple[Params, jax.Array]]:
        def loss_of(params: Params, vectors: jax.Array) -> jax.Array:
            episode = gather(rows, jnp.concatenate([vectors, style], axis=1))
            if config.feature_dropout:
                key = jax.random.fold_in(dropout_key, step)
                episode = drop_features(key, episode, config.feature_dropout)
            return episode_loss(scorer, LOSSES[config.objective], params, episode, config.tail_fraction)

        return jax.value_and_grad(loss_of, argnums=(0, 1))(params, vectors)

    @jax.jit
    def updated(state: TrainState, gradient: Params) -> tuple[TrainState, jax.Array]:
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1), optax.tree.norm(gradient)

    def step(state: TrainState) -> tuple[TrainState, StepMetrics]:
        episode = Episode(*map(np.asarray, jax.device_get(sample(state.step))))
        masks = {"context": episode.context_mask, "queries": episode.query_mask}
        items = np.unique(
            np.concatenate([getattr(episode, name)[mask].ravel() for name, mask in masks.items()])
        )

        def loss_gradient(vectors: jax.Array, places: np.ndarray) -> tuple[Any, jax.Array]:
            style = np.zeros((len(vectors), texts.style.shape[1]), np.float32)
            style[places] = texts.style[items]

            def moved(rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
                return np.where(
                    mask[..., None], places[np.searchsorted(items, rows).clip(max=len(items) - 1)], 0
                )

            rows = episode._replace(
                context=moved(episode.context, episode.context_mask),
                queries=moved(episode.queries, episode.query_mask),
            )
            loss, (gradient, cotangent) = scored(state.params["scorer"], vectors, style, rows, state.step)
            return (loss, gradient), cotangent

        (loss, gradient), of_adapters = encoder.gradient(state.params["encoder"], texts, items, loss_gradient)
        state, norm = updated(state, {"encoder": of_adapters, "scorer": gradient})
        return state, StepMetrics(loss, norm)

    return step
