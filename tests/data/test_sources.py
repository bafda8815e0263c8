"""Loading real preferences: formats, bad rows, damaged files."""

from __future__ import annotations

import csv
import gzip
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fspo_jax.data import readers
from fspo_jax.data.rejects import REASONS
from fspo_jax.data.sources import load_preferences, source_name
from fspo_jax.errors import DataError
from fspo_jax.types import MAX_TEXT_CHARACTERS, Message, Preference


def row(i: int = 0, **changes: object) -> dict:
    """A good row; `changes` replace fields, `None` removes one."""
    fields = {"user_id": f"u{i % 2}", "prompt": f"prompt {i}", "chosen": f"good {i}", "rejected": f"bad {i}"}
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def write_jsonl(path: Path, rows: list) -> Path:
    """Writes dictionaries as JSON, strings and bytes as they are, one a line."""
    lines = [json.dumps(r) if isinstance(r, (dict, list)) else r for r in rows]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return path


def pairs(loaded) -> dict[str, tuple[Preference, ...]]:
    return {user.user_id: user.preferences for user in loaded.users}


EXPECTED = {
    f"u{k}": tuple(Preference(f"prompt {i}", f"good {i}", f"bad {i}") for i in range(k, 6, 2)) for k in (0, 1)
}


def write(path: Path, rows: list[dict]) -> Path:
    """Writes rows in the format of the path's extension."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    plain = path.with_name(name)
    if name.endswith(".jsonl"):
        write_jsonl(plain, rows)
    elif name.endswith(".json"):
        plain.write_text(json.dumps(rows), encoding="utf-8")
    else:
        with open(plain, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize("ending", readers.EXTENSIONS)
def test_load_preferences_every_format_gives_the_same_users(tmp_path, ending):
    path = write(tmp_path / f"people{ending}", [row(i) for i in range(6)])
    loaded = load_preferences(path)
    assert pairs(loaded) == EXPECTED
    assert loaded.counts == {"rows": 6, "kept": 6}
    assert {user.source for user in loaded.users} == {"people"}


def test_load_preferences_directory_reads_files_in_sorted_order_and_names_the_others(tmp_path):
    for name in ("part", ".cache"):
        (tmp_path / name).mkdir()
    write(tmp_path / ".cache" / "c.csv", [row(9)])
    write(tmp_path / "part" / "b.csv", [row(i) for i in range(3, 6)])
    write(tmp_path / "a.jsonl", [row(i) for i in range(3)])
    for name in ("README.md", "dataset_infos.json", "old.rejects.jsonl", ".hidden.jsonl"):
        (tmp_path / name).write_text("{}")
    loaded = load_preferences(tmp_path, source="study")
    assert {user: list(p) for user, p in pairs(loaded).items()} == {u: list(p) for u, p in EXPECTED.items()}
    assert [Path(name).name for name in loaded.skipped_files] == [
        "README.md",
        "dataset_infos.json",
        "old.rejects.jsonl",
    ]
    assert loaded.users[0].source == "study"


def test_load_preferences_datasets_directory_and_id_equal_jsonl(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list([row(i) for i in range(3)])
    rest = datasets.Dataset.from_list([row(i) for i in range(3, 6)])
    both = datasets.DatasetDict({"train": part, "test": rest})
    part.save_to_disk(tmp_path / "one")
    both.save_to_disk(tmp_path / "two")
    assert load_preferences(tmp_path / "one").counts["kept"] == 3
    assert pairs(load_preferences(tmp_path / "two")) == EXPECTED
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"owner/people": both}[name])
    loaded = load_preferences("owner/people")
    assert pairs(loaded) == EXPECTED
    assert loaded.users[0].source == "people"
    with pytest.raises(DataError, match=r"no such file or directory; as a `datasets` id.*loaded: KeyError"):
        load_preferences("owner/peeple")
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="`datasets` directory, it cannot be loaded"):
        load_preferences(tmp_path / "one")


@pytest.mark.parametrize("module", ["datasets", "pyarrow"])
def test_load_preferences_without_optional_package_reads_jsonl_and_explains_the_rest(
    tmp_path, monkeypatch, module
):
    path = write_jsonl(tmp_path / "people.jsonl", [row()])
    parquet = tmp_path / "people.parquet"
    parquet.write_bytes(b"PAR1")
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, module, None)
    assert load_preferences(path).counts["kept"] == 1
    with pytest.raises(DataError, match=f"needs .*{module}.* convert"):
        load_preferences(parquet if module == "pyarrow" else tmp_path)


def test_load_preferences_jsonl_imports_nothing_heavy(tmp_path):
    path = write_jsonl(tmp_path / "people.jsonl", [row()])
    code = (
        "import sys; from fspo_jax.data.sources import load_preferences; "
        f"load_preferences({str(path)!r}); "
        "heavy = {'jax', 'datasets', 'pyarrow', 'transformers', 'numpy'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


CONVERSATION = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["prompt", "messages"])
def test_load_preferences_conversation_becomes_messages(tmp_path, ending, column):
    path = write(tmp_path / f"x{ending}", [row(prompt=None) | {column: CONVERSATION}])
    (preference,) = load_preferences(path).users[0].preferences
    assert preference.prompt == (Message("system", "Be kind."), Message("user", "Why?"))


def test_load_preferences_csv_messages_cell_is_json(tmp_path):
    rows = [
        {"user_id": "a", "messages": json.dumps(CONVERSATION), "chosen": 'yes, "so"\nit is', "rejected": "é"}
    ]
    (preference,) = load_preferences(write(tmp_path / "x.csv", rows)).users[0].preferences
    assert preference.prompt == (Message("system", "Be kind."), Message("user", "Why?"))
    assert preference.chosen == 'yes, "so"\nit is'


def test_load_preferences_trl_responses_become_text(tmp_path):
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("yes", "no"))
    path = write_jsonl(tmp_path / "x.jsonl", [row(prompt=CONVERSATION, chosen=chosen, rejected=rejected)])
    (preference,) = load_preferences(path, strict=True).users[0].preferences
    assert (preference.chosen, preference.rejected) == ("yes", "no")


def test_load_preferences_control_characters_and_byte_order_mark_are_kept_apart(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row(chosen="a\x00b\u2028c\x85d")).encode() + b"\r\n\r\n")
    (preference,) = load_preferences(path, strict=True).users[0].preferences
    assert preference.chosen == "a\x00b\u2028c\x85d"


def test_load_preferences_group_is_the_users_and_other_columns_are_counted(tmp_path):
    rows = [row(0), row(2, group="north", score=1), row(4, group="", score=2), row(1)]
    loaded = load_preferences(write_jsonl(tmp_path / "x.jsonl", rows))
    assert {user.user_id: user.group for user in loaded.users} == {"u0": "north", "u1": ""}
    assert loaded.ignored_columns == {"score": 2}
    assert loaded.summary() == "4 of 4 rows kept, 2 users; ignored columns: score"


BAD = {
    "broken JSON": ['{"user_id": "u0"', "nonsense", "[" * 100_000, "9" * 5_000],
    "broken UTF-8": [json.dumps(row(7)).encode().replace(b"good", b"go\xffd")],
    "malformed row": [
        '{"user_id": "a", "prompt": "x", "chosen": "y", "rejected": "z", "chosen": "w"}',
        row(7, messages=CONVERSATION),
    ],
    "wrong type": [
        "[1, 2]",
        "7",
        "null",
        row(7, user_id=3),
        row(7, chosen=1.5),
        row(7, rejected={"text": "x"}),
        row(7, prompt=True),
        row(7, prompt=["x"]),
        row(7, prompt=[{"role": "user"}]),
        row(7, prompt=[{"role": "user", "content": None}]),
        row(7, prompt=None, messages="hello"),
        row(7, chosen=[{"role": "user", "content": "x"}]),
        row(7, chosen=[{"role": "assistant", "content": "x"}] * 2),
        row(7, chosen=[]),
        row(7, group=4),
        row(7, prompt="lone surrogate" and [["lone surrogate"]]),
    ],
    "missing field": [
        row(7, user_id=None),
        row(7, prompt=None),
        row(7, chosen=None),
        row(7, rejected=None),
        '{"user_id": null, "prompt": "x", "chosen": "y", "rejected": "z"}',
        "{}",
    ],
    "empty field": [
        row(7, user_id=" "),
        row(7, prompt=""),
        row(7, chosen="\n"),
        row(7, rejected=""),
        row(7, prompt=[]),
        row(7, prompt=[{"role": "user", "content": " "}]),
        row(7, chosen=[{"role": "assistant", "content": ""}]),
    ],
    "lone surrogate": [row(7, chosen="\udcff"), row(7, prompt=[{"role": "user", "content": "\ud800"}])],
    "over-long text": [row(7, chosen="x" * (MAX_TEXT_CHARACTERS + 1))],
    "chosen equals rejected": [row(7, rejected="good 7"), row(7, rejected=" good 7\n")],
    "conflicting group": [row(6, group="south")],
    "duplicate": [row(0)],
    "contradiction": [row(0, chosen="bad 0", rejected="good 0")],
}


def test_bad_rows_table_covers_every_reason():
    assert set(BAD) == set(REASONS)


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, rows in BAD.items() for bad in rows])
def test_load_preferences_bad_row_is_set_aside_with_line_and_reason(tmp_path, kind, bad):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0, group="north"), "", bad, row(1)])
    loaded = load_preferences(path)
    (reject,) = loaded.rejects
    assert (reject.file, reject.line, reject.kind) == (str(path), 3, kind)
    assert reject.reason and not reject.reason.endswith(".")
    assert loaded.counts == {"rows": 3, "kept": 2, kind: 1}
    assert len(loaded.users) == 2
    assert kind in loaded.summary()
    with pytest.raises(DataError, match=f"x.jsonl:3: {kind}: "):
        load_preferences(path, strict=True)


def test_load_preferences_longest_allowed_text_is_kept(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(chosen="x" * MAX_TEXT_CHARACTERS)])
    assert load_preferences(path).counts["kept"] == 1


def test_load_preferences_contradiction_keeps_the_earlier_row_and_names_it(tmp_path):
    swapped = row(0, chosen="bad 0", rejected="good 0")
    loaded = load_preferences(write_jsonl(tmp_path / "x.jsonl", [row(0), swapped, row(0), row(1)]))
    assert [r.kind for r in loaded.rejects] == ["contradiction", "duplicate"]
    assert all("x.jsonl:1" in r.reason for r in loaded.rejects)
    assert pairs(loaded)["u0"] == (Preference("prompt 0", "good 0", "bad 0"),)


def test_load_preferences_same_pair_of_two_users_is_no_duplicate(tmp_path):
    rows = [row(0, user_id="a"), row(0, user_id="b", chosen="bad 0", rejected="good 0")]
    assert load_preferences(write_jsonl(tmp_path / "x.jsonl", rows)).counts == {"rows": 2, "kept": 2}


def test_load_preferences_equal_texts_are_one_object(tmp_path):
    rows = [row(0), row(0, user_id="other")]
    first, second = (
        u.preferences[0] for u in load_preferences(write_jsonl(tmp_path / "x.jsonl", rows)).users
    )
    assert first.chosen is second.chosen and first.prompt is second.prompt


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_load_preferences_other_formats_give_the_row_number(tmp_path, ending):
    rows = [row(0, chosen="two\nlines" if ending == ".csv" else "x"), row(1, chosen=""), row(2)]
    (reject,) = load_preferences(write(tmp_path / f"x{ending}", rows)).rejects
    assert (reject.line, reject.kind) == ({".csv": 4, ".json": 2, ".parquet": 2}[ending], "empty field")
    assert "prompt 1" in reject.row


CSV_HEAD = b"user_id,prompt,chosen,rejected\nu0,p,c,r\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"u0,p,c", "malformed row"),
        (b"u0,p,c,r,more", "malformed row"),
        (b'u0,p,c,"r" x', "malformed row"),
        (b"u0,p,c\xff,r2", "broken UTF-8"),
        (b"u0,,c,r2", "empty field"),
        (b"u0,p,c," + b"x" * 200_000, "over-long text"),
    ],
)
def test_load_preferences_csv_bad_row_is_set_aside_and_the_next_is_read(tmp_path, line, kind):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV_HEAD + line + b"\n\nu1,p,c,r\n")
    loaded = load_preferences(path)
    assert [(r.line, r.kind) for r in loaded.rejects] == [(3, kind)]
    assert [u.user_id for u in loaded.users] == ["u0", "u1"]
    assert csv.field_size_limit() == 131072


def test_load_preferences_csv_open_quote_says_how_many_lines_it_took(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV_HEAD + b'u1,p,"c,r\nu2,p,c,r\nu3,p,c,r\n')
    (reject,) = load_preferences(path).rejects
    assert (reject.line, reject.kind) == (3, "malformed row")
    assert "3 lines" in reject.reason and "u3" in reject.row


def test_load_preferences_large_parquet_counts_rows_over_the_whole_file(tmp_path):
    rows = [row(i, chosen="" if i == 9_999 else "x") for i in range(10_000)]
    (reject,) = load_preferences(write(tmp_path / "x.parquet", rows)).rejects
    assert reject.line == 10_000


def test_load_preferences_parquet_broken_text_and_dates_do_not_hide_good_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = pyarrow.array([b"a", b"b\xff", b"c"]).view(pyarrow.string())
    table = pyarrow.table(
        {
            "user_id": ["u", "u", "u"],
            "prompt": ["p", "p", "p"],
            "chosen": broken,
            "rejected": ["x", "y", "z"],
            "when": pyarrow.array([2**62] * 3, pyarrow.timestamp("us")),
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    loaded = load_preferences(tmp_path / "x.parquet")
    assert [(r.line, r.kind) for r in loaded.rejects] == [(2, "broken UTF-8")]
    assert loaded.counts["kept"] == 2


def test_load_preferences_rejects_file_is_lossless(tmp_path):
    bad = json.dumps(row(1)).encode().replace(b"good", b"g\xff\xfed")
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), bad, row(2, chosen="\udcaa"), "é {"])
    target = tmp_path / "made" / "x.rejects.jsonl"
    loaded = load_preferences(path, rejects=target)
    entries = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert [e["line"] for e in entries] == [2, 3, 4]
    assert set(entries[0]) == {"file", "line", "kind", "reason", "row"}
    lines = path.read_bytes().splitlines()
    for entry, reject in zip(entries, loaded.rejects, strict=True):
        assert entry["row"] == reject.row
        assert entry["row"].encode("utf-8", "surrogateescape") == lines[entry["line"] - 1]
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_load_preferences_without_bad_rows_empties_an_old_rejects_file(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0)])
    target = tmp_path / "x.rejects.jsonl"
    target.write_text("old")
    load_preferences(path, rejects=target)
    assert target.read_bytes() == b""


def test_load_preferences_rejects_file_never_becomes_data(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    for target in (tmp_path / "x.jsonl", tmp_path / "bad.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot be the rejects file"):
            load_preferences(tmp_path, rejects=target)
    first = load_preferences(tmp_path, rejects=tmp_path / "x.rejects.jsonl")
    assert load_preferences(tmp_path).counts == first.counts


def test_load_preferences_rejects_file_never_replaces_its_own_input(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    before = path.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(path)
    for target in (path, tmp_path / "link.jsonl"):
        with pytest.raises(DataError, match="cannot be the rejects file: it is a file of the data"):
            load_preferences(path, rejects=target)
    assert path.read_bytes() == before


def test_load_preferences_rejects_file_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    target = tmp_path / "x.rejects.jsonl"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        load_preferences(path, rejects=target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.jsonl", "x.rejects.jsonl"]


def bad_file(tmp_path: Path, case: str) -> Path:
    compressed = gzip.compress(b"\n".join(json.dumps(row(i)).encode() for i in range(1000)))
    contents = {
        "truncated.jsonl.gz": compressed[: len(compressed) // 2],
        "flipped.jsonl.gz": compressed[:-8] + b"\0" * 8,
        "plain.jsonl.gz": json.dumps(row()).encode(),
        "zipped.jsonl": compressed,
        "empty.jsonl": b"",
        "blank.jsonl": b"\n \n",
        "empty.csv": b"",
        "header.csv": b"user_id,prompt,chosen,rejected\n",
        "twice.csv": b"user_id,prompt,chosen,chosen\na,b,c,d\n",
        "empty.json": b" ",
        "object.json": b"{}",
        "lines.json": b"{}\n{}",
        "list.json": b"[]",
        "utf16.jsonl": json.dumps(row()).encode("utf-16"),
        "noise.jsonl": b"one\ntwo\n",
        "noise.parquet": b"PAR1nonsensePAR1",
        "empty.parquet": b"",
        "people.xlsx": b"x",
        "columns.jsonl": json.dumps(row(chosen=None, prompt=None) | {"winner": "x"}).encode(),
        "columns.csv": b"user,prompt,chosen,rejected\na,b,c,d\n",
    }
    path = tmp_path / case
    path.write_bytes(contents[case])
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("truncated.jsonl.gz", "damaged or truncated gzip"),
        ("flipped.jsonl.gz", "damaged or truncated gzip"),
        ("plain.jsonl.gz", "damaged or truncated gzip"),
        ("zipped.jsonl", "gzip-compressed. Add '.gz'"),
        ("empty.jsonl", "empty"),
        ("blank.jsonl", "empty"),
        ("empty.csv", "empty"),
        ("header.csv", "empty"),
        ("twice.csv", "no list of distinct column names"),
        ("empty.json", "empty"),
        ("object.json", "must hold a list of rows, not dict"),
        ("lines.json", "name the file '.jsonl'"),
        ("list.json", "empty"),
        ("utf16.jsonl", "UTF-16"),
        ("noise.jsonl", "no row can be read. The first, line 1: broken JSON"),
        ("noise.parquet", "not a readable parquet file"),
        ("empty.parquet", "not a readable parquet file"),
        ("people.xlsx", "unknown extension. Known: .jsonl, "),
        ("columns.jsonl", "missing column prompt, chosen. Found: user_id, rejected, winner"),
        ("columns.csv", "missing column user_id. Found: user, prompt, chosen, rejected"),
    ],
)
def test_load_preferences_damaged_file_raises_data_error(tmp_path, case, message):
    if case.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message) as caught:
        load_preferences(bad_file(tmp_path, case))
    assert case in str(caught.value)


@pytest.mark.parametrize("wrong", ["peple.jsonl", "people", "people.json/more", "sub/peple.jsonl"])
def test_load_preferences_wrong_path_suggests_a_sibling(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in ("people.jsonl", "sub/people.jsonl"):
        write_jsonl(Path(name), [row()])
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'people.jsonl'\?"):
        load_preferences(wrong)


def test_load_preferences_wrong_path_without_close_name_lists_the_directory(tmp_path):
    write_jsonl(tmp_path / "people.jsonl", [row()])
    with pytest.raises(DataError, match=r"it holds: people\.jsonl"):
        load_preferences(tmp_path / "zzz.csv")


def test_load_preferences_directory_without_data_says_what_it_holds(tmp_path):
    with pytest.raises(DataError, match=r"no data file \(it is empty"):
        load_preferences(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"it holds notes\.txt"):
        load_preferences(tmp_path)


@pytest.mark.parametrize("path", ["a\0b.jsonl", "x" * 5000 + ".jsonl"])
def test_load_preferences_impossible_path_raises_data_error(path):
    with pytest.raises(DataError, match=r"cannot be looked up|no such file"):
        load_preferences(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/polis_en.jsonl.gz", "polis_en"),
        ("a/b.csv", "b"),
        ("data/study/", "study"),
        ("owner/people", "people"),
    ],
)
def test_source_name_is_the_stem(path, name):
    assert source_name(path) == name


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Damages bytes: noise, cuts, repeats, and pieces that parsers dislike."""
    pieces = [
        b"\0",
        b"\xff",
        b'"',
        b"{",
        b"[" * 3000,
        b",",
        b"\n",
        b"\r",
        b"\\ud800",
        b"null",
        b"NaN",
        b"1e999",
    ]
    data = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(0, 12))
        change = chance.randrange(4)
        if change == 0:
            data[at:end] = chance.randbytes(end - at)
        elif change == 1:
            del data[at : end if chance.random() < 0.8 else len(data)]
        elif change == 2:
            data[at:at] = chance.choice(pieces)
        else:
            data[at:at] = data[end : end + chance.randint(0, 200)]
    return bytes(data)


