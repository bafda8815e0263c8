"""From the pairs of a user to the state that scores, in few compiled programs; and folding the oldest of many pairs."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.scorers.contract import Params, UserState
from fspo_jax.reward.engines.contract import NO_TEXTS, bucket
from fspo_jax.reward.engines.distinct_pairs import DIGEST_BYTES
from fspo_jax.reward.engines.folding import fold, nothing_folded
from fspo_jax.reward.engines.scorer_programs import ScorerPrograms
from fspo_jax.reward.engines.user_pairs import UserPairs

SMALLEST_CONTEXT = 4
"""Number of pairs of the smallest program. Larger contexts are padded to the next power of two."""

FEWEST_NEWEST = 32
"""A user has at least this many of the newest pairs one by one, and at most twice as many. Older ones are folded."""


@dataclass(frozen=True, eq=False)
class UserStates:
    """Makes the states of users.

    Attributes:
        programs: Of the scorer.
        params: Of the reward.
        dimension: F, features of a response.
        max_context: Largest number of pairs in meta-training.
    """

    programs: ScorerPrograms
    params: Params
    dimension: int
    max_context: int

    @property
    def newest(self) -> int:
        """Number of the newest pairs that are never folded, and of the directions of a fold."""
        return max(bucket(self.max_context, 1), FEWEST_NEWEST)

    @property
    def most(self) -> int:
        """Largest number of pairs that are read one by one."""
        return 2 * self.newest if self.programs.scorer.weighs_pairs else self.max_context

    @functools.cached_property
    def width(self) -> int:
        """Width of a representation, 1 + R."""
        one = jax.ShapeDtypeStruct((1, self.dimension), jnp.float32)
        return jax.eval_shape(self.programs.scorer.represent, self.params, one).shape[-1]

    def of_every_program(self) -> list[UserState]:
        """A state from each program, which compiles them."""
        users = [
            UserPairs.empty(self.dimension, NO_TEXTS)._replace(
                features=np.zeros((shots, 2, self.dimension), np.float32),
                digests=np.zeros((shots, DIGEST_BYTES), np.uint8),
            )
            for shots in sorted({bucket(shots, SMALLEST_CONTEXT) for shots in range(self.most + 1)})
        ]
        if self.programs.scorer.weighs_pairs:
            users.append(self.with_oldest_folded(users[-1]))
        return [self.state(user) for user in users]

    def state(self, context: UserPairs) -> UserState:
        """Without folded pairs, the programs of few pairs are used; with them, one program."""
        return self._computed(context) if len(context.digests) else self.nobody

    @functools.cached_property
    def nobody(self) -> UserState:
        """The state of people in general, which is asked for again and again."""
        return self._computed(UserPairs.empty(self.dimension, NO_TEXTS))

    def _computed(self, context: UserPairs) -> UserState:
        shots = len(context.features)
        size = bucket(shots, SMALLEST_CONTEXT) if context.folded is None else 2 * self.newest
        padded = np.zeros((size, *context.features.shape[1:]), np.float32)
        padded[:shots] = context.features
        mask = np.arange(size) < shots
        if not self.programs.scorer.weighs_pairs:
            return self.programs.encode_context(self.params, padded, mask)
        ages = np.zeros(size, np.float32)
        ages[:shots] = context.ages()
        if context.folded is None:
            return self.programs.encode_weighed(self.params, padded, mask, ages)
        age = np.float32(context.folded_age())
        return self.programs.encode_folded(self.params, padded, mask, ages, *context.folded.pairs(), age)

    def with_oldest_folded(self, context: UserPairs) -> UserPairs:
        """Folds the oldest `newest` of the pairs."""
        count = self.newest
        before = context.folded or nothing_folded(count, self.width)
        before_age, ages = context.fold_ages(count)
        pairs = np.asarray(self.programs.represent(self.params, context.features[:count]))
        # Newer pairs have no say, so that they can be forgotten.
        state = self.state(context.selected(np.arange(context.old + count)))
        rewards = np.asarray(self.programs.score(self.params, state, pairs.reshape(2 * count, -1)))
        margins = rewards[::2] - rewards[1::2]
        folded = fold(before, before_age, pairs[:, 0] - pairs[:, 1], margins, ages, self._prior_deviations)
        return context.after_fold(count, folded)

    @functools.cached_property
    def _prior_deviations(self) -> np.ndarray:
        """Deviation of a reward along each column of a representation, for a user without pairs, `float32 [1 + R]`."""
        columns = np.eye(self.width, dtype=np.float32)
        assert self.programs.variance is not None  # of scorers that weigh pairs
        variance = self.programs.variance(self.params, self.nobody, columns, np.zeros_like(columns))
        return np.sqrt(np.asarray(variance))
