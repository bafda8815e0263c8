"""Chooses the people of fspo_jax/shipped/people from larger files of rows {user_id, prompt, chosen, rejected}.

    python scripts/sample_people.py FOLDER_OF_THE_LARGER_FILES

People are drawn by a hash of their id, so the same people come out every time. Rows are sorted by prompt and person:
equal texts are then close to each other, and gzip makes the files half as large. The files are the same to the byte
on every run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

SHIPPED = Path(__file__).resolve().parents[1] / "fspo_jax" / "shipped" / "people"


class Rule(NamedTuple):
    """Which people of a file are kept, and how much of each."""

    smallest: int  # pairs that a person must have
    largest: int  # pairs of a person that are kept
    people: int  # that are kept


RULES = {
    "polis_en": Rule(16, 24, 750),
    "polarized": Rule(12, 32, 750),
    "ukp_convincing": Rule(12, 32, 750),
    "pandalm_consensus": Rule(12, 1000, 750),
}


def place(*names: str) -> str:
    """A pseudo-random place in an order, always the same for the same names."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


def sample(rows: list[dict[str, str]], rule: Rule) -> list[dict[str, str]]:
    """The rows of the chosen people, sorted by prompt and person; without pairs that a person labelled both ways."""
    people: dict[str, list[dict[str, str]]] = {}
    labelled = {(row["user_id"], row["prompt"], row["chosen"], row["rejected"]) for row in rows}
    for row in rows:
        if (row["user_id"], row["prompt"], row["rejected"], row["chosen"]) not in labelled:
            people.setdefault(row["user_id"], []).append(row)
    enough = sorted((user for user, own in people.items() if len(own) >= rule.smallest), key=place)
    kept = []
    for user in enough[: rule.people]:
        drawn = sorted(people[user], key=lambda row: place(user, row["chosen"], row["rejected"]))
        kept += drawn[: rule.largest]
    return sorted(kept, key=lambda row: (row["prompt"], row["user_id"], row["chosen"], row["rejected"]))


def main(folder: Path) -> None:
    """Writes the files and prints what each holds."""
    for name, rule in RULES.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = sample([json.loads(line) for line in file], rule)
        columns = ("user_id", "prompt", "chosen", "rejected")
        lines = (json.dumps({c: row[c] for c in columns}, ensure_ascii=False) for row in rows)
        text = "".join(line + "\n" for line in lines)
        path = SHIPPED / f"{name}.jsonl.gz"
        path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
        people = len({row["user_id"] for row in rows})
        print(f"{name}: {people:,} people, {len(rows):,} pairs, {path.stat().st_size / 1e3:,.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
