"""The store of users: whose labelled pairs are kept, and what each user's version is.

A user is made by the first label or pass. Every change counts the user's version up, in the same transaction, so that
what was derived from the labels anywhere can be checked by one number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import OperationalError

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError, LimitError
from fspo_jax.generation import Generator
from fspo_jax.serving.communities import Communities
from fspo_jax.serving.database import (
    answer_table,
    community_table,
    insert_into,
    label_table,
    lock,
    member_table,
    open_database,
    pass_table,
    reading,
    user_table,
    writing,
)
from fspo_jax.serving.kept_writer import KeptWriter
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.stored import (
    CommunityVersion,
    Guess,
    KeyUsedBefore,
    Label,
    Pass,
    StoredUser,
    Version,
    check_user_id,
)
from fspo_jax.types import Preference

MOST_KEY = 255
"""Largest number of characters of an idempotency key."""
MOST_ID = (1 << 63) - 1


class Users:
    """The labelled pairs of all users in one database. Threads and processes may share it.

    A label is on disk when `append` returns.

    Args:
        where: As in `open_database`.

    Example:
        >>> pair = Preference("What is entropy?", "How messy a room gets.", "S = k log W.")
        >>> Users("users.db").append("ana", [pair])  # doctest: +SKIP
        [1]
    """

    def __init__(self, where: str):
        self._engine: Engine = open_database(where)
        self.communities = Communities(self._engine)

    def __str__(self) -> str:
        url = self._engine.url
        return str(url.database) if url.drivername == "sqlite" else url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    def kept_writer(self, generator: Generator, model: str) -> KeptWriter:
        """A model that writes for the page, whose texts are kept here."""
        return KeptWriter(self._engine, generator, model)

    def check(self) -> None:
        """Raises an error of SQLAlchemy if the database does not answer."""
        with reading(self._engine) as connection:
            connection.execute(text("SELECT 1"))

    def version(self, user: str) -> Version | None:
        """The version of a user; None if there is no such user."""
        with reading(self._engine) as connection:
            return _version(connection, user)

    def find(self, user: str) -> StoredUser | None:
        """A user without labels; None if there is no such user."""
        with reading(self._engine) as connection:
            row = connection.execute(select(user_table).where(user_table.c.id == user)).first()
            version = _version(connection, user)
            if row is None or version is None:
                return None
            return StoredUser(row.id, version, _count(connection, label_table, user), row.created)

    def labels(
        self, user: str, after: int = 0, most: int | None = None
    ) -> tuple[Version | None, list[Label]]:
        """The version of a user and the labels in the order in which they were given, both of one moment.

        Args:
            user: Whose.
            after: Only labels with larger ids.
            most: At most this many.
        """
        wanted = select(label_table).where(label_table.c.user_id == user, label_table.c.id > after)
        with reading(self._engine) as connection:
            version = _version(connection, user)
            rows = connection.execute(wanted.order_by(label_table.c.id).limit(most)).all()
        return version, [_label(row) for row in rows]

    def passes(self, user: str) -> list[Pass]:
        """The pairs that a user was asked and did not label, the oldest first."""
        wanted = select(pass_table).where(pass_table.c.user_id == user).order_by(pass_table.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted).all()
        return [Pass(row.id, _pair(row), row.answer, row.created, row.response_seconds) for row in rows]

    def append(
        self,
        user: str,
        pairs: Sequence[Preference],
        *,
        key: str | None = None,
        most: int | None = None,
        response_seconds: float | None = None,
        guess: Guess | None = None,
    ) -> list[int]:
        """Adds labels, all or none, and returns their ids once they are on disk.

        Args:
            user: Whose; made if there is no such user.
            pairs: The labelled pairs, the oldest first.
            key: An idempotency key. A second call with it adds nothing and returns the ids of the first.
            most: Largest number of labels that the user may have afterwards.
            response_seconds: How long the person took for each, or None.
            guess: What was known of the labels before, or None.

        Raises:
            KeyUsedBefore: The key came with other pairs before.
            LimitError: The user would have more than `most` labels.
            DataError: The key is empty or too long, or the id of the user is not allowed.
        """
        check_user_id(user)
        if key is not None and not 0 < len(key) <= MOST_KEY:
            raise DataError(f"the idempotency key must have 1 to {MOST_KEY} characters, not {len(key)}.")
        written = [json.dumps(pair_json(pair)) for pair in pairs]
        digest = hashlib.sha256(json.dumps(written).encode()).hexdigest()
        guessed = _guess_values(guess)
        with self._writing(user) as connection:
            now = time.time()
            self._touch(connection, user, now)
            if key is not None and (ids := _answered(connection, user, key, digest)) is not None:
                connection.rollback()
                return ids
            if most is not None and (count := _count(connection, label_table, user) + len(pairs)) > most:
                raise LimitError(
                    f"user {user} would have {count:,} labelled pairs; at most {most:,} are allowed. "
                    "Delete some that no longer matter."
                )
            ids = [
                connection.execute(
                    insert(label_table)
                    .values(
                        user_id=user, pair=pair, created=now, response_seconds=response_seconds, **guessed
                    )
                    .returning(label_table.c.id)
                ).scalar_one()
                for pair in written
            ]
            if key is not None:
                answer = {"user_id": user, "key": key, "digest": digest, "answer": json.dumps(ids)}
                connection.execute(insert(answer_table).values(answer))
        return ids

    def edit(self, user: str, label: int, pair: Preference) -> bool:
        """Puts another pair in the place of a label; false if the user has no such label.

        The guess is kept if the responses only change places, so that it still says whether the label was expected.
        """
        place = _is(label_table, user, label)
        with self._writing(user) as connection:
            row = connection.execute(select(label_table).where(*place)).first()
            if row is None:
                return False
            old, guess = _label(row).pair, _label(row).guess
            if guess and old == Preference(pair.prompt, pair.rejected, pair.chosen):
                guess = Guess(guess.asked, 1.0 - guess.own, 1.0 - guess.general)
            elif old != pair:
                guess = None
            values = {"pair": json.dumps(pair_json(pair)), **_guess_values(guess)}
            connection.execute(update(label_table).where(*place).values(values))
            self._touch(connection, user, time.time())
        self._wipe()
        return True

    def forget(self, user: str, label: int) -> bool:
        """Deletes a label; false if the user has no such label."""
        return self._remove(label_table, user, label)

    def pass_over(
        self,
        user: str,
        pair: Preference,
        answer: str,
        *,
        most: int | None = None,
        response_seconds: float | None = None,
    ) -> int:
        """Remembers that a user was asked a pair and did not label it; a second time it returns the same id.

        Args:
            user: Whose; made if there is no such user.
            pair: The pair.
            answer: `"tie"` or `"skip"`.
            most: Largest number of passes that the user may have.
            response_seconds: As in `Label`.

        Raises:
            LimitError: The user would have more than `most` passes.
            DataError: The id of the user is not allowed.
        """
        check_user_id(user)
        written = json.dumps(pair_json(pair))
        known = select(pass_table.c.id).where(pass_table.c.user_id == user, pass_table.c.pair == written)
        with self._writing(user) as connection:
            now = time.time()
            self._touch(connection, user, now)
            if (found := connection.scalar(known)) is not None:
                return found
            if most is not None and _count(connection, pass_table, user) >= most:
                raise LimitError(f"user {user} has passed over {most:,} pairs; no more are kept.")
            values = {"user_id": user, "pair": written, "answer": answer, "created": now}
            row = insert(pass_table).values(values | {"response_seconds": response_seconds})
            return connection.execute(row.returning(pass_table.c.id)).scalar_one()

    def forget_pass(self, user: str, passed: int) -> bool:
        """Deletes a pass, so that its pair may be asked again; false if the user has no such pass."""
        return self._remove(pass_table, user, passed)

    def delete(self, user: str) -> bool:
        """Deletes a user with all labels; false if there is no such user."""
        with self._writing(user) as connection:
            for table in (label_table, pass_table, answer_table, member_table):
                connection.execute(delete(table).where(table.c.user_id == user))
            gone = connection.execute(
                delete(user_table).where(user_table.c.id == user).returning(user_table.c.id)
            ).first()
        self._wipe()
        return gone is not None

    def _remove(self, table: Table, user: str, row: int) -> bool:
        statement = delete(table).where(*_is(table, user, row)).returning(table.c.id)
        with self._writing(user) as connection:
            found = connection.execute(statement).first() is not None
            if found:
                self._touch(connection, user, time.time())
        self._wipe()  # also what a try before could not wipe
        return found

    @contextlib.contextmanager
    def _writing(self, user: str) -> Iterator[Connection]:
        """A transaction that changes a user. Writers of a user wait for each other from its begin, so that none waits
        for a second row while it holds a first."""
        with writing(self._engine) as connection:
            lock(connection, user)
            yield connection

    def _touch(self, connection: Connection, user: str, now: float) -> None:
        """Counts a user's version up, or makes the user."""
        row = insert_into(self._engine, user_table).values(
            id=user, born=secrets.token_hex(8), changes=1, created=now
        )
        connection.execute(
            row.on_conflict_do_update(index_elements=["id"], set_={"changes": user_table.c.changes + 1})
        )

    def _wipe(self) -> None:
        """Empties the log of a SQLite file, so that deleted texts are nowhere on disk; readers may delay it.

        Raises:
            OperationalError: It cannot be written, such as on a full disk. The next deletion tries again.
        """
        if self._engine.dialect.name == "sqlite":
            statement = "PRAGMA wal_checkpoint(TRUNCATE)"
            with contextlib.closing(self._engine.raw_connection()) as connection:
                try:
                    connection.cursor().execute(statement)
                except sqlite3.Error as error:
                    raise OperationalError(statement, None, error) from error


