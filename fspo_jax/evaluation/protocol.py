"""How a reward is measured on users it has not seen.

One episode a user: a fixed context, of which K shots are the first K pairs, and queries that share no text with the
whole context and are the same for all K. Users with fewer than K pairs enter the curve with all they have, so that
every K is about the same users; tables by source and group take only users with as many context pairs as they say.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.config import config_to_dict
from fspo_jax.data.episodes import evaluation_episodes, index_items
from fspo_jax.errors import DataError
from fspo_jax.evaluation.baselines import Margins, isotropic_gp, per_user_logistic
from fspo_jax.evaluation.best_of_n import Picker, best_of_n
from fspo_jax.evaluation.report import ControlRow, CurveRow, GroupRow, Obedience, PairedRow, Report
from fspo_jax.metrics import (
    brier,
    calibration,
    correctness,
    interval,
    log_loss,
    predicted,
    user_means,
    worst_decile,
)
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Episode, Preference, User

USERS_PER_BATCH = 128
CONTROL_SHOTS = 8
MODEL = "model"


class Predictor(NamedTuple):
    """A method that reads texts, such as the Bayes-optimal predictor of a synthetic world.

    Attributes:
        probabilities: `(context, queries) -> [Q]`, probability of each query's chosen response, for one user.
        expected_utilities: `(context, candidate set) -> [C]`, for best-of-n; or None.
    """

    probabilities: Callable[[Sequence[Preference], Sequence[Preference]], np.ndarray]
    expected_utilities: Picker | None = None


def evaluate(
    reward: PersonalizedReward,
    users: Sequence[User],
    *,
    baselines: Mapping[str, PersonalizedReward] | None = None,
    predictors: Mapping[str, Predictor] | None = None,
    shots: Sequence[int] = (0, 1, 2, 4, 8, 16),
    queries: int = 16,
    seed: int = 0,
) -> Report:
    """Measures a reward on users: accuracy by shots, controls, baselines, calibration, best-of-n.

    Args:
        reward: The reward; never trained on these users.
        users: Their pairs, and candidate sets where true utilities are known.
        baselines: Other rewards by name; `population` is the one reports compare with.
        predictors: Known optima by name.
        shots: Numbers of shots; those above `reward.max_context` are left out.
        queries: Largest number of queries a user.
        seed: Of the choice of context and queries, of controls and of the bootstrap.

    Returns:
        The report. `per-user logistic` and `isotropic GP` are among its methods where the reward reads features.

    Raises:
        DataError: No user has a query.

    Example:
        >>> report = evaluate(reward, users)  # doctest: +SKIP
        >>> report.row("model", 8).accuracy.mean  # doctest: +SKIP
        0.87
    """
    shots = tuple(sorted({int(k) for k in shots if 0 <= k <= reward.max_context} | {0}))
    if queries < 1:
        raise DataError(f"queries must be at least 1, not {queries}.")
    run = _Run(reward, users, shots, queries, seed)
    control_shots = max((k for k in shots if k <= CONTROL_SHOTS), default=0)
    rewards = {MODEL: reward, **(baselines or {})}
    results = {(name, k): run.predict(other, k) for name, other in rewards.items() for k in shots}
    results["flipped", control_shots] = run.predict(reward, control_shots, flipped=True)
    results["stranger", control_shots] = run.predict(reward, control_shots, owners=run.strangers())
    fits: dict[str, Margins] = {}
    if run.features is not None:
        fits = {
            "per-user logistic": per_user_logistic(run.features),
            "isotropic GP": isotropic_gp(run.features),
        }
    results |= {(name, k): run.predict_features(fit, k) for name, fit in fits.items() for k in shots}
    for name, predictor in (predictors or {}).items():
        results |= {(name, k): run.predict_texts(predictor, k) for k in shots}
    names = [*rewards, *fits, *(predictors or {})]

    full = run.context_sizes >= control_shots
    return Report(
        users=len(run.users),
        left_out=run.left_out,
        full_context={k: int((run.context_sizes >= k).sum()) for k in shots},
        shots=shots,
        control_shots=control_shots,
        curve=tuple(run.curve_row(name, k, results[name, k]) for name in names for k in shots),
        controls=_controls(run, results, _described(run, reward, control_shots), control_shots),
        obedience=_obedience(run, results, control_shots),
        paired=tuple(
            PairedRow(
                name, k, interval(run.accuracy(results[MODEL, k]) - run.accuracy(results[name, k]), seed)
            )
            for name in names[1:]
            for k in shots
        ),
        sources=_groups(run, results, names, control_shots, full, [user.source for user in run.users]),
        groups=_groups(run, results, names, control_shots, full, [user.group for user in run.users]),
        reliability=_reliability(run, results[MODEL, control_shots]),
        picks=best_of_n(
            reward,
            run.users,
            [context[:control_shots] for context in run.contexts],
            baselines or {},
            {name: p.expected_utilities for name, p in (predictors or {}).items() if p.expected_utilities},
            seed,
        ),
        provenance=_provenance(reward, seed, queries),
    )


class _Run:
    """The fixed episodes of all users that have a query, and predictions on them.

    A prediction is the probability of the chosen response of each query, `[U, Q]`.
    """

    def __init__(
        self, reward: PersonalizedReward, users: Sequence[User], shots: Sequence[int], queries: int, seed: int
    ):
        items, table = index_items(users)
        episode = evaluation_episodes(table, max_context=max(shots), queries=queries, seed=seed)
        kept = np.flatnonzero(episode.query_mask.any(1))
        if not len(kept):
            raise DataError(
                f"none of the {len(users)} users has a query: each needs 2 pairs that share no text. Give more pairs."
            )
        self.users = [users[int(i)] for i in kept]
        self.left_out = len(users) - len(kept)
        self.episode = Episode(*(leaf[kept] for leaf in episode))
        self.context_sizes = self.episode.context_mask.sum(1)
        featurizer = reward.scoring.featurizer
        self.features = featurizer(*zip(*items, strict=True)) if featurizer else None
        self.seed = seed
        self._items = items
        lengths = np.array([len(response) for _, response in items])[self.episode.queries]
        self._responses_longer = 0.5 + 0.5 * np.sign(lengths[..., 0] - lengths[..., 1])
        self.contexts = [
            self._texts(rows, mask)
            for rows, mask in zip(self.episode.context, self.episode.context_mask, strict=True)
        ]
        self.queries = [
            self._texts(rows, mask)
            for rows, mask in zip(self.episode.queries, self.episode.query_mask, strict=True)
        ]

    def predict(
        self,
        reward: PersonalizedReward,
        shots: int,
        *,
        flipped: bool = False,
        owners: np.ndarray | None = None,
        descriptions: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Predictions of a reward.

        Args:
            reward: Any.
            shots: K.
            flipped: Reverse the labels of the context.
            owners: `[U]`, whose context each user gets; their own when None.
            descriptions: Of the users, for a language model that reads them.
        """
        contexts = [context[:shots] for context in self.contexts]
        if flipped:
            contexts = [[Preference(p.prompt, p.rejected, p.chosen) for p in pairs] for pairs in contexts]
        contexts = contexts if owners is None else [contexts[owner] for owner in owners]
        result = np.full(self.episode.query_mask.shape, 0.5)
        for start in range(0, len(result), USERS_PER_BATCH):
            part = slice(start, start + USERS_PER_BATCH)
            read = None if descriptions is None else descriptions[part]
            mean, variance = reward.margins(contexts[part], self.queries[part], read)
            mask = self.episode.query_mask[part]
            # Queries stand in front: the first ones of a row are those that its mask has.
            front = np.arange(mean.shape[1]) < mask.sum(1)[:, None]
            result[part][mask] = predicted(mean[front], variance[front])
        return result

    def predict_features(self, margins: Margins, shots: int) -> np.ndarray:
        """Predictions of a method that reads features."""
        assert self.features is not None
        # No slot beyond K is read, so there is one compiled program for each K, and small ones are fast.
        context = self.episode.context[:, : max(shots, 1)]
        context_mask = self.episode.context_mask[:, : max(shots, 1)] & (shots > 0)
        result = np.empty(self.episode.query_mask.shape, np.float64)
        for start in range(0, len(result), USERS_PER_BATCH):
            rows = np.arange(start, start + USERS_PER_BATCH).clip(max=len(result) - 1)
            episode = Episode(
                self.features[context[rows]],
                context_mask[rows],
                self.features[self.episode.queries[rows]],
                self.episode.query_mask[rows],
            )
            count = min(USERS_PER_BATCH, len(result) - start)
            result[start : start + count] = predicted(*margins(episode))[:count]
        return result

    def predict_texts(self, predictor: Predictor, shots: int) -> np.ndarray:
        """Predictions of a method that reads texts."""
        result = np.full(self.episode.query_mask.shape, 0.5)
        for u, (context, queries) in enumerate(zip(self.contexts, self.queries, strict=True)):
            result[u, self.episode.query_mask[u]] = predictor.probabilities(context[:shots], queries)
        return result

    def predict_length(self) -> np.ndarray:
        """Certain of the longer response."""
        return self._responses_longer

    def accuracy(self, prediction: np.ndarray) -> np.ndarray:
        """Accuracy of each user, `[U]`."""
        return user_means(correctness(prediction - 0.5), self.episode.query_mask)

    def curve_row(self, method: str, shots: int, prediction: np.ndarray) -> CurveRow:
        accuracy = self.accuracy(prediction)
        return CurveRow(
            method,
            shots,
            interval(accuracy, self.seed),
            float(user_means(log_loss(prediction), self.episode.query_mask).mean()),
            float(user_means(brier(prediction), self.episode.query_mask).mean()),
            calibration(prediction[self.episode.query_mask]).error,
            worst_decile(accuracy),
        )

    def strangers(self) -> np.ndarray:
        """For each user another user of the same source (and group, where it has another), `int [U]`.

        The only user of a source has no other, and stands for itself.
        """
        generator = np.random.default_rng([self.seed, 1])
        result = np.arange(len(self.users))
        for key in ("source", "group"):
            members: dict[tuple[str, str], list[int]] = {}
            for u, user in enumerate(self.users):
                members.setdefault((user.source, user.group if key == "group" else ""), []).append(u)
            for rows in members.values():
                if len(rows) > 1:
                    order = generator.permutation(rows)
                    result[order] = np.roll(order, 1)
        return result

    def _texts(self, rows: np.ndarray, mask: np.ndarray) -> list[Preference]:
        return [
            Preference(self._items[chosen][0], self._items[chosen][1], self._items[rejected][1])
            for chosen, rejected in rows[mask].tolist()
        ]


