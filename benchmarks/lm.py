"""Language models: supervised pairs a second, rerank, utilisation, memory, cost by shots, learning.

    python benchmarks/lm.py                     # everything this machine can do; the GPU part where there is a GPU
    python benchmarks/lm.py --parts training rerank shots memory pipeline
    python benchmarks/lm.py --parts learning    # trains configs/tiny_language_model.toml from scratch, for minutes

Weights are random: speed does not depend on them. Texts are random tokens of fixed lengths. The reference recipe is
that of FSPO's published code, on the same network: for every query the whole prompt is encoded with the chosen and
again with the rejected response, one query a context, logits at every position in float32. On a GPU the recipe also
runs on transformers and torch. Prints one JSON object with commit and machine; a part that fails reports its error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flops import matrix_flops
from machine import provenance

from fspo_jax.checkpoints.language import LanguageParts, freeze
from fspo_jax.config import LanguageModelConfig, TrainConfig, config_from_dict
from fspo_jax.data.language.batches import EpisodeStream, Packer, RowBatch
from fspo_jax.data.language.packing import RowFormat, context_tokens, pack_episodes
from fspo_jax.data.language.templates import Template
from fspo_jax.data.language.tokenizer import TextTokenizer
from fspo_jax.models.decoder.architecture import Architecture, RopeScaling
from fspo_jax.models.decoder.flash import BLOCK, block_table
from fspo_jax.models.language_model import LanguageModel
from fspo_jax.partitioning import make_mesh
from fspo_jax.reward import PersonalizedReward
from fspo_jax.reward.language import InContextEngine
from fspo_jax.training.language_step import batch_loss, make_language_step
from fspo_jax.training.prefetch import Prefetch
from fspo_jax.training.state import TrainState
from fspo_jax.types import Preference

K, Q = 8, 8
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bfloat16 operations a second, from the makers' data sheets."""


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
        response=lambda text: tokens("response", text, shape.response),
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
    form = RowFormat(length, layout, span)  # type: ignore[arg-type]
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


