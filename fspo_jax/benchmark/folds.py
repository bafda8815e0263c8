"""The people of a benchmark: pairs and features of all sources, and the folds of training and test users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.checkpoints import read_adapters
from fspo_jax.config import (
    ApprovalConfig,
    BenchmarkConfig,
    EncoderConfig,
    FeatureBlockConfig,
    FinishedConfig,
    MethodConfig,
    ThreeLevelGPConfig,
)
from fspo_jax.config.features import fits_features, without_fitted
from fspo_jax.data.build import load_splits
from fspo_jax.data.splits import SPLITS
from fspo_jax.errors import ConfigError, DataError, counted
from fspo_jax.evaluation.episodes import MeasuredUsers, People
from fspo_jax.models.features.approval import APPROVAL
from fspo_jax.models.features.contract import FeatureFunction, featurize
from fspo_jax.models.features.fitted import changed_blocks, changed_rows, fit_columns
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import User

SEED = 0
"""Seed of episodes and controls, which are the same for all methods."""


class MethodFeatures(NamedTuple):
    """What a method reads.

    Attributes:
        encoder: With the adapters of the method.
        features: Its blocks of features.
        blocks: Width of each block by name.
        rows: `float32 [N, F]`, a row for every item.
        reward: The finished reward that the method is, if it is one. If it reads texts, the rows have no columns.
    """

    encoder: EncoderConfig
    features: tuple[FeatureBlockConfig, ...]
    blocks: Mapping[str, int]
    rows: np.ndarray
    reward: PersonalizedReward | None = None


class Fold(NamedTuple):
    """The users who are trained on, who select the model, and who are measured: numbers of users, `int [U]`.

    Attributes:
        name: `all`, or the source that is left out.
        train, validation: Users of the sources that are trained on.
        test: Measured users of each source.
        pool: Users of the same sources who may be in the communities of measured users.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: dict[str, np.ndarray]
    pool: np.ndarray


