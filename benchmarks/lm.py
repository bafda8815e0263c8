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
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flops import matrix_flops
from lm_recipe import recipe_rows, recipe_step, torch_recipe
from lm_shapes import (
    ONE,
    SMALL,
    THREE,
    K,
    Q,
    Shape,
    batch_of,
    config_of,
    model_of,
    pairs,
    row_length,
    scoring_of,
    seconds_of,
    started,
    timed_step,
)
from machine import provenance

from fspo_jax.checkpoints.language import read_base
from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.models.language.decoder.flash import BLOCK, block_table
from fspo_jax.partitioning import make_mesh
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.packing import context_tokens
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.training.prefetch import Prefetch
from fspo_jax.training.state import TrainState
from fspo_jax.training.tasks.language_step import batch_loss, make_language_step

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bfloat16 operations a second, from the makers' data sheets."""


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
        "tokens_per_step": length * count,
    }


def rerank_of(
    shape: Shape, repeats: int, candidates: int = 64, prompts_per_batch: int = 64
) -> dict[str, float]:
    """Scoring candidates after `adapt` against encoding every full prompt."""
    length = row_length(shape)
    config = config_of(shape, row_length=length, reward="scalar")
    scoring = scoring_of(shape, config)
    model, params, parts = scoring.parts.model, scoring.params, scoring.parts
    user = PersonalizedReward(config, scoring).adapt(pairs(0, K))
    texts = [f"t{i}" for i in range(candidates)]
    ours = seconds_of(lambda: user.score("p", texts), repeats)
    head = context_tokens(parts.template, pairs(0, K), parts.form).tokens
    question = parts.template.question("p")
    whole = np.stack([np.concatenate([head, question, parts.template.response("", text)]) for text in texts])
    from fspo_jax.types import TokenLayout

    @jax.jit
    def full(params: Any, tokens: jax.Array) -> jax.Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        layout = TokenLayout(places, jnp.ones_like(tokens), jnp.zeros_like(tokens), jnp.zeros_like(tokens))
        return model.hidden(params["decoder"], tokens, layout)[:, -1] @ params["reward"]["weight"]

    def every() -> list[jax.Array]:
        return [
            full(params, whole[i : i + prompts_per_batch]) for i in range(0, candidates, prompts_per_batch)
        ]

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
        scoring = scoring_of(shape, config_of(shape, reward="scalar", **scorer))
        contexts = [pairs(10_000 * i, shots) for i in range(1, repeats + 2)]
        scoring.state(scoring.read(contexts.pop()))
        adapting = []
        for context in contexts:
            begun = time.perf_counter()
            state = scoring.state(scoring.read(context))
            jax.block_until_ready(scoring.reader.key_values(state))
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
    from fspo_jax.config import DataConfig, PersonaSource
    from fspo_jax.data.build import load_split
    from fspo_jax.data.episodes import index_items
    from fspo_jax.models.language.parts import make_parts
    from fspo_jax.training.sampling import make_sampler
    from fspo_jax.training.tasks.language_start import texts_of
    from fspo_jax.training.tasks.language_stream import EpisodeStream

    source = PersonaSource(seed=0, personas=200, prompts=60)
    items, table = index_items(load_split(DataConfig((source,)), "train"))
    tokenizer = TextTokenizer.train(texts_of(items), shape.architecture.vocabulary - 16)
    config = config_of(shape, row_length=2048)
    config = replace(config, episodes=replace(config.episodes, batch_size=2, max_context=K))
    parts = make_parts(config, shape.architecture, tokenizer, remember=1 << 18)
    model = parts.model
    stream = EpisodeStream(
        Packer(items, parts.template, parts.form, False),
        table,
        make_sampler(config, table),
    )
    params, frozen = started(model)
    optimizer = optax.adamw(1e-6)
    step = jax.jit(make_language_step(config, model, optimizer, make_mesh(1)), donate_argnums=0)
    state = TrainState(params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32))
    waited = 0.0
    batches = Prefetch(lambda i: jax.device_put(stream.batch(i)), 0, steps + 2)
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
    return {key: report[key] for key in ("curve", "controls", "label_sensitivity")}


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
        "torch_smollm2": lambda: torch_recipe(
            SMALL._replace(architecture=read_base("smollm2-135m").architecture, question=10, response=35),
            2,
            1,
        ),
        "learning": learning,
    }
    large: dict[str, Callable[[], Any]] = {
        "training_1b_pallas": lambda: training(ONE, 5, 2, 1, attention="pallas", remat="full"),
        "training_1b_xla": lambda: training(ONE, 5, 1, 1, remat="full"),
        "torch_1b": lambda: torch_recipe(ONE, 3, 1),
        "rerank_1b": lambda: rerank_of(ONE, 5, prompts_per_batch=8),
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
