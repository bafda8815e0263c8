"""Scoring with a scorer of frozen features."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.checkpoints import reward_fingerprint, write_reward
from fspo_jax.checkpoints.files import shape_faults, tree_digest
from fspo_jax.config import TrainConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.models.features.text_effects import FeaturesWithEffects, TextEffects, scorer_with_effects
from fspo_jax.models.scorers.contract import Community, Params, Scorer, UserState, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.types import Episode, Preference, Prompt

SMALLEST_CONTEXT = 4
"""Number of pairs of the smallest program. Larger contexts are padded to the next power of two."""

CANDIDATE_BUCKETS = (32, 256)
"""Number of candidates of the programs of `warm_up`. More candidates are padded to the next power of two."""


@dataclass(frozen=True, eq=False)
class FeatureScoring:
    """Scores with features. A context is the features of its pairs, `float32 [K, 2, F]`; no text is stored.

    Attributes:
        config: The config of meta-training.
        scorer: The scorer, as pure functions.
        params: The parameters of the scorer.
        featurizer: Turns texts into features.
        fingerprint: As in `Scoring`.
        community: What is known of a community, as its file holds it, or None: the fields of `Community`, the numbers
            of `people` and `pairs`, and the fields of `TextEffects` as `texts`.
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
        community = params.pop("community", None)
        scorer = make_scorer(config.scorer, featurizer.blocks)
        expected = jax.eval_shape(lambda: scorer.init(jax.random.key(0)))  # shapes only, nothing is computed
        params = jax.device_put(params)
        if faults := shape_faults(params, expected):
            raise CheckpointError(
                f"the parameters do not fit a '{config.scorer.kind}' scorer on {featurizer.dimension} features: "
                f"{'; '.join(faults[:5])}. Load the checkpoint with the encoder it was trained with."
            )
        if community is not None:
            _check_community(community, scorer, params, featurizer.dimension)
            params["community"] = jax.device_put({name: community[name] for name in Community._fields})
            texts = community["texts"]
            featurizer = FeaturesWithEffects(featurizer, TextEffects(**texts), tree_digest(texts)[:16])
            scorer = scorer_with_effects(scorer)
        return cls(config, scorer, params, featurizer, fingerprint, community=community)

    def warm_up(self) -> None:
        self.featurizer.warm_up()
        most = self.config.episodes.max_context
        for shots in sorted({bucket(shots, SMALLEST_CONTEXT) for shots in range(most + 1)}):
            state = self.state(np.zeros((shots, 2, self.featurizer.dimension), np.float32))
            for count in CANDIDATE_BUCKETS:
                features = np.zeros((count, self.featurizer.dimension), np.float32)
                self._score(self.params, state, features, np.float32(count))

    def save(self, path: str | Path, temperature: float) -> None:
        inner = plain_features(self.featurizer)
        write_reward(
            path,
            self.params if self.community is None else {**self.params, "community": self.community},
            self.config,
            featurizer_fingerprint=inner.fingerprint,
            adapters=getattr(inner, "adapters", None),
            temperature=temperature,
        )

    def read(self, preferences: Sequence[Preference]) -> np.ndarray:
        prompts = [p.prompt for p in preferences for _ in range(2)]
        responses = [response for p in preferences for response in (p.chosen, p.rejected)]
        if not responses:
            return np.zeros((0, 2, self.featurizer.dimension), np.float32)
        return self.featurizer(prompts, responses).reshape(len(preferences), 2, -1)

    def join(self, context: np.ndarray, more: np.ndarray) -> np.ndarray:
        return np.concatenate([context, more])

    def count(self, context: np.ndarray) -> int:
        return len(context)

    def state(self, context: np.ndarray) -> UserState:
        shots = len(context)
        padded = np.zeros((bucket(shots, SMALLEST_CONTEXT), *context.shape[1:]), np.float32)
        padded[:shots] = context
        return self._encode_context(self.params, padded, np.arange(len(padded)) < shots)

    def update(self, state: UserState, context: np.ndarray, more: np.ndarray) -> UserState:
        return self.state(self.join(context, more))

    def score(
        self, state: UserState, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(candidates)
        size = next((size for size in CANDIDATE_BUCKETS if count <= size), bucket(count, 1))
        # Padding with a text, which is featurized once, spares the copy that padding the features would be.
        padded = [*candidates, *[candidates[-1]] * (size - count)]
        features = self.featurizer([prompt] * size, padded)
        rewards, deviation = self._score(self.params, state, features, np.float32(count))
        return np.array(rewards)[:count], np.array(deviation)[:count]

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._padded(pairs) for pairs in (contexts, queries)]
        mean, variance = self.feature_margins(Episode(*parts[0], *parts[1]))
        users, widest = len(queries), max(map(len, queries), default=0)
        return tuple(np.where(parts[1][1], part, 0.0)[:users, :widest] for part in (mean, variance))  # type: ignore

    def feature_margins(self, episode: Episode) -> tuple[jax.Array, jax.Array]:
        return self._query_margins(self.params, episode)

    def to_arrays(self, context: np.ndarray) -> dict[str, np.ndarray]:
        return {"context": np.ascontiguousarray(context, np.float32)}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        context = arrays["context"]
        expected = (len(context), 2, self.featurizer.dimension)
        if len(arrays) > 1 or context.shape != expected or context.dtype != np.float32:
            raise ValueError(f"it has {context.dtype} of shape {context.shape}, not float32 of {expected}")
        if not np.isfinite(context).all():
            raise ValueError("a number is not finite")
        return context

    def _padded(self, users: Sequence[Sequence[Preference]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns features `[B, N, 2, F]` and mask `[B, N]` of the users' pairs, with B and N padded to buckets."""
        features = self.read([pair for pairs in users for pair in pairs])
        mask = np.zeros((bucket(len(users), 1), bucket(max(map(len, users), default=0), 1)), bool)
        for row, pairs in zip(mask, users, strict=False):
            row[: len(pairs)] = True
        padded = np.zeros((*mask.shape, *features.shape[1:]), np.float32)
        padded[mask] = features
        return padded, mask

    @functools.cached_property
    def _query_margins(self) -> Any:
        return jax.jit(functools.partial(query_margins, self.scorer))

    @functools.cached_property
    def _encode_context(self) -> Any:
        scorer = self.scorer
        return jax.jit(
            lambda params, pairs, mask: scorer.encode_context(params, scorer.represent(params, pairs), mask)
        )

    @functools.cached_property
    def _score(self) -> Any:
        scorer = self.scorer

        def score(
            params: Params, state: UserState, features: jax.Array, count: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            rows = scorer.represent(params, features)
            rewards = scorer.score(params, state, rows)
            if scorer.variance is None:
                return rewards, jnp.full_like(rewards, jnp.nan)
            used = (jnp.arange(len(rows)) < count)[:, None]
            mean = jnp.broadcast_to(jnp.where(used, rows, 0.0).sum(0) / count, rows.shape)
            return rewards, jnp.sqrt(scorer.variance(params, state, rows, mean))

        return jax.jit(score)


def plain_features(featurizer: FeatureFunction) -> FeatureFunction:
    """The features without the effects of texts that a community has seen."""
    return featurizer.inner if isinstance(featurizer, FeaturesWithEffects) else featurizer


def _check_community(community: Mapping[str, Any], scorer: Scorer, params: Params, dimension: int) -> None:
    """Raises `CheckpointError` unless what is known of a community fits the scorer."""
    if scorer.learn is None:
        raise CheckpointError("there is a community, but the scorer has no level for it.")
    row = jax.eval_shape(scorer.represent, params, jax.ShapeDtypeStruct((dimension,), np.float32))
    groups, width = len(np.atleast_1d(community.get("log_weights", ()))), row.shape[-1] - 1
    texts = len(np.atleast_1d(community.get("texts", {}).get("keys", ())))

    def leaf(kind: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    expected = {
        "mean": leaf(np.float32, groups, width),
        "covariance": leaf(np.float32, groups, width, width),
        "log_weights": leaf(np.float32, groups),
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
