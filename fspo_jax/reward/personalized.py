"""A meta-trained reward and what it becomes for one user.

`PersonalizedReward` is immutable and shared by all users. `adapt` conditions it on one user's labelled pairs in one
forward pass and returns a `UserReward`; no weight changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from fspo_jax.checkpoints import read_featurizer, read_reward, read_user, stored_config, write_user
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.errors import CheckpointError, DataError, FspoError, LimitError
from fspo_jax.losses import probit_scale
from fspo_jax.metrics import fit_temperature, predicted_logit
from fspo_jax.models.features.featurizer import FeatureFunction
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.contract import Context, Engine, State
from fspo_jax.reward.engines.features import FeatureEngine
from fspo_jax.types import Preference, Prompt, check_prompt, check_text

PAIRS_PER_BATCH = 128
"""Pairs left out that are predicted at one time."""


@dataclass(frozen=True, eq=False)
class PersonalizedReward:
    """A meta-trained reward model: everything that all users share.

    Made by `load` (a trained run or an exported reward directory) or `from_parts`.

    Attributes:
        config: The config it was meta-trained with.
        engine: What it computes with: features and a scorer, or a language model.
        temperature: What every reward is divided by, 1 unless `calibrated`; not that of `generate`.

    Example:
        >>> reward = PersonalizedReward.load("runs/quickstart")  # doctest: +SKIP
        >>> ana = reward.adapt([Preference("Explain entropy.", "A messy room.", "S = k log W.")])  # doctest: +SKIP
    """

    config: TrainConfig
    engine: Engine
    temperature: float = 1.0

    @classmethod
    def from_parts(
        cls, config: TrainConfig, params: Params, featurizer: FeatureFunction
    ) -> PersonalizedReward:
        """Puts a reward together from a config, scorer parameters and a featurizer.

        Raises:
            CheckpointError: The parameters do not have the shapes that the config and the featurizer ask for.
        """
        return cls(config, FeatureEngine.from_parts(config, params, featurizer))

    @classmethod
    def load(cls, path: str | Path, *, weights: Literal["float", "int8"] = "float") -> PersonalizedReward:
        """Loads a run directory or an exported reward directory.

        Args:
            path: The directory.
            weights: `int8` serves a language model with the matrices of its layers in 8 bits: a quarter of the
                memory, scores within their rounding. Such a reward is not saved or trained on. Needs the extra `int8`.

        Raises:
            FspoError: `int8` for a reward that is no language model, or without its package.
            CheckpointError: The path is not a checkpoint, is damaged, is of another version, or its encoder or base
                model is not the one found here.
            EncoderError: The encoder's weights are missing.
        """
        if isinstance(stored_config(path).scorer, LanguageModelConfig):
            return cls._of_language_model(path, weights)
        if weights != "float":
            raise FspoError(f"{path}: is no language model; only those have weights as '{weights}'.")
        params, metadata = read_reward(path)
        engine = FeatureEngine.from_parts(metadata.config, params, read_featurizer(path))
        return cls(metadata.config, engine, metadata.temperature)

    @classmethod
    def _of_language_model(cls, path: str | Path, weights: Literal["float", "int8"]) -> PersonalizedReward:
        from fspo_jax.checkpoints.language import read_language_reward
        from fspo_jax.reward.engines.in_context import InContextEngine
        from fspo_jax.reward.engines.process import ProcessEngine

        parts, params, frozen, metadata = read_language_reward(path, weights=weights)
        context_free = parts.model.config.reward == "gaussian_process"
        make = ProcessEngine.from_language if context_free else InContextEngine
        engine = make(metadata.config, parts, params, frozen, stored_fingerprint=metadata.fingerprint)
        return cls(metadata.config, engine, metadata.temperature)

    def save(self, path: str | Path) -> None:
        """Writes an exported reward directory (safetensors and JSON), whole or not at all."""
        self.engine.save(path, self.temperature)

    @property
    def fingerprint(self) -> str:
        """Digest of parameters, scorer and featurizer or base, not of the temperature; a saved user belongs to one."""
        return self.engine.fingerprint

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
        context = self._read(preferences)
        return UserReward(self, context, self.engine.state(context))

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Margins of many users' pairs at once, through the function that meta-training uses.

        Args:
            contexts: B users' labelled pairs, at most `max_context` each.
            queries: B users' pairs to predict.

        Returns:
            Mean and variance of r(chosen) - r(rejected), nats, each `[B, Q]`; zero behind a user's last query.
        """
        for context in contexts:
            self._check_limit(len(context))
        mean, variance = self.engine.margins(contexts, queries)
        return mean / self.temperature, variance

    def calibrated(self, people: Sequence[Sequence[Preference]]) -> PersonalizedReward:
        """The same reward, as sure as these people's pairs say that it may be: temperature scaling, leave-one-out.

        How consistent people are differs from one place to another, and a few pairs of one person tell little of it;
        those of some fifty people do, while those of a handful may mislead. One temperature divides all rewards
        (posterior means; their spread is left alone, so the log odds of every prediction are divided by it): the one
        under which each pair is most likely given its owner's other pairs that share no response with it. Rankings,
        saved users and what a language model writes stay the same. A pair costs a pass over its owner's others.

        Args:
            people: Labelled pairs of each, at most `max_context`, of people like those that will be served, and about
                as many of each as of those.

        Raises:
            LimitError: More than `max_context` pairs of a person, or an over-long text.
            DataError: There is no pair, a person's pairs are no list of them, or a reward is not finite.

        Source: Guo et al. (2017), On calibration of modern neural networks, section 4.2.

        Example:
            >>> mine = reward.calibrated([pairs_of_ana, pairs_of_ben, pairs_of_eva])  # doctest: +SKIP
        """
        contexts, queries = [], []
        for i, pairs in enumerate(people):
            if isinstance(pairs, Preference):
                raise DataError(f"people[{i}] must be a list of one person's preferences, not a Preference.")
            self._check_limit(len(pairs))
            for pair in pairs:
                texts = {pair.chosen, pair.rejected}
                contexts.append([other for other in pairs if not texts & {other.chosen, other.rejected}])
                queries.append([pair])
        if not queries:
            raise DataError("no person has a labelled pair.")
        logits = []
        for start in range(0, len(queries), PAIRS_PER_BATCH):
            part = slice(start, start + PAIRS_PER_BATCH)
            logits.append(predicted_logit(*self.engine.margins(contexts[part], queries[part]))[:, 0])
        try:
            return replace(self, temperature=fit_temperature(np.concatenate(logits)))
        except ValueError as error:
            raise DataError(f"the reward of a pair is not a finite number: {error}") from None

    def _read(self, preferences: Sequence[Preference]) -> Context:
        preferences = list(preferences)
        for i, preference in enumerate(preferences):
            if not isinstance(preference, Preference):
                raise DataError(f"preferences[{i}] must be a Preference, not {type(preference).__name__}.")
        self._check_limit(len(preferences))
        return self.engine.read(preferences)

    def _check_limit(self, shots: int) -> None:
        if shots > self.max_context:
            raise LimitError(
                f"context has {shots} preferences; this checkpoint was meta-trained with at most "
                f"{self.max_context}. Pass the {self.max_context} most recent, or load a checkpoint with a larger "
                "limit."
            )