def _described(run: _Run, reward: PersonalizedReward, shots: int) -> dict[str, np.ndarray]:
    """Predictions with descriptions, where the reward reads them and the users have them."""
    if reward.writing is None or not reward.writing.describes:
        return {}
    true = [user.description for user in run.users]
    if not any(true):
        return {}
    generated = [reward.adapt(context[:shots]).describe() for context in run.contexts]
    texts = {
        "generated description": generated,
        "true description": true,
        "another user's description": [true[owner] for owner in run.strangers()],
    }
    return {name: run.predict(reward, shots, descriptions=given) for name, given in texts.items()}


DESCRIBED = {
    "generated description": "not below the model without it",
    "true description": "the highest: what words can add",
    "another user's description": "below the true one: the model reads it",
}


def _controls(
    run: _Run,
    results: Mapping[tuple[str, int], np.ndarray],
    described: Mapping[str, np.ndarray],
    shots: int,
) -> tuple[ControlRow, ...]:
    zero = run.accuracy(results[MODEL, 0])
    rows = {
        "zero shots": (results[MODEL, 0], "the population reward: below the personal one"),
        "flipped labels": (results["flipped", shots], "below zero shots: the model reads the labels"),
        "another user's context": (
            results["stranger", shots],
            "not above zero shots: what helps is this user's taste",
        ),
        "longer response": (run.predict_length(), "near one half, unless length is what people want"),
        "random": (np.full_like(results[MODEL, 0], 0.5), "one half"),
    }
    rows |= {name: (prediction, DESCRIBED[name]) for name, prediction in described.items()}
    others = run.strangers() != np.arange(len(run.users))
    found = []
    for name, (prediction, expectation) in rows.items():
        of = others if name.startswith("another user's") else np.ones_like(others)
        if of.any():
            accuracy, gain = run.accuracy(prediction)[of], (run.accuracy(prediction) - zero)[of]
            found.append(
                ControlRow(name, interval(accuracy, run.seed), interval(gain, run.seed), expectation)
            )
    return tuple(found)


