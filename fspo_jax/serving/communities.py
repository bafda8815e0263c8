"""The store of communities: what each has learned, and which users belong to it.

A user belongs to at most one community. What a community has learned is kept, and not the texts it was learned from.
Every change counts its version up, which is a part of its members' versions.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Engine, Row, delete, select

from fspo_jax.serving.database import (
    community_table,
    insert_into,
    lock,
    member_table,
    reading,
    user_table,
    writing,
)
from fspo_jax.serving.stored import BelongsElsewhere, CommunityVersion, Posterior, StoredCommunity

_PLAIN = [column for column in community_table.c if column.name != "posterior"]


class Communities:
    """The communities of one database. Threads and processes may share it.

    Args:
        engine: As `open_database` gives it.
    """

    def __init__(self, engine: Engine):
        self._engine = engine

    def find(self, community: str) -> StoredCommunity | None:
        """A community; None if there is none of this id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(*_PLAIN).where(community_table.c.id == community)).first()
            return row and _stored(connection, row)

    def listed(self, after: str, most: int) -> list[StoredCommunity]:
        """Communities by their ids, those that come after `after`."""
        wanted = (
            select(*_PLAIN).where(community_table.c.id > after).order_by(community_table.c.id).limit(most)
        )
        with reading(self._engine) as connection:
            return [_stored(connection, row) for row in connection.execute(wanted).all()]

    def posterior(self, community: str) -> Posterior | None:
        """What a community has learned; None if there is none of this id."""
        wanted = [community_table.c[name] for name in ("people", "pairs", "fingerprint", "posterior")]
        with reading(self._engine) as connection:
            row = connection.execute(select(*wanted).where(community_table.c.id == community)).first()
            return row and Posterior(*row)

    def replace(
        self,
        community: str,
        members: Sequence[str] | None,
        learned: Posterior,
        known: Collection[str] = (),
    ) -> bool:
        """Makes a community, or replaces what it has learned and who belongs to it; true if it is new.

        Args:
            community: Its id.
            members: Users; who does not exist is made. None leaves them as they are, with who joined meanwhile.
            learned: What it has learned.
            known: Users who existed when it learned. Who of them is deleted meanwhile is not made again.

        Raises:
            BelongsElsewhere: A user belongs to another community. Nothing is changed then.
        """
        values = {
            "learned": time.time(),
            "people": learned.people,
            "pairs": learned.pairs,
            "fingerprint": learned.fingerprint,
            "posterior": learned.data,
        }
        with writing(self._engine) as connection:
            lock(connection, f"community {community}")
            there = community_table.c.id == community
            new = connection.execute(select(community_table.c.id).where(there)).first() is None
            if new:
                first = {"id": community, "born": secrets.token_hex(8), "changes": 1, "created": time.time()}
                connection.execute(community_table.insert().values(first | values))
            else:
                more = {"changes": community_table.c.changes + 1}
                connection.execute(community_table.update().where(there).values(values | more))
            if members is not None:
                gone = (member_table.c.community_id == community) & member_table.c.user_id.not_in(members)
                connection.execute(delete(member_table).where(gone))
                for user in sorted(set(members)):
                    self._join(connection, user, community, make=user not in known)
        return new

    def join(self, user: str, community: str) -> bool:
        """Makes a user belong to a community, and the user if there is none; false if there is no such community.

        Raises:
            BelongsElsewhere: The user belongs to another community.
        """
        with writing(self._engine) as connection:
            lock(connection, f"community {community}")
            if (
                connection.scalar(select(community_table.c.id).where(community_table.c.id == community))
                is None
            ):
                return False
            self._join(connection, user, community)
        return True

    def leave(self, user: str) -> bool:
        """Makes a user belong to no community; false if the user belongs to none."""
        with writing(self._engine) as connection:
            gone = (
                delete(member_table).where(member_table.c.user_id == user).returning(member_table.c.user_id)
            )
            return connection.execute(gone).first() is not None

    def delete(self, community: str) -> bool:
        """Deletes a community; its members stay, as users of no community. False if there is none of this id."""
        with writing(self._engine) as connection:
            connection.execute(delete(member_table).where(member_table.c.community_id == community))
            gone = delete(community_table).where(community_table.c.id == community)
            return connection.execute(gone.returning(community_table.c.id)).first() is not None

    def _join(self, connection: Connection, user: str, community: str, make: bool = True) -> None:
        lock(connection, user)  # as everybody does who deletes the user
        if (
            not make
            and connection.execute(select(user_table.c.id).where(user_table.c.id == user)).first() is None
        ):
            return
        made = {"id": user, "born": secrets.token_hex(8), "changes": 1, "created": time.time()}
        connection.execute(insert_into(self._engine, user_table).values(made).on_conflict_do_nothing())
        row = {"user_id": user, "community_id": community}
        connection.execute(insert_into(self._engine, member_table).values(row).on_conflict_do_nothing())
        where = connection.scalar(select(member_table.c.community_id).where(member_table.c.user_id == user))
        if where != community:
            raise BelongsElsewhere(
                f"user {user} belongs to the community '{where}', and a user belongs to one. Take the user out of it "
                "first."
            )


def _stored(connection: Connection, row: Row) -> StoredCommunity:
    belongs = select(member_table.c.user_id).where(member_table.c.community_id == row.id)
    members = connection.scalars(belongs.order_by(member_table.c.user_id)).all()
    version = CommunityVersion(row.id, row.born, row.changes)
    return StoredCommunity(version, row.people, row.pairs, tuple(members), row.created, row.learned)
