"""`fspo data`: make synthetic users, and inspect, audit and validate data of real ones."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.arguments import check_integer
from fspo_jax.cli.commands import add_command, add_overrides
from fspo_jax.cli.inputs import add_reading, describe_path, read_people, say_if_one_person
from fspo_jax.errors import DataError, counted, did_you_mean, errors_in

if TYPE_CHECKING:
    from fspo_jax.types import Prompt

_ROWS = (
    "rows such as {user_id, prompt, chosen, rejected} as jsonl, json, csv (each with .gz or not) or parquet; a "
    "directory of such files; a `datasets` id; sample:NAME; - for standard input"
)


def add_parsers(commands: Any) -> None:
    """Adds `data` with its commands."""
    data = commands.add_parser(
        "data",
        help="Make, inspect, audit and validate preference data",
        description="Make, inspect, audit and validate preference data.",
        epilog="'fspo data COMMAND --help' explains one command.",
    )
    actions = data.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="action")

    make = add_command(
        actions,
        "make",
        "Write the users of a config as parquet files, one per split, with a data card.",
        "fspo data make configs/quickstart.toml --output data/quickstart",
        _make,
        details="Use it to look at synthetic personas, or to share the exact users of a run. Personas are made as the "
        "config says; real people are read, checked and split.",
    )
    make.add_argument("config", metavar="CONFIG", help="a TOML file such as configs/quickstart.toml")
    make.add_argument("--output", metavar="DIR", required=True, help="a new or empty directory")
    add_overrides(make)

    inspect = add_command(
        actions,
        "inspect",
        "Show what is in preference data: users, pairs, lengths and a first pair.",
        "fspo data inspect sample:polarized\nfspo data inspect people.jsonl.gz\nfspo data inspect prism\n"
        "fspo data inspect prism downloads/prism",
        _inspect,
        details="Use it first, to see whether your columns were understood. With the name of a published data set it "
        "shows how that data set is read, and with its files what is in them.",
    )
    inspect.add_argument(
        "path",
        metavar="PATH",
        help=f"{_ROWS}; what 'fspo data make' wrote; or the name of a published data set",
    )
    inspect.add_argument(
        "files", metavar="FILES", nargs="?", help="the files of the published data set, or its `datasets` id"
    )
    add_reading(inspect)

    audit = add_command(
        actions,
        "audit",
        "Check whether an accuracy on this data can say anything about personalisation.",
        "fspo data audit sample:polarized --no-features\nfspo data audit people.jsonl\n"
        "fspo data audit downloads/prism --format prism",
        _audit,
        details="Use it before you report results on a new data set. It measures what the length of a response alone "
        "predicts, duplicate users, texts that users share, and what remains when users are shuffled or contexts are "
        "swapped. The exit status is 1 if something is suspicious.",
    )
    audit.add_argument("path", metavar="PATH", help=_ROWS)
    add_reading(audit)
    audit.add_argument("--no-features", action="store_true", help="skip the audits that need a text encoder")

    validate = add_command(
        actions,
        "validate",
        "Check every row of preference data, and list bad rows with file, line and reason.",
        "fspo data validate sample:polarized\nfspo data validate people.jsonl --rejects people.rejects.jsonl\n"
        "fspo data validate answers.csv --columns prompt=question,chosen=better,rejected=worse,user_id=annotator",
        _validate,
        details="Use it before training on your own data. The exit status is 0 if all rows are good and 1 if some are "
        "bad. 'train', 'evaluate' and 'calibrate' set bad rows aside; 'adapt' and 'rerank' stop at "
        "the first, because each of a few pairs matters.",
    )
    validate.add_argument("path", metavar="PATH", help=_ROWS)
    validate.add_argument(
        "--strict", action="store_true", help="stop at the first bad row, with exit status 2"
    )
    validate.add_argument(
        "--rejects", metavar="FILE", help="write the bad rows and their reasons to this jsonl file"
    )
    validate.add_argument(
        "--show", metavar="N", type=int, default=20, help="print at most N bad rows (default: 20)"
    )
    add_reading(validate)


def _make(arguments: argparse.Namespace) -> int:
    from fspo_jax.config import load_config
    from fspo_jax.data.build import load_splits
    from fspo_jax.data.cards import data_card
    from fspo_jax.data.exchange import check_new_directory, export_users
    from fspo_jax.data.splits import SPLITS
    from fspo_jax.models.features.make import make_encoder

    check_new_directory(arguments.output)
    config = load_config(arguments.config, arguments.overrides)
    with errors_in(arguments.config):
        splits = load_splits(config.data, SPLITS)
    card = data_card(splits["test"], embed=make_encoder(config.encoder).encode)
    text = card.to_markdown(f"{arguments.config}: users of the test split")
    export_users(splits, arguments.output, card=text)
    print(text)
    print(
        f"{arguments.output}: "
        + ", ".join(f"{counted(len(users), 'user')} in {name}" for name, users in splits.items())
    )
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from fspo_jax.data.datasets.catalogue import DATASETS, named_dataset

    path = arguments.path
    if arguments.files is not None or path in DATASETS:
        print(f"{path}\n{named_dataset(path).card()}")
        if arguments.files is None:
            return 0
        arguments.format, path = path, arguments.files
    elif "/" not in path and not Path(path).exists() and (hint := did_you_mean(path, DATASETS)):
        raise DataError(f"{path}: no such file, directory or published data set.{hint}")
    users = read_people(path, arguments, to=sys.stdout, id_optional=True)
    pairs = [preference for user in users for preference in user.preferences]
    _print_spread("pairs per user", [len(user.preferences) for user in users])
    _print_spread("characters of a prompt", [_characters(pair.prompt) for pair in pairs])
    _print_spread(
        "characters of a response", [len(text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    )
    longer = statistics.fmean(
        (len(pair.chosen) > len(pair.rejected)) + 0.5 * (len(pair.chosen) == len(pair.rejected))
        for pair in pairs
    )
    print(f"  chosen is the longer response: {longer:.1%} of pairs")
    print(f"  distinct prompts: {len({pair.prompt for pair in pairs}):,}")
    chats = sum(not isinstance(pair.prompt, str) for pair in pairs)
    print(f"  prompts that are conversations: {chats:,} of {len(pairs):,}")
    groups = {user.group for user in users if user.group}
    if groups:
        print(f"  groups: {', '.join(sorted(groups)[:10])}{', ...' if len(groups) > 10 else ''}")
    first = users[0].preferences[0]
    print(f"  first pair{f', user {users[0].user_id}' if users[0].user_id else ''}:")
    for name, text in (
        ("prompt", _one_text(first.prompt)),
        ("chosen", first.chosen),
        ("rejected", first.rejected),
    ):
        print(f"    {name:9}{text!r:.100}")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    users = read_people(arguments.path, arguments, to=sys.stdout)

    from fspo_jax.config import EncoderConfig
    from fspo_jax.evaluation.audits import audit
    from fspo_jax.evaluation.render import spread
    from fspo_jax.models.features.make import make_featurizer

    found = audit(users, None if arguments.no_features else make_featurizer(EncoderConfig()))
    for line in found:
        mark = "!" if line.suspicious else " "
        print(f"{mark} {line.name}: {spread(line.value)} %. Expected: {line.expectation}.")
    return 1 if any(line.suspicious for line in found) else 0


def _characters(prompt: Prompt) -> int:
    return len(_one_text(prompt))


def _one_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


def _print_spread(name: str, values: Iterable[int]) -> None:
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[math.ceil(0.95 * len(ordered)) - 1]
    print(f"  {name}: {ordered[0]:,} to {ordered[-1]:,}, median {middle:,}, 95 % at most {high:,}")


def _validate(arguments: argparse.Namespace) -> int:
    from fspo_jax.data.sources import load_users

    show = check_integer(arguments.show, "--show", 0)
    loaded = load_users(
        arguments.path,
        format=arguments.format,
        columns=arguments.columns,
        strict=arguments.strict,
        rejects=arguments.rejects,
        id_optional=True,
    )
    for reject in loaded.rejects[:show]:
        print(f"{reject.file}:{reject.line}: {reject.kind}: {reject.reason}")
    if len(loaded.rejects) > show:
        where = f"see {arguments.rejects}" if arguments.rejects else "pass --rejects FILE to get them all"
        print(f"... and {len(loaded.rejects) - show:,} more; {where}")
    print(f"{describe_path(arguments.path)}: {loaded.summary()}")
    say_if_one_person(arguments.path, loaded)
    if not loaded.users:
        print(f"{describe_path(arguments.path)}: no row gives a pair.", file=sys.stderr)
    return 1 if loaded.rejects or not loaded.users else 0
