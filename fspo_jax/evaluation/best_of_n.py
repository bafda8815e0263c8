"""Best-of-n with known utility: how good is the candidate that a method picks, for the user?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo_jax.evaluation.predict import Method, Picker
from fspo_jax.evaluation.report import PickRow
from fspo_jax.metrics import interval, regret, winrate_against_random
from fspo_jax.types import Preference, User


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
    generator = np.random.default_rng([seed, 2])
    pickers: dict[str, Picker] = {
        "random": lambda context, candidates: generator.random(len(candidates.candidates)),
        "longest": lambda context, candidates: np.array([len(text) for text in candidates.candidates]),
    }
    if (personal := model.best_of_n) is not None:
        pickers["zero shots"] = lambda context, candidates: personal((), candidates)
        pickers["personal"] = personal
    pickers |= {method.name: method.best_of_n for method in others if method.best_of_n is not None}
    pickers["true best"] = lambda context, candidates: np.array(candidates.utilities)
    rows = []
    for name, score in pickers.items():
        outcomes = np.array([_outcome(score, user, context) for user, context in judged])
        rows.append(PickRow(name, interval(outcomes[:, 0], seed), interval(outcomes[:, 1], seed)))
    return tuple(rows)


def _outcome(score: Picker, user: User, context: Sequence[Preference]) -> tuple[float, float]:
    """Mean win rate and regret over the user's candidate sets."""
    wins, losses = [], []
    for candidates in user.candidate_sets:
        utilities = np.array(candidates.utilities)
        pick = int(np.argmax(score(context, candidates)))
        wins.append(winrate_against_random(utilities, pick))
        losses.append(regret(utilities, pick))
    return float(np.mean(wins)), float(np.mean(losses))
