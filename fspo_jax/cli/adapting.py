"""`fspo adapt` and `fspo rerank`: one person's reward from a few pairs, and a ranking by it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_reward
from fspo_jax.cli.documents import parse_candidates, parse_preferences, read_document
from fspo_jax.errors import DataError, did_you_mean
from fspo_jax.shipped import find_reward
from fspo_jax.types import Preference

if TYPE_CHECKING:
    from fspo_jax.reward import PersonalizedReward, UserReward

PAIRS = 'pairs, JSON or JSONL: {"prompt": ..., "chosen": ..., "rejected": ...} a line'
CANDIDATES = 'candidates, JSON or JSONL: a list of strings, or {"text": ...} a line'
DOCUMENT = 'one JSON document: {"pairs": [...], "prompt": ..., "candidates": [...]}'


def add_parsers(commands: Any) -> None:
    """Adds both commands."""
    adapt = add_command(
        commands,
        "adapt",
        "Learn one person from labelled pairs and save the result. One forward pass; no weight changes.",
        "fspo adapt runs/quickstart pairs.jsonl --output users/ana\n"
        "fspo adapt runs/quickstart more_pairs.jsonl --output users/ana --update",
        _adapt,
    )
    add_reward(adapt)
    adapt.add_argument("pairs", metavar="PAIRS", help=f"file of {PAIRS}; - for standard input")
    adapt.add_argument("-o", "--output", metavar="USER", required=True, help="where to save the user")
    existing = adapt.add_mutually_exclusive_group()
    existing.add_argument("--update", action="store_true", help="add the pairs to the user saved at USER")
    existing.add_argument("--overwrite", action="store_true", help="replace a user saved at USER")

    rerank = add_command(
        commands,
        "rerank",
        "Order candidate responses by one person's reward. Writes JSON to standard output: rank, index (0 is the "
        "first candidate), score in nats, uncertainty, text.",
        'fspo rerank runs/quickstart --user users/ana --prompt "Why is the sky blue?" --candidates drafts.json\n'
        "fspo rerank runs/quickstart request.json --top-k 3\n"
        """echo '{"pairs": [], "prompt": "Hi", "candidates": ["Hello!", "Yes?"]}' | fspo rerank runs/quickstart -""",
        _rerank,
    )
    add_reward(rerank)
    rerank.add_argument(
        "document", metavar="DOCUMENT", nargs="?", help=f"file of {DOCUMENT}; - for standard input"
    )
    person = rerank.add_mutually_exclusive_group()
    person.add_argument("--pairs", metavar="FILE", help=f"file of {PAIRS}; - for standard input")
    person.add_argument("--user", metavar="USER", help="a user saved by 'fspo adapt'")
    rerank.add_argument("--prompt", metavar="TEXT", help="the prompt that the candidates answer")
    rerank.add_argument("--candidates", metavar="FILE", help=f"file of {CANDIDATES}; - for standard input")
    rerank.add_argument("--top-k", metavar="N", type=_positive, help="only the N best")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def _adapt(arguments: argparse.Namespace) -> int:
    find_reward(arguments.run_path)
    output = Path(arguments.output)
    if arguments.update and not output.exists():
        raise DataError(f"{output}: no such user to update. Leave out --update to make a new one.")
    if output.exists() and not (arguments.update or arguments.overwrite):
        raise DataError(
            f"{output}: exists. Pass --update to add the pairs to this user, or --overwrite to replace it."
        )
    name, value = read_document(arguments.pairs, PAIRS)
    preferences = parse_preferences(value, name)
    reward, user = _load(arguments.run_path, str(output) if arguments.update else None, preferences)
    output.parent.mkdir(parents=True, exist_ok=True)
    user.save(output, overwrite=True)
    print(f"{output}: adapted to {user.shots} of at most {reward.max_context} pairs.")
    return 0


def _load(
    run_path: str, saved: str | None, preferences: list[Preference]
) -> tuple[PersonalizedReward, UserReward]:
    """The reward, and it adapted to a saved user's pairs and the given ones."""
    from fspo_jax.reward import PersonalizedReward, UserReward

    reward = PersonalizedReward.load(run_path)
    if saved is None:
        return reward, reward.adapt(preferences)
    user = UserReward.load(saved, reward)
    return reward, user.update(preferences) if preferences else user


def _rerank(arguments: argparse.Namespace) -> int:
    from fspo_jax.rerank import rerank

    find_reward(arguments.run_path)
    preferences, prompt, candidates = _request(arguments)
    _, user = _load(arguments.run_path, arguments.user, preferences)
    ranking = rerank(user, prompt, candidates, arguments.top_k)
    lines = [
        {
            "rank": line.rank,
            "index": line.index,
            "score": round(line.score, 6),
            "uncertainty": None if math.isnan(line.uncertainty) else round(line.uncertainty, 6),
            "text": line.text,
        }
        for line in ranking
    ]
    json.dump(
        {"prompt": prompt, "shots": user.shots, "ranking": lines}, sys.stdout, ensure_ascii=False, indent=2
    )
    print()
    return 0


def _request(arguments: argparse.Namespace) -> tuple[list[Preference], Any, list[str]]:
    """Pairs, prompt and candidates, each from the document or from its own option."""
    inputs = [arguments.document, arguments.pairs, arguments.candidates]
    if inputs.count("-") > 1:
        raise DataError("standard input can be read once; two arguments are '-'.")
    document: dict[str, Any] = {}
    name = ""
    if arguments.document or not (arguments.candidates and arguments.prompt is not None):
        if arguments.document is None and "-" in inputs:
            missing = "--prompt" if arguments.prompt is None else "--candidates"
            raise DataError(f"{missing} is missing. Give it, or {DOCUMENT}.")
        name, document = read_document(arguments.document or "-", DOCUMENT)
        if not isinstance(document, dict):
            raise DataError(f"{name}: expected {DOCUMENT}, not {document!r:.80}.")
        for key in document:
            known = ("pairs", "prompt", "candidates")
            if key not in known:
                raise DataError(
                    f"{name}: unknown key '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}."
                )
    given = {
        "pairs": "--user" if arguments.user else "--pairs" if arguments.pairs else "",
        "prompt": "--prompt" if arguments.prompt is not None else "",
        "candidates": "--candidates" if arguments.candidates else "",
    }
    for key, option in given.items():
        if option and key in document:
            raise DataError(f"{name}: has '{key}', and {option} was given too. Use one of them.")
        if not option and key not in document and key != "pairs":
            raise DataError(f"{name}: '{key}' is missing. Add it, or pass --{key}.")
    preferences = []
    if arguments.pairs:
        pairs_name, value = read_document(arguments.pairs, PAIRS)
        preferences = parse_preferences(value, pairs_name)
    elif "pairs" in document:
        preferences = parse_preferences({"pairs": document["pairs"]}, name)
    if arguments.candidates:
        candidates_name, value = read_document(arguments.candidates, CANDIDATES)
        candidates = parse_candidates(value, candidates_name)
    else:
        candidates = parse_candidates({"candidates": document["candidates"]}, name)
    return preferences, document.get("prompt", arguments.prompt), candidates
