"""Latency of serving: adapting to eight pairs, ranking cached and fresh candidates, and the worst first calls.

    python benchmarks/serving.py RUN [--repeats 300]

RUN is a trained run or `fspo-mini`. Bars on 2 cores: adapt to 8 cached pairs, p50 1 ms and p99 3 ms; rerank 1,000
cached candidates, 5 ms; rerank 64 fresh candidates of 128 tokens, encoder time plus at most 5 %. After `warm_up`, no
first call of `adapt` and `score` above 100 ms, for any number of shots and up to 256 candidates whose features are
cached. Prints one JSON object.

First calls are measured before anything else, while nothing but `warm_up` has compiled a program. Without
`JAX_COMPILATION_CACHE_DIR` its seconds are those of the compiler; with it, those of reading the programs again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import tempfile

import jax
from machine import milliseconds, provenance, run_benchmark

from fspo_jax import PersonalizedReward, Preference, rerank
from fspo_jax.models.features.make import make_featurizer

WORDS = (
    "the a user prefers short warm detailed answers with jokes about cats economics physics travel food and never "
    "likes long formal replies because time matters"
).split()
CANDIDATES = (1, 2, 8, 31, 32, 33, 64, 100, 128, 129, 255, 256)
"""Numbers of candidates whose first call is measured, for every number of shots."""


def text(generator: random.Random, words: int) -> str:
    return " ".join(generator.choices(WORDS, k=words))


def first_calls(reward: PersonalizedReward) -> dict[str, float]:
    """The slowest of all first calls after `warm_up`, with cached features and with fresh short texts."""
    generator = random.Random(1)
    pairs = [
        Preference(text(generator, 8), text(generator, 20), text(generator, 20))
        for _ in range(reward.max_context)
    ]
    candidates = [text(generator, 20) for _ in range(max(CANDIDATES))]
    (warm_up,) = milliseconds(reward.warm_up, 1)
    fresh = {}
    for count in (1, 2, 4, 8):
        texts = [text(generator, 12) for _ in range(count)]
        user = reward.adapt()
        fresh[f"first_score_{count}_fresh_short_ms"] = milliseconds(
            lambda user=user, texts=texts: user.score("p", texts), 1
        )[0]
    reward.adapt(pairs).score("p", candidates)  # features are cached from here on
    slowest = {"adapt": 0.0, "score": 0.0}
    for shots in range(reward.max_context + 1):
        adapting = milliseconds(lambda: jax.block_until_ready(reward.adapt(pairs[:shots]).state), 1)  # noqa: B023
        slowest["adapt"] = max(slowest["adapt"], *adapting)
        user = reward.adapt(pairs[:shots])
        for count in CANDIDATES:
            scoring = milliseconds(lambda: user.score("p", candidates[:count]), 1)  # noqa: B023
            slowest["score"] = max(slowest["score"], *scoring)
    return {
        "warm_up_s": warm_up / 1e3,
        "worst_first_adapt_ms": slowest["adapt"],
        "worst_first_score_ms": slowest["score"],
        **fresh,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    generator = random.Random(0)
    loaded = PersonalizedReward.load(arguments.run)
    config = loaded.config
    with tempfile.TemporaryDirectory() as directory:
        featurizer = make_featurizer(dataclasses.replace(config.encoder, cache=directory), config.features)
        reward = PersonalizedReward.from_parts(loaded.config, loaded.scoring.params, featurizer)
        first = first_calls(reward)
        pairs = [Preference(text(generator, 8), text(generator, 60), text(generator, 60)) for _ in range(8)]
        cached = [text(generator, 40) for _ in range(1_000)]

        def adapt() -> object:
            return jax.block_until_ready(reward.adapt(pairs).state)

        user = reward.adapt(pairs)
        rerank(user, "p", cached)
        adapt()
        adapting = sorted(milliseconds(adapt, max(arguments.repeats, 100)))
        ranking = milliseconds(lambda: rerank(user, "p", cached), arguments.repeats)

        # Fresh candidates, interleaved with the encoder alone on equally fresh ones.
        encoding, fresh = [], []
        for _ in range(12):
            texts = [text(generator, 126) for _ in range(64)]
            encoding += milliseconds(lambda texts=texts: featurizer.encoder.encode(texts), 1)
            texts = [text(generator, 126) for _ in range(64)]
            fresh += milliseconds(lambda texts=texts: rerank(user, "p", texts), 1)
    result = {
        **first,
        "adapt_8_pairs_p50_ms": statistics.median(adapting),
        "adapt_8_pairs_p99_ms": adapting[int(0.99 * len(adapting))],
        "rerank_1000_cached_p50_ms": statistics.median(ranking),
        "rerank_64_fresh_p50_ms": statistics.median(fresh[2:]),
        "encode_64_fresh_p50_ms": statistics.median(encoding[2:]),
        "fresh_over_encoder": statistics.median(f / e for f, e in zip(fresh[2:], encoding[2:], strict=True)),
    }
    print(json.dumps({**provenance(), **result}, indent=1))


if __name__ == "__main__":
    run_benchmark(main)
