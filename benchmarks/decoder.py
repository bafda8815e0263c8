"""Tokens a second of scoring candidates behind a context: the decoder against transformers on torch, in one run.

    python benchmarks/decoder.py [--model smollm2-135m] [--candidates 64] [--context 512] [--tokens 64] [--turns 5]

Needs torch (CPU) beside the package, and the weights. Both have read the context before (a KV cache), hold the same
float32 weights, use the same threads, and give the summed log-probability of each candidate from one batch of the same
tokens. They take turns after a warm-up. Bar: a ratio of at least 1.0. Prints one JSON object, with the largest
difference of the sums.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import provenance

from fspo_jax.models.language.decoder.architecture import read_architecture
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.files import load_decoder
from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.types import TokenLayout


def of_fspo(directory: Any, context: np.ndarray, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """A function that scores the rows behind the context."""
    architecture = read_architecture(directory)
    init, bind = pure_module(lambda rngs: Decoder(architecture, 0, rngs))
    params = load_decoder(directory, architecture, jax.eval_shape(init, jax.random.key(0)))

    def layout(shape: tuple[int, int], start: int, branch: int) -> TokenLayout:
        one = jnp.ones(shape, jnp.int32)
        return TokenLayout(start + jnp.arange(shape[1]) * one, one, one, branch * one)

    @jax.jit
    def prefill(params: Any, tokens: jax.Array) -> KeyValues:
        return bind(params)(tokens, layout(tokens.shape, 0, 0), keep=True)[1]

    @jax.jit
    def score(params: Any, past: KeyValues, tokens: jax.Array) -> jax.Array:
        network = bind(params)
        hidden, _ = network(tokens, layout(tokens.shape, len(context), 1), (past,))
        flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
        logs = token_log_probabilities(
            flat, network.output_matrix(), tokens[:, 1:].reshape(-1), softcap=architecture.logit_softcap
        )
        return logs.reshape(len(tokens), -1).sum(-1)

    past = prefill(params, jnp.asarray(context[None]))
    tokens = jnp.asarray(rows)
    return lambda: np.asarray(score(params, past, tokens))


def of_torch(directory: Any, context: np.ndarray, rows: np.ndarray) -> Callable[[], np.ndarray]:
    """The same with transformers. The cache is repeated for all rows before, which is not counted."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    cache = DynamicCache(config=model.config)
    tokens = torch.tensor(rows)

    @torch.inference_mode()
    def score() -> np.ndarray:
        logits = model(input_ids=tokens, past_key_values=cache).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
        )
        cache.crop(-tokens.shape[1])
        return -losses.reshape(len(rows), -1).sum(-1).numpy()

    with torch.inference_mode():
        model(input_ids=torch.tensor(context[None]), past_key_values=cache, logits_to_keep=1)
        cache.batch_repeat_interleave(len(rows))
    return score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m", help="what `find_model` takes")
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()

    import torch

    directory = find_model(arguments.model)
    generator = np.random.default_rng(0)
    vocabulary = read_architecture(directory).vocabulary
    context = generator.integers(100, vocabulary, arguments.context)
    rows = generator.integers(100, vocabulary, (arguments.candidates, arguments.tokens))
    scorers = {"ours": of_fspo(directory, context, rows), "theirs": of_torch(directory, context, rows)}
    sums = {name: score() for name, score in scorers.items()}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(arguments.turns):
        for name in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            started = time.perf_counter()
            scorers[name]()
            seconds[name].append(time.perf_counter() - started)
    print(
        json.dumps(
            {
                **provenance(),
                "model": arguments.model,
                "torch": torch.__version__,
                "cores_used": len(os.sched_getaffinity(0)),
                "load": os.getloadavg()[0],
                "tokens_per_second": {
                    name: rows.size / statistics.median(times) for name, times in seconds.items()
                },
                "ratio": statistics.median(
                    t / o for o, t in zip(seconds["ours"], seconds["theirs"], strict=True)
                ),
                "largest_difference": float(np.abs(sums["ours"] - sums["theirs"]).max()),
            }
        )
    )


if __name__ == "__main__":
    main()
