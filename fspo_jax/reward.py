"""A meta-trained reward and what it becomes for one user.

`PersonalizedReward` is immutable and shared by all users. `adapt` conditions it on one user's labelled pairs in one
forward pass and returns a `UserReward`; no weight changes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.checkpoints import read_reward, read_user, reward_fingerprint, write_reward, write_user
from fspo_jax.config import TrainConfig
from fspo_jax.errors import CheckpointError, DataError, LimitError
from fspo_jax.losses import probit_scale
from fspo_jax.models.features import Featurizer, make_featurizer
from fspo_jax.models.scorer import Params, Scorer, UserState, query_margins
from fspo_jax.models.scorers import make_scorer
from fspo_jax.types import Episode, Preference, Prompt, check_prompt, check_text


@dataclass(frozen=True, eq=False)
class PersonalizedReward:
    """A meta-trained reward model: everything that all users share.

    Made by `load` (a trained run or an exported reward directory) or `from_parts`.

    Attributes:
        config: The config it was meta-trained with.
        scorer: Its pure functions.
        params: Their parameters.
        featurizer: Text to features.
        fingerprint: Hash of parameters, scorer and featurizer; a saved user belongs to one fingerprint.

    Example:
        >>> reward = PersonalizedReward.load("runs/quickstart")  # doctest: +SKIP
        >>> ana = reward.adapt([Preference("Explain entropy.", "A messy room.", "S = k log W.")])  # doctest: +SKIP
    """

    config: TrainConfig
    scorer: Scorer
    params: Params
    featurizer: Featurizer
    fingerprint: str

    @classmethod
    def from_parts(cls, config: TrainConfig, params: Params, featurizer: Featurizer) -> PersonalizedReward:
        """Puts a reward together from a config, scorer parameters and a featurizer.

        Raises:
            CheckpointError: The parameters do not have the shapes that the config and the featurizer ask for.
        """
        scorer = make_scorer(config.scorer, featurizer.dimension)
        expected = jax.eval_shape(scorer.init, jax.random.key(0))
        params = jax.tree.map(jnp.asarray, params)

        def shapes(tree: Params) -> dict[str, tuple[int, ...]]:
            leaves = jax.tree_util.tree_leaves_with_path(tree)
            return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}

        if shapes(params) != shapes(expected):
            wrong = sorted(set(shapes(params).items()) ^ set(shapes(expected).items()))
            raise CheckpointError(
                f"the parameters do not fit a '{config.scorer.kind}' scorer on {featurizer.dimension} features: "
                f"{wrong[:4]}. Load the checkpoint with the encoder it was trained with."
            )
        fingerprint = reward_fingerprint(params, config, featurizer.fingerprint)
        return cls(config, scorer, params, featurizer, fingerprint)

    @classmethod
    def load(cls, path: str | Path) -> PersonalizedReward:
        """Loads a run directory or an exported reward directory.

        Raises:
            CheckpointError: The path is not a checkpoint, is damaged, is of another version, or its encoder is not
                the one found here.
            EncoderError: The encoder's weights are missing.
        """
        params, metadata = read_reward(path)
        featurizer = make_featurizer(metadata.config.encoder)
        if featurizer.fingerprint != metadata.featurizer_fingerprint:
            raise CheckpointError(
                f"{path}: was meta-trained on features {metadata.featurizer_fingerprint}, but encoder "
                f"'{metadata.config.encoder.model}' gives {featurizer.fingerprint} here. "
                "Use the same encoder weights and the same version of the package."
            )
        return cls.from_parts(metadata.config, params, featurizer)

    def save(self, path: str | Path) -> None:
        """Writes an exported reward directory (safetensors and JSON), whole or not at all."""
        write_reward(path, self.params, self.config, featurizer=self.featurizer)

    @property
    def max_context(self) -> int:
        """Largest number of shots, as in meta-training."""
        return self.config.episodes.max_context

    def adapt(self, preferences: Sequence[Preference] = ()) -> UserReward:
        """Conditions the reward on one user's labelled pairs.

        Args:
            preferences: At most `max_context` pairs, in any order; none gives the population reward. Pairs that
                contradict each other are allowed and weaken each other.

        Raises:
            LimitError: More than `max_context` pairs.
            DataError: An element is not a `Preference`.
        """
        preferences = list(preferences)
        for i, preference in enumerate(preferences):
            if not isinstance(preference, Preference):
                raise DataError(f"preferences[{i}] must be a Preference, not {type(preference).__name__}.")
        return self._user(self._pair_features(preferences))

    def margins(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of r(chosen) - r(rejected) of a batch of episodes of features; each `[B, Q]`."""
        mean, variance = self._query_margins(self.params, episode)
        return np.asarray(mean), np.asarray(variance)

    def _check_limit(self, shots: int) -> None:
        if shots > self.max_context:
            raise LimitError(
                f"context has {shots} preferences; this checkpoint was meta-trained with at most "
                f"{self.max_context}. Pass the {self.max_context} most recent, or load a checkpoint with a larger "
                "limit."
            )

    def _pair_features(self, preferences: list[Preference]) -> np.ndarray:
        """Features of pairs, `float32 [K, 2, F]`."""
        self._check_limit(len(preferences))
        prompts = [p.prompt for p in preferences for _ in range(2)]
        responses = [response for p in preferences for response in (p.chosen, p.rejected)]
        if not responses:
            return np.zeros((0, 2, self.featurizer.dimension), np.float32)
        return self.featurizer(prompts, responses).reshape(len(preferences), 2, -1)

    def _user(self, context: np.ndarray) -> UserReward:
        shots = len(context)
        bucket = _bucket(shots, 1)
        padded = np.zeros((bucket, *context.shape[1:]), np.float32)
        padded[:shots] = context
        state = self._encode_context(self.params, padded, np.arange(bucket) < shots)
        return UserReward(self, context, state)

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


