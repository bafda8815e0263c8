"""Methods and their predictions on episodes, for `fspo evaluate`, `benchmark` and `data audit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fspo_jax.evaluation.episodes import People
from fspo_jax.metrics import predicted_logit
from fspo_jax.reward import PersonalizedReward
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.types import CandidateSet, Episode, Preference

USERS_PER_BATCH = 128

Margins = Callable[[Episode], tuple[np.ndarray, np.ndarray]]
"""Maps an episode of item rows to the mean and variance of r(chosen) - r(rejected) of its queries, each `[U, Q]`."""

TextMargins = Callable[..., tuple[np.ndarray, np.ndarray]]
"""Maps the contexts and queries of B users, as lists of `Preference`, and their descriptions (or None), to mean and
variance `[B, Q]`. Values after a user's last query are ignored."""

Context = Sequence[Preference]
Picker = Callable[[Sequence[Context], Sequence[Sequence[CandidateSet]]], list[list[np.ndarray]]]
"""Maps the contexts and the candidate sets of U users to values `[C]` of the candidates of each set. The highest one
is picked."""


@dataclass(frozen=True)
class Method:
    """Anything that predicts what a user chooses: a reward, a baseline, a known optimum.

    Attributes:
        name: Its name in tables.
        margins: Predicts the queries of episodes. The context pairs are all it reads about a user.
        best_of_n: Scores candidates of users, given context pairs. None for methods that only compare pairs.
    """

    name: str
    margins: Margins
    best_of_n: Picker | None = None


def log_odds(margins: Margins, episode: Episode) -> np.ndarray:
    """Log odds that a method gives to the chosen response of each query, in nats, `float64 [U, Q]`; 0 if masked."""
    return np.where(episode.query_mask, predicted_logit(*margins(episode)), 0.0)


def leave_one_out_log_odds(margins: Margins, episode: Episode, texts: np.ndarray) -> np.ndarray:
    """Log odds of the chosen response of each context pair, given the user's other context pairs, in nats, `[N]`.

    Other pairs that share a response with it are also left out.

    Args:
        margins: The predictions of a method.
        episode: Item rows.
        texts: Text id of each row.
    """
    ids, mask = texts[episode.context], episode.context_mask
    found = [np.zeros(0)]
    for i in np.flatnonzero(mask.any(0)):
        shared = (ids[:, :, :, None] == ids[:, i, None, None, :]).any((2, 3))
        alone = Episode(episode.context, mask & ~shared, episode.context[:, i : i + 1], mask[:, i : i + 1])
        found.append(log_odds(margins, alone)[mask[:, i], 0])
    return np.concatenate(found)


def reading_features(
    margins: Callable[[Episode], tuple[np.ndarray, np.ndarray]], features: np.ndarray
) -> Margins:
    """Makes margins of item rows from a function that reads features, in batches of one size: one compiled program.

    Args:
        margins: Maps an episode of features, `context float32 [B, K, 2, F]`, to mean and variance `[B, Q]`.
        features: `float32 [N, F]`, features of the rows.
    """

    def of_rows(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        users = len(rows.query_mask)
        size = min(USERS_PER_BATCH, bucket(users, 1))
        parts = []
        for start in range(0, users, size):
            # The last batch is padded with its last user.
            part = Episode(*(leaf[np.arange(start, start + size).clip(max=users - 1)] for leaf in rows))
            part = part._replace(context=features[part.context], queries=features[part.queries])
            parts.append([np.asarray(values) for values in margins(part)])
        mean, variance = (np.concatenate(values)[:users] for values in zip(*parts, strict=True))
        return mean, variance

    return of_rows


def reading_texts(margins: TextMargins, people: People, descriptions: Sequence[str] | None = None) -> Margins:
    """Makes margins of item rows from a function that reads texts.

    Args:
        margins: Maps texts to mean and variance.
        people: The people, with the items that rows refer to.
        descriptions: Description of each user, in words. The episodes must then belong to exactly these users.
    """

    def of_rows(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = np.zeros((2, *rows.query_mask.shape))
        asked = np.flatnonzero(rows.query_mask.any(1))
        for part in np.split(asked, range(USERS_PER_BATCH, len(asked), USERS_PER_BATCH)):
            given = [] if descriptions is None else [[descriptions[u] for u in part]]
            found = margins(*texts_of(people, rows, part), *given)
            mask = rows.query_mask[part]
            # Valid queries come first in a row.
            front = np.arange(found[0].shape[1]) < mask.sum(1)[:, None]
            for result, values in zip((mean, variance), found, strict=True):
                filled = np.zeros(mask.shape)
                filled[mask] = values[front]
                result[part] = filled
        return mean, variance

    return of_rows


def texts_of(
    people: People, rows: Episode, users: np.ndarray
) -> tuple[list[list[Preference]], list[list[Preference]]]:
    """Returns the contexts and queries of some users of an episode, as texts."""
    contexts = [people.preferences(rows.context[u][rows.context_mask[u]]) for u in users]
    return contexts, [people.preferences(rows.queries[u][rows.query_mask[u]]) for u in users]


def reward_method(
    name: str, reward: PersonalizedReward, people: People, features: np.ndarray | None = None
) -> Method:
    """Turns a reward into a method.

    Args:
        name: Its name in tables.
        reward: The reward.
        people: The people, with the items that rows refer to.
        features: `float32 [N, F]`, features of the items by the reward's featurizer; None if it reads texts.
    """
    of_features = reward.scoring.feature_margins
    if features is None or of_features is None:
        return Method(name, reading_texts(reward.margins, people), _margins_picker(reward.margins))

    def margins(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = of_features(episode)
        return np.asarray(mean) / reward.temperature, np.asarray(variance)

    def picker(contexts: Sequence[Context], sets: Sequence[Sequence[CandidateSet]]) -> list[list[np.ndarray]]:
        users = map(reward.adapt, contexts)
        return [
            [user.score(one.prompt, one.candidates) for one in those]
            for user, those in zip(users, sets, strict=True)
        ]

    return Method(name, reading_features(margins, features), picker)


def one_by_one(score: Callable[[Context, CandidateSet], np.ndarray]) -> Picker:
    """Makes a picker from a function that scores one candidate set of one user."""

    def picker(contexts: Sequence[Context], sets: Sequence[Sequence[CandidateSet]]) -> list[list[np.ndarray]]:
        users = zip(contexts, sets, strict=True)
        return [[score(context, one) for one in those] for context, those in users]

    return picker


def _margins_picker(margins: TextMargins) -> Picker:
    """Scores the candidates of many users at once, by their margins to the first candidate of their set.

    A language model compiles a program for every shape, so one set after the other would take minutes.
    """

    def picker(contexts: Sequence[Context], sets: Sequence[Sequence[CandidateSet]]) -> list[list[np.ndarray]]:
        found = []
        for start in range(0, len(sets), USERS_PER_BATCH):
            part = slice(start, start + USERS_PER_BATCH)
            asked = [[pair for one in those for pair in _against_first(one)] for those in sets[part]]
            mean, _ = margins(contexts[part], asked)
            for row, those in zip(mean, sets[part], strict=True):
                values = iter(row.tolist())
                found.append(
                    [
                        np.array(
                            [0.0 if text == one.candidates[0] else next(values) for text in one.candidates]
                        )
                        for one in those
                    ]
                )
        return found

    return picker


def _against_first(one: CandidateSet) -> list[Preference]:
    first = one.candidates[0]
    return [Preference(one.prompt, text, first) for text in one.candidates if text != first]
