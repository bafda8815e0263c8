"""What to ask a person next, for the page and for assistants."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from fspo_jax.asking import Question, next_pairs
from fspo_jax.serving.pool import question_id
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import Label, Pass

RANDOM_EVERY = 5
"""Every so many pairs, one is drawn at random, to count hits on."""


class Known(NamedTuple):
    """What a person has answered so far."""

    labels: list[Label]
    passes: list[Pass]

    @property
    def asked(self) -> list[Label]:
        """The labels of pairs that the page asked."""
        return [label for label in self.labels if label.guess]

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest answer on the page, as the form of undoing names it."""
        found: Sequence[Label | Pass] = [*self.asked[-1:], *self.passes[-1:]]
        last = max(found, key=lambda one: one.created, default=None)
        if last is None:
            return None
        return {"kind": "label" if isinstance(last, Label) else "pass", "id": last.id}


def everything_known(service: Service, user: str) -> Known:
    """Reads what a person has answered."""
    return Known(service.users.labels(user)[1], service.users.passes(user))


def choose_question(service: Service, user: str, known: Known) -> tuple[Question, str] | None:
    """The pair to ask and how it was chosen; None if no pair of the pool is left."""
    passed = {question_id(one.pair) for one in known.passes}
    pairs = [pair for name, pair in service.pool.pairs.items() if name not in passed]
    reward, count = service.reward_of(user).reward, len(known.asked)
    if not service.asks_well or count % RANDOM_EVERY == RANDOM_EVERY - 1:
        seed = zlib.crc32(f"{user} {count}".encode())  # the same question until it is answered
        drawn = next_pairs(reward, pairs, 1, by="random", seed=seed)
        return (drawn[0], "random") if drawn else None
    seen = {one.pair.prompt for one in (*known.labels, *known.passes)}
    found = next_pairs(reward, pairs, 1, seen=seen)
    return (found[0], "bald") if found else None
