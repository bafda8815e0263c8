"""Best-of-n with known utility: how good is the candidate that a method picks, for the user?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo_jax.evaluation.predict import Method, Picker, one_by_one
from fspo_jax.evaluation.report import PickRow
from fspo_jax.metrics import interval, regret, winrate_against_random
from fspo_jax.types import CandidateSet, Preference, User


def pick_rows(
    users: Sequence[User],
    contexts: Sequence[Sequence[Preference]],
    model: Method,
    others: Sequence[Method],
    seed: int,
) -> tuple[PickRow, ...]:
    """Returns win rate and regret of each method, one row per method; empty if no user has candidate sets.

    Args:
        users: The users. Those without candidate sets are left out.
        contexts: Labelled pairs of each user.
        model: The reward, which picks with each user's context (`personal`) and without (`zero shots`).
        others: Other methods that can pick, with the context.
        seed: Seed of the bootstrap and of random picks.
    """
    judged = [(user, context) for user, context in zip(users, contexts, strict=True) if user.candidate_sets]
    if not judged:
        return ()
    sets, known = [user.candidate_sets for user, _ in judged], [context for _, context in judged]
    generator = np.random.default_rng([seed, 2])
    pickers: dict[str, Picker] = {
        "random": one_by_one(lambda context, one: generator.random(len(one.candidates))),
        "longest": one_by_one(lambda context, one: np.array([len(text) for text in one.candidates])),
    }
    if (personal := model.best_of_n) is not None:
        pickers["zero shots"] = lambda contexts, sets: personal([()] * len(sets), sets)
        pickers["personal"] = personal
    pickers |= {method.name: method.best_of_n for method in others if method.best_of_n is not None}
    pickers["true best"] = one_by_one(lambda context, one: np.array(one.utilities))
    rows = []
    for name, picker in pickers.items():
        outcomes = np.array([_outcome(*user) for user in zip(sets, picker(known, sets), strict=True)])
        rows.append(PickRow(name, interval(outcomes[:, 0], seed), interval(outcomes[:, 1], seed)))
    return tuple(rows)


def _outcome(sets: Sequence[CandidateSet], values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean win rate and regret over a user's candidate sets."""
    wins, losses = [], []
    for candidates, scores in zip(sets, values, strict=True):
        utilities, pick = np.array(candidates.utilities), int(np.argmax(scores))
        wins.append(winrate_against_random(utilities, pick))
        losses.append(regret(utilities, pick))
    return float(np.mean(wins)), float(np.mean(losses))
