"""`fspo adapt` and `fspo rerank`: learn one person from a few pairs, and rank responses for them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.arguments import shown
from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.cli.inputs import STANDARD_INPUT, add_reading, describe_path, input_path, read_document
from fspo_jax.errors import DataError, counted
from fspo_jax.shipped import find_reward

if TYPE_CHECKING:
    from fspo_jax.data.collecting import LoadedUsers
    from fspo_jax.data.locations import Location
    from fspo_jax.reward import PersonalizedReward, UserReward
    from fspo_jax.serving.requests import RerankRequest
    from fspo_jax.types import Preference

PAIRS = 'pairs of one person, such as {"prompt": ..., "chosen": ..., "rejected": ...} on each line'
CANDIDATES = 'candidates as JSON or JSONL: a list of strings, or {"text": ...} on each line'
DOCUMENT = 'one JSON document: {"pairs": [...], "prompt": ..., "candidates": [...]}'
NUMBERS = ("quality_weight", "caution", "certainty")
"""Numbers of a request that are options, too."""

CONTAINERS = "as jsonl, json, csv or parquet"

ADAPT_EXAMPLE = """  echo '{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}' > pairs.jsonl
  fspo adapt fspo-mini pairs.jsonl --output users/ana"""
RERANK_EXAMPLE = """  echo '{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}' > pairs.jsonl
  echo '["Light scatters.", "It just is."]' > drafts.json
  fspo rerank fspo-mini --pairs pairs.jsonl --prompt "Why is the sky blue?" --candidates drafts.json"""


def add_parsers(commands: Any) -> None:
    """Adds both commands."""
    adapt = add_command(
        commands,
        "adapt",
        "Learn what one person likes from pairs that they labelled, and save it.",
        """echo '{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}' | fspo adapt fspo-mini -o users/ana\n"""
        "fspo adapt fspo-mini more_pairs.jsonl --output users/ana --update\n"
        "fspo adapt fspo-mini answers.csv --columns prompt=question,chosen=better,rejected=worse -o users/bo",
        _adapt,
        details="Use it for a person who comes back: 'fspo rerank --user' then needs no pairs. Nothing is trained: the "
        "reward reads the pairs in one forward pass. The saved user works with this reward only.",
    )
    add_reward(adapt)
    adapt.add_argument(
        "pairs",
        metavar="PAIRS",
        nargs="?",
        help=f"a file of {PAIRS}, {CONTAINERS}; or a `datasets` directory or id; or -, the default, for standard input",
    )
    adapt.add_argument("-o", "--output", metavar="USER", required=True, help="where to save the user")
    existing = adapt.add_mutually_exclusive_group()
    existing.add_argument("--update", action="store_true", help="add the pairs to the user saved at USER")
    existing.add_argument("--overwrite", action="store_true", help="replace the user saved at USER")
    adapt.add_argument(
        "--keep-texts",
        action="store_true",
        help="keep the texts of the pairs, so that 'fspo user' can show them",
    )
    adapt.add_argument(
        "--half-life",
        metavar="N",
        type=float,
        help="for a taste that changes: after N newer pairs, half of the correlation with today's taste is left",
    )
    add_reading(adapt)

    rerank = add_command(
        commands,
        "rerank",
        "Rank responses for one person, the best first.",
        """echo '{"pairs": [], "prompt": "Hi", "candidates": ["Hello!", "Yes?"]}' | fspo rerank fspo-mini\n"""
        "fspo rerank fspo-mini request.json --top-k 3\n"
        'fspo rerank fspo-mini --user users/ana --prompt "Why is the sky blue?" --candidates drafts.json',
        _rerank,
        details="Use it to choose among drafts, such as several answers of a language model. Say what the person likes "
        "with labelled pairs, or name a user saved by 'fspo adapt'; with neither, the ranking is for people in "
        "general. Writes JSON to standard output: for each candidate its rank, index (0 is the first), score in nats, "
        "uncertainty and text.",
    )
    add_reward(rerank)
    rerank.add_argument(
        "document",
        metavar="DOCUMENT",
        nargs="?",
        help=f"a file of {DOCUMENT}; or -, the default, for standard input",
    )
    person = rerank.add_mutually_exclusive_group()
    person.add_argument(
        "--pairs", metavar="FILE", help=f"a file of {PAIRS}, {CONTAINERS}; - reads standard input"
    )
    person.add_argument("--user", metavar="USER", help="a user saved by 'fspo adapt'")
    rerank.add_argument("--prompt", metavar="TEXT", help="the prompt that the candidates respond to")
    rerank.add_argument(
        "--candidates", metavar="FILE", help=f"a file of {CANDIDATES}; - reads standard input"
    )
    rerank.add_argument("--top-k", metavar="N", type=positive, help="write only the N best")
    rerank.add_argument(
        "--quality",
        metavar="FILE",
        help="a file with a JSON list of numbers, one for each candidate: how right it is",
    )
    rerank.add_argument(
        "--quality-weight",
        metavar="W",
        type=float,
        help="what one unit of quality is worth, in nats (default 1)",
    )
    rerank.add_argument(
        "--caution",
        metavar="S",
        type=float,
        help="lower each score by S times its uncertainty, so that a doubtful candidate is not first (default 0)",
    )
    rerank.add_argument(
        "--certainty",
        metavar="P",
        type=float,
        help="keep the order of people in general unless the reward is this sure, 0 to 1, that the person prefers "
        "another candidate (default 0)",
    )
    add_reading(rerank)


def positive(text: str) -> int:
    """Reads a whole number from 1 on, for an option."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def _adapt(arguments: argparse.Namespace) -> int:
    from fspo_jax.checkpoints import check_user_file

    find_reward(arguments.run_path)
    output = Path(arguments.output)
    if arguments.update and not output.exists():
        raise DataError(f"{output}: no such user to update. Leave out --update to make a new one.")
    if output.exists() and not (arguments.update or arguments.overwrite):
        raise DataError(
            f"{output}: already exists. Pass --update to add the pairs to this user, or --overwrite to replace it."
        )
    check_user_file(output)
    if arguments.update and (arguments.keep_texts or arguments.half_life is not None):
        raise DataError(
            "--keep-texts and --half-life are chosen for a new user. --update goes on with its choice."
        )
    path = input_path(arguments.pairs, f"a file of {PAIRS}", ADAPT_EXAMPLE)
    loaded = _read_pairs(path, arguments)
    _say(path, loaded.summary())
    if not _pairs(loaded):
        raise DataError(f"{describe_path(path)}: no row gives a pair, so there is nothing to learn.")
    with sole_writer(output):
        if arguments.update:
            _, user = _load(arguments, str(output), _pairs(loaded))
        else:
            keep_compiled_programs()
            user = load_reward(arguments).adapt(
                _pairs(loaded), keep_texts=arguments.keep_texts, half_life=arguments.half_life
            )
        user.save(output, overwrite=arguments.update or arguments.overwrite)
    print(f"{output}: adapted to {counted(user.shots, 'pair')}.")
    return 0