def recipe_rows(shape: Shape, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The reference recipe's sequences: tokens `[2 Q count, T]` and the mask of response tokens."""
    template, form = fake_template(shape), RowFormat(1 << 20, "sequential", 0)
    rows = []
    for context, queries in episodes(count):
        head = context_tokens(template, context, form).tokens
        for pair in queries:
            for text in (pair.chosen, pair.rejected):
                rows.append(np.concatenate([head, template.question(pair.prompt), template.response(text)]))
    tokens = np.stack(rows)
    mask = np.zeros(tokens.shape, bool)
    mask[:, -shape.response :] = True
    return tokens, mask


def recipe_step(config: TrainConfig, model: LanguageModel, optimizer: optax.GradientTransformation) -> Any:
    """DPO as the reference recipe computes it, on our network: causal rows, float32 logits at every position."""
    from fspo_jax.training.step import StepMetrics
    from fspo_jax.types import TokenLayout

    def log_probabilities(decoder: Any, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        layout = TokenLayout(places, jnp.ones_like(tokens), jnp.zeros_like(tokens), jnp.zeros_like(tokens))
        hidden = model.hidden(decoder, tokens, layout)
        logits = (hidden @ model.bind(decoder).output_matrix().T.astype(hidden.dtype)).astype(jnp.float32)
        logs = jax.nn.log_softmax(logits[:, :-1])
        chosen = jnp.take_along_axis(logs, tokens[:, 1:, None], axis=2)[..., 0]
        return jnp.where(mask[:, 1:], chosen, 0.0).sum(-1).reshape(-1, 2)

    def loss_of(params: Any, frozen: Any, batch: Any) -> jax.Array:
        policy = log_probabilities(model.decoder_of(params, frozen), *batch)
        reference = jax.lax.stop_gradient(log_probabilities(model.reference_of(frozen), *batch))
        margins = model.config.beta * (policy - reference)
        return jax.nn.softplus(margins[:, 1] - margins[:, 0]).mean()

    def step(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, StepMetrics]:
        loss, gradient = jax.value_and_grad(loss_of)(state.params, frozen, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), StepMetrics(
            loss, optax.tree.norm(gradient)
        )

    return step


def training(shape: Shape, repeats: int, count: int, recipe_queries: int, **scorer: Any) -> dict[str, Any]:
    """Supervised pairs a second against the reference recipe on the same network.

    `recipe_queries` of an episode's queries fit into memory at one time under the recipe.
    """
    length = row_length(shape)
    config = config_of(shape, row_length=length, **scorer)
    model = model_of(shape, config)
    ours = timed_step(config, model, batch_of(shape, length, count), repeats)
    tokens, mask = recipe_rows(shape, 1)
    part = 2 * recipe_queries
    plain = replace(model, config=replace(model.config, attention="xla"))
    recipe = timed_step(
        config,
        plain,
        (tokens[:part], mask[:part]),
        max(1, repeats // 2),
        recipe_step(config, plain, optax.adamw(1e-6)),
    )
    of_ours, of_recipe = count * Q, recipe_queries
    return {
        "pairs_per_second": of_ours / ours.seconds,
        "recipe_pairs_per_second": of_recipe / recipe.seconds,
        "wall_ratio": of_ours / ours.seconds * recipe.seconds / of_recipe,
        "counted_flops_ratio": recipe.flops / of_recipe / (ours.flops / of_ours),
        "temporary_bytes_a_pair": ours.temporary_bytes / of_ours,
        "recipe_temporary_bytes_a_pair": recipe.temporary_bytes / of_recipe,
        "tokens_a_step": length * count,
    }


def torch_recipe(shape: Shape, repeats: int, queries: int) -> dict[str, float]:
    """The same recipe on transformers and torch."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from fspo_jax.models.decoder.architecture import hugging_face_config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = hugging_face_config(shape.architecture)
    kept = {k: v for k, v in plain.items() if k not in ("model_type", "architectures", "dtype")}
    config = LlamaConfig(**kept, attn_implementation="sdpa")
    policy = LlamaForCausalLM(config).to(device)
    reference = (
        LlamaForCausalLM(config).to(device, torch.bfloat16 if device == "cuda" else torch.float32).eval()
    )
    policy.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-6)
    tokens, mask = recipe_rows(shape, 1)
    tokens = torch.tensor(tokens[: 2 * queries], dtype=torch.long, device=device)
    mask = torch.tensor(mask[: 2 * queries], device=device)

    def logs(model: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(tokens, use_cache=False).logits
        found = torch.log_softmax(logits[:, :-1].float(), -1).gather(2, tokens[:, 1:, None])[..., 0]
        return (found * mask[:, 1:]).sum(-1).reshape(-1, 2)

    def step() -> None:
        with torch.no_grad():
            fixed = logs(reference)
        margins = 0.01 * (logs(policy) - fixed)
        torch.nn.functional.softplus(margins[:, 1] - margins[:, 0]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    result = {"torch_pairs_per_second": queries / statistics.median(times)}
    if device == "cuda":
        result["torch_peak_bytes"] = float(torch.cuda.max_memory_allocated())
    return result


def engine_of(shape: Shape, config: TrainConfig) -> InContextEngine:
    """Serving with random weights."""
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    model = model_of(shape, config)
    tokenizer = TextTokenizer.train(["a b c"], 300)
    form = RowFormat(scorer.row_length, scorer.layout, scorer.shot_span)
    return InContextEngine(
        config, LanguageParts(model, tokenizer, fake_template(shape), form, ""), *started(model)
    )


def rerank_of(
    shape: Shape, repeats: int, candidates: int = 64, prompts_a_batch: int = 64
) -> dict[str, float]:
    """Scoring candidates after `adapt` against encoding every full prompt."""
    length = row_length(shape)
    config = config_of(shape, row_length=length, reward="scalar")
    engine = engine_of(shape, config)
    model, params, parts = engine.parts.model, engine.params, engine.parts
    user = PersonalizedReward(config, engine).adapt(pairs(0, K))
    texts = [f"t{i}" for i in range(candidates)]
    ours = seconds_of(lambda: user.score("p", texts), repeats)
    head = context_tokens(parts.template, pairs(0, K), parts.form).tokens
    question = parts.template.question("p")
    whole = np.stack([np.concatenate([head, question, parts.template.response(text)]) for text in texts])
    from fspo_jax.types import TokenLayout

    @jax.jit
    def full(params: Any, tokens: jax.Array) -> jax.Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        layout = TokenLayout(places, jnp.ones_like(tokens), jnp.zeros_like(tokens), jnp.zeros_like(tokens))
        return model.hidden(params["decoder"], tokens, layout)[:, -1] @ params["reward"]["weight"]

    def every() -> list[jax.Array]:
        return [full(params, whole[i : i + prompts_a_batch]) for i in range(0, candidates, prompts_a_batch)]

    theirs = seconds_of(every, max(1, repeats // 2))
    return {"cached_seconds": ours, "full_prompts_seconds": theirs, "ratio": theirs / ours}


def shots_of(shape: Shape, repeats: int) -> dict[str, Any]:
    """Cost by number of shots in the parallel layout: adapting, and a training step on the block-sparse path.

    A step's operations are those of its matrix products and of the blocks that the kernel visits, forward and
    backward. Its time is measured where the kernel is compiled, on an accelerator.
    """
    a = shape.architecture
    gpu = jax.default_backend() == "gpu"
    rows = {}
    for shots in (1, 2, 4, 8, 16, 32, 64):
        length = row_length(shape, shots, 2)
        span = shape.question + 2 * shape.response + 4
        scorer = {"row_length": length, "layout": "parallel", "shot_span": span}
        engine = engine_of(shape, config_of(shape, reward="scalar", **scorer))
        contexts = [pairs(10_000 * i, shots) for i in range(1, repeats + 2)]
        engine.state(engine.read(contexts.pop()))
        adapting = []
        for context in contexts:
            begun = time.perf_counter()
            state = engine.state(engine.read(context))
            jax.block_until_ready(engine._key_values(state))
            adapting.append(time.perf_counter() - begun)
        config = config_of(shape, attention="pallas", **scorer)
        model = model_of(shape, config)
        batch = batch_of(shape, length, 1, shots, 2, "parallel")
        params, frozen = jax.eval_shape(lambda model=model: started(model))
        products = matrix_flops(
            lambda p, f, b, c=config, m=model: jax.grad(partial(batch_loss, c, m))(p, f, b),
            params,
            frozen,
            batch,
        )
        visited = float(block_table(jax.tree.map(jnp.asarray, batch.rows.layout)).key_count.sum())
        # A visited block takes two products forward and five backward; policy and reference go forward.
        attention = visited * (2 * 2 + 5) * 2 * BLOCK**2 * a.heads * a.head_width * a.layers
        rows[shots] = {
            "tokens": length,
            "adapt_seconds": statistics.median(adapting),
            "step_operations": products + attention,
            "step_seconds": timed_step(config, model, batch, repeats).seconds if gpu else None,
        }
    first, last = rows[8], rows[64]
    return {
        "rows": rows,
        "adapt_seconds_a_shot_64_over_8": last["adapt_seconds"] / first["adapt_seconds"] / 8,
        "operations_a_token_64_over_8": last["step_operations"]
        / first["step_operations"]
        * first["tokens"]
        / last["tokens"],
    }


def memory_of(shape: Shape, count: int = 1) -> dict[str, float]:
    """Temporary memory of loss and gradient, and whether any array has all tokens by the whole vocabulary."""
    length = row_length(shape)
    config = config_of(shape, row_length=length, remat="full")
    model = model_of(shape, config)
    batch = batch_of(shape, length, count)
    params, frozen = jax.eval_shape(lambda: started(model))

    def ours(params: Any, frozen: Any, batch: RowBatch) -> Any:
        return jax.value_and_grad(lambda p: batch_loss(config, model, p, frozen, batch))(params)

    compiled = jax.jit(ours).lower(params, frozen, batch).compile()
    vocabulary = shape.architecture.vocabulary
    widest = max(batch.rows.targets.shape[1] * len(batch.rows.targets), 1)
    return {
        "temporary_bytes": float(compiled.memory_analysis().temp_size_in_bytes),
        "tokens_by_vocabulary_bytes": 4.0 * widest * vocabulary,
        "has_tokens_by_vocabulary_array": float(f"[{widest},{vocabulary}]" in compiled.as_text()),
    }


def pipeline(shape: Shape, steps: int) -> dict[str, float]:
    """Share of training time in which the device waits for the next batch, with real texts and a real tokenizer."""
    from fspo_jax.checkpoints.language import make_parts
    from fspo_jax.config import DataConfig, PersonaSource
    from fspo_jax.data.build import load_users
    from fspo_jax.data.episodes import index_items
    from fspo_jax.training.language import texts_of

    source = PersonaSource(seed=0, personas=200, prompts=60)
    items, table = index_items(load_users(DataConfig((source,)), "train"))
    tokenizer = TextTokenizer.train(texts_of(items), shape.architecture.vocabulary - 16)
    config = config_of(shape, row_length=4096)
    parts = make_parts(config, shape.architecture, tokenizer, remember=1 << 18)
    model = parts.model
    stream = EpisodeStream(
        Packer(items, parts.template, parts.form, False),
        table,
        replace(config.episodes, batch_size=8),
        jax.random.key(0),
    )
    params, frozen = started(model)
    optimizer = optax.adamw(1e-6)
    step = jax.jit(make_language_step(config, model, optimizer, make_mesh(1)), donate_argnums=0)
    state = TrainState(params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32))
    waited = 0.0
    with Prefetch(lambda i: jax.device_put(stream.batch(i)), 0, steps + 2) as batches:
        for i in range(steps + 2):
            if i == 2:
                jax.block_until_ready(state)
                begun, waited = time.perf_counter(), 0.0
            before = time.perf_counter()
            batch = batches.next()
            waited += time.perf_counter() - before
            state, _ = step(state, frozen, batch)
            if i % 4 == 3:  # the loop reads metrics between dispatches
                jax.block_until_ready(state)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - begun
    return {
        "waiting_share": waited / seconds,
        "step_seconds": seconds / steps,
        "tokens_per_second": stream.tokens / (steps + 2 + 16) * steps / seconds,
        "padding_share": 1 - stream.tokens / stream.row_tokens,
    }


def utilisation(shape: Shape, repeats: int, count: int, **scorer: Any) -> dict[str, Any]:
    """Model FLOP utilisation: useful operations over the device's peak.

    Useful are 6 operations a token and parameter (4 where the parameter is frozen: forward and the gradient of
    activations), 2 for the reference, and attention over the pairs of tokens that see each other. Recomputation does
    not count.
    """
    a = shape.architecture
    length = row_length(shape)
    config = config_of(shape, row_length=length, **scorer)
    model = model_of(shape, config)
    batch = batch_of(shape, length, count)
    timed = timed_step(config, model, batch, repeats)
    layer = a.width * (2 * a.heads + 2 * a.kv_heads) * a.head_width + 3 * a.width * a.mlp_width
    tokens = float((batch.rows.layout.episode > 0).sum())
    targets = float((batch.rows.owners < 2 * batch.rows.ends.shape[1]).sum())
    pair = shape.question + 2 * shape.response
    context = 1 + K * (pair + 4)
    branch = shape.question * shape.response + shape.response**2 / 2
    seen = count * (context**2 / 2 + Q * (pair * context + shape.question**2 / 2 + 2 * branch))
    passes = (4 if model.config.lora_rank else 6) + 2
    useful = passes * (a.layers * layer * tokens + a.vocabulary * a.width * targets)
    useful += passes / 2 * 4 * a.layers * a.heads * a.head_width * seen
    kind = jax.devices()[0].device_kind
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in kind), None)
    return {
        "step_seconds": timed.seconds,
        "pairs_per_second": count * Q / timed.seconds,
        "tokens_per_second": tokens / timed.seconds,
        "useful_flops_per_second": useful / timed.seconds,
        "utilisation": useful / timed.seconds / peak if peak else None,
        "temporary_bytes": timed.temporary_bytes,
    }


def learning() -> dict[str, Any]:
    """Meta-trains the tiny model from scratch and evaluates it on unseen personas and prompts."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory, "run")
        for command in (
            ["train", "configs/tiny_language_model.toml", "--output", str(run)],
            ["evaluate", str(run), "--shots", "0", "8"],
        ):
            subprocess.run([sys.executable, "-m", "fspo_jax", *command], check=True, stdout=sys.stderr)
        report = json.loads((run / "report/report.json").read_text())
    return {key: report[key] for key in ("curve", "controls", "obedience")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    gpu = jax.default_backend() == "gpu"
    small: dict[str, Callable[[], Any]] = {
        "training": lambda: training(SMALL, 5, 2, Q),
        "rerank": lambda: rerank_of(SMALL, 5),
        "memory": lambda: memory_of(SMALL),
        "shots": lambda: shots_of(SMALL, 3),
        "pipeline": lambda: pipeline(SMALL, 12),
        "torch": lambda: torch_recipe(SMALL, 1, 2),
        "learning": learning,
    }
    large: dict[str, Callable[[], Any]] = {
        "training_1b_pallas": lambda: training(ONE, 5, 2, 1, attention="pallas", remat="full"),
        "training_1b_xla": lambda: training(ONE, 5, 1, 1, remat="full"),
        "torch_1b": lambda: torch_recipe(ONE, 3, 1),
        "rerank_1b": lambda: rerank_of(ONE, 5, prompts_a_batch=8),
        "utilisation_1b": lambda: utilisation(ONE, 5, 4, attention="pallas", remat="full"),
        "utilisation_3b_lora": lambda: utilisation(
            THREE, 5, 2, attention="pallas", remat="full", lora_rank=16, base="-"
        ),
    }
    available = large if gpu else small
    parser.add_argument(
        "--parts", nargs="+", default=list(available), choices=list(small | large), metavar="PART"
    )
    result = provenance()
    for name in parser.parse_args().parts:
        begun = time.perf_counter()
        try:
            result[name] = (small | large)[name]()
        except Exception as error:  # one part must not cost the others
            traceback.print_exc()
            result[name] = {"error": f"{error!r:.500}"}
        result[name]["took_seconds"] = round(time.perf_counter() - begun, 1)
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
