"""Loading real preferences: formats and columns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from row_files import CONVERSATION, EXPECTED, pairs, row, write, write_jsonl

import fspo_jax as fspo
from fspo_jax.data import readers
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError
from fspo_jax.types import Message


@pytest.mark.parametrize("ending", readers.EXTENSIONS)
def test_load_users_every_format_gives_the_same_users(tmp_path, ending):
    path = write(tmp_path / f"people{ending}", [row(i) for i in range(6)])
    loaded = load_users(path)
    assert pairs(loaded) == EXPECTED
    assert loaded.counts == {"rows": 6, "kept": 6}
    assert {user.source for user in loaded.users} == {"people"}


def test_people_are_shown_in_one_line(tmp_path):
    loaded = load_users(write(tmp_path / "people.jsonl", [row(i) for i in range(6)]))
    assert repr(loaded) == f"LoadedUsers({loaded.summary()})"
    assert repr(loaded[0]) == f"User({loaded[0].user_id!r}, {len(loaded[0].preferences)} pairs)"


def test_load_users_directory_reads_files_in_sorted_order_and_names_the_others(tmp_path):
    for name in ("part", ".cache"):
        (tmp_path / name).mkdir()
    write(tmp_path / ".cache" / "c.csv", [row(9)])
    write(tmp_path / "part" / "b.csv", [row(i) for i in range(3, 6)])
    write(tmp_path / "a.jsonl", [row(i) for i in range(3)])
    for name in ("README.md", "dataset_infos.json", "old.rejects.jsonl", ".hidden.jsonl"):
        (tmp_path / name).write_text("{}")
    loaded = load_users(tmp_path, source="study")
    assert {user: list(p) for user, p in pairs(loaded).items()} == {u: list(p) for u, p in EXPECTED.items()}
    assert [Path(name).name for name in loaded.skipped_files] == [
        "README.md",
        "dataset_infos.json",
        "old.rejects.jsonl",
    ]
    assert loaded.users[0].source == "study"


def test_load_users_datasets_directory_and_id_equal_jsonl(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list([row(i) for i in range(3)])
    rest = datasets.Dataset.from_list([row(i) for i in range(3, 6)])
    both = datasets.DatasetDict({"train": part, "test": rest})
    part.save_to_disk(tmp_path / "one")
    both.save_to_disk(tmp_path / "two")
    assert load_users(tmp_path / "one").counts["kept"] == 3
    assert pairs(load_users(tmp_path / "two")) == EXPECTED
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"owner/people": both}[name])
    loaded = load_users("owner/people")
    assert pairs(loaded) == EXPECTED
    assert loaded.users[0].source == "people"
    with pytest.raises(
        DataError, match=r"no such file or directory, and no `datasets` id .*downloaded.*: KeyError"
    ):
        load_users("owner/peeple")
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="`datasets` directory cannot be loaded"):
        load_users(tmp_path / "one")


@pytest.mark.parametrize("module", ["datasets", "pyarrow"])
def test_load_users_without_optional_package_reads_jsonl_and_explains_the_rest(tmp_path, monkeypatch, module):
    path = write_jsonl(tmp_path / "people.jsonl", [row()])
    parquet = tmp_path / "people.parquet"
    parquet.write_bytes(b"PAR1")
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, module, None)
    assert load_users(path).counts["kept"] == 1
    with pytest.raises(DataError, match=f"needs .*{module}.* convert"):
        load_users(parquet if module == "pyarrow" else tmp_path)


def test_load_users_jsonl_imports_nothing_heavy(tmp_path):
    path = write_jsonl(tmp_path / "people.jsonl", [row()])
    code = (
        "import sys; from fspo_jax.data.sources import load_users; "
        f"load_users({str(path)!r}); "
        "heavy = {'jax', 'datasets', 'pyarrow', 'transformers', 'numpy'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["prompt", "messages"])
def test_load_users_conversation_becomes_messages(tmp_path, ending, column):
    path = write(tmp_path / f"x{ending}", [row(prompt=None) | {column: CONVERSATION}])
    (preference,) = load_users(path).users[0].preferences
    assert preference.prompt == (Message("system", "Be kind."), Message("user", "Why?"))


def test_load_users_csv_messages_cell_is_json(tmp_path):
    rows = [
        {"user_id": "a", "messages": json.dumps(CONVERSATION), "chosen": 'yes, "so"\nit is', "rejected": "é"}
    ]
    (preference,) = load_users(write(tmp_path / "x.csv", rows)).users[0].preferences
    assert preference.prompt == (Message("system", "Be kind."), Message("user", "Why?"))
    assert preference.chosen == 'yes, "so"\nit is'


def test_load_users_trl_responses_become_text(tmp_path):
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("yes", "no"))
    path = write_jsonl(tmp_path / "x.jsonl", [row(prompt=CONVERSATION, chosen=chosen, rejected=rejected)])
    (preference,) = load_users(path, strict=True).users[0].preferences
    assert (preference.chosen, preference.rejected) == ("yes", "no")


def test_load_users_control_characters_and_byte_order_mark_are_kept_apart(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row(chosen="a\x00b\u2028c\x85d")).encode() + b"\r\n\r\n")
    (preference,) = load_users(path, strict=True).users[0].preferences
    assert preference.chosen == "a\x00b\u2028c\x85d"


def test_load_users_description_is_the_users_and_that_of_a_bad_row_is_not_kept(tmp_path):
    rows = [row(0), row(0, description="lazy"), row(2, description="kind"), row(4), row(1)]
    loaded = load_users(write_jsonl(tmp_path / "x.jsonl", rows))
    assert {user.user_id: user.description for user in loaded.users} == {"u0": "kind", "u1": ""}
    assert [reject.kind for reject in loaded.rejects] == ["duplicate"] and not loaded.ignored_columns


def test_load_users_group_is_the_users_and_other_columns_are_counted(tmp_path):
    rows = [row(0), row(2, group="north", score=1), row(4, group="", score=2), row(1)]
    loaded = load_users(write_jsonl(tmp_path / "x.jsonl", rows))
    assert {user.user_id: user.group for user in loaded.users} == {"u0": "north", "u1": ""}
    assert loaded.ignored_columns == {"score": 2}
    assert loaded.summary() == (
        "4 of 4 rows kept, 2 users; read as preference rows (prompt, chosen, rejected); ignored columns: score"
    )


def test_loaded_users_are_a_sequence_of_users(tmp_path):
    loaded = fspo.load_users(write_jsonl(tmp_path / "x.jsonl", [row(i) for i in range(4)]))
    assert [user.user_id for user in loaded] == ["u0", "u1"] == [loaded[0].user_id, loaded[-1].user_id]
    assert len(loaded) == 2 and loaded.users == tuple(loaded)
