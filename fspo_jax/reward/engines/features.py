"""Scoring with a scorer of frozen features."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fspo_jax.checkpoints import reward_fingerprint, write_reward
from fspo_jax.checkpoints.files import shape_faults, tree_digest
from fspo_jax.checkpoints.rewards import DESCRIPTION
from fspo_jax.config import TrainConfig
from fspo_jax.errors import CheckpointError, DataError
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.models.features.recent import RecentRows
from fspo_jax.models.features.text_effects import FeaturesWithEffects, TextEffects, scorer_with_effects
from fspo_jax.models.scorers.contract import (
    Community,
    CommunityPairs,
    Params,
    Scorer,
    UserState,
)
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward.engines.contract import NO_TEXTS, Keeping, MarginPosterior, Taste, bucket
from fspo_jax.reward.engines.distinct_pairs import digest_list, pair_digests, unknown_pair
from fspo_jax.reward.engines.scorer_programs import ScorerPrograms, programs_of
from fspo_jax.reward.engines.user_pairs import UserPairs
from fspo_jax.reward.engines.user_states import UserStates
from fspo_jax.types import Episode, Preference, Prompt

CANDIDATE_BUCKETS = (32, 256)
"""Number of candidates of the programs of `warm_up`. More candidates are padded to the next power of two."""


@dataclass(frozen=True, eq=False)
class FeatureScoring:
    """Scores with features. A context is a `UserPairs`, which holds the features of its pairs.

    Attributes:
        config: The config of meta-training.
        scorer: The scorer, as pure functions.
        params: The parameters of the scorer.
        featurizer: Turns texts into features.
        fingerprint: As in `Scoring`.
        community: What is known of a community, as its file holds it, or None: the fields of `Community`, the numbers
            of `people` and `pairs`, and the fields of `TextEffects` as `texts`. A private one has its (epsilon, delta)
            as `privacy`.
    """

    config: TrainConfig
    scorer: Scorer
    params: Params
    featurizer: FeatureFunction
    fingerprint: str
    community: Mapping[str, Any] | None = field(default=None, kw_only=True)

    @classmethod
    def from_parts(cls, config: TrainConfig, params: Params, featurizer: FeatureFunction) -> FeatureScoring:
        """Raises `CheckpointError` unless the parameters have the shapes that config and featurizer need.

        Args:
            config: The config of meta-training.
            params: The parameters of the scorer; as `community`, what the attribute of that name holds.
            featurizer: Turns texts into features.
        """
        if featurizer.dimension < 1:
            raise CheckpointError("the reward reads no features: 'features' in its config is empty.")
        fingerprint = reward_fingerprint(params, config, featurizer.fingerprint)
        params = dict(params)
        community, factors = params.pop("community", None), params.pop(DESCRIPTION, None)
        scorer = make_scorer(config.scorer, featurizer.blocks)
        programs = programs_of(scorer)
        expected = jax.eval_shape(programs.init, jax.random.key(0))  # shapes only, nothing is computed
        params = jax.device_put(params)
        if faults := shape_faults(params, expected):
            raise CheckpointError(
                f"the parameters do not fit a '{config.scorer.kind}' scorer on {featurizer.dimension} features: "
                f"{'; '.join(faults[:5])}. Load the checkpoint with the encoder it was trained with. If "
                "another version of fspo_jax wrote it, make it again."
            )
        if factors is not None:
            known = {name: jax.ShapeDtypeStruct((2,), np.float32) for name in scorer.wide_places}
            if faults := shape_faults(factors, known):
                raise CheckpointError(
                    f"the factors of descriptions do not fit the scorer: {'; '.join(faults[:5])}."
                )
            params[DESCRIPTION] = factors
        if community is not None:
            _check_community(community, programs, params, featurizer.dimension)
            params["community"] = jax.device_put({name: community[name] for name in Community._fields})
            texts = community["texts"]
            featurizer = FeaturesWithEffects(featurizer, TextEffects(**texts), tree_digest(texts)[:16])
            scorer = scorer_with_effects(scorer)
        return cls(config, scorer, params, featurizer, fingerprint, community=community)

    def warm_up(self) -> None:
        self.featurizer.warm_up()
        states, width = self.states.of_every_program(), self.featurizer.dimension
        for count in CANDIDATE_BUCKETS:
            features = np.zeros((count, width), np.float32)
            spread = (
                None if self._spreads is None else np.asarray(self.programs.spread_of(self.params, features))
            )
            for state in states:
                self.programs.score_and_deviation(self.params, state, features, spread, np.float32(count))

    def save(self, path: str | Path, temperature: float) -> None:
        inner = plain_features(self.featurizer)
        if missing := getattr(inner, "missing", ()):
            raise CheckpointError(
                f"{path}: a reward without {', '.join(missing)} cannot be saved. Load it with all of its blocks, and "
                "save that."
            )
        write_reward(
            path,
            self.params if self.community is None else {**self.params, "community": self.community},
            self.config,
            featurizer_fingerprint=inner.fingerprint,
            adapters=getattr(inner, "adapters", None),
            fitted=getattr(inner, "fitted", None),
            blocks=getattr(inner, "optional", None),
            temperature=temperature,
        )

    @property
    def weighs_pairs(self) -> bool:
        return self.scorer.weighs_pairs

    def read(
        self, preferences: Sequence[Preference], keeping: Keeping = NO_TEXTS, days: Sequence[float] = ()
    ) -> UserPairs:
        return self.join(UserPairs.empty(self.featurizer.dimension, keeping), preferences, days)

    def join(
        self, context: UserPairs, preferences: Sequence[Preference], days: Sequence[float] = ()
    ) -> UserPairs:
        """Adds pairs. As soon as there are more than can be read one by one, the oldest are folded."""
        places = [i for i, new in enumerate(context.unfolded(preferences)) if new]
        if context.texts is not None and len(places) < len(preferences):
            folded = set(range(len(preferences))) - set(places)
            return self.join(self.without(context, [preferences[i] for i in folded]), preferences, days)
        context = context.without(pair_digests(preferences))
        features = self.features_of([preferences[i] for i in places])
        most = self.states.most if self.weighs_pairs else len(places) + len(context.features)
        while places:
            if len(context.features) >= most:
                context = self.states.with_oldest_folded(context)
            room = most - len(context.features)
            part, places = places[:room], places[room:]
            new = [preferences[i] for i in part]
            when = np.array([days[i] for i in part] if len(days) else [], float)
            context = context.joined(new, features[: len(part)], when)
            features = features[len(part) :]
        return context

    def without(self, context: UserPairs, preferences: Sequence[Preference]) -> UserPairs:
        digests = pair_digests(preferences)
        known = {digest: i for i, digest in enumerate(digest_list(context.digests))}
        places = [known.get(digest, -1) for digest in digest_list(digests)]
        for i, place in enumerate(places):
            if place < 0:
                raise unknown_pair(i)
            if place < context.old and context.texts is None:
                raise DataError(
                    f"preferences[{i}] is one of the oldest {context.old} pairs, which are folded together, so it "
                    "cannot be taken out. Adapt the user again without it, with keep_texts=True to forget any pair."
                )
        if context.texts is None or context.folded is None:
            return context.without(digests)
        left = [i for i in range(len(context.digests)) if i not in set(places)]
        days = [context.days[i] for i in left] if self.dated(context) else ()
        return self.read([context.texts[i] for i in left], context.keeping, days)

    def preferences(self, context: UserPairs) -> tuple[Preference, ...] | None:
        return context.texts

    def left_out(self, context: UserPairs, place: int) -> UserPairs | None:
        places = np.arange(self.count(context))
        return None if place < context.old else context.selected(np.delete(places, place))

    def kept_margin(self, state: UserState, context: UserPairs, place: int) -> tuple[float, float]:
        features = context.features[place - context.old]
        found = self.programs.margins.posterior(self.params, state, features[None])
        chosen, rejected = found.rewards[0].tolist()
        return chosen - rejected, float(found.variance[0])

    def taste(self, state: UserState, steps: np.ndarray | None = None) -> Taste | None:
        if not self.scorer.linear or self.scorer.variance is None:
            return None
        if steps is None:
            steps = np.eye(self.featurizer.dimension, dtype=np.float32)
        return Taste(*map(np.asarray, self.programs.taste(self.params, state, steps)))

    def has(self, context: UserPairs, preferences: Sequence[Preference]) -> list[bool]:
        known = set(digest_list(context.digests))
        return [digest in known for digest in digest_list(pair_digests(preferences))]

    def count(self, context: UserPairs) -> int:
        return len(context.digests)

    def keeping(self, context: UserPairs) -> Keeping:
        return context.keeping

    def dated(self, context: UserPairs) -> bool:
        return len(context.days) > 0

    def features_of(self, preferences: Sequence[Preference]) -> np.ndarray:
        """Features of K pairs, `float32 [K, 2, F]`."""
        prompts = [p.prompt for p in preferences for _ in range(2)]
        responses = [response for p in preferences for response in (p.chosen, p.rejected)]
        if not responses:
            return np.zeros((0, 2, self.featurizer.dimension), np.float32)
        return self.featurizer(prompts, responses).reshape(len(preferences), 2, -1)

    @functools.cached_property
    def programs(self) -> ScorerPrograms:
        """The compiled programs, which rewards with an equal scorer share."""
        return programs_of(self.scorer)

    @functools.cached_property
    def states(self) -> UserStates:
        """Makes the states of users."""
        most = self.config.episodes.max_context
        return UserStates(self.programs, self.params, self.featurizer.dimension, most)

    def state(self, context: UserPairs) -> UserState:
        return self.states.state(context)

    def update(self, state: UserState, context: UserPairs) -> UserState:
        return self.state(context)

    def score(
        self, state: UserState, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(candidates)
        size = next((size for size in CANDIDATE_BUCKETS if count <= size), bucket(count, 1))
        # Padding with a text, which is featurized once, spares the copy that padding the features would be.
        padded = [*candidates, *[candidates[-1]] * (size - count)]
        features = self.featurizer([prompt] * size, padded)
        spreads = self._spreads
        spread = None if spreads is None else spreads.rows([(prompt, text) for text in padded])
        rewards, deviation = self.programs.score_and_deviation(
            self.params, state, features, spread, np.float32(count)
        )
        return np.array(rewards)[:count], np.array(deviation)[:count]

    def margin_posterior(self, state: UserState, pairs: Sequence[Preference]) -> MarginPosterior | None:
        if self.scorer.variance is None:
            return None
        return self.programs.margins.posterior(self.params, state, self.features_of(pairs))

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._padded(pairs) for pairs in (contexts, queries)]
        mean, variance = self.feature_margins(Episode(*parts[0], *parts[1]))
        users, widest = len(queries), max(map(len, queries), default=0)
        return tuple(np.where(parts[1][1], part, 0.0)[:users, :widest] for part in (mean, variance))  # type: ignore

    def feature_margins(self, episode: Episode) -> tuple[jax.Array, jax.Array]:
        return self.programs.query_margins(self.params, episode)

    def to_arrays(self, context: UserPairs) -> dict[str, np.ndarray]:
        return context.to_arrays()

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> UserPairs:
        context = UserPairs.from_arrays(
            arrays, self.featurizer.dimension, (self.states.newest, self.states.width)
        )
        if len(context.features) > self.states.most:
            raise ValueError(
                f"it has {len(context.features)} pairs one by one, not at most {self.states.most}"
            )
        if not self.weighs_pairs and (context.folded is not None or context.half_life < np.inf):
            raise ValueError("this reward gives pairs no weights")
        return context

    def _padded(self, users: Sequence[Sequence[Preference]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns features `[B, N, 2, F]` and mask `[B, N]` of the users' pairs, with B and N padded to buckets."""
        features = self.features_of([pair for pairs in users for pair in pairs])
        mask = np.zeros((bucket(len(users), 1), bucket(max(map(len, users), default=0), 1)), bool)
        for row, pairs in zip(mask, users, strict=False):
            row[: len(pairs)] = True
        padded = np.zeros((*mask.shape, *features.shape[1:]), np.float32)
        padded[mask] = features
        return padded, mask

    @functools.cached_property
    def _spreads(self) -> RecentRows[tuple[Prompt, str]] | None:
        """Spreads of the latest items, for scorers inside a community, where they cost most of the variance."""
        if self.community is None or self.scorer.spread is None:
            return None

        def compute(items: list[tuple[Prompt, str]]) -> np.ndarray:
            prompts, responses = zip(*items, strict=True)
            most = CANDIDATE_BUCKETS[-1]
            parts = []
            for start in range(0, len(items), most):
                part = slice(start, start + most)
                features = self.featurizer(prompts[part], responses[part])
                size = next(size for size in CANDIDATE_BUCKETS if len(features) <= size)
                padded = np.zeros((size, features.shape[1]), np.float32)
                padded[: len(features)] = features
                parts.append(np.asarray(self.programs.spread_of(self.params, padded))[: len(features)])
            return np.concatenate(parts)

        return RecentRows(len(self.community["log_weights"]), compute)


