"""Meta-training of a language model: from texts to an exported reward."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.checkpoints import CHECKPOINTS, REWARD
from fspo_jax.checkpoints.language import (
    LanguageParts,
    freeze,
    make_parts,
    read_base,
    read_decoder,
    write_language_reward,
)
from fspo_jax.config import LanguageModelConfig, TrainConfig, config_to_dict
from fspo_jax.data.batches import EpisodeStream, Packer, RowBatch
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import ConfigError
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import batch_shards, make_mesh, parameter_sharding, put_batch, tree_sharding
from fspo_jax.processes import any_process, on_main, to_host
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.training.fit import Progress, interrupted, run_steps
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.prefetch import Prefetch
from fspo_jax.training.run.checkpoints import RunCheckpoints
from fspo_jax.training.run.directory import check_data, is_finished, open_run
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.run.signals import StopSignal
from fspo_jax.training.state import TrainState, random_keys
from fspo_jax.training.tasks.head import StepMetrics
from fspo_jax.training.tasks.language_step import References, make_language_step
from fspo_jax.training.tasks.language_validation import make_language_validation
from fspo_jax.types import Prompt

_log = logging.getLogger(__name__)

REMEMBERED_TEXTS = 1 << 18
"""Texts whose tokens a run keeps."""

Items = Sequence[tuple[Prompt, str]]


def meta_train_language(
    config: TrainConfig,
    train_items: Items,
    train_table: EpisodeTable,
    validation_items: Items,
    validation_table: EpisodeTable,
    run_directory: str | Path,
    *,
    descriptions: Sequence[str] = (),
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Meta-trains the language model of `config.scorer`.

    The state lies divided over the mesh as `partitioning` says; batches are packed in a thread, ahead of the device.

    Args:
        config: `encoder` is not read.
        train_items: (prompt, response) of each item of `train_table`.
        train_table: Pairs of the meta-training users.
        validation_items: The same for `validation_table`, users that are not trained on.
        run_directory: As for `train`.
        descriptions: Of each meta-training user, for `scorer.description_weight`.
        resume: As for `train`.
        on_progress: As for `train`.

    Returns:
        Directory of the exported reward: the checkpoint with the smallest validation log loss.

    Raises:
        FspoError: As `train`; `LimitError` where a pair does not fit into a row.
    """
    run = Path(run_directory)
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    if scorer.description_weight and not any(descriptions):
        raise ConfigError(
            "'scorer.description_weight' is above 0, but no meta-training user has a description: personas do, and "
            "rows with a `description`."
        )
    mesh = make_mesh(config.devices, config.fsdp, config.tensor)
    optimizer = make_optimizer(config.optimizer, config.steps)
    on_main(lambda: open_run(run, config, resume=resume))
    if is_finished(run):
        return run / REWARD
    parts, params, frozen = start(config, train_items, mesh)
    on_main(lambda: check_data(run, train_table, validation_table, parts.dimension))
    model = parts.model

    def first_state(params: Params) -> TrainState:
        return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    placed = tree_sharding(mesh, jax.eval_shape(first_state, params))
    state = jax.jit(first_state, out_shardings=placed)(params)

    context_free = scorer.reward == "gaussian_process"
    read = descriptions if scorer.description_weight else ()
    packer = Packer(train_items, parts.template, parts.form, context_free, read)
    validation_packer = Packer(validation_items, parts.template, parts.form, context_free)
    packer.check(train_table)
    validation_packer.check(validation_table)
    stream = EpisodeStream(
        packer, train_table, config.episodes, random_keys(config.seed)[1], config.data.cohort
    )
    validate = make_language_validation(config, model, validation_packer, validation_table, mesh)
    step = jax.jit(
        make_language_step(config, model, optimizer, mesh), out_shardings=(placed, None), donate_argnums=0
    )
    references = References(model, mesh)
    fixed = scorer.distinct_batches > 0 and scorer.reward == "implicit" and config.objective != "sft"

    def batch_of(step: int) -> tuple[int, RowBatch]:
        number = step % (scorer.distinct_batches or config.steps)
        return number, put_batch(mesh, stream.batch(number))

    with (
        StopSignal() as stop,
        RunCheckpoints(run / CHECKPOINTS, config_to_dict(config), state) as checkpoints,
    ):
        if checkpoints.newest is not None:
            state = jax.device_put(checkpoints.newest, placed)
        first = int(state.step)
        with (
            MetricsLog(run, first) as log,
            Prefetch(batch_of, first, config.steps) as batches,
        ):

            def dispatch(state: TrainState) -> tuple[TrainState, StepMetrics]:
                metrics = []
                for _ in range(config.steps_per_dispatch):
                    number, batch = batches.next()
                    batch = references.added(number, frozen, batch) if fixed else batch
                    state, of_step = step(state, frozen, batch)
                    metrics.append(of_step)
                return state, jax.tree.map(lambda *values: np.array(values), *jax.device_get(metrics))

            run_steps(
                config,
                state,
                dispatch,
                lambda params: validate(params, frozen),
                checkpoints,
                log,
                stop,
                on_progress,
            )
        if stream.dropped_shots:
            _log.warning(
                "%s of %s shots had no room in a row of %s tokens and were left out. Raise 'scorer.row_length'.",
                f"{stream.dropped_shots:,}",
                f"{stream.shots:,}",
                f"{scorer.row_length:,}",
            )
        best, validation = checkpoints.best()
        trained, reference = (
            to_host(best.params),
            to_host({k: v for k, v in frozen.items() if k == "reference"}),
        )
        on_main(lambda: write_language_reward(run / REWARD, parts, trained, reference, config, validation))
        if any_process(stop.received is not None):
            raise interrupted(stop, config.steps, config, run / REWARD)
    return run / REWARD


