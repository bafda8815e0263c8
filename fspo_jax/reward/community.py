"""Moves a reward's prior to the people of one place, from their labelled pairs.

Pairs stream through once, in chunks of whole people. Each chunk is learned exactly, in the dual, with what is known so
far as its prior: a Gaussian for the weights that people have in common, and one for the effect of each text. So a
single chunk gives the posterior of all pairs at once. With several chunks three things are approximate: the likelihood
of earlier pairs stays as it was approximated at their turn (assumed-density filtering), the effects of texts are
independent of each other and of the weights from chunk to chunk, and a person with more pairs than a chunk holds counts
as several people.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from fspo_jax.arguments import NO_SEQUENCES, shown
from fspo_jax.checkpoints.files import named_leaves, nested
from fspo_jax.errors import CheckpointError, DataError, FspoError, counted
from fspo_jax.models.features.text_effects import TextEffects
from fspo_jax.models.scorers.contract import CommunityPairs, Learned, Params, Scorer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward.engines.contract import Scoring
from fspo_jax.reward.engines.distinct_pairs import distinct
from fspo_jax.reward.engines.features import FeatureScoring, plain_features
from fspo_jax.types import Preference, User, check_preferences

SMALL_CHUNK, LARGE_CHUNK = 64, 256
"""Numbers of pairs of the two compiled programs. The first chunk is large, so that few pairs are learned exactly. Later
chunks are small, which is several times as fast and no less accurate; a person with more pairs gets a large one."""

MOST_TEXTS = 4_096
"""Number of texts whose effects are kept: those that most pairs had. Four times as many are kept while learning."""


People = Iterable[Iterable[Preference] | User]
"""The pairs of each person, or users as `load_users` gives them."""


class Chunk(NamedTuple):
    """Pairs of whole people: N preferences, and the number of the person of each."""

    pairs: list[Preference]
    person: list[int]


def check_community(people: People) -> Iterator[list[Preference]]:
    """Yields the pairs of each person, those given twice once; raises `DataError` for anything else than people."""
    if isinstance(people, (*NO_SEQUENCES, Preference, User)) or not hasattr(people, "__iter__"):
        raise DataError(
            "people must be a list with one list of Preference per person, or users as load_users gives them, not "
            f"{shown(people)}."
        )
    for i, person in enumerate(people):
        pairs = person.preferences if isinstance(person, User) else person
        yield distinct(check_preferences(pairs, f"people[{i}]"))


def chunks_of(people: Iterable[Sequence[Preference]]) -> Iterator[Chunk]:
    """Puts people together into chunks. A person with more pairs than a large chunk is split."""
    chunk, most = Chunk([], []), LARGE_CHUNK
    for pairs in people:
        for start in range(0, len(pairs), LARGE_CHUNK):
            part = pairs[start : start + LARGE_CHUNK]
            if chunk.pairs and len(chunk.pairs) + len(part) > most:
                yield chunk
                chunk, most = Chunk([], []), SMALL_CHUNK
            number = chunk.person[-1] + 1 if chunk.person else 0
            chunk.pairs.extend(part)
            chunk.person.extend([number] * len(part))
    if chunk.pairs:
        yield chunk


def check_learns(scoring: Scoring, kind: str) -> FeatureScoring:
    """Raises `FspoError` unless the scoring can learn a community, from none or from one.

    Args:
        scoring: Of the reward.
        kind: Of the scorer, for the message.
    """
    if not isinstance(scoring, FeatureScoring) or scoring.scorer.learn is None:
        raise FspoError(
            f"a reward with a '{kind}' scorer cannot learn a community. One with a 'three_level_gp' scorer can."
        )
    if scoring.community and "privacy" in scoring.community:
        raise FspoError(
            "this reward knows a private community, which cannot be gone on from: its guarantee would be spent twice. "
            "Learn all people at once, with the reward from before."
        )
    if scoring.community and (groups := len(scoring.community["log_weights"])) > 1:
        raise FspoError(
            f"this reward knows {groups} groups of people, but only none or one community can be gone on from. Use the "
            "reward from before the groups."
        )
    return scoring


def scoring_for_community(
    scoring: Scoring,
    people: People,
    kind: str,
    mean: np.ndarray | None = None,
) -> FeatureScoring:
    """The same scoring with what is learned from the pairs of people; see `PersonalizedReward.for_community`.

    Args:
        scoring: It may already know a community.
        people: As in `PersonalizedReward.for_community`.
        kind: Of the scorer, for messages.
        mean: Prior mean of the weights that people have in common, `float32 [R]`, of people who were described; then
            there may be nobody.
    """
    learner = Learner(check_learns(scoring, kind), mean)
    counts = {"people": 0, "pairs": 0}

    def counted() -> Iterator[list[Preference]]:
        for pairs in check_community(people):
            counts["people"] += bool(pairs)
            counts["pairs"] += len(pairs)
            yield pairs

    for chunk in chunks_of(counted()):
        learner.read(chunk)
    if not counts["pairs"]:
        if mean is None:
            raise DataError(
                "there is no labelled pair. Give the pairs of some people, or a description of them."
            )
        learner.learn_nothing()
    return learner.scoring(**counts)


def community_bytes(scoring: FeatureScoring) -> bytes:
    """What a scoring knows of a community, as the bytes of a safetensors file."""
    leaves = named_leaves(scoring.community)
    return to_safetensors({name: np.asarray(leaf, order="C") for name, leaf in leaves.items()})


def scoring_with_community(scoring: Scoring, data: bytes) -> FeatureScoring:
    """The same scoring with what another knew of a community, from `community_bytes`.

    Raises:
        CheckpointError: The bytes are damaged, or do not fit the scorer.
    """
    if not isinstance(scoring, FeatureScoring):
        raise CheckpointError("there is a community, but the reward has no level for it.")
    try:
        community = nested(from_safetensors(data))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"what a community has learned cannot be read ({error}). Learn it again."
        ) from None
    params = {name: leaf for name, leaf in scoring.params.items() if name != "community"}
    inner = plain_features(scoring.featurizer)
    return FeatureScoring.from_parts(scoring.config, {**params, "community": community}, inner)


def community_in_words(known: Mapping[str, Any]) -> str:
    """Says whose community it is, from `FeatureScoring.community`."""
    if "privacy" in known:
        epsilon, delta = known["privacy"]
        return f"a private community of about {int(known['people'])} (epsilon {epsilon:g}, delta {delta:g})"
    if not known["people"]:
        return "a described community"
    groups = len(known["log_weights"])
    return (
        f"{'a community' if groups == 1 else f'{groups} groups'} of {counted(int(known['people']), 'person', 'people')}"
        f" with {counted(int(known['pairs']), 'pair')}"
    )


@functools.lru_cache(maxsize=4)
def compiled_step(scorer: Scorer) -> Any:
    """The program that learns one chunk: `(params, features, effects, mean, CommunityPairs without pairs) -> Learned`.

    The weights that are learned are what is left after the given mean.
    """
    assert scorer.learn is not None
    learn = scorer.learn

    def step(
        params: Params, features: jax.Array, effects: jax.Array, mean: jax.Array, given: CommunityPairs
    ) -> Learned:
        pairs = scorer.represent(params, features)
        return learn(params, given._replace(pairs=pairs.at[..., 0].add(effects + pairs[..., 1:] @ mean)))

    return jax.jit(step)


class Learner:
    """What is known of a community while its pairs stream through, after the mean that a description gives."""

    def __init__(self, scoring: FeatureScoring, mean: np.ndarray | None = None):
        self._before = scoring
        self._mean = np.zeros(scoring.states.width - 1, np.float32) if mean is None else mean
        self._params: dict[str, Any] = dict(scoring.params)
        self._inner = plain_features(scoring.featurizer)
        known = scoring.community
        self._texts = TextEffects(**known["texts"]) if known else TextEffects.none()
        prior = scoring.scorer.text_variance
        self._text_variance = float(prior(scoring.params)) if prior else 0.0
        self._step = compiled_step(make_scorer(scoring.config.scorer, self._inner.blocks))

    def read(self, chunk: Chunk) -> None:
        """Learns from the texts of a chunk."""
        prompts = [pair.prompt for pair in chunk.pairs for _ in range(2)]
        responses = [response for pair in chunk.pairs for response in (pair.chosen, pair.rejected)]
        features = self._inner(prompts, responses).reshape(len(chunk.pairs), 2, -1)
        self.learn(features, np.array(chunk.person), self._texts.hashed(responses).reshape(-1, 2))

    def learn_nothing(self) -> None:
        """Learns from nobody, so that there is a prior of the weights."""
        nothing = np.zeros((0, 2, self._inner.dimension), np.float32)
        self.learn(nothing, np.zeros(0, int), np.zeros((0, 2), np.uint64))

    def learn(self, features: np.ndarray, person: np.ndarray, keys: np.ndarray) -> None:
        """Learns from the features of a chunk.

        Args:
            features: `float32 [N, 2, F]`.
            person: `int [N]`, equal for pairs of the same person.
            keys: `uint64 [N, 2]`, keys of the texts.
        """
        count = len(features)
        size = SMALL_CHUNK if count <= SMALL_CHUNK else LARGE_CHUNK
        distinct, texts, seen = np.unique(keys, return_inverse=True, return_counts=True)
        texts = texts.reshape(keys.shape)

        def padded(values: np.ndarray, kind: type) -> Any:
            whole = np.zeros((size, *values.shape[1:]), kind)
            whole[:count] = values
            return whole

        means, variances = (
            self._texts.mean_of(distinct),
            self._texts.variance_of(distinct, self._text_variance),
        )
        given = CommunityPairs(
            pairs=padded(features[:, :, :0], np.float32),  # in its place comes their representation
            person=padded(person, np.int32),
            weights=padded(np.ones(count), np.float32),
            texts=padded(texts, np.int32),
            variances=padded(variances[texts], np.float32),
        )
        learned = self._step(
            self._params, padded(features, np.float32), padded(means[texts], np.float32), self._mean, given
        )
        self._params["community"] = learned.community._asdict()
        if self._text_variance:
            # Each distinct text at one of its places.
            at = np.zeros(len(distinct), np.intp)
            at[texts.ravel()] = np.arange(texts.size)
            effects, left = (
                np.asarray(part[:count]).ravel()[at] for part in (learned.effects, learned.variances)
            )
            self._texts = self._texts.updated(distinct, seen, means + effects, left)
            if len(self._texts.keys) > 4 * MOST_TEXTS:
                self._texts = self._texts.most_seen(2 * MOST_TEXTS)

    def scoring(self, people: int, pairs: int) -> FeatureScoring:
        """The scoring with what is known now, from so many more people and pairs."""
        before = self._before.community or {"people": 0, "pairs": 0}
        gaussian = {name: np.asarray(leaf) for name, leaf in self._params["community"].items()}
        gaussian["mean"] = gaussian["mean"] + self._mean
        if not all(np.isfinite(leaf).all() for leaf in gaussian.values()):
            raise CheckpointError(
                "what was learned of the community is not finite: the reward is damaged, or the features of a text are "
                "too large. Load another copy of the reward."
            )
        community = {
            **gaussian,
            "people": np.int64(before["people"] + people),
            "pairs": np.int64(before["pairs"] + pairs),
            "texts": self._texts.most_seen(MOST_TEXTS)._asdict(),
        }
        params = {name: leaf for name, leaf in self._params.items() if name != "community"}
        return FeatureScoring.from_parts(self._before.config, {**params, "community": community}, self._inner)