@dataclass(frozen=True, eq=False)
class UserReward:
    """The reward of one user; immutable, so threads may share it. Made by `PersonalizedReward.adapt` or `load`.

    Scorers of features, and the Gaussian process on a language model, keep the features of the context pairs,
    `float32 [K, 2, F]`, and no raw text; embeddings are not encryption, so treat a saved user like the texts it came
    from. Language models that read the context as tokens need its texts, and keep and save them.

    Attributes:
        base: The reward that it was adapted from.
        context: What the engine keeps of the context pairs.
        state: What it scores with.
    """

    base: PersonalizedReward
    context: Context
    state: State

    @property
    def shots(self) -> int:
        """Number of context pairs."""
        return self.base.engine.count(self.context)

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

        Of the reward before a temperature divides its mean: see `PersonalizedReward.calibrated`.
        NaN for scorers without a posterior (the set transformer, language models that read the context). Raises as
        `score`.
        """
        return self.score_with_uncertainty(prompt, candidates)[1]

    def score_with_uncertainty(
        self, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`score` and `uncertainty` in one pass."""
        prompt = check_prompt(prompt)
        if isinstance(candidates, str):
            raise DataError("candidates must be a list of strings, not one string.")
        candidates = [check_text(text, f"candidates[{i}]") for i, text in enumerate(candidates)]
        if not candidates:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        rewards, deviations = self.base.engine.score(self.state, prompt, candidates)
        return rewards / np.float32(self.base.temperature), deviations

    def preference_probability(self, prompt: Prompt, a: str, b: str) -> float:
        """Probability that the user prefers `a` to `b`, averaged over the posterior where there is one."""
        rewards, deviation = self.score_with_uncertainty(prompt, [a, b])
        if a == b:
            return 0.5
        # With two candidates the mean lies half way: the deviation of their difference is twice the one of each.
        variance = np.nan_to_num(4.0 * np.square(deviation[0]))
        return float(jax.nn.sigmoid(probit_scale(rewards[0] - rewards[1], variance)))

    def generate(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int = 0,
    ) -> list[str]:
        """Responses of the user's own policy: the meta-trained language model behind the user's context.

        Args:
            prompt: A string or a conversation.
            n: Number of responses.
            temperature: 0 takes the likeliest token every time.
            top_p: Probability of the nucleus that tokens are drawn from, above 0 to 1.
            max_tokens: A response that has not ended by then ends there.
            seed: Equal seeds give equal responses.

        Raises:
            FspoError: The reward is no policy: only the implicit reward of a language model is.
            DataError: A number is out of its range, or the prompt has a wrong type.
        """
        numbers = {
            "n": n >= 1,
            "temperature": temperature >= 0,
            "top_p": 0 < top_p <= 1,
            "max_tokens": max_tokens >= 1,
        }
        for name, allowed in numbers.items():
            if not allowed:
                raise DataError(f"{name} is {locals()[name]}, which is out of its range.")
        prompt = check_prompt(prompt)
        return self.base.engine.generate(self.state, prompt, n, temperature, top_p, max_tokens, seed)

    def describe(self, *, temperature: float = 0.0, max_tokens: int = 128, seed: int = 0) -> str:
        """What the user is like, in words, as the language model infers it from the labelled pairs.

        Args:
            temperature: 0 takes the likeliest words.
            max_tokens: A description that has not ended by then ends there.
            seed: Of the draws, above temperature 0.

        Raises:
            FspoError: The reward was not meta-trained to describe people (`scorer.description_weight`).
            DataError: A number is out of its range.

        Source: Singh et al. (2025), FSPO, arXiv 2502.19312, user description.
        """
        if temperature < 0 or max_tokens < 1:
            raise DataError("temperature must not be negative, and max_tokens at least 1.")
        return self.base.engine.describe(self.state, temperature, max_tokens, seed)

    def with_description(self, text: str) -> UserReward:
        """Conditions also on a description of the user: one that `describe` wrote, or the user did.

        Raises:
            FspoError: Nothing of this reward reads descriptions.
            DataError: `text` is not a string.
        """
        engine = self.base.engine
        context = engine.with_description(self.context, check_text(text, "text"))
        return UserReward(self.base, context, engine.state(context))

    def update(self, preferences: Sequence[Preference]) -> UserReward:
        """Returns this user's reward with further pairs; equals adapting to all pairs at once.

        Raises:
            LimitError: More than `max_context` pairs in all.
            DataError: An element is not a `Preference`.
        """
        engine, more = self.base.engine, self.base._read(preferences)
        self.base._check_limit(self.shots + engine.count(more))
        state = engine.update(self.state, self.context, more)
        return UserReward(self.base, engine.join(self.context, more), state)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, whole or not at all: the context and the base's fingerprint."""
        write_user(path, self.base.engine.to_arrays(self.context), fingerprint=self.base.fingerprint)

    @classmethod
    def load(cls, path: str | Path, reward: PersonalizedReward) -> UserReward:
        """Loads a saved user.

        Raises:
            CheckpointError: Not a user file, damaged, of another version, or saved with another base reward.
        """
        arrays = read_user(path, fingerprint=reward.fingerprint)
        try:
            context = reward.engine.from_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: does not hold what this reward keeps of a user ({error!r})."
            ) from None
        return cls(reward, context, reward.engine.state(context))