def start(config: TrainConfig, items: Items, mesh: Mesh) -> tuple[LanguageParts, Params, Params]:
    """What a run starts from, laid over the mesh: parts, trained and frozen parameters.

    Without a base, the tokenizer is learned from `items` and the decoder is random; both are functions of the config
    and the items.
    """
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    rows = batch_shards(mesh) * scorer.micro_batches
    if scorer.base:
        base = read_base(scorer.base)
        parts = make_parts(
            config,
            base.architecture,
            base.tokenizer,
            base_digest=base.digest,
            rows=rows,
            remember=REMEMBERED_TEXTS,
        )

        def sharding(path: tuple[str, ...], shape: tuple[int, ...]) -> jax.sharding.Sharding:
            return parameter_sharding(mesh, path, shape)

        decoder = read_decoder(
            base, parts.model, config.seed, frozen=bool(scorer.lora_rank), sharding=sharding
        )
    else:
        tokenizer = TextTokenizer.train(texts_of(items), scorer.vocabulary)
        parts = make_parts(
            config, from_scratch(scorer, tokenizer.size), tokenizer, rows=rows, remember=REMEMBERED_TEXTS
        )

        def scratch() -> Mapping[str, Any]:
            return parts.model.init_decoder(jax.random.split(random_keys(config.seed)[0])[0])

        decoder = jax.jit(scratch, out_shardings=tree_sharding(mesh, jax.eval_shape(scratch)))()
    model = parts.model

    # Keys are made inside: a key made here would lie on this process' device alone.
    def init(decoder: Mapping[str, Any]) -> tuple[Params, Params]:
        params, frozen = model.init(jax.random.split(random_keys(config.seed)[0])[1], decoder)
        if "reference" in frozen:
            frozen["reference"] = freeze(frozen["reference"], scorer.compute)
        return params, frozen

    placed = tree_sharding(mesh, jax.eval_shape(init, decoder))
    params, frozen = jax.jit(init, out_shardings=placed)(decoder)
    return parts, params, frozen


def from_scratch(scorer: LanguageModelConfig, vocabulary: int) -> Architecture:
    """A decoder of the Llama family with the config's sizes; the MLP is 8/3 as wide as the rest."""
    head_width = scorer.width // scorer.heads
    return Architecture(
        family="llama",
        vocabulary=vocabulary,
        width=scorer.width,
        mlp_width=-(-8 * scorer.width // 3 // 8) * 8,
        layers=scorer.layers,
        heads=scorer.heads,
        kv_heads=scorer.kv_heads,
        head_width=head_width,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        query_scale=head_width**-0.5,
    )


def texts_of(items: Items) -> list[str]:
    """The distinct texts of items, in order: prompts or their messages, and responses."""
    texts: dict[str, None] = {}
    for prompt, response in items:
        for text in [prompt] if isinstance(prompt, str) else [message.content for message in prompt]:
            texts[text] = None
        texts[response] = None
    return list(texts)