def _version(connection: Connection, user: str) -> Version | None:
    there = user_table.outerjoin(member_table).outerjoin(community_table)
    wanted = select(
        user_table.c.born,
        user_table.c.changes,
        *(community_table.c[name] for name in CommunityVersion._fields),
    )
    row = connection.execute(wanted.select_from(there).where(user_table.c.id == user)).first()
    if row is None:
        return None
    born, changes, *community = row
    return Version(born, changes, CommunityVersion(*community) if community[0] is not None else None)


def _pair(row: Any) -> Preference:
    return Preference(**json.loads(row.pair))


def _label(row: Any) -> Label:
    guess = None if row.asked is None else Guess(row.asked, row.guess, row.general_guess)
    return Label(row.id, _pair(row), row.created, row.response_seconds, guess)


def _guess_values(guess: Guess | None) -> dict[str, Any]:
    return dict(zip(("asked", "guess", "general_guess"), guess or (None, None, None), strict=True))


def _count(connection: Connection, table: Table, user: str) -> int:
    wanted = select(func.count()).select_from(table).where(table.c.user_id == user)
    return connection.scalar(wanted) or 0


def _answered(connection: Connection, user: str, key: str, digest: str) -> list[int] | None:
    found = connection.execute(
        select(answer_table).where(answer_table.c.user_id == user, answer_table.c.key == key)
    ).first()
    if found is None:
        return None
    if found.digest != digest:
        raise KeyUsedBefore(
            f"the idempotency key {shown(key)} came with other pairs before. Use a new key for a new request."
        )
    return json.loads(found.answer)


def _is(table: Table, user: str, row: int) -> tuple[Any, Any]:
    row = max(0, min(row, MOST_ID))  # of a number of more bits a database makes an error
    return table.c.user_id == user, table.c.id == row
