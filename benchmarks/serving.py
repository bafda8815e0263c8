"""Latency of serving: adapting to eight pairs, ranking cached candidates, ranking fresh ones.

    python benchmarks/serving.py RUN [--repeats 300]

RUN is a trained run. Bars on 2 cores: adapt to 8 cached pairs, p50 1 ms and p99 3 ms; rerank 1,000 cached candidates,
5 ms; rerank 64 fresh candidates of 128 tokens, encoder time plus at most 5 %. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from machine import provenance

from fspo_jax import PersonalizedReward, Preference, rerank
from fspo_jax.models.encoders.text_encoder import load_encoder
from fspo_jax.models.features.featurizer import Featurizer

WORDS = (
    "the a user prefers short warm detailed answers with jokes about cats economics physics travel food and never "
    "likes long formal replies because time matters"
).split()


def text(generator: random.Random, words: int) -> str:
    return " ".join(generator.choices(WORDS, k=words))


def milliseconds(call: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    generator = random.Random(0)
    loaded = PersonalizedReward.load(arguments.run)
    encoder = load_encoder(loaded.config.encoder.model)
    with tempfile.TemporaryDirectory() as directory:
        featurizer = Featurizer(encoder, loaded.config.encoder, directory)
        reward = PersonalizedReward.from_parts(loaded.config, loaded.scoring.params, featurizer)
        pairs = [Preference(text(generator, 8), text(generator, 60), text(generator, 60)) for _ in range(8)]
        cached = [text(generator, 40) for _ in range(1_000)]

        def adapt() -> object:
            return np.asarray(reward.adapt(pairs).state.mean)

        user = reward.adapt(pairs)
        rerank(user, "p", cached)
        adapt()
        adapting = sorted(milliseconds(adapt, max(arguments.repeats, 100)))
        ranking = milliseconds(lambda: rerank(user, "p", cached), arguments.repeats)

        # Fresh candidates, interleaved with the encoder alone on equally fresh ones.
        encoding, fresh = [], []
        for _ in range(12):
            texts = [text(generator, 126) for _ in range(64)]
            encoding += milliseconds(lambda texts=texts: encoder.encode(texts), 1)
            texts = [text(generator, 126) for _ in range(64)]
            fresh += milliseconds(lambda texts=texts: rerank(user, "p", texts), 1)
    result = {
        "adapt_8_pairs_p50_ms": statistics.median(adapting),
        "adapt_8_pairs_p99_ms": adapting[int(0.99 * len(adapting))],
        "rerank_1000_cached_p50_ms": statistics.median(ranking),
        "rerank_64_fresh_p50_ms": statistics.median(fresh[2:]),
        "encode_64_fresh_p50_ms": statistics.median(encoding[2:]),
        "fresh_over_encoder": statistics.median(f / e for f, e in zip(fresh[2:], encoding[2:], strict=True)),
    }
    print(json.dumps({**provenance(), **result}, indent=1))


if __name__ == "__main__":
    main()
