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

from fspo_jax.arguments import check_path, check_texts, shown
from fspo_jax.checkpoints import read_metadata
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.errors import CheckpointError, DataError, FspoError
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.calibration import fitted_temperature
from fspo_jax.reward.community import People, community_in_words, scoring_for_community
from fspo_jax.reward.described import described_mean
from fspo_jax.reward.engines.contract import Keeping, Scoring, Writing, check_finite
from fspo_jax.reward.engines.features import FeatureScoring
from fspo_jax.reward.given_pairs import (
    check_days_have_a_half_life,
    check_half_life,
    check_people,
    check_shots,
    distinct_contexts,
    distinct_pairs,
)
from fspo_jax.reward.load import Origin, load_feature_reward
from fspo_jax.reward.private import Privacy, private_scoring
from fspo_jax.reward.user_reward import UserReward
from fspo_jax.types import Preference

if TYPE_CHECKING:
    from fspo_jax.models.language.parts import LanguageParts


@dataclass(frozen=True, eq=False, repr=False)
class PersonalizedReward:
    """A meta-trained reward model, shared by all users.

    Use `load` to get one from a trained run or an exported reward directory.

    Attributes:
        config: The config it was meta-trained with.
        scoring: Computes scores, with features and a scorer, or with a language model.
        writing: Writes responses and descriptions, or None. Only language models that read the context can write.
        temperature: Divides every reward; 1 unless `calibrated`. It is not the temperature of `generate`.
        origin: Where it was loaded from, or None. Reports look there for the other rewards of a run.

    Example:
        >>> reward = PersonalizedReward.load("fspo-mini")
        >>> ana = reward.adapt([Preference("What is entropy?", "How messy a room gets.", "S = k log W.")])
        >>> ana.shots
        1
    """

    config: TrainConfig
    scoring: Scoring
    writing: Writing | None = None
    temperature: float = 1.0
    origin: Origin | None = None

    @classmethod
    def from_parts(
        cls, config: TrainConfig, params: Params, featurizer: FeatureFunction
    ) -> PersonalizedReward:
        """Makes a reward from a config, scorer parameters and a featurizer.

        Raises:
            CheckpointError: The parameters do not have the shapes that config and featurizer need.
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
        """Makes the reward of a language model; `stored_fingerprint` is the fingerprint in its files, if any."""
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
    def load(
        cls,
        path: str | Path,
        *,
        weights: Literal["float", "int8"] = "float",
        base: str | Path = "",
        cache: str | Path = "",
        allow_download: bool = False,
        without: Iterable[str] = (),
    ) -> PersonalizedReward:
        """Loads a reward that comes with the package, a run directory or an exported reward directory.

        The files of a reward choose neither the cache nor whether a network is used, so a reward from anybody is safe
        to load.

        Args:
            path: The directory, or the name of a reward that comes with the package: `"fspo-mini"`.
            weights: `int8` stores the layers of a language model in 8 bits, which takes a quarter of the memory and
                rounds scores a little. Such a reward cannot be saved or trained. Needs the extra `int8`.
            base: Where the encoder or the base model is now, if it has moved since training: what `encoder.model` and
                `scorer.base` take. It must be the same model.
            cache: Directory of the cache on disk. By default `$FSPO_CACHE`, or else `~/.cache/fspo_jax`.
            allow_download: Whether an encoder or a base model may be downloaded from the hub. Without it, only models
                that were downloaded before are found.
            without: Names of blocks of features to leave out, because their models are missing or slow. The reward
                must have been trained with `block_dropout`. It has a fingerprint of its own then.

        Raises:
            FspoError: `int8` for a reward that is not a language model, or the extra `int8` is not installed.
            CheckpointError: The path is not a checkpoint, is damaged, has another version, or its encoder or base model
                differs from the one in training; or it cannot do without a block.
            EncoderError: The weights of the encoder, or of the model of a block, are missing.
        """
        if weights not in ("float", "int8"):
            raise FspoError(f"weights is {shown(weights)}; it must be 'float' or 'int8'.")
        path = check_path(path, error=CheckpointError)
        base, cache = (
            check_path(given, name) if given else "" for given, name in ((base, "base"), (cache, "cache"))
        )
        names = tuple(check_texts([without] if isinstance(without, str) else without, "without"))
        return cls._load(Origin(path, str(base), str(cache), allow_download, names), weights)

    @classmethod
    def _load(cls, origin: Origin, weights: Literal["float", "int8"] = "float") -> PersonalizedReward:
        if isinstance(read_metadata(origin.path).config.scorer, LanguageModelConfig):
            # Brings the decoder, which other rewards do not need.
            from fspo_jax.reward.load_language import load_language_reward

            parts, trained, frozen, metadata = load_language_reward(origin, weights)
            loaded = cls.from_language(metadata.config, parts, trained, frozen, metadata.fingerprint)
        elif weights != "float":
            raise FspoError(
                f"{origin.path}: weights is '{weights}', but this reward is not a language model. Leave it out."
            )
        else:
            scoring, metadata = load_feature_reward(origin)
            loaded = cls(scoring.config, scoring)
        return replace(loaded, temperature=metadata.temperature, origin=origin)

    def load_beside(self, name: str) -> PersonalizedReward | None:
        """Loads another reward of the run that this one was loaded from, in the same way; None if there is none."""
        if self.origin is None or not (path := self.origin.path / name).is_dir():
            return None
        return self._load(self.origin._replace(path=path))

    def save(self, path: str | Path) -> None:
        """Writes an exported reward directory (safetensors and JSON): all of it or nothing.

        Raises:
            CheckpointError: The path is in use by something else, or cannot be written.
        """
        self.scoring.save(check_path(path, error=CheckpointError), self.temperature)

    @property
    def fingerprint(self) -> str:
        """Digest of parameters, scorer, and featurizer or base model. A saved user belongs to one fingerprint."""
        return self.scoring.fingerprint

    @property
    def max_context(self) -> int:
        """Largest number of labelled pairs per user in meta-training. For most rewards it is a limit (see `adapt`)."""
        return self.config.episodes.max_context

    def warm_up(self) -> None:
        """Compiles ahead of time, so that no later call waits for the compiler.

        Without it, each program is compiled when it is first needed, which takes a second or more. A server calls it
        once, after `load`. Then `adapt` and `score` compile nothing for any number of shots, up to 256 candidates, and
        a few short texts at a time that are new to the encoder. For a language model that reads the context only short
        contexts are covered, because its programs depend on the lengths of the texts.

        With the environment variable `JAX_COMPILATION_CACHE_DIR` set to a directory, compiled programs are kept
        there, and the next process warms up several times faster.

        Example:
            >>> reward = PersonalizedReward.load("fspo-mini")
            >>> reward.warm_up()
        """
        self.scoring.warm_up()

    def adapt(
        self,
        preferences: Iterable[Preference] = (),
        *,
        keep_texts: bool = False,
        half_life: float | None = None,
        days: Iterable[float] | None = None,
    ) -> UserReward:
        """Conditions the reward on one user's labelled pairs.

        A pair given twice counts once, also if its texts differ in Unicode form or line ends. A pair and its reverse
        are two pairs that contradict each other, which makes the reward less certain.

        Gaussian processes read any number of pairs. At least the newest `max_context` pairs (32 if that is less) are
        read one by one. Older ones are folded into as many weighted directions, so a user's memory and the time of
        `update` stay bounded. Other scorers and language models read at most `max_context` pairs.

        Args:
            preferences: The pairs, the oldest first; the order matters for a half-life, and beyond `max_context`
                pairs. Without pairs the result is the population reward.
            keep_texts: Whether the user keeps the texts of the pairs, so that `user.preferences` shows them and
                `user.without` can forget the oldest of many. Language models that read the context keep them anyway.
            half_life: For a taste that changes smoothly: the time after which half of the correlation is left, at
                least 0.001. Time is the number of newer pairs, or with `days` the days to the newest pair. By default a
                taste is steady. `update` goes on with it.
            days: When each pair was labelled, in days since any date, for a half-life in days.

        Raises:
            LimitError: More than `max_context` pairs, where there is a limit.
            DataError: `preferences` is not a list of `Preference`, or `half_life` or `days` is not as above.
            FspoError: A half-life for a reward that is no Gaussian process.

        Example:
            >>> pair = Preference("What is entropy?", "How messy a room gets.", "S = k log W.")
            >>> reward.adapt([pair, pair], half_life=30).shots
            1
        """
        if half_life is not None and not self.scoring.weighs_pairs:
            raise FspoError(f"{self!r} gives all pairs the same weight. Leave out half_life.")
        lasting = check_half_life(half_life)
        pairs, when = distinct_pairs(preferences, days)
        if days is not None:
            check_days_have_a_half_life(lasting)
        check_shots(self.scoring, len(pairs))
        context = self.scoring.read(pairs, Keeping(bool(keep_texts), lasting), when)
        return UserReward(self, context, self.scoring.state(context))

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the margins of many users' pairs at once, with the function that meta-training uses.

        Args:
            contexts: The labelled pairs of B users, at most `max_context` each.
            queries: The pairs to predict, of the same users.
            descriptions: What each user is like, in words, for a language model that also reads descriptions.

        Returns:
            Mean and variance of r(chosen) - r(rejected), in nats and nats squared, each `[B, Q]`. They are zero after a
            user's last query.

        Raises:
            DataError: An argument is not a list of lists of `Preference`, or their lengths differ.
            LimitError: A context has more than `max_context` pairs.
            FspoError: There are descriptions, but the reward reads none.
            CheckpointError: A margin is not a finite number, because the files of the reward are damaged.
        """
        contexts = distinct_contexts(contexts, "contexts", self.max_context)
        queries = check_people(queries, "queries")
        descriptions = None if descriptions is None else check_texts(descriptions, "descriptions")
        described = queries if descriptions is None else descriptions
        if not len(contexts) == len(queries) == len(described):
            raise DataError(
                f"there are {len(contexts)} contexts, {len(queries)} queries and {len(described)} descriptions. "
                "Give one of each per user."
            )
        if not queries:
            return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
        if descriptions is None:
            mean, variance = self.scoring.margins(contexts, queries)
        elif self.writing is None:
            raise FspoError(
                f"{self!r} cannot read descriptions. Only language models that read the context can."
            )
        else:
            mean, variance = self.writing.margins(contexts, queries, descriptions)
        check_finite(mean)
        return mean / self.temperature, variance

    def calibrated(self, people: Iterable[Iterable[Preference]]) -> PersonalizedReward:
        """Returns the same reward with its confidence calibrated on these people, by temperature scaling.

        Groups of people differ in how consistent they are, and a few pairs of one person do not show it. The pairs of
        about 50 people do; with a handful of people the temperature is unreliable. One temperature divides all rewards,
        and with them the log odds of every prediction: the temperature under which each pair is most likely, given
        its owner's other pairs that share no response with it. Rankings, uncertainties, saved users and what a language
        model writes do not change. The cost is one pass over a person's other pairs for each pair.

        Args:
            people: Labelled pairs of each person, at most `max_context`. Use people like those the reward will serve,
                with about as many pairs each.

        Raises:
            LimitError: More than `max_context` pairs of a person, or a text is too long.
            DataError: There is no pair, or an element is not a list of `Preference`.
            CheckpointError: A reward is not a finite number, because its files are damaged.

        Source: Guo et al. (2017), On calibration of modern neural networks, section 4.2.

        Example:
            >>> mine = reward.calibrated(user.preferences[:8] for user in users)  # doctest: +SKIP
        """
        contexts = distinct_contexts(people, "people", self.max_context)
        return replace(self, temperature=fitted_temperature(self.scoring, contexts))

    def for_community(
        self, people: People = (), *, description: str | None = None, privacy: Privacy | None = None
    ) -> PersonalizedReward:
        """Returns the reward for a community: its prior is moved to what these people have in common.

        Use it when the people it will serve are like others whose labelled pairs are at hand: of one place, company or
        survey. `adapt()` without pairs then gives the community's reward, and a person's own pairs start from there.
        Nothing is trained. Texts that the community labelled get effects of their own. `ours.for_community(more)` goes
        on from what is known. Calibrate again afterwards if probabilities matter.

        The pairs stream through once in constant memory. Up to 256 pairs are learned exactly, more in parts of 64, each
        of which starts from what the parts before it taught. A description says what the people like before their
        first pair: responses that are like it. Its text is not kept.

        Saved, the community is a file of its own, `community.safetensors`. It holds the mean and covariance of weights,
        the numbers of people and pairs, and for at most 4,096 texts a keyed hash and an effect: no text, no pair. But
        with the file and a text anybody can test whether the text was labelled, and how. The community of few people is
        their taste, and with the pairs of all people but one, much can be found out about that one.

        With `privacy`, whether one person took part can hardly be told from the saved community: what each adds is
        clipped, and Gaussian noise is added to the sums (`fspo_jax.reward.private`). Then at most 32 pairs of each are
        read, the number of people is known roughly, no text has an effect, and nothing goes on from there. Users who
        are adapted inside, `calibrated`, the cache on this machine, timing and floating-point attacks are not covered.

        Args:
            people: The pairs of each person, any number; or users, as `load_users` gives them.
            description: What the people have in common, such as `"People who agree with: art matters."`.
            privacy: For differential privacy of each person; needs the extra `privacy`.

        Raises:
            FspoError: The scorer has no level of communities; the reward has not learned to read descriptions
                (`fspo.learn_descriptions`); it knows a community, but a description or privacy is given; or
                dp-accounting is not installed.
            DataError: There is neither a pair nor a description, or an element is not a list of `Preference`.
            CheckpointError: What was learned is not finite, because the files of the reward are damaged.

        Example:
            >>> ours = reward.for_community(fspo.load_users("people.jsonl"))  # doctest: +SKIP
            >>> poets = reward.for_community(description="people who love poems")  # doctest: +SKIP
        """
        kind = self.config.scorer.kind
        mean = None if description is None else described_mean(self.scoring, description, kind)
        if privacy is None:
            return replace(self, scoring=scoring_for_community(self.scoring, people, kind, mean))
        return replace(self, scoring=private_scoring(self.scoring, people, kind, privacy, mean))

    def __repr__(self) -> str:
        calibration = f", temperature {self.temperature:.3g}" if self.temperature != 1.0 else ""
        known = getattr(self.scoring, "community", None)
        community = f", for {community_in_words(known)}" if known else ""
        missing = self.origin.without if self.origin else ()
        without = f", without {', '.join(missing)}" if missing else ""
        return (
            f"PersonalizedReward({self.config.scorer.kind}, trained on at most {self.max_context} pairs per user"
            f"{calibration}{community}{without}, fingerprint {self.fingerprint[:8]})"
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
