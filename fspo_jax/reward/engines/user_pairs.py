"""The stored form of a user, for rewards that score features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.reward.engines.contract import SHORTEST_HALF_LIFE, Keeping
from fspo_jax.reward.engines.distinct_pairs import DIGEST_BYTES, digest_list, pair_digests
from fspo_jax.reward.engines.folding import Folded
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.types import Preference


class UserPairs(NamedTuple):
    """What is kept of a user's N pairs, from the oldest to the newest. The newest K are kept one by one.

    Attributes:
        features: `float32 [K, 2, F]`.
        digests: `uint8 [N, 16]`, which tell whether a pair was given before.
        days: `float64 [N]`, when each pair was labelled; `[0]` if ages are counted in pairs.
        half_life: As in `Keeping`.
        folded: What is left of the older pairs, of the day of the newest of them; None if K = N.
        texts: The N pairs, if their texts are kept.
    """

    features: np.ndarray
    digests: np.ndarray
    days: np.ndarray
    half_life: float
    folded: Folded | None
    texts: tuple[Preference, ...] | None

    @classmethod
    def empty(cls, width: int, keeping: Keeping) -> UserPairs:
        """Of no pairs, with features of F = `width`."""
        return cls(
            np.zeros((0, 2, width), np.float32),
            np.zeros((0, DIGEST_BYTES), np.uint8),
            np.zeros(0),
            keeping.half_life,
            None,
            () if keeping.texts else None,
        )

    @property
    def keeping(self) -> Keeping:
        """How the pairs are kept."""
        return Keeping(self.texts is not None, self.half_life)

    @property
    def old(self) -> int:
        """Number of pairs that were folded."""
        return len(self.digests) - len(self.features)

    def unfolded(self, pairs: Sequence[Preference]) -> np.ndarray:
        """Whether each pair is not among the folded ones, `bool [n]`."""
        old = set(digest_list(self.digests[: self.old]))
        return np.array([digest not in old for digest in digest_list(pair_digests(pairs))], bool)

    def joined(self, pairs: Sequence[Preference], features: np.ndarray, days: np.ndarray) -> UserPairs:
        """With more pairs, none of which is there."""
        together = self._replace(
            features=np.concatenate([self.features, features]),
            digests=np.concatenate([self.digests, pair_digests(pairs)]),
            days=np.concatenate([self.days, days]),
            texts=None if self.texts is None else (*self.texts, *pairs),
        )
        if not len(together.days):
            return together
        order = self.old + np.argsort(together.days[self.old :], kind="stable")
        return together.selected(np.concatenate([np.arange(self.old), order]))

    def without(self, digests: np.ndarray) -> UserPairs:
        """Without the pairs with these digests. What was folded stays."""
        gone = set(digest_list(digests)) - set(digest_list(self.digests[: self.old]))
        kept = [i for i, digest in enumerate(digest_list(self.digests)) if digest not in gone]
        return self if len(kept) == len(self.digests) else self.selected(np.array(kept, int))

    def selected(self, places: np.ndarray) -> UserPairs:
        """The pairs at `places`, in this order; all folded pairs must be among them, first."""
        return self._replace(
            features=self.features[places[self.old :] - self.old],
            digests=self.digests[places],
            days=self.days[places] if len(self.days) else self.days,
            texts=None if self.texts is None else tuple(self.texts[i] for i in places),
        )

    def ages(self) -> np.ndarray:
        """Ages of the newest K pairs in half-lives, `float32 [K]`."""
        return self._ages()[self.old :].astype(np.float32)

    def folded_age(self) -> float:
        """Age in half-lives of the newest pair that was folded."""
        return float(self._ages()[: self.old].min())

    def fold_ages(self, count: int) -> tuple[float, np.ndarray]:
        """Ages in half-lives at the time of folding the oldest `count` of the K pairs: of the fold before, of them."""
        ages = self._ages()[: self.old + count]
        ages -= ages.min()
        return float(ages[: self.old].min(initial=np.inf)) if self.old else 0.0, ages[self.old :]

    def after_fold(self, count: int, folded: Folded) -> UserPairs:
        """Without the oldest `count` of the K pairs, which are in `folded` now."""
        return self._replace(features=self.features[count:], folded=folded)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays by name. What is not kept is left out."""
        arrays = {"context": np.ascontiguousarray(self.features, np.float32), "digests": self.digests}
        if len(self.days):
            arrays["days"] = self.days
        if self.half_life < np.inf:
            arrays["half_life"] = np.array([self.half_life])
        if self.folded is not None:
            arrays |= {f"folded_{name}": part for name, part in self.folded._asdict().items()}
        if self.texts is not None:
            arrays |= UserTexts(self.texts).to_arrays()
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], width: int, directions: tuple[int, int]
    ) -> UserPairs:
        """The inverse of `to_arrays`.

        Args:
            arrays: The arrays.
            width: F.
            directions: Shape of the directions of a `Folded`.

        Raises:
            KeyError: An array is missing.
            ValueError: An array is unknown, or has other values than a user can have.
        """
        rest, count = dict(arrays), len(arrays["digests"])
        features = _taken(rest, "context", np.float32, (len(arrays["context"]), 2, width))
        digests = _taken(rest, "digests", np.uint8, (count, DIGEST_BYTES))
        days = _taken(rest, "days", np.float64, (count,)) if "days" in rest else np.zeros(0)
        half_life = float(_taken(rest, "half_life", np.float64, (1,))[0]) if "half_life" in rest else np.inf
        folded = None
        if count > len(features):
            parts = (
                _taken(rest, "folded_directions", np.float32, directions),
                _taken(rest, "folded_weights", np.float32, (directions[0], 2)),
            )
            folded = Folded(*parts)
        texts = None
        if "texts" in rest:
            texts = UserTexts.from_arrays({"texts": rest.pop("texts")}).preferences
        if rest:
            raise ValueError(f"it also has {', '.join(rest)}")
        known = digest_list(digests)
        if len(set(known)) < count or count < len(features):
            raise ValueError("the digests are not those of its pairs")
        if texts is not None and digest_list(pair_digests(texts)) != known:
            raise ValueError("the texts are not those of its pairs")
        if half_life < SHORTEST_HALF_LIFE or (folded is not None and (folded.weights < 0.0).any()):
            raise ValueError("a weight or a half-life is out of range")
        return cls(features, digests, days, half_life, folded, texts)

    def _ages(self) -> np.ndarray:
        """Ages of the N pairs in half-lives, `float64 [N]`."""
        count = len(self.digests)
        ages = self.days.max() - self.days if len(self.days) else np.arange(count)[::-1].astype(float)
        return ages / self.half_life


def _taken(arrays: dict[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Takes an array away; raises `ValueError` unless it has the type, the shape and finite numbers."""
    array = arrays.pop(name)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"'{name}' has {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} of {shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"a number of '{name}' is not finite")
    return array
