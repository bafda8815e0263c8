"""`fspo data`: make synthetic users, look into data files, check them."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_overrides

if TYPE_CHECKING:
    from fspo_jax.types import Prompt, User

_ROWS = (
    "rows {user_id, prompt or messages, chosen, rejected} as jsonl, json, csv (each with .gz or not) or parquet; "
    "a directory of such files; or a `datasets` id"
)


def add_parsers(commands: Any) -> None:
    """Adds `data` with its three commands."""
    data = commands.add_parser(
        "data",
        help="Make, inspect and validate preference data",
        description="Make, inspect and validate preference data.",
        epilog="'fspo data COMMAND --help' explains one command.",
    )
    actions = data.add_subparsers(metavar="COMMAND", required=True, dest="action")

    make = add_command(
        actions,
        "make",
        "Write the users of a config as parquet, one file a split, with a data card. "
        "Synthetic personas are made; real ones are read, checked and split.",
        "fspo data make configs/quickstart.toml --output data/quickstart",
        _make,
    )
    make.add_argument("config", metavar="CONFIG", help="a TOML file such as configs/quickstart.toml")
    make.add_argument("--output", metavar="DIR", required=True, help="a new or empty directory")
    add_overrides(make)

    inspect = add_command(
        actions,
        "inspect",
        "Show what is in preference data: users, pairs, lengths, a first pair. With the name of a published data set, "
        "its card, and with its files what is in them.",
        "fspo data inspect people.jsonl.gz\nfspo data inspect prism\nfspo data inspect prism downloads/prism",
        _inspect,
    )
    inspect.add_argument(
        "path",
        metavar="PATH",
        help=f"{_ROWS}; or what 'fspo data make' wrote; or the name of a published data set",
    )
    inspect.add_argument(
        "files", metavar="FILES", nargs="?", help="of a published data set: its files, or its `datasets` id"
    )

    audit = add_command(
        actions,
        "audit",
        "What a personalised accuracy on this data can mean: length and format alone, duplicate users, shared texts, "
        "shuffled users and swapped contexts. Exit status 1 when something is suspicious.",
        "fspo data audit people.jsonl\nfspo data audit downloads/prism --format prism --no-features",
        _audit,
    )
    audit.add_argument("path", metavar="PATH", help=_ROWS)
    audit.add_argument("--format", metavar="NAME", default="rows", help="name of a published data set")
    audit.add_argument(
        "--no-features", action="store_true", help="leave out the audits that encode the texts"
    )

    validate = add_command(
        actions,
        "validate",
        "Check every row of preference data and say what is wrong, by file and line. "
        "Exit status 0 when all rows are good, 1 when some are bad.",
        "fspo data validate people.jsonl\nfspo data validate people.jsonl --rejects people.rejects.jsonl",
        _validate,
    )
    validate.add_argument("path", metavar="PATH", help=_ROWS)
    validate.add_argument(
        "--strict", action="store_true", help="stop at the first bad row, with exit status 2"
    )
    validate.add_argument("--rejects", metavar="FILE", help="write the bad rows and reasons there, as jsonl")
    validate.add_argument(
        "--show", metavar="N", type=int, default=20, help="print at most N bad rows (default: 20)"
    )


def _make(arguments: argparse.Namespace) -> int:
    from fspo_jax.config import load_config
    from fspo_jax.data.build import load_split
    from fspo_jax.data.cards import data_card
    from fspo_jax.data.exchange import export_users
    from fspo_jax.data.splits import SPLITS
    from fspo_jax.models.encoders.text_encoder import load_encoder

    config = load_config(arguments.config, arguments.overrides)
    splits: dict[str, list[User]] = {split: load_split(config.data, split) for split in SPLITS}
    card = data_card(splits["test"], embed=load_encoder(config.encoder.model).encode)
    text = card.to_markdown(f"{arguments.config}: users of the test split")
    export_users(splits, arguments.output, card=text)
    print(text)
    print(
        f"{arguments.output}: "
        + ", ".join(f"{len(users):,} users in {name}" for name, users in splits.items())
    )
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from fspo_jax.data.datasets.catalogue import DATASETS, named_dataset

    format = "rows"
    if arguments.files is not None or arguments.path in DATASETS:
        format = arguments.path
        print(f"{format}\n{named_dataset(format).card()}")
        if arguments.files is None:
            return 0
    users = _load_any(arguments.files or arguments.path, format)
    if not users:
        return 1
    pairs = [preference for user in users for preference in user.preferences]
    _print_spread("pairs a user", [len(user.preferences) for user in users])
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
    print(
        f"  conversations: {sum(not isinstance(pair.prompt, str) for pair in pairs):,} of {len(pairs):,} prompts"
    )
    groups = {user.group for user in users if user.group}
    if groups:
        print(f"  groups: {', '.join(sorted(groups)[:10])}{', ...' if len(groups) > 10 else ''}")
    first = users[0].preferences[0]
    print(f"  first pair, user {users[0].user_id}:")
    for name, text in (
        ("prompt", _one_text(first.prompt)),
        ("chosen", first.chosen),
        ("rejected", first.rejected),
    ):
        print(f"    {name:9}{text!r:.100}")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    users = _load_any(arguments.path, arguments.format)

    from fspo_jax.config import EncoderConfig
    from fspo_jax.evaluation.audits import audit
    from fspo_jax.evaluation.tables import spread
    from fspo_jax.models.features.featurizer import make_featurizer

    found = audit(users, None if arguments.no_features else make_featurizer(EncoderConfig()))
    for line in found:
        mark = "!" if line.suspicious else " "
        print(f"{mark} {line.name}: {spread(line.value)} %. Expected: {line.expectation}.")
    return 1 if any(line.suspicious for line in found) else 0


def _load_any(path: str, format: str) -> list[User]:
    """Users of preference data, or of a directory that `data make` wrote; prints what was found."""
    from fspo_jax.data.exchange import import_users, is_exported

    if format == "rows" and is_exported(path):
        splits = import_users(path)
        print(f"{path}: " + ", ".join(f"{len(users):,} {split} users" for split, users in splits.items()))
        return [user for users in splits.values() for user in users]
    from fspo_jax.data.sources import load_users

    loaded = load_users(path, format=format)
    print(f"{path}: {loaded.summary()}")
    return list(loaded.users)


def _characters(prompt: Prompt) -> int:
    return len(_one_text(prompt))


def _one_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


def _print_spread(name: str, values: Iterable[int]) -> None:
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
    print(f"  {name}: {ordered[0]:,} to {ordered[-1]:,}, median {middle:,}, 95 % at most {high:,}")


def _validate(arguments: argparse.Namespace) -> int:
    from fspo_jax.data.sources import load_users

    loaded = load_users(arguments.path, strict=arguments.strict, rejects=arguments.rejects)
    for reject in loaded.rejects[: arguments.show]:
        print(f"{reject.file}:{reject.line}: {reject.kind}: {reject.reason}")
    if len(loaded.rejects) > arguments.show:
        where = f"see {arguments.rejects}" if arguments.rejects else "pass --rejects FILE to get them all"
        print(f"... and {len(loaded.rejects) - arguments.show:,} more; {where}")
    print(f"{arguments.path}: {loaded.summary()}")
    return 1 if loaded.rejects else 0