def plain_features(featurizer: FeatureFunction) -> FeatureFunction:
    """The features without the effects of texts that a community has seen."""
    return featurizer.inner if isinstance(featurizer, FeaturesWithEffects) else featurizer


def _check_community(
    community: Mapping[str, Any], programs: ScorerPrograms, params: Params, dimension: int
) -> None:
    """Raises `CheckpointError` unless what is known of a community fits the scorer."""
    if programs.learn is None:
        raise CheckpointError("there is a community, but the scorer has no level for it.")
    row = jax.eval_shape(programs.represent, params, jax.ShapeDtypeStruct((dimension,), np.float32))
    groups = len(np.atleast_1d(community.get("log_weights", ())))
    texts = len(np.atleast_1d(community.get("texts", {}).get("keys", ())))

    def leaf(kind: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    shapes: dict[str, Any] = {
        "pairs": leaf(np.float32, 1, 2, *row.shape),
        "person": leaf(np.int32, 1),
        "weights": leaf(np.float32, 1),
        "texts": leaf(np.int32, 1, 2),
        "variances": leaf(np.float32, 1, 2),
    }
    learned = jax.eval_shape(programs.learn, params, CommunityPairs(**shapes)).community._asdict()
    private = {"privacy": leaf(np.float64, 2)} if "privacy" in community else {}
    expected = {
        **private,
        **{name: leaf(part.dtype, groups, *part.shape[1:]) for name, part in learned.items()},
        "people": leaf(np.int64),
        "pairs": leaf(np.int64),
        "texts": {
            "secret": leaf(np.uint8, 32),
            "keys": leaf(np.uint64, texts),
            "counts": leaf(np.int64, texts),
            "means": leaf(np.float32, texts),
            "variances": leaf(np.float32, texts),
        },
    }
    if faults := shape_faults(community, expected):
        raise CheckpointError(f"the community does not fit the scorer: {'; '.join(faults[:5])}.")
