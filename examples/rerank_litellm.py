"""Ranks drafts for a person through LiteLLM, which knows nothing of personal rewards.

    pip install litellm
    fspo serve fspo-mini --users users.db                      # in another terminal
    python examples/rerank_litellm.py [--url http://localhost:8000]

Gives the service two labels of Ana, then ranks as any caller of `litellm.rerank` does: the user stands in the name of
the model, behind a colon.
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request

import litellm

LABELS = [
    {"prompt": "What is entropy?", "chosen": "A room that gets messy by itself.", "rejected": "S = k log W."},
    {"prompt": "What is a qubit?", "chosen": "A coin that is spinning.", "rejected": "A unit vector in C^2."},
]
DRAFTS = [
    "Rayleigh scattering goes with the fourth power.",
    "The air throws the blue crayons all over the sky.",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://localhost:8000")
    url, token = parser.parse_args().url, os.environ.get("FSPO_TOKEN", "none")
    for number, label in enumerate(LABELS):
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"ana-{number}",
        }
        request = urllib.request.Request(
            f"{url}/v1/users/ana/preferences", json.dumps(label).encode(), headers
        )
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.URLError as error:
            raise SystemExit(f"{url}: {error}. Start it: fspo serve fspo-mini --users users.db") from None
    found = litellm.rerank(
        model="hosted_vllm/fspo-mini:ana",
        query="Why is the sky blue?",
        documents=DRAFTS,
        api_base=f"{url}/v1",
        api_key=token,
    )
    for place in found.results:
        print(f"{place['relevance_score']:.2f}  {DRAFTS[place['index']]}")


if __name__ == "__main__":
    main()