@pytest.mark.parametrize("ending", readers.EXTENSIONS)
def test_load_preferences_any_bytes_give_users_or_data_error(tmp_path, ending):
    """200 damaged files a format; every row is either kept or a reject, and nothing but DataError escapes."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    chance = random.Random(ending)
    good = write(
        tmp_path / f"good{ending}", [row(i, prompt="p" * i, group="é") for i in range(1, 5)]
    ).read_bytes()
    path, target = tmp_path / f"x{ending}", tmp_path / "out" / "x.rejects.jsonl"
    seen = {"users": 0, "rejects": 0, "errors": 0}
    for case in range(200):
        data = mutate(good, chance) if case % 10 else chance.randbytes(chance.randint(0, 300))
        if ending.endswith(".gz") and case % 2:
            data = gzip.compress(mutate(gzip.decompress(good), chance))
        path.write_bytes(data)
        try:
            loaded = load_preferences(path, rejects=target)
        except DataError:
            seen["errors"] += 1
            continue
        kept = sum(len(user.preferences) for user in loaded.users)
        assert loaded.counts["rows"] == kept + len(loaded.rejects) and loaded.counts["kept"] == kept
        assert len(target.read_bytes().splitlines()) == len(loaded.rejects)
        seen["users"] += bool(loaded.users)
        seen["rejects"] += bool(loaded.rejects)
    assert seen["errors"] > 0
    assert ending == ".parquet" or (seen["users"] > 0 and seen["rejects"] > 0)


def test_load_preferences_forty_thousand_rows_take_seconds_at_most(tmp_path):
    rows = [row(i, user_id=f"u{i // 10}", chosen=f"good {i} " * 20) for i in range(40_000)]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    start = time.perf_counter()
    loaded = load_preferences(path)
    elapsed = time.perf_counter() - start
    assert loaded.counts == {"rows": 40_000, "kept": 40_000}
    assert elapsed < 10  # about 0.4 s on 2 cores; the bound only catches a change of order


@pytest.mark.parametrize(
    ("name", "users", "rows", "contradictions"),
    [
        ("polis_en", 2903, 37751, 0),
        ("polarized", 432, 8600, 3),
        ("ukp_convincing", 2562, 32644, 9),
        ("lamp_experts", 9, 693, 0),
        ("pandalm_consensus", 3, 2277, 1),
    ],
)
def test_load_preferences_real_study_has_the_documented_counts(
    shared_data, name, users, rows, contradictions
):
    loaded = load_preferences(shared_data / "data" / "real" / f"{name}.jsonl.gz")
    assert len(loaded.users) == users
    expected = {"rows": rows, "kept": rows - contradictions, "contradiction": contradictions}
    assert dict(loaded.counts) == {key: value for key, value in expected.items() if value}
