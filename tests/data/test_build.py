"""Users of a data config: dispatch, ids, splits, bad rows."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import types
from pathlib import Path

import pytest

from fspo_jax.config import CandidateSource, DataConfig, PersonaSource, PreferenceSource, TraitSource
from fspo_jax.data.build import load_split, load_splits
from fspo_jax.data.sources import load_users
from fspo_jax.errors import ConfigError, DataError
from fspo_jax.types import Preference, User


def write_people(path: Path, users: int, pairs: int = 2, extra: str = "") -> PreferenceSource:
    lines = [
        json.dumps({"user_id": f"u{k}", "prompt": f"p{i}", "chosen": f"a{k}", "rejected": f"b{i}"})
        for k in range(users)
        for i in range(pairs)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    return PreferenceSource(str(path))


def config_of(*sources, **changes) -> DataConfig:
    return DataConfig(tuple(sources), **changes)


def ids(users: list[User]) -> set[str]:
    return {user.user_id for user in users}


def all_splits(config: DataConfig) -> list[list[User]]:
    return list(load_splits(config, ("train", "validation", "test")).values())


def test_load_split_one_source_keeps_ids_and_splits_are_disjoint_and_complete(tmp_path):
    parts = all_splits(config_of(write_people(tmp_path / "people.jsonl", 50)))
    assert all(parts) and sum(map(len, parts)) == 50
    assert set.union(*map(ids, parts)) == {f"u{k}" for k in range(50)}
    assert {user.source for part in parts for user in part} == {"people"}
    assert all(len(user.preferences) == 2 for part in parts for user in part)


def test_load_split_several_sources_prefix_ids_and_keep_each_source_split(tmp_path):
    first, second = (write_people(tmp_path / name, 50) for name in ("one.jsonl", "two.jsonl"))
    second = dataclasses.replace(second, name="other")
    alone = all_splits(config_of(first))
    both = all_splits(config_of(first, second))
    for one, two in zip(alone, both, strict=True):
        assert ids(two) == {f"one/{name}" for name in ids(one)} | {f"other/{name}" for name in ids(one)}
        assert [user.source for user in two] == ["one"] * len(one) + ["other"] * len(one)


def test_load_split_three_users_fill_three_splits(tmp_path):
    parts = all_splits(config_of(write_people(tmp_path / "people.jsonl", 3)))
    assert [len(part) for part in parts] == [1, 1, 1]


def test_load_split_relative_path_is_relative_to_the_current_directory(tmp_path, monkeypatch):
    write_people(tmp_path / "data" / "people.jsonl", 5)
    monkeypatch.chdir(tmp_path)
    assert load_split(config_of(PreferenceSource("data/people.jsonl")), "train")


def test_load_split_bad_rows_are_logged_and_written(tmp_path, caplog):
    source = write_people(tmp_path / "people.jsonl", 5, extra="nonsense\n")
    with caplog.at_level(logging.WARNING, logger="fspo_jax.data.build"):
        load_split(config_of(source), "train", rejects_directory=tmp_path / "run")
    (record,) = caplog.records
    assert "10 of 11 rows kept, 5 users; 1 set aside: broken JSON 1" in record.getMessage()
    (entry,) = (tmp_path / "run" / "people.rejects.jsonl").read_text().splitlines()
    assert json.loads(entry)["line"] == 11


def test_load_split_strict_source_raises_at_the_bad_row(tmp_path):
    source = write_people(tmp_path / "people.jsonl", 5, extra="nonsense\n")
    with pytest.raises(DataError, match=r"people\.jsonl:11: broken JSON"):
        load_split(config_of(dataclasses.replace(source, strict=True)), "train")


def test_load_split_source_without_usable_row_raises(tmp_path):
    row = {"user_id": "", "prompt": "p", "chosen": "a", "rejected": "b"}
    (tmp_path / "people.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"no row can be used: 0 of 1 row kept.*user_id is empty"):
        load_split(config_of(PreferenceSource(str(tmp_path / "people.jsonl"))), "train")


def test_load_split_empty_split_raises(tmp_path):
    config = config_of(write_people(tmp_path / "people.jsonl", 5), validation_fraction=0.0)
    with pytest.raises(DataError, match="there is no user in the validation split of people"):
        load_split(config, "validation")


def test_load_split_two_sources_of_one_name_raise(tmp_path):
    source = write_people(tmp_path / "people.jsonl", 5)
    with pytest.raises(ConfigError, match="2 sources are named 'people'"):
        load_split(config_of(source, source), "train")


def test_load_split_unknown_split_raises(tmp_path):
    source = write_people(tmp_path / "people.jsonl", 5)
    with pytest.raises(ConfigError, match=r"split is 'testing'. Did you mean 'test'\?"):
        load_split(config_of(source), "testing")


def test_load_split_synthetic_sources_get_the_split_arguments(monkeypatch):
    calls = []

    def maker(name):
        def make(source, split, *, validation_fraction, test_fraction, split_seed):
            calls.append((name, source, split, validation_fraction, test_fraction, split_seed))
            return [User("x", (Preference("p", "a", "b"),), source=source.name)]

        return make

    for module, name in (("traits", "trait"), ("candidates", "candidate"), ("world", "world")):
        fake = types.ModuleType(module)
        setattr(fake, f"{name}_users", maker(name))
        monkeypatch.setitem(sys.modules, f"fspo_jax.data.personas.{module}", fake)
    sources = (
        PersonaSource(seed=1, personas=3, prompts=4),
        TraitSource(seed=2, path="t", personas=3),
        CandidateSource(seed=3, path="c", personas=3),
    )
    config = config_of(*sources, validation_fraction=0.3, test_fraction=0.4, split_seed=5)
    users = load_split(config, "test")
    assert [user.user_id for user in users] == ["personas/x", "traits/x", "candidates/x"]
    expected = zip(("world", "trait", "candidate"), sources, strict=True)
    assert calls == [(name, source, "test", 0.3, 0.4, 5) for name, source in expected]


def test_load_split_repeated_id_within_a_source_raises(monkeypatch):
    world = types.ModuleType("world")
    world.world_users = lambda *_, **__: [User("x", ()), User("x", ())]
    monkeypatch.setitem(sys.modules, "fspo_jax.data.personas.world", world)
    with pytest.raises(DataError, match="two users have the id 'x'"):
        load_split(config_of(PersonaSource(seed=1, personas=3, prompts=4)), "test")


def test_load_split_persona_world_has_disjoint_splits():
    source = PersonaSource(seed=0, personas=20, prompts=20, domains=("reviews",), pairs=4)
    parts = all_splits(config_of(source))
    assert all(parts) and len(set.union(*map(ids, parts))) == sum(map(len, parts))
    assert {user.source for part in parts for user in part} == {"personas"}


def test_load_split_real_studies_of_the_shipped_config_have_every_split(shared_data):
    names = ("polis_en", "polarized", "ukp_convincing", "lamp_experts", "pandalm_consensus")
    sources = [PreferenceSource(str(shared_data / "data" / "real" / f"{name}.jsonl.gz")) for name in names]
    parts = all_splits(config_of(*sources))
    assert all({user.source for user in part} == set(names) for part in parts)
    assert sum(map(len, parts)) == 2903 + 432 + 2562 + 9 + 3


def test_load_splits_reads_a_file_once_as_its_columns_say_and_logs_how(tmp_path, caplog, monkeypatch):
    rows = [f"{k},p{k},x,y,{'ab'[k % 2]}" for k in range(30)]
    (tmp_path / "votes.csv").write_text("who,question,answer_a,answer_b,winner\n" + "\n".join(rows))
    source = PreferenceSource(str(tmp_path / "votes.csv"), columns="user_id=who")
    calls = []
    monkeypatch.setattr(
        "fspo_jax.data.build.load_users", lambda *a, **k: calls.append(a) or load_users(*a, **k)
    )
    with caplog.at_level(logging.INFO, logger="fspo_jax.data.build"):
        parts = load_splits(config_of(source), ("train", "validation"))
    assert len(calls) == 1 and parts["train"] == load_split(config_of(source), "train")
    assert all(ids(part) <= {str(k) for k in range(30)} for part in parts.values()) and len(parts) == 2
    read = "30 of 30 rows kept, 30 users; read as winner columns (question, winner, answer_a, answer_b)"
    assert read in caplog.records[0].getMessage()
    with pytest.raises(DataError, match=r"missing column user_id\. Found: who, .*`columns` in a config"):
        load_split(config_of(dataclasses.replace(source, columns="")), "train")


def test_load_split_only_ties_raises(tmp_path):
    (tmp_path / "x.csv").write_text("user_id,prompt,answer_a,answer_b,winner\n1,p,x,y,tie\n")
    with pytest.raises(DataError, match="no row can be used: 0 of 1 row kept, 0 users; 1 tie dropped"):
        load_split(config_of(PreferenceSource(str(tmp_path / "x.csv"))), "train")