@dataclass(frozen=True, eq=False)
class UserReward:
    """The reward of one user; immutable, so threads may share it. Made by `PersonalizedReward.adapt` or `load`.

    It holds the features of the context pairs, `float32 [K, 2, F]`, and no raw text; embeddings are not encryption,
    so treat a saved user like the texts it came from.

    Attributes:
        base: The reward that it was adapted from.
        context: Features of the context pairs.
        state: The scorer's user state.
    """

    base: PersonalizedReward
    context: np.ndarray
    state: UserState

    @property
    def shots(self) -> int:
        """Number of context pairs."""
        return len(self.context)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> np.ndarray:
        """Rewards of candidates, `float32 [C]`, in nats; only differences within one prompt mean anything.

        A candidate's reward does not depend on the other candidates. Empty strings are scored as empty responses; no
        candidates give an empty array.

        Raises:
            DataError: The prompt or a candidate has a wrong type or holds a lone surrogate.
            LimitError: A text is over-long.
        """
        return self.score_with_uncertainty(prompt, candidates)[0]

    def uncertainty(self, prompt: Prompt, candidates: Sequence[str]) -> np.ndarray:
        """Posterior standard deviation, `float32 [C]` in nats, of each reward against the candidates' mean reward.

        NaN for scorers without a posterior (the set transformer). Raises as `score`.
        """
        return self.score_with_uncertainty(prompt, candidates)[1]

    def score_with_uncertainty(
        self, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`score` and `uncertainty` in one pass."""
        features = self._features(prompt, candidates)
        count = len(features)
        if not count:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        bucket = _bucket(count, 8)
        if bucket > count:
            features = np.concatenate([features, np.zeros((bucket - count, features.shape[1]), np.float32)])
        rewards, deviation = self.base._score(self.base.params, self.state, features, np.float32(count))
        return np.asarray(rewards)[:count], np.asarray(deviation)[:count]

    def preference_probability(self, prompt: Prompt, a: str, b: str) -> float:
        """Probability that the user prefers `a` to `b`, averaged over the posterior where there is one."""
        features = self._features(prompt, [a, b])
        if a == b:
            return 0.5
        rewards, deviation = self.base._score(self.base.params, self.state, features, np.float32(2))
        # With two candidates the mean lies half way: the deviation of their difference is twice the one of each.
        variance = np.nan_to_num(4.0 * np.square(np.asarray(deviation)[0]))
        margin = np.asarray(rewards)[0] - np.asarray(rewards)[1]
        return float(jax.nn.sigmoid(probit_scale(margin, variance)))

    def update(self, preferences: Sequence[Preference]) -> UserReward:
        """Returns this user's reward with further pairs; equals adapting to all pairs at once.

        Raises:
            LimitError: More than `max_context` pairs in all.
            DataError: An element is not a `Preference`.
        """
        fresh = self.base.adapt(preferences).context
        self.base._check_limit(self.shots + len(fresh))
        return self.base._user(np.concatenate([self.context, fresh]))

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, whole or not at all; holds features and the base's fingerprint, no text."""
        write_user(path, self.context, fingerprint=self.base.fingerprint)

    @classmethod
    def load(cls, path: str | Path, reward: PersonalizedReward) -> UserReward:
        """Loads a saved user.

        Raises:
            CheckpointError: Not a user file, damaged, of another version, or saved with another base reward.
        """
        return reward._user(read_user(path, fingerprint=reward.fingerprint))

    def _features(self, prompt: Prompt, candidates: Sequence[str]) -> np.ndarray:
        prompt = check_prompt(prompt)
        if isinstance(candidates, str):
            raise DataError("candidates must be a list of strings, not one string.")
        candidates = [check_text(text, f"candidates[{i}]") for i, text in enumerate(candidates)]
        if not candidates:
            return np.zeros((0, self.base.featurizer.dimension), np.float32)
        return self.base.featurizer([prompt] * len(candidates), candidates)


def _bucket(count: int, smallest: int) -> int:
    """The next power of two, at least `smallest`: one compiled program a bucket."""
    return max(smallest, 1 << (count - 1).bit_length()) if count else smallest