@contextlib.contextmanager
def sole_writer(output: Path) -> Iterator[None]:
    """Lets commands that change one saved user wait for each other, so that none loses the pairs of another.

    Directories that cannot be locked are used without a lock.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            folder = os.open(output.parent, os.O_RDONLY)
            held.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield


def _read_pairs(location: Location, arguments: argparse.Namespace, name: str = "") -> LoadedUsers:
    """Reads the pairs of one person as `--columns` and `--format` say."""
    from fspo_jax.data.sources import load_pairs

    return load_pairs(location, format=arguments.format, columns=arguments.columns, name=name)


def _pairs(loaded: LoadedUsers) -> tuple[Preference, ...]:
    return tuple(pair for user in loaded for pair in user.preferences)


def _say(path: str, summary: str) -> None:
    """Says on standard error how rows were read."""
    print(f"{describe_path(path)}: {summary}", file=sys.stderr)


def _load(
    arguments: argparse.Namespace, saved: str | None, preferences: Sequence[Preference]
) -> tuple[PersonalizedReward, UserReward]:
    """Returns the reward, and the user adapted to the saved pairs and the given ones."""
    keep_compiled_programs()
    from fspo_jax.reward import UserReward

    reward = load_reward(arguments)
    if saved is None:
        return reward, reward.adapt(preferences)
    user = UserReward.load(saved, reward)
    return reward, user.update(preferences) if preferences else user


def _rerank(arguments: argparse.Namespace) -> int:
    from fspo_jax.rerank import rerank
    from fspo_jax.serving.requests import RerankResponse

    find_reward(arguments.run_path)
    if arguments.user is not None:
        _refuse_text(Path(arguments.user), arguments.run_path)
    request = _request(arguments)
    if request.prompt == "":
        print("fspo: warning: the prompt is empty.", file=sys.stderr)
    _, user = _load(arguments, arguments.user, request.pairs)
    ranking = rerank(
        user,
        request.prompt,
        request.candidates,
        request.top_k,
        quality=request.quality,
        quality_weight=request.quality_weight,
        caution=request.caution,
        certainty=request.certainty,
    )
    answer = RerankResponse(request.prompt, user.shots, tuple(ranking))
    json.dump(answer.to_json(), sys.stdout, ensure_ascii=False, indent=2)
    print()
    return 0


def _refuse_text(user: Path, reward: str) -> None:
    """Raises `DataError` for a file of text: a saved user begins with a small number of eight bytes."""
    if user.is_file():
        with open(user, "rb") as file:
            start = file.read(8)
        if start.decode("latin-1").strip() and 0 not in start:
            raise DataError(
                f"{user}: is a text file, such as pairs, and no saved user. Make a user of pairs with "
                f"'fspo adapt {reward} {user} --output USER', or pass the pairs with --pairs."
            )


def _request(arguments: argparse.Namespace) -> RerankRequest:
    """Joins the request from the document and the options. Each part may come from one of them only."""
    from fspo_jax.serving.requests import RerankRequest, candidates_of, check_keys

    inputs = [arguments.document, arguments.pairs, arguments.candidates, arguments.quality]
    if inputs.count(STANDARD_INPUT) > 1:
        raise DataError(
            "two arguments are '-', but standard input can be read only once. Put one of them into a file."
        )
    given = {
        "pairs": "--user" if arguments.user is not None else "--pairs" if arguments.pairs is not None else "",
        "prompt": "--prompt" if arguments.prompt is not None else "",
        "candidates": "--candidates" if arguments.candidates is not None else "",
        "top_k": "--top-k" if arguments.top_k else "",
        "quality": "--quality" if arguments.quality is not None else "",
        **{
            key: f"--{key.replace('_', '-')}" if getattr(arguments, key) is not None else ""
            for key in NUMBERS
        },
    }
    name, document = "the request", {}
    if arguments.document is not None or not (given["candidates"] and given["prompt"]):
        if arguments.document is None and STANDARD_INPUT in inputs:
            raise DataError(
                f"--{'candidates' if given['prompt'] else 'prompt'} is missing. Give it, or {DOCUMENT}."
            )
        missing = [key for key in ("prompt", "candidates") if not given[key]]
        expected = " and ".join(f"the {key} with --{key}" for key in missing) + f", or {DOCUMENT}"
        name, document = read_document(input_path(arguments.document, expected, RERANK_EXAMPLE), expected)
        if not isinstance(document, dict):
            raise DataError(f"{name}: expected {DOCUMENT}, not {shown(document)}.")
        check_keys(document, name)
    for key, option in given.items():
        if option and key in document:
            raise DataError(f"{name}: has '{key}', and {option} was given too. Use one of them.")
        if not option and key not in document and key in ("prompt", "candidates"):
            raise DataError(f"{name}: '{key}' is missing. Add it, or pass --{key}.")
    parts: dict[str, Any] = dict(document)
    if given["prompt"]:
        parts["prompt"] = arguments.prompt
    if given["top_k"]:
        parts["top_k"] = arguments.top_k
    if given["candidates"]:
        candidates_name, value = read_document(
            input_path(arguments.candidates, CANDIDATES, RERANK_EXAMPLE), CANDIDATES
        )
        parts["candidates"] = list(candidates_of(value, candidates_name))
    if given["quality"]:
        wanted = "a JSON list of numbers, one for each candidate"
        parts["quality"] = read_document(input_path(arguments.quality, wanted, RERANK_EXAMPLE), wanted)[1]
    parts |= {key: getattr(arguments, key) for key in NUMBERS if given[key]}
    rows = parts.pop("pairs", None)
    request = RerankRequest.from_json(parts, name)
    if arguments.pairs is not None:
        loaded = _read_pairs(input_path(arguments.pairs, PAIRS, RERANK_EXAMPLE), arguments)
        _say(arguments.pairs, loaded.summary())
    elif rows is not None:
        loaded = _read_pairs({"pairs": rows}, arguments, name)
        if len(_pairs(loaded)) < loaded.counts["rows"]:
            _say(name, loaded.summary())
    else:
        if arguments.columns or arguments.format != "auto":
            raise DataError("--columns and --format say how pairs are read, but no pairs are given.")
        return request
    return dataclasses.replace(request, pairs=_pairs(loaded))
