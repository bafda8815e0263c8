"""The store of users: labels as rows, versions, idempotency, deletion, formats, and kills."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from fspo_jax.errors import DataError, LimitError
from fspo_jax.serving.database import metadata
from fspo_jax.serving.stored import KeyUsedBefore, check_user_id
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference

PAIRS = [Preference(f"question {i}", f"good {i}", f"bad {i}") for i in range(6)]
ODD = Preference(
    [{"role": "user", "content": "nul \0, é, 😀, '; DROP TABLE fspo_users; --"}], "<b>a</b>", "b\\"
)


@pytest.fixture
def sqlite_users(tmp_path: Path) -> Iterator[Users]:
    store = Users(str(tmp_path / "users.db"))
    yield store
    store.close()


def again(users: Users) -> Users:
    """The same store, as another process opens it."""
    url = users._engine.url
    return Users(
        str(url.database) if url.drivername == "sqlite" else url.render_as_string(hide_password=False)
    )


def pairs_of(users: Users, user: str) -> list[Preference]:
    return [label.pair for label in users.labels(user)[1]]


def test_labels_come_back_as_they_were_given_also_from_another_process(users: Users) -> None:
    assert users.append("ana", PAIRS[:2]) == [1, 2]
    assert users.append("bo", [PAIRS[5]]) == [3]
    assert users.append("ana", [ODD]) == [4]
    other = again(users)
    assert pairs_of(other, "ana") == [*PAIRS[:2], ODD]
    assert pairs_of(other, "bo") == [PAIRS[5]]
    assert [label.id for label in other.labels("ana", after=1, most=1)[1]] == [2]
    assert other.labels("nobody") == (None, [])
    found = other.find("ana")
    assert found and (found.labels, found.version) == (3, users.version("ana"))
    other.close()


def test_every_change_and_only_a_change_counts_the_version_up(users: Users) -> None:
    seen = [users.version("ana")]
    (first,) = users.append("ana", PAIRS[:1], key="k")
    for change in (
        lambda: users.append("ana", PAIRS[1:2]),
        lambda: users.edit("ana", first, PAIRS[2]),
        lambda: users.forget("ana", first),
        lambda: users.delete("ana"),
        lambda: users.append("ana", PAIRS[:1]),
    ):
        seen.append(users.version("ana"))
        change()
    assert None in seen and len(set(seen[1:])) == len(seen[1:])
    assert users.version("ana") not in seen[1:]
    before = users.version("ana")
    users.labels("ana")
    assert not users.edit("ana", 99, PAIRS[0]) and not users.forget("ana", 99)
    assert users.version("ana") == before


def test_label_of_another_user_is_not_found(users: Users) -> None:
    (label,) = users.append("ana", PAIRS[:1])
    users.append("bo", PAIRS[1:2])
    assert not users.edit("bo", label, PAIRS[3])
    assert not users.forget("bo", label)
    assert pairs_of(users, "ana") == PAIRS[:1]


def test_idempotency_key_adds_once_for_each_user(users: Users) -> None:
    ids = users.append("ana", PAIRS[:2], key="k")
    version = users.version("ana")
    assert users.append("ana", PAIRS[:2], key="k") == ids
    assert (users.version("ana"), pairs_of(users, "ana")) == (version, PAIRS[:2])
    with pytest.raises(KeyUsedBefore, match="other pairs"):
        users.append("ana", PAIRS[2:3], key="k")
    assert users.append("bo", PAIRS[:2], key="k") != ids
    for key in ("", "k" * 256):
        with pytest.raises(DataError, match="1 to 255"):
            users.append("ana", PAIRS[:1], key=key)


def test_limit_of_labels_leaves_the_user_as_before(users: Users) -> None:
    with pytest.raises(LimitError, match="at most 2 are allowed"):
        users.append("ana", PAIRS[:3], most=2)
    assert users.find("ana") is None
    users.append("ana", PAIRS[:2], most=2, key="k")
    assert users.append("ana", PAIRS[:2], most=2, key="k") == [1, 2]


def test_deleted_texts_are_nowhere_on_disk_and_ids_do_not_come_back(
    sqlite_users: Users, tmp_path: Path
) -> None:
    secret = Preference("tell nobody", "my secret taste", "another")
    sqlite_users.append("ana", [PAIRS[0], secret], key="k")
    (label,) = sqlite_users.append("bo", [secret])

    def on_disk() -> bool:
        return any(b"secret taste" in path.read_bytes() for path in tmp_path.iterdir())

    assert on_disk()
    assert sqlite_users.delete("ana") and not sqlite_users.delete("ana")
    assert sqlite_users.forget("bo", label)
    assert not on_disk()
    assert sqlite_users.append("ana", PAIRS[:1], key="k") == [label + 1]


def test_writers_at_once_lose_and_double_nothing(users: Users) -> None:
    def write(number: int) -> None:
        for i in range(10):
            users.append("ana", [PAIRS[number]], key=f"{number}-{i // 2}")  # every label twice

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = pairs_of(users, "ana")
    assert {pair: found.count(pair) for pair in PAIRS[:4]} == dict.fromkeys(PAIRS[:4], 5)


def test_every_mixture_of_changes_at_once_succeeds(users: Users) -> None:
    """Deleting, changing and adding lock rows in different orders: no two of them may wait for each other."""
    failed: list[BaseException] = []

    def write(number: int) -> None:
        store = again(users)
        try:
            for i in range(8):
                label = store.append("ana", PAIRS[:2], key=f"{number}-{i}")[0]
                store.edit("ana", label, PAIRS[2])
                store.forget("ana", label + i % 2)
                if i % 3 == number % 3:
                    store.delete("ana")
        except BaseException as error:
            failed.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_processes_that_start_at_once_make_one_database(users: Users) -> None:
    with users._engine.begin() as connection:
        metadata.drop_all(connection)
    found: list[Users] = []
    threads = [threading.Thread(target=lambda: found.append(again(users))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.append("ana", PAIRS[:1]) for store in found] == [[1], [2], [3], [4]]
    for store in found:
        store.close()


def test_file_is_private_and_written_for_good(sqlite_users: Users, tmp_path: Path) -> None:
    sqlite_users.append("ana", PAIRS[:1])
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with sqlite_users._engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert found == ["wal", 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no database, but a text that is long enough" * 30, "not a database"),
        (None, "cannot be opened as a file"),
    ],
)
def test_path_that_is_no_database_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "users.db"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(DataError, match=message):
        Users(str(path))


@pytest.mark.parametrize("name", [":memory:", "a?b.db", "a?mode=memory", "a%20b.db", "file:a.db", "é#&.db"])
def test_any_name_is_a_private_file_of_that_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Users(name)) as store:
        assert store.append("ana", PAIRS[:1]) == [1]
        assert str(store) == str(tmp_path / name)
        for path in tmp_path.iterdir():
            assert path.name.startswith(name) and stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with contextlib.closing(Users(name)) as store:
        assert pairs_of(store, "ana") == PAIRS[:1]


@pytest.mark.parametrize("url", ["sqlite:///users.db", "sqlite://", "sqlite:///:memory:", "mysql://x/y"])
def test_url_of_another_database_is_an_error_and_makes_no_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="Give the path of a SQLite file, or a URL of PostgreSQL"):
        Users(url)
    assert not list(tmp_path.iterdir())


def test_log_that_cannot_be_emptied_is_an_error_of_the_database_and_is_tried_again(
    sqlite_users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def cursor(self) -> Any:
            return self

        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None:
            pass

    (label,) = sqlite_users.append("ana", [Preference("secret", "a", "b")])
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_users._engine, "raw_connection", Full)
        with pytest.raises(OperationalError, match="full"):
            sqlite_users.forget("ana", label)
    path = Path(str(sqlite_users))
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size
    assert not sqlite_users.forget("ana", label)
    assert not log.stat().st_size and b"secret" not in path.read_bytes()


@pytest.mark.parametrize("url", ["nonsense://x", "postgresql+nonsense://x", "://"])
def test_url_that_names_no_database_is_an_error(url: str) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        Users(url)


def test_newer_format_is_refused_and_left_alone(sqlite_users: Users, tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    sqlite_users.append("ana", PAIRS[:1])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE fspo_format SET number = 99")
    connection.close()
    with pytest.raises(DataError, match="has format 99"):
        Users(str(path))
    assert pairs_of(sqlite_users, "ana") == PAIRS[:1]


@pytest.mark.parametrize("user", ["", ".", "..", ".a", "a/b", "a:b", "a b", "é", "a\n", "a" * 129, None, 7])
def test_user_id_that_could_mean_something_else_is_refused(user: object) -> None:
    with pytest.raises(DataError, match="letters, digits"):
        check_user_id(user)


WRITER = """
import sys
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference
users, i = Users(sys.argv[1]), int(sys.argv[2])
while True:
    for _ in range(2):  # a client that repeats what it does not know to have arrived
        users.append("ana", [Preference(f"question {i}", "a", "b")], key=str(i))
    print(i, flush=True)
    i += 1
"""


@pytest.mark.slow
def test_kill_loses_no_acknowledged_label_and_doubles_none(tmp_path: Path) -> None:
    path, last = str(tmp_path / "users.db"), 0
    for round_ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(last + 1)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout
        for _ in range(5 + 7 * round_):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in child.stdout.read().split())])
        child.wait()
        child.stdout.close()
        users = Users(path)
        numbers = [int(str(pair.prompt).split()[1]) for pair in pairs_of(users, "ana")]
        users.close()
        assert numbers in (list(range(1, last + 1)), list(range(1, last + 2)))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
