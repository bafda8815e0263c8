"""Shapes, random texts and timing for the benchmark of language models."""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flops import matrix_flops

from fspo_jax.config import LanguageModelConfig, TrainConfig, config_from_dict
from fspo_jax.data.batches import RowBatch
from fspo_jax.models.language.base import freeze
from fspo_jax.models.language.decoder.architecture import Architecture, RopeScaling
from fspo_jax.models.language.parts import LanguageParts
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.partitioning import make_mesh
from fspo_jax.reward.engines.in_context import InContextScoring
from fspo_jax.text.packing import RowFormat, pack_episodes
from fspo_jax.text.templates import Template
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.training.state import TrainState
from fspo_jax.training.tasks.language_step import make_language_step
from fspo_jax.types import Preference

K, Q = 8, 8
"""Shots and queries of an episode."""


class Shape(NamedTuple):
    """A decoder's sizes and the lengths of texts in tokens."""

    architecture: Architecture
    question: int
    response: int
    compute: str


def llama(
    vocabulary: int, width: int, mlp: int, layers: int, heads: int, kv_heads: int, head: int
) -> Architecture:
    """A Llama 3 of these sizes."""
    return Architecture(
        family="llama",
        vocabulary=vocabulary,
        width=width,
        mlp_width=mlp,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head,
        rope_theta=500_000.0,
        norm_epsilon=1e-5,
        query_scale=head**-0.5,
        rope_scaling=RopeScaling("llama3", 32.0, 1.0, 4.0, 8192),
    )


SMALL = Shape(llama(32_768, 256, 704, 4, 4, 2, 64), 24, 48, "float32")
ONE = Shape(llama(128_256, 2048, 8192, 16, 32, 8, 64), 64, 192, "bfloat16")  # Llama 3.2 1B
THREE = Shape(llama(128_256, 3072, 8192, 28, 24, 8, 128), 64, 192, "bfloat16")  # Llama 3.2 3B


def fake_template(shape: Shape) -> Template:
    """Random tokens of fixed lengths; equal texts have equal tokens."""

    def tokens(kind: str, text: object, count: int) -> np.ndarray:
        seed = zlib.crc32(repr((kind, text)).encode())
        return np.random.default_rng(seed).integers(16, shape.architecture.vocabulary, count).astype(np.int32)

    pair = shape.question + 2 * shape.response
    return Template(
        head=lambda shots: np.array([1], np.int32),
        shot=lambda number, p: tokens("shot", (p.prompt, p.chosen), pair + 4),
        tail=lambda shots: np.zeros(0, np.int32),
        question=lambda prompt: tokens("question", prompt, shape.question),
        opening=lambda: np.zeros(0, np.int32),
        response=lambda prompt, text: tokens("response", text, shape.response),
        describe=lambda: np.array([2], np.int32),
        described=lambda text: tokens("description", text, 64),
    )


def pairs(start: int, count: int) -> list[Preference]:
    return [Preference(f"p{i}", f"a{i}", f"b{i}") for i in range(start, start + count)]


def episodes(count: int, shots: int = K, queries: int = Q) -> list[tuple[list[Preference], list[Preference]]]:
    return [(pairs(1000 * e, shots), pairs(1000 * e + 500, queries)) for e in range(count)]


def config_of(shape: Shape, **scorer: Any) -> TrainConfig:
    objective = "dpo" if scorer.get("reward", "implicit") == "implicit" else "bradley_terry"
    return config_from_dict(
        {
            "seed": 0,
            "steps": 10,
            "steps_per_dispatch": 10,
            "evaluate_every": 10,
            "objective": objective,
            "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
            "scorer": {"kind": "language_model", "reward": "implicit", "compute": shape.compute} | scorer,
            "optimizer": {"learning_rate": 1e-6, "warmup_steps": 1},
        }
    )


def model_of(shape: Shape, config: TrainConfig) -> LanguageModel:
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    reference = scorer.reward == "implicit" and not scorer.lora_rank
    return LanguageModel(scorer, shape.architecture, shape.architecture.vocabulary, reference)


def row_length(shape: Shape, shots: int = K, queries: int = Q) -> int:
    """Tokens of one episode, rounded up to a block."""
    pair = shape.question + 2 * shape.response
    return -(-(1 + shots * (pair + 4) + queries * pair) // 64) * 64


def batch_of(
    shape: Shape, length: int, count: int, shots: int = K, queries: int = Q, layout: str = "sequential"
) -> RowBatch:
    span = shape.question + 2 * shape.response + 4
    form = RowFormat(length, layout, span, context=length)  # type: ignore[arg-type]
    return RowBatch(pack_episodes(fake_template(shape), episodes(count, shots, queries), form).rows)


def started(model: LanguageModel) -> tuple[Any, Any]:
    """Random parameters, on the device."""

    def init(key: jax.Array) -> tuple[Any, Any]:
        decoder = model.init_decoder(key)
        params, frozen = model.init(key, decoder)
        return params, {name: freeze(tree, model.config.compute) for name, tree in frozen.items()}

    return jax.jit(init)(jax.random.key(0))


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call whose result is waited for; the first one compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


class Timed(NamedTuple):
    """One step: seconds, operations of its matrix products, bytes of temporary memory."""

    seconds: float
    flops: float
    temporary_bytes: int


def timed_step(
    config: TrainConfig, model: LanguageModel, batch: Any, repeats: int, step: Any = None
) -> Timed:
    """Times a whole training step, optimizer included."""
    params, frozen = started(model)
    optimizer = optax.adamw(1e-6)
    # Counted with the reference attention, which computes every pair of tokens: never too few.
    plain = replace(model, config=replace(model.config, attention="xla"))
    counted = step or make_language_step(config, plain, optimizer, make_mesh(1))
    step = step or make_language_step(config, model, optimizer, make_mesh(1))
    state = TrainState(params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32))
    batch = jax.device_put(batch)
    flops = matrix_flops(counted, state, frozen, batch)
    compiled = jax.jit(step, donate_argnums=0).lower(state, frozen, batch).compile()
    holder = [state]

    def call() -> Any:
        holder[0], metrics = compiled(holder[0], frozen, batch)
        return metrics.loss

    seconds = seconds_of(call, repeats)
    memory = compiled.memory_analysis()
    return Timed(seconds, flops, int(memory.temp_size_in_bytes))


def scoring_of(shape: Shape, config: TrainConfig) -> InContextScoring:
    """Serving with random weights."""
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    model = model_of(shape, config)
    tokenizer = TextTokenizer.train(["a b c"], 300)
    form = RowFormat(scorer.row_length, scorer.layout, scorer.shot_span, context=scorer.row_length)
    return InContextScoring(
        config, LanguageParts(model, tokenizer, fake_template(shape), form, ""), *started(model)
    )
