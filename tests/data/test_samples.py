"""The people that come with the package: `sample:NAME` is a path, and the card says what each file holds."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

import fspo_jax
from fspo_jax.config import PreferenceSource
from fspo_jax.config.reader import load_config
from fspo_jax.data.build import load_split
from fspo_jax.data.locations import source_name
from fspo_jax.data.samples import resolve_sample, sample_names
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = Path(fspo_jax.__file__).parent / "shipped" / "people"


def test_sample_name_is_a_path_and_the_name_of_the_source() -> None:
    assert resolve_sample("sample:polarized") == PEOPLE / "polarized.jsonl.gz"
    assert source_name("sample:polarized") == "polarized"
    assert resolve_sample("people.csv") == Path("people.csv")


def test_sample_mistyped_names_the_closest_and_all_samples() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'sample:polis_en'\? Known: .*sample:ukp_convincing"):
        load_users("sample:polis")


@pytest.mark.parametrize("name", sample_names())
def test_sample_loads_without_a_bad_row_and_the_card_counts_it(name: str) -> None:
    loaded = load_users(f"sample:{name}", strict=True)
    pairs = loaded.counts["kept"]
    assert min(len(user.preferences) for user in loaded.users) >= 12
    card = (PEOPLE / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"(?m)^\| {name} \|.*$", card)
    assert row and f"| {len(loaded.users):,} | {pairs:,} |" in row.group()
    assert re.search(r"CC BY 4\.0|Apache-2\.0", row.group())


def test_samples_together_are_small() -> None:
    assert sum(path.stat().st_size for path in PEOPLE.glob("*.gz")) <= 1.5e6


def test_script_of_the_sample_chooses_the_same_people_again(shared_data: Path) -> None:
    import runpy

    script = runpy.run_path(str(ROOT / "scripts" / "sample_people.py"))
    for name, rule in script["RULES"].items():
        with gzip.open(shared_data / "data" / "real" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            drawn = script["sample"]([json.loads(line) for line in file], rule)
        with gzip.open(PEOPLE / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            assert drawn == [json.loads(line) for line in file]


def test_config_of_real_people_reads_the_samples_alone() -> None:
    config = load_config(ROOT / "configs" / "real.toml")
    sources = [source for source in config.data.sources if isinstance(source, PreferenceSource)]
    assert [source.path for source in sources] == [f"sample:{source.name}" for source in sources]
    assert len(sources) == len(config.data.sources)
    assert {user.source for user in load_split(config.data, "test")} == set(sample_names())


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.stem)
def test_config_that_reads_data_from_outside_the_repository_says_so_in_its_head(path: Path) -> None:
    head, _, rest = path.read_text(encoding="utf-8").partition("\n\n")
    outside = re.findall(r'"(\.\./[^"]*)"', rest)
    assert not outside or "not in the repository: ../shared/data" in head
