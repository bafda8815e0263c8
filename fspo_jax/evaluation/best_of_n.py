"""Best-of-n with known utility: does the candidate that a reward picks please the user?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fspo_jax.evaluation.report import PickRow
from fspo_jax.metrics import interval, regret, winrate_against_random
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import CandidateSet, Preference, User

Picker = Callable[[Sequence[Preference], CandidateSet], np.ndarray]
"""`(context, candidate set) -> [C]`: the higher, the rather picked."""


def best_of_n(
    reward: PersonalizedReward,
    users: Sequence[User],
    contexts: Sequence[Sequence[Preference]],
    baselines: Mapping[str, PersonalizedReward],
    pickers: Mapping[str, Picker],
    seed: int,
) -> tuple[PickRow, ...]:
    """Winrate and regret of each picker, a row each; empty where no user has candidate sets.

    Args:
        reward: Picks with each user's context (`personal`) and without (`zero shots`).
        users: Those without candidate sets are left out.
        contexts: Labelled pairs of each user.
        baselines: Other rewards, which pick without context.
        pickers: Other methods.
        seed: Of the bootstrap and of random picks.
    """
    generator = np.random.default_rng([seed, 2])
    scores: dict[str, Picker] = {
        "random": lambda context, candidates: generator.random(len(candidates.candidates)),
        "longest": lambda context, candidates: np.array([len(text) for text in candidates.candidates]),
        **{name: _without_context(baseline) for name, baseline in baselines.items()},
        "zero shots": _without_context(reward),
        "personal": _with_context(reward),
        **pickers,
        "true best": lambda context, candidates: np.array(candidates.utilities),
    }
    judged = [(user, context) for user, context in zip(users, contexts, strict=True) if user.candidate_sets]
    if not judged:
        return ()
    rows = []
    for name, score in scores.items():
        outcomes = np.array([_outcome(score, user, context) for user, context in judged])
        rows.append(PickRow(name, interval(outcomes[:, 0], seed), interval(outcomes[:, 1], seed)))
    return tuple(rows)


def _with_context(reward: PersonalizedReward) -> Picker:
    adapted: dict[tuple[Preference, ...], object] = {}

    def score(context: Sequence[Preference], candidates: CandidateSet) -> np.ndarray:
        key = tuple(context)
        if key not in adapted:
            adapted.clear()  # users come one after the other
            adapted[key] = reward.adapt(key)
        return adapted[key].score(candidates.prompt, candidates.candidates)  # type: ignore[attr-defined]

    return score


def _without_context(reward: PersonalizedReward) -> Picker:
    anybody = reward.adapt()
    return lambda context, candidates: anybody.score(candidates.prompt, candidates.candidates)


def _outcome(score: Picker, user: User, context: Sequence[Preference]) -> tuple[float, float]:
    """Mean winrate and regret over the user's candidate sets."""
    wins, losses = [], []
    for candidates in user.candidate_sets:
        utilities = np.array(candidates.utilities)
        pick = int(np.argmax(score(context, candidates)))
        wins.append(winrate_against_random(utilities, pick))
        losses.append(regret(utilities, pick))
    return float(np.mean(wins)), float(np.mean(losses))