@dataclasses.dataclass(frozen=True)
class Studies:
    """All users of all sources.

    Attributes:
        people: Users and their pairs, source after source.
        split: `int [U]`, index into `SPLITS`.
        features: What each method reads, by its name.
        config: Of the benchmark.
    """

    people: People
    split: np.ndarray
    features: Mapping[str, MethodFeatures]
    config: BenchmarkConfig

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, in the order of the config."""
        return tuple(dict.fromkeys(user.source for user in self.people.users))

    def folds(self) -> list[Fold]:
        """Returns one fold if people are held out, or one per source if sources are held out.

        All people of a held-out source are measured, up to `config.users`; of a synthetic world only the test split,
        whose texts are in no other split. Sources made from the same material are one study: they are held out
        together, and the first of them is measured.
        """
        train, validation, test = (np.flatnonzero(self.split == i) for i in range(3))
        source = np.array([user.source for user in self.people.users])

        def subsample(numbers: np.ndarray) -> np.ndarray:
            limit = min(self.config.users, len(numbers))
            return numbers[np.unique(np.linspace(0, len(numbers) - 1, limit).astype(int))]

        if self.config.hold_out == "users":
            return [
                Fold(
                    "all",
                    train,
                    validation,
                    {name: subsample(test[source[test] == name]) for name in self.sources},
                    test,
                )
            ]
        synthetic = {s.name for s in self.config.data.sources if s.kind != "preferences"}
        material = dict(zip(self.sources, (_material(s) for s in self.config.data.sources), strict=True))
        first: dict[tuple[str, str], str] = {}
        for name in self.sources:
            first.setdefault(material[name], name)
        if len(first) < 2:
            raise DataError('hold_out = "sources" needs sources of at least two materials.')
        found = []
        for name in first.values():
            same = [other for other in self.sources if material[other] == material[name]]
            judged = test if name in synthetic else np.arange(len(source))
            found.append(
                Fold(
                    name,
                    train[~np.isin(source[train], same)],
                    validation[~np.isin(source[validation], same)],
                    {name: subsample(judged[source[judged] == name])},
                    judged,
                )
            )
        return found

    def fitted(self, method: str, fold: Fold) -> Studies:
        """The same people, with what a method reads scaled or reduced as fitted on the training texts of the fold."""
        read = self.features[method]
        if not fits_features(read.features):
            return self
        items = np.unique(self.people.pairs_of(fold.train))
        prompts = [self.people.items[i][0] for i in items]
        found = fit_columns(read.rows[items], prompts, read.blocks, read.features)
        read = read._replace(
            features=tuple(without_fitted(block) for block in read.features),
            blocks=changed_blocks(read.blocks, found),
            rows=changed_rows(read.rows, read.blocks, found),
        )
        return dataclasses.replace(self, features={**self.features, method: read})

    def episodes(self, users: np.ndarray) -> MeasuredUsers:
        """Returns the fixed episodes of the users who have a query."""
        return self.people.episodes(
            users, shots=max(self.config.shots), queries=self.config.queries, seed=SEED
        )


def load_studies(
    config: BenchmarkConfig,
    make_featurizer: Callable[[EncoderConfig, Sequence[FeatureBlockConfig]], FeatureFunction],
    on_encoded: Callable[[int, int], None] | None = None,
) -> Studies:
    """Loads the users of all splits and encodes their texts with every encoder that a method reads.

    Raises:
        DataError: A source cannot be read, or a split is empty.
        CheckpointError: A method's adapters cannot be read.
        EncoderError: The encoder cannot be loaded.
    """
    finished = {
        method.name: load_finished(method.name, method.model, config)
        for method in config.methods
        if isinstance(method.model, FinishedConfig)
    }
    asked = {
        method.name: features_of(method, config) for method in config.methods if method.name not in finished
    }
    featurizers = {one: make_featurizer(*one) for one in dict.fromkeys(asked.values())}
    users: list[User] = []
    split: list[int] = []
    for number, found in enumerate(load_splits(config.data, SPLITS).values()):
        users += found
        split += [number] * len(found)
    order = _by_source(users)
    users, split = [users[i] for i in order], [split[i] for i in order]
    people = People.of(users)
    made = {
        one: MethodFeatures(*one, featurizer.blocks, featurize(featurizer, people.items, on_encoded))
        for one, featurizer in featurizers.items()
    }
    features = {name: made[one] for name, one in asked.items()}
    for name, reward in finished.items():
        features[name] = _read_by(reward, people, on_encoded)
    return Studies(people, np.array(split), features, config)


def load_finished(name: str, model: FinishedConfig, config: BenchmarkConfig) -> PersonalizedReward:
    """Loads the reward of a method.

    Raises:
        ConfigError: It reads fewer pairs than the benchmark has shots.
        CheckpointError: See `PersonalizedReward.load`.
    """
    reward = PersonalizedReward.load(model.reward, cache=config.encoder.cache)
    if max(config.shots) > reward.max_context:
        raise ConfigError(
            f"'shots' has {max(config.shots)}, but '{name}' reads at most {counted(reward.max_context, 'pair')} of a "
            "person. Ask for fewer shots, or leave it out."
        )
    return reward


def _read_by(
    reward: PersonalizedReward, people: People, on_encoded: Callable[[int, int], None] | None
) -> MethodFeatures:
    featurizer = reward.scoring.featurizer
    config, rows = reward.config, np.zeros((len(people.items), 0), np.float32)
    if featurizer is not None:
        rows = featurize(featurizer, people.items, on_encoded)
    blocks = {} if featurizer is None else featurizer.blocks
    # Its featurizer has fitted the columns already.
    return MethodFeatures(config.encoder, (), blocks, rows, reward)


def features_of(
    method: MethodConfig, config: BenchmarkConfig
) -> tuple[EncoderConfig, tuple[FeatureBlockConfig, ...]]:
    """The encoder and the blocks that a method reads.

    A `three_level_gp` reads the approval of its adapters, where they have one.
    """
    encoder = dataclasses.replace(config.encoder, adapters=method.adapters or config.encoder.adapters)
    features = method.features or config.features
    if isinstance(method.model, ThreeLevelGPConfig) and encoder.adapters:
        if APPROVAL in (read_adapters(encoder.adapters) or {}):
            features = (*features, ApprovalConfig())
    return encoder, features


def _material(source: Any) -> tuple[str, str]:
    return source.kind, getattr(source, "path", "")


def _by_source(users: Sequence[User]) -> list[int]:
    sources = list(dict.fromkeys(user.source for user in users))
    return sorted(range(len(users)), key=lambda i: sources.index(users[i].source))
