"""What to ask a person next: the pair of the pool that tells most, rather about a prompt that was not asked yet."""

from __future__ import annotations

import zlib
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from fspo_jax.asking import Question, next_pairs
from fspo_jax.reward import UserReward
from fspo_jax.serving.pool import question_id
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import Label, Pass
from fspo_jax.types import Preference, Prompt

RANDOM_EVERY = 5
"""Every so many pairs, one is drawn at random, to count hits on."""

WORTH_ANOTHER_PROMPT = 0.1
"""A pair of a prompt that was not asked yet comes first if it tells at least this share of what the best pair tells.
Else most questions would be about the few prompts whose responses differ most."""


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
    best = most_telling(reward, pairs, {one.pair.prompt for one in (*known.labels, *known.passes)})
    return (best, "bald") if best else None


def most_telling(reward: UserReward, pairs: Sequence[Preference], seen: Set[Prompt]) -> Question | None:
    """The pair that tells most, rather about a prompt that was not seen; None if there is no pair."""
    best = next_pairs(reward, pairs, 1)
    fresh = next_pairs(reward, [pair for pair in pairs if pair.prompt not in seen], 1)
    if fresh and fresh[0].value >= WORTH_ANOTHER_PROMPT * best[0].value:
        best = fresh
    return best[0] if best else None
