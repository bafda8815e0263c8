"""Asks any server with OpenAI's interface for several responses and keeps the one that this person likes best.

    python examples/best_of_n.py PAIRS PROMPT --endpoint http://localhost:11434/v1 --model qwen3:0.6b [--n 8]

PAIRS is a file of the person's labelled pairs, in any shape that `fspo data validate` reads. The key, if the server
wants one, is read from the environment variable OPENAI_API_KEY. Prints all responses, the best first.
"""

from __future__ import annotations

import argparse
import os

import fspo_jax as fspo
from fspo_jax.data.sources import load_pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs")
    parser.add_argument("prompt")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--n", type=int, default=8)
    given = parser.parse_args()
    server = fspo.openai_endpoint(given.endpoint, given.model, api_key=os.environ.get("OPENAI_API_KEY", ""))
    pairs = [pair for user in load_pairs(given.pairs) for pair in user.preferences]
    person = fspo.PersonalizedReward.load("fspo-mini").adapt(pairs)
    try:
        ranked = fspo.best_of_n(person, given.prompt, given.n, server)
    except fspo.FspoError as error:  # for example a server that does not run
        raise SystemExit(str(error)) from None
    for best in ranked:
        print(f"{best.rank}. {best.score:+.2f} +- {best.uncertainty:.2f}  {best.text}")


if __name__ == "__main__":
    main()
