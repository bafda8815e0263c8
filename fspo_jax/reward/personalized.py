"""A meta-trained reward, shared by all users.

`PersonalizedReward` is immutable. `adapt` conditions it on one user's labelled pairs in one forward pass and returns a
`UserReward`; no weight changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np

from fspo_jax.checkpoints import read_featurizer, read_reward, stored_config
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.errors import DataError, FspoError
from fspo_jax.models.features.featurizer import FeatureFunction
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.calibration import fitted_temperature
from fspo_jax.reward.engines.contract import Scoring, Writing
from fspo_jax.reward.engines.features import FeatureScoring
from fspo_jax.reward.user_reward import UserReward, check_limit, check_preferences
from fspo_jax.types import Preference

if TYPE_CHECKING:
    from fspo_jax.checkpoints.language import LanguageParts


@dataclass(frozen=True, eq=False, repr=False)
class PersonalizedReward:
    """A meta-trained reward model: everything that all users share.

    Made by `load` (a trained run or an exported reward directory), `from_parts` or `from_language`.

    Attributes:
        config: The config it was meta-trained with.
        scoring: What it scores with: features and a scorer, or a language model.
        writing: What it writes with, or None: only language models that read the context write.
        temperature: What every reward is divided by, 1 unless `calibrated`; not that of `generate`.
        path: Where it was loaded from, or None; reports compare it with the other rewards of a run.

    Example:
        >>> reward = PersonalizedReward.load("fspo-mini")  # doctest: +SKIP
        >>> ana = reward.adapt([Preference("Explain entropy.", "A messy room.", "S = k log W.")])  # doctest: +SKIP
    """

    config: TrainConfig
    scoring: Scoring
    writing: Writing | None = None
    temperature: float = 1.0
    path: Path | None = None

    @classmethod
    def from_parts(
        cls, config: TrainConfig, params: Params, featurizer: FeatureFunction
    ) -> PersonalizedReward:
        """Puts a reward together from a config, scorer parameters and a featurizer.

        Raises:
            CheckpointError: The parameters do not have the shapes that the config and the featurizer ask for.
        """
        return cls(config, FeatureScoring.from_parts(config, params, featurizer))

    @classmethod
    def from_language(
        cls,
        config: TrainConfig,
        parts: LanguageParts,
        params: Params,
        frozen: Params,
        stored_fingerprint: str = "",
    ) -> PersonalizedReward:
        """Puts the reward of a language model together; `stored_fingerprint` is that of its files, if there are any."""
        from fspo_jax.reward.engines.in_context import InContextScoring
        from fspo_jax.reward.engines.in_context_writing import InContextWriting
        from fspo_jax.reward.engines.process import ProcessScoring

        if parts.model.config.reward == "gaussian_process":
            return cls(
                config, ProcessScoring.from_language(config, parts, params, frozen, stored_fingerprint)
            )
        scoring = InContextScoring(config, parts, params, frozen, stored_fingerprint=stored_fingerprint)
        return cls(config, scoring, InContextWriting(scoring))

    @classmethod
    def load(cls, path: str | Path, *, weights: Literal["float", "int8"] = "float") -> PersonalizedReward:
        """Loads a reward that comes with the package, a run directory or an exported reward directory.

        Args:
            path: The directory, or the name of a reward that comes with the package: `"fspo-mini"`.
            weights: `int8` serves a language model with the matrices of its layers in 8 bits: a quarter of the
                memory, scores within their rounding. Such a reward is not saved or trained on. Needs the extra `int8`.

        Raises:
            FspoError: `int8` for a reward that is no language model, or without its package.
            CheckpointError: The path is not a checkpoint, is damaged, is of another version, or its encoder or base
                model is not the one found here.
            EncoderError: The encoder's weights are missing.
        """
        if isinstance(stored_config(path).scorer, LanguageModelConfig):
            from fspo_jax.checkpoints.language import (
                read_language_reward,  # a decoder, which others do not need
            )

            parts, trained, frozen, metadata = read_language_reward(path, weights=weights)
            language = cls.from_language(metadata.config, parts, trained, frozen, metadata.fingerprint)
            return replace(language, temperature=metadata.temperature, path=Path(path))
        if weights != "float":
            raise FspoError(
                f"{path}: weights are '{weights}', but this reward is no language model. Leave weights out."
            )
        params, metadata = read_reward(path)
        scoring = FeatureScoring.from_parts(metadata.config, params, read_featurizer(path))
        return cls(metadata.config, scoring, temperature=metadata.temperature, path=Path(path))

    def save(self, path: str | Path) -> None:
        """Writes an exported reward directory (safetensors and JSON), whole or not at all."""
        self.scoring.save(path, self.temperature)

    @property
    def fingerprint(self) -> str:
        """Digest of parameters, scorer and featurizer or base, not of the temperature; a saved user belongs to one."""
        return self.scoring.fingerprint

    @property
    def max_context(self) -> int:
        """Largest number of shots, as in meta-training."""
        return self.config.episodes.max_context

    def warm_up(self) -> None:
        """Compiles ahead of time, so that no later call waits for the compiler.

        A program is compiled when it is first needed, which takes a second or more. A server calls this once, after
        `load`. Afterwards `adapt` and `score` compile nothing for any number of shots, for up to 256 candidates and,
        where the encoder reads new texts, for a few short ones at a time. A language model that reads the context
        compiles for a short context only: its programs depend on the lengths of the texts.

        With the environment variable `JAX_COMPILATION_CACHE_DIR` set to a directory, compiled programs are kept
        there, and the next process warms up several times faster.

        Example:
            >>> reward = PersonalizedReward.load("fspo-mini")  # doctest: +SKIP
            >>> reward.warm_up()  # doctest: +SKIP
        """
        self.scoring.warm_up()

    def adapt(self, preferences: Iterable[Preference] = ()) -> UserReward:
        """Conditions the reward on one user's labelled pairs.

        Args:
            preferences: At most `max_context` pairs, in any order; none gives the population reward. Pairs that
                contradict each other are allowed and weaken each other.

        Raises:
            LimitError: More than `max_context` pairs.
            DataError: `preferences` is not a list of `Preference`.
        """
        pairs = check_preferences(preferences, "preferences")
        check_limit(len(pairs), self.max_context)
        context = self.scoring.read(pairs)
        return UserReward(self, context, self.scoring.state(context))

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Margins of many users' pairs at once, through the function that meta-training uses.

        Args:
            contexts: B users' labelled pairs, at most `max_context` each.
            queries: B users' pairs to predict.
            descriptions: What the B users are like, in words, for a language model that reads it beside the context.

        Returns:
            Mean and variance of r(chosen) - r(rejected), nats, each `[B, Q]`; zero behind a user's last query.

        Raises:
            LimitError: A context has more than `max_context` pairs.
            FspoError: There are descriptions, but the reward reads none.
        """
        for context in contexts:
            check_limit(len(context), self.max_context)
        if descriptions is None:
            mean, variance = self.scoring.margins(contexts, queries)
        elif self.writing is None:
            raise FspoError(f"{self!r} reads no descriptions; language models that read the context do.")
        else:
            mean, variance = self.writing.margins(contexts, queries, descriptions)
        return mean / self.temperature, variance

    def calibrated(self, people: Iterable[Iterable[Preference]]) -> PersonalizedReward:
        """The same reward with its confidence fitted to these people: temperature scaling, leave-one-out.

        How consistent people are differs from place to place, and a few pairs of one person say little about it. The
        pairs of about fifty people are enough; those of a handful may mislead. One temperature divides all rewards
        (posterior means, so the log odds of every prediction; their spread stays as it is): the one under which each
        pair is most likely, given its owner's other pairs that share no response with it. Rankings, saved users and
        what a language model writes stay the same. Each pair costs a pass over its owner's others.

        Args:
            people: Labelled pairs of each person, at most `max_context`. Take people like those that will be served,
                and about as many pairs of each as a served person has.

        Raises:
            LimitError: More than `max_context` pairs of a person, or an over-long text.
            DataError: There is no pair, an element is not a list of `Preference`, or a reward is not finite.

        Source: Guo et al. (2017), On calibration of modern neural networks, section 4.2.

        Example:
            >>> mine = reward.calibrated([pairs_of_ana, pairs_of_ben, pairs_of_eva])  # doctest: +SKIP
        """
        if not hasattr(people, "__iter__") or isinstance(people, str | dict):
            raise DataError(
                f"people must be a list with one list of preferences per person, not {type(people).__name__}."
            )
        checked = [check_preferences(pairs, f"people[{i}]") for i, pairs in enumerate(people)]
        for pairs in checked:
            check_limit(len(pairs), self.max_context)
        return replace(self, temperature=fitted_temperature(self.scoring, checked))

    def __repr__(self) -> str:
        calibration = f", temperature {self.temperature:.3g}" if self.temperature != 1.0 else ""
        return (
            f"PersonalizedReward({self.config.scorer.kind}, at most {self.max_context} pairs per user{calibration}, "
            f"fingerprint {self.fingerprint[:8]})"
        )

    def __copy__(self) -> PersonalizedReward:
        return self  # immutable

    def __deepcopy__(self, memo: dict) -> PersonalizedReward:
        return self

    def __reduce__(self) -> NoReturn:
        raise FspoError(
            "a PersonalizedReward cannot be pickled. Write it with reward.save(path), and read it with "
            "PersonalizedReward.load(path)."
        )