def _obedience(run: _Run, results: Mapping[tuple[str, int], np.ndarray], shots: int) -> Obedience:
    mask = run.episode.query_mask
    zero, own, flipped = (
        np.sign(results[key][mask] - 0.5) for key in ((MODEL, 0), (MODEL, shots), ("flipped", shots))
    )
    changed = own != zero
    turned = float((flipped[changed] != own[changed]).mean()) if changed.any() else float("nan")
    return Obedience(int(changed.sum()), int(mask.sum()), turned)


def _groups(
    run: _Run,
    results: Mapping[tuple[str, int], np.ndarray],
    names: Sequence[str],
    shots: int,
    full: np.ndarray,
    labels: Sequence[str],
) -> tuple[GroupRow, ...]:
    rows = []
    for label in sorted(set(labels)):
        here = full & np.array([other == label for other in labels])
        if not here.any():
            continue
        own = run.accuracy(results[MODEL, shots])[here]
        others = {name: run.accuracy(results[name, shots])[here] for name in names if name != MODEL}
        rows.append(
            GroupRow(
                label,
                int(here.sum()),
                interval(run.accuracy(results[MODEL, 0])[here], run.seed),
                interval(own, run.seed),
                {name: interval(values, run.seed) for name, values in others.items()},
                {name: interval(own - values, run.seed) for name, values in others.items()},
            )
        )
    return tuple(rows)


def _reliability(run: _Run, prediction: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    bins = calibration(prediction[run.episode.query_mask])
    return tuple(
        (float(c), float(f), float(w))
        for c, f, w in zip(bins.confidence, bins.frequency, bins.weight, strict=True)
    )


def _provenance(reward: PersonalizedReward, seed: int, queries: int) -> dict[str, Any]:
    import jax

    from fspo_jax import __version__

    return {
        "config": config_to_dict(reward.config),
        "fingerprint": reward.fingerprint,
        "temperature": reward.temperature,
        "seed": seed,
        "queries": queries,
        "fspo_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
