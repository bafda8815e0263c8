"""The tables of users, and how a database is opened: one SQLite file, or PostgreSQL by URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from fspo_jax.arguments import check_path
from fspo_jax.errors import DataError
from fspo_jax.private_files import private_directory, private_opener

BUSY_SECONDS = 10
"""How long a writer waits for the others before its request is refused."""

metadata = MetaData()

format_table = Table("fspo_format", metadata, Column("number", Integer, nullable=False))

user_table = Table(
    "fspo_users",
    metadata,
    Column("id", String(128), primary_key=True),
    # A user who is deleted and made again must not look like the one before to a cache: `born` is drawn at random.
    Column("born", String(32), nullable=False),
    Column("changes", Integer, nullable=False),
    Column("created", Float, nullable=False),
)

label_table = Table(
    "fspo_labels",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column(
        "user_id", String(128), ForeignKey("fspo_users.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("pair", Text, nullable=False),  # as JSON, which escapes what a database may not store
    Column("created", Float, nullable=False),
    Column("response_seconds", Float),
    # How the pair was chosen, and the probabilities of its label before it was known; see `users.Guess`.
    Column("asked", String(16)),
    Column("guess", Float),
    Column("general_guess", Float),
    sqlite_autoincrement=True,  # the id of a deleted label never comes back
)

pass_table = Table(
    "fspo_passes",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column(
        "user_id", String(128), ForeignKey("fspo_users.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("pair", Text, nullable=False),
    Column("answer", String(8), nullable=False),
    Column("created", Float, nullable=False),
    Column("response_seconds", Float),
    sqlite_autoincrement=True,
)

answer_table = Table(
    "fspo_answers",
    metadata,
    Column("user_id", String(128), ForeignKey("fspo_users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("answer", Text, nullable=False),
)

community_table = Table(
    "fspo_communities",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("born", String(32), nullable=False),  # as of users
    Column("changes", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("learned", Float, nullable=False),
    Column("people", Integer, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),  # of the reward that learned it
    Column("posterior", LargeBinary, nullable=False),
)

member_table = Table(
    "fspo_members",
    metadata,
    Column("user_id", String(128), ForeignKey("fspo_users.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "community_id",
        String(128),
        ForeignKey("fspo_communities.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
)

written_table = Table(
    "fspo_written",
    metadata,
    Column("id", String(64), primary_key=True),  # digest of the model's name and the prompt
    Column("texts", Text, nullable=False),  # as JSON
)


def _add_what_the_page_keeps(connection: Connection) -> None:
    there = {column["name"] for column in inspect(connection).get_columns(label_table.name)}
    for name in ("asked", "guess", "general_guess"):
        if name not in there:
            kind = label_table.c[name].type.compile(connection.dialect)
            connection.execute(text(f"ALTER TABLE {label_table.name} ADD COLUMN {name} {kind}"))
    pass_table.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    metadata.create_all,
    _add_what_the_page_keeps,
    metadata.create_all,  # communities and their members
    metadata.create_all,  # what a model wrote for the page
)
"""What brings a database from each format to the next; the first makes the tables as they are today. A change of tables
adds one, which does nothing if the tables are as it makes them."""


def open_database(where: str | Path) -> Engine:
    """Opens a database of users, makes it if there is none, and brings its tables to the newest format.

    A file of SQLite survives a kill at any moment, and a loss of power: it is written ahead (WAL) and every commit
    waits for the disk (synchronous FULL). Only its owner can read it.

    Args:
        where: The path of a file, or a URL of PostgreSQL, such as `postgresql+psycopg://name@host/database`.

    Raises:
        DataError: It cannot be opened, is no database of users, or was made by a newer version of the package.
    """
    shown = str(where)
    try:
        if "://" in shown:
            url = make_url(shown)
            shown = url.render_as_string(hide_password=True)
            if (
                url.get_backend_name() != "postgresql"
            ):  # a URL of SQLite would open a file that others can read
                raise DataError(
                    f"{shown}: cannot be opened as a database of users. Give the path of a SQLite file, or a URL of "
                    "PostgreSQL."
                )
            engine = create_engine(url, pool_pre_ping=True)
        else:
            engine = _open_file(check_path(where, error=DataError))
        with writing(engine) as connection:
            _migrate(connection, shown)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise DataError(f"{shown}: cannot be opened as a database ({error}).") from None
    except OSError as error:
        raise DataError(f"{shown}: cannot be opened as a file ({error.strerror}).") from None
    except DatabaseError as error:
        raise DataError(f"{shown}: cannot be used as a database of users ({error.orig}).") from None
    return engine


def writing(engine: Engine) -> Any:
    """A transaction that may write, as a context. Writers of a SQLite file wait for each other from its begin."""
    return engine.execution_options(writes=True).begin()


def reading(engine: Engine) -> Any:
    """A transaction that sees one state of the database, as a context. It waits for nobody."""
    return (
        engine.execution_options(isolation_level="REPEATABLE READ").begin()
        if _shared(engine)
        else engine.begin()
    )


def insert_into(engine: Engine, table: Table) -> Any:
    """An insert that can say what to do if the row exists."""
    return (postgresql if _shared(engine) else sqlite).insert(table)


def lock(connection: Connection, name: str) -> None:
    """Others that lock this name wait until the transaction ends. All writers of a SQLite file wait anyway."""
    if _shared(connection.engine):
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _shared(engine: Engine) -> bool:
    return engine.dialect.name != "sqlite"


def _open_file(path: Path) -> Engine:
    private_directory(path.parent)
    os.close(private_opener(str(path), os.O_RDWR | os.O_CREAT))
    # An absolute path as it is: ":memory:" is a file like others, and signs such as ? and % have no meaning.
    url = URL.create("sqlite", database=str(path.absolute()))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, and not before the first write
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(connection: Connection, shown: str) -> None:
    if _shared(connection.engine):
        connection.execute(text("SELECT pg_advisory_xact_lock(20240711)"))  # one process at a time
    format_table.create(connection, checkfirst=True)
    found = connection.scalar(select(format_table.c.number))
    if found is None:
        found = 0
        connection.execute(insert(format_table).values(number=0))
    if found > len(MIGRATIONS):
        raise DataError(
            f"{shown}: has format {found}, but this version of fspo_jax knows formats up to {len(MIGRATIONS)}. "
            "Install the version that made it, or a newer one."
        )
    for migration in MIGRATIONS[found:]:
        migration(connection)
    connection.execute(update(format_table).values(number=len(MIGRATIONS)))
