"""Several drafts of a language model for each prompt of a corpus: responses that it would write itself.

    python benchmarks/own_drafts.py ../shared/data/candidates/vicuna80.jsonl.gz --output runs/drafts.jsonl

The result is a corpus for candidate personas (`kind = "candidates"`): a policy that is trained on them learns to choose
among what it writes anyway. Drafts are sampled as the plain samples of `guidance.py` are.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

from fspo_jax import load_writer
from fspo_jax.types import Sampling


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", help="rows with a `prompt`, as gzipped JSON lines")
    parser.add_argument("--writer", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=42, help="the first prompts of the corpus")
    parser.add_argument("--each", type=int, default=8, help="drafts of each prompt")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    writer = load_writer(arguments.writer)
    with gzip.open(arguments.corpus, "rt", encoding="utf-8") as lines:
        prompts = list(dict.fromkeys(json.loads(line)["prompt"] for line in lines))[: arguments.prompts]
    started = time.time()
    with Path(arguments.output).open("w", encoding="utf-8") as file:
        for i, prompt in enumerate(prompts):
            sampling = Sampling(
                arguments.temperature, max_tokens=arguments.max_tokens, seed=arguments.seed + 1000 * i
            )
            draft = writer.begin(prompt, sampling)
            texts = [one.text for one in writer.continuations(draft, arguments.each, draft.room)]
            candidates = [{"model": arguments.writer, "text": text} for text in dict.fromkeys(texts) if text]
            file.write(json.dumps({"prompt": prompt, "candidates": candidates}) + "\n")
            file.flush()
            print(f"{i + 1} of {len(prompts)} after {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
