"""Finds groups of people whose tastes differ, when nobody knows who belongs to which.

Expectation maximisation on the marginal likelihood: each group has a Gaussian of what its people have in common, and
each person belongs to each group with a probability. A step learns every group from all pairs, weighted by these
probabilities; the next takes the probabilities from the evidence of each person's pairs under every group.

Sources: Chakraborty et al. (2024), MaxMin-RLHF, arXiv 2402.08925, and Chen et al. (2024), PAL, arXiv 2406.08469, who
find groups of people in other models.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.arguments import check_integer, shown
from fspo_jax.errors import DataError
from fspo_jax.metrics import predicted_logit
from fspo_jax.models.features.interaction import INTERACTION
from fspo_jax.models.features.text_effects import TextEffects
from fspo_jax.models.scorers.contract import CommunityPairs, Params, Scorer
from fspo_jax.reward.community import SMALL_CHUNK, check_community, check_learns
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.reward.engines.features import FeatureScoring, plain_features
from fspo_jax.reward.personalized import PersonalizedReward
from fspo_jax.types import Preference, User

GAUSSIAN = ("mean", "covariance", "log_kinds")
"""What is learned of each group, as fields of `Community`."""

MOST_PAIRS = 32
"""Pairs of one person that are used. A power of two, at most a chunk."""

STARTS, STEPS, SETTLED = 3, 15, 0.01
"""Starts, steps of each, and the change of probabilities below which a start ends."""

FEWEST_PAIRS = 4
"""The last of so many pairs of a person is held out."""

MOST_COUNT, FEWEST_PEOPLE = 16, 5
"""Most groups, and fewest people for each of them on average."""


class Group(NamedTuple):
    """What is known of one group.

    Attributes:
        share: Share of the people, from 0 to 1.
        people: Number of people who belong to it more than to the others.
        accuracy: Share of these people's held-out pairs that are predicted, averaged over the people; NaN if none of
            them has four pairs.
        differences: Named columns of the features in which the group differs most from the mean of all, and by how many
            posterior deviations; largest first.
    """

    share: float
    people: int
    accuracy: float
    differences: tuple[tuple[str, float], ...]


class Communities(NamedTuple):
    """Groups of people.

    Attributes:
        reward: The reward that knows the groups. `adapt` weighs them by the evidence of the person's pairs.
        groups: The groups, the largest first. Groups to which nobody belongs most are left out.
        members: `int [people]`, the group that each person belongs to most; -1 for people without pairs.
        log_loss: Of held-out pairs, nats per pair.
        log_loss_of_one: The same when all people are one community.
    """

    reward: PersonalizedReward
    groups: tuple[Group, ...]
    members: np.ndarray
    log_loss: float
    log_loss_of_one: float

    @property
    def worst(self) -> Group:
        """The group whose held-out pairs are predicted worst."""
        return min(self.groups, key=lambda group: np.nan_to_num(group.accuracy, nan=1.0))


def communities(
    reward: PersonalizedReward, people: Iterable[Iterable[Preference] | User], count: int, *, seed: int = 0
) -> Communities:
    """Finds groups of people whose tastes differ.

    Use it when the people come from one place, but disagree, and nobody knows who agrees with whom. Every fourth pair
    of a person is held out, to choose among a few starts and to judge the groups; the reward is then learned from all.
    Groups are worth it if `log_loss` is below `log_loss_of_one`. Texts have no effects of their own.

    Args:
        reward: With a `three_level_gp` scorer. It may know one community, from which all groups then start.
        people: As in `PersonalizedReward.for_community`; all fit into memory. 32 pairs of a person are used.
        count: Number of groups to look for, from 2 to 16.
        seed: Of the starts. Equal seeds give equal groups.

    Raises:
        FspoError: The scorer has no level of communities, or the reward already knows groups.
        DataError: There are fewer than 5 people for each group, nobody has four pairs, or an argument has a wrong type
            or value.

    Example:
        >>> found = communities(reward, fspo.load_users("people.jsonl"), 2)  # doctest: +SKIP
        >>> [round(group.share, 2) for group in found.groups], found.worst.accuracy  # doctest: +SKIP
        ([0.7, 0.3], 0.64)
    """
    if not hasattr(reward, "scoring"):
        raise DataError(f"reward must be a PersonalizedReward, not {shown(reward)}.")
    count = check_integer(count, "count", 2, MOST_COUNT)
    seed = check_integer(seed, "seed", 0)
    scoring = check_learns(reward.scoring, reward.config.scorer.kind)
    everybody = [pairs[:MOST_PAIRS] for pairs in check_community(people)]
    given = [pairs for pairs in everybody if pairs]
    if len(given) < FEWEST_PEOPLE * count:
        raise DataError(
            f"there are {len(given)} people with pairs, too few for {count} groups. Give at least "
            f"{FEWEST_PEOPLE * count}, or ask for fewer groups."
        )
    if max(map(len, given)) < FEWEST_PAIRS:
        raise DataError(
            f"nobody has {FEWEST_PAIRS} pairs, so none can be held out to judge the groups. Give more pairs of each "
            "person, or learn one community of all."
        )
    search = Search(scoring, given)
    shares = [search.run(count, np.random.default_rng([seed, start])) for start in range(STARTS)]
    losses = [search.judge(one)[1].mean() for one in shares]
    best = shares[int(np.argmin(losses))]
    best = best[:, np.unique(best.argmax(1))]
    best = best / best.sum(1, keepdims=True)
    best = best[:, np.argsort(-best.mean(0), kind="stable")]
    correct, loss = search.judge(best)
    groups = search.learn(best, search.used)
    belongs = best.argmax(1)
    members = np.full(len(everybody), -1)
    members[[bool(pairs) for pairs in everybody]] = belongs
    counts = {"people": len(given), "pairs": int(search.used.sum())}
    return Communities(
        replace(reward, scoring=search.scoring_of(groups, counts)),
        tuple(
            Group(
                float(best[:, m].mean()),
                int((belongs == m).sum()),
                float(
                    np.mean(
                        [np.mean(correct[u]) for u in np.flatnonzero(belongs == m) if correct[u]] or np.nan
                    )
                ),
                search.differences(groups, m),
            )
            for m in range(best.shape[1])
        ),
        members,
        float(loss.mean()),
        float(search.judge(np.ones((len(given), 1)))[1].mean()),
    )


class Search:
    """The pairs of P people as differences of representations, `[P, K, 1 + R]`, and what is computed from them."""

    def __init__(self, scoring: FeatureScoring, people: list[list[Preference]]):
        self._scoring = scoring
        size = bucket(max(map(len, people)), 4)
        self._people = len(people)
        # Behind the people stands nobody, so that all parts have one size.
        self.used = np.zeros((-(-len(people) // SMALL_CHUNK) * SMALL_CHUNK, size), bool)
        for row, pairs in zip(self.used, people, strict=False):
            row[: len(pairs)] = True
        self._held_out = self.used & (np.arange(size) % FEWEST_PAIRS == FEWEST_PAIRS - 1)
        represent = jax.jit(scoring.scorer.represent)
        self._rows = np.zeros((*self.used.shape, scoring.states.width), np.float32)
        for row, pairs in zip(self._rows, people, strict=False):
            features = np.zeros((size, 2, scoring.featurizer.dimension), np.float32)
            features[: len(pairs)] = scoring.features_of(pairs)
            both = np.asarray(represent(scoring.params, features))
            row[:] = np.where(np.arange(size)[:, None] < len(pairs), both[:, 0] - both[:, 1], 0.0)
        self._nobody = {name: leaf for name, leaf in scoring.params.items() if name != "community"}
        self._learn = jax.jit(functools.partial(_learn_groups, scoring.scorer))
        self._adapt = jax.jit(functools.partial(_adapt_people, scoring.scorer))

    def run(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """One start: probabilities `[P, count]` of groups, from the pairs that are not held out."""
        shares = self._first_shares(count, generator)
        for _ in range(STEPS):
            before, groups = shares, self.learn(shares, self.used & ~self._held_out)
            # All groups count as equally large meanwhile, or the first to grow would take everybody.
            shares = self._adapted({**groups, "log_weights": jnp.zeros(count)})["shares"]
            if np.abs(shares - before).max() < SETTLED:
                break
        return shares

    def learn(self, shares: np.ndarray, used: np.ndarray) -> dict[str, Any]:
        """The Gaussian of each group, from pairs with the probabilities of their people as weights."""
        count, size = shares.shape[1], self.used.shape[1]
        groups = None
        if (known := self._scoring.params.get("community")) is not None:
            groups = {name: jnp.repeat(known[name], count, 0) for name in GAUSSIAN}
        weights = np.zeros((*self.used.shape, count), np.float32)
        weights[: self._people] = used[: self._people, :, None] * shares[:, None]
        together = SMALL_CHUNK // size
        person = np.repeat(np.arange(together), size)
        for start in range(0, self._people, together):
            part = slice(start, start + together)
            rows = self._rows[part].reshape(len(person), -1)
            groups = self._learn(self._nobody, groups, rows, person, weights[part].reshape(-1, count).T)
        assert groups is not None
        return {**groups, "log_weights": jnp.log(jnp.asarray(shares.mean(0) + 1e-6, jnp.float32))}

    def judge(self, shares: np.ndarray) -> tuple[list[list[float]], np.ndarray]:
        """For each person whether the held-out pairs are predicted, and their log losses, of all people in a row."""
        found = self._adapted(self.learn(shares, self.used & ~self._held_out))
        logits, held_out = (
            predicted_logit(found["margins"], found["variances"]),
            self._held_out[: self._people],
        )
        correct = [
            list(np.where(one == 0, 0.5, one > 0)[asked]) for one, asked in zip(logits, held_out, strict=True)
        ]
        return correct, np.logaddexp(0.0, -logits[held_out])

    def differences(
        self, groups: Mapping[str, Any], group: int, most: int = 3
    ) -> tuple[tuple[str, float], ...]:
        """The named columns in which a group differs most from the mean of all."""
        inner = plain_features(self._scoring.featurizer)
        named, start = {}, 1
        for block, width in inner.blocks.items():
            if block == INTERACTION:  # no taste moves its penalties
                continue
            for i, column in enumerate(getattr(inner, "columns", {}).get(block, ())):
                named[f"{block} {column}".removeprefix(f"{column} ")] = start + i
            start += width
        mean, weights = np.asarray(groups["mean"]), np.exp(np.asarray(groups["log_weights"]))
        away = mean[group] - weights @ mean / weights.sum()
        variances = np.diagonal(np.asarray(groups["covariance"][group]))
        away = away / np.sqrt(np.maximum(variances, 1e-12))
        first = sorted(named, key=lambda name: -abs(away[named[name]]))[:most]
        return tuple((name, float(away[named[name]])) for name in first)

    def scoring_of(self, groups: Mapping[str, Any], counts: Mapping[str, int]) -> FeatureScoring:
        """The scoring that knows the groups."""
        before = self._scoring.community or {"people": 0, "pairs": 0, "texts": TextEffects.none()._asdict()}
        community = {
            **{name: np.asarray(leaf) for name, leaf in groups.items()},
            **{name: np.int64(before[name] + value) for name, value in counts.items()},
            "texts": before["texts"],
        }
        inner = plain_features(self._scoring.featurizer)
        return FeatureScoring.from_parts(
            self._scoring.config, {**self._nobody, "community": community}, inner
        )

    def _first_shares(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Groups of people whose own tastes point in similar directions (k-means++ and a few steps of k-means)."""
        tastes = self._adapted(None)["weights"]
        tastes = tastes / np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-9)
        centers = tastes[[generator.integers(len(tastes))]]
        for _ in range(count - 1):
            far = 1.0 - (tastes @ centers.T).max(1).clip(-1.0, 1.0) + 1e-9
            centers = np.concatenate([centers, tastes[[generator.choice(len(tastes), p=far / far.sum())]]])
        for _ in range(10):
            nearest = np.eye(count)[(tastes @ centers.T).argmax(1)]
            centers = nearest.T @ tastes
            centers = centers / np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-9)
        return 0.8 * nearest + 0.2 / count

    def _adapted(self, groups: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
        """What is known of each person inside the groups from the pairs that are not held out."""
        known = groups or self._scoring.params.get("community")
        params = self._nobody if known is None else {**self._nobody, "community": known}
        parts = [slice(start, start + SMALL_CHUNK) for start in range(0, self._people, SMALL_CHUNK)]
        used = self.used & ~self._held_out
        found = [self._adapt(params, self._rows[part], used[part]) for part in parts]
        return {name: np.concatenate([part[name] for part in found])[: self._people] for name in found[0]}


def _learn_groups(
    scorer: Scorer, params: Params, groups: Any, rows: jax.Array, person: jax.Array, weights: jax.Array
) -> Any:
    """Each group's Gaussian after N pairs with weights `[M, N]`; `groups` is None or what each knew before."""
    assert scorer.learn is not None
    learn, zeros = scorer.learn, jnp.zeros((len(rows), 2))
    pairs = jnp.stack([rows, jnp.zeros_like(rows)], axis=1)

    def one(group: tuple[Any, jax.Array]) -> Any:
        before, weights = group
        known = params
        if before is not None:
            community = {name: leaf[None] for name, leaf in before.items()}
            known = {**params, "community": {**community, "log_weights": jnp.zeros(1)}}
        given = CommunityPairs(pairs, person, weights, zeros.astype(jnp.int32), zeros)
        found = learn(known, given).community
        return {name: getattr(found, name)[0] for name in GAUSSIAN}

    return jax.lax.map(one, (groups, weights))


def _adapt_people(scorer: Scorer, params: Params, rows: jax.Array, used: jax.Array) -> dict[str, jax.Array]:
    """Group probabilities, weights of the reward, and margins of all pairs, of people with pairs `[P, K, 1 + R]`."""
    assert scorer.variance is not None
    variance = scorer.variance

    def one(person: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        rows, used = person
        nothing = jnp.zeros_like(rows)
        state = scorer.encode_context(params, jnp.stack([rows, nothing], axis=1), used.astype(jnp.float32))
        return {
            "shares": state.shares,
            "weights": state.expected_weights,
            "margins": scorer.score(params, state, rows),
            "variances": variance(params, state, rows, nothing),
        }

    return jax.lax.map(one, (rows, used))  # a loop, because the compiler takes minutes for a batch
