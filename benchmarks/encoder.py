"""Texts a second of the sentence encoder against sentence-transformers on torch: same weights, same threads, one run.

    python benchmarks/encoder.py [--model all-mpnet-base-v2] [--texts 2000]

Needs torch (CPU) and sentence-transformers beside the package. Both encode the same texts of 3 to 200 words in turns,
chunk by chunk, after a warm-up that compiles every bucket; batch 64 for sentence-transformers, its own sorting
included. Bars: a ratio of at least 1.0 for all-MiniLM-L6-v2, of 0.9 for all-mpnet-base-v2. Prints one JSON object,
with the largest difference of the embeddings, and also the ratio of CPU seconds, which other processes of the machine
change less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time

import numpy as np
from machine import provenance

from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.pretrained.locate import find_model

WORDS = (
    "the a user prefers short warm detailed answers with jokes about cats economics physics travel food and never "
    "likes long formal replies because time matters however quantum museums sometimes disappoint"
).split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="what `find_model` takes")
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--chunks", type=int, default=5)
    arguments = parser.parse_args()

    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(os.cpu_count() or 1)
    theirs = SentenceTransformer(str(find_model(arguments.model)), device="cpu")
    ours = load_encoder(arguments.model)
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(3, 200))) for _ in range(arguments.texts)]
    ours.encode(texts)
    theirs.encode(texts[:200], batch_size=64)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu_seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    largest = 0.0
    for i in range(arguments.chunks):
        part = texts[i :: arguments.chunks]
        rows = {}
        order = ("ours", "theirs") if i % 2 else ("theirs", "ours")
        for name in order:
            started, cpu_started = time.perf_counter(), time.process_time()
            rows[name] = ours.encode(part) if name == "ours" else theirs.encode(part, batch_size=64)
            seconds[name].append(time.perf_counter() - started)
            cpu_seconds[name].append(time.process_time() - cpu_started)
        largest = max(largest, float(np.abs(rows["ours"] - rows["theirs"]).max()))
    print(
        json.dumps(
            {
                **provenance(),
                "model": arguments.model,
                "torch": torch.__version__,
                "texts_per_second": {name: arguments.texts / sum(times) for name, times in seconds.items()},
                "ratio": ratio(seconds),
                "cpu_ratio": ratio(cpu_seconds),
                "largest_difference": largest,
            },
            indent=1,
        )
    )


def ratio(seconds: dict[str, list[float]]) -> float:
    """Median over chunks of the other's time to ours."""
    return statistics.median(t / o for o, t in zip(seconds["ours"], seconds["theirs"], strict=True))


if __name__ == "__main__":
    main()
