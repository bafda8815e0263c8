"""Effects of texts that a community has seen, found again by a keyed hash of the text.

Where people answer the same questions, or choose from one pool of candidates, a text is better or worse than its
features say. What the community says of a text is an effect of its own on the reward, added at the level of everyone.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.models.features.recent import RecentRows
from fspo_jax.models.scorers.contract import Params, Scorer
from fspo_jax.types import Prompt

COLUMN = "text_effect"
"""Name of the column of features that holds the effects."""


class TextEffects(NamedTuple):
    """Known effects of T texts. It holds no text: a person who has a text can look it up, nobody can list the texts.

    Attributes:
        secret: `uint8 [32]`, the random key of the hashes.
        keys: `uint64 [T]`, hashes of the texts, ascending.
        counts: `int64 [T]`, how many pairs had the text.
        means: `float32 [T]`, posterior mean of the effect, in nats.
        variances: `float32 [T]`, its posterior variance.

    Example:
        >>> one = np.ones(1, np.float32)
        >>> effects = TextEffects.none()
        >>> effects = effects.updated(effects.hashed(["Hello!"]), np.ones(1, np.int64), one, one)
        >>> effects.mean_of(effects.hashed(["Hello!", "What?"])).tolist()
        [1.0, 0.0]
    """

    secret: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @classmethod
    def none(cls) -> TextEffects:
        """No text, and a new secret."""
        secret = np.frombuffer(secrets.token_bytes(32), np.uint8)
        return cls(secret, *(np.zeros(0, kind) for kind in (np.uint64, np.int64, np.float32, np.float32)))

    def hashed(self, texts: Sequence[str]) -> np.ndarray:
        """Keys `uint64 [N]` of N texts. Texts that differ only in white space at their ends are equal."""
        secret = self.secret.tobytes()
        digests = (
            hashlib.blake2b(text.strip().encode(), digest_size=8, key=secret).digest() for text in texts
        )
        return np.frombuffer(b"".join(digests), np.uint64)

    def mean_of(self, keys: np.ndarray) -> np.ndarray:
        """Effects `float32` of texts by key; 0 for texts that are not known."""
        return self._found(self.means, keys, 0.0)

    def variance_of(self, keys: np.ndarray, unknown: float) -> np.ndarray:
        """Variances of the effects; `unknown` for texts that are not known."""
        return self._found(self.variances, keys, unknown)

    def updated(
        self, keys: np.ndarray, counts: np.ndarray, means: np.ndarray, variances: np.ndarray
    ) -> TextEffects:
        """Replaces or adds texts by distinct keys; `counts` are added to those before."""
        counts = counts + self._found(self.counts, keys, 0)
        rest = ~np.isin(self.keys, keys)
        order = np.argsort(together := np.concatenate([self.keys[rest], keys]))
        parts = zip(self[2:], (counts, means, variances), strict=True)
        return TextEffects(
            self.secret,
            together[order],
            *(np.concatenate([old[rest], new])[order] for old, new in parts),
        )

    def most_seen(self, count: int) -> TextEffects:
        """Keeps at most `count` texts, those that most pairs had."""
        kept = np.sort(np.argsort(-self.counts, kind="stable")[:count])
        return TextEffects(self.secret, *(values[kept] for values in self[1:]))

    def _found(self, values: np.ndarray, keys: np.ndarray, unknown: float) -> np.ndarray:
        if not len(self.keys):
            return np.full(keys.shape, unknown, values.dtype)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, values[places], values.dtype.type(unknown))


class FeaturesWithEffects:
    """The features of another function, with one more column: the known effect of the response's text.

    Args:
        inner: The other function.
        effects: The known effects.
        digest: Changes whenever the effects change.

    Attributes:
        inner, blocks, dimension, fingerprint: As of any features.
    """

    def __init__(self, inner: FeatureFunction, effects: TextEffects, digest: str):
        self.inner = inner
        self.blocks = MappingProxyType({**inner.blocks, COLUMN: 1})
        self.dimension = inner.dimension + 1
        self.fingerprint = f"{inner.fingerprint}-{digest}"
        self._column = RecentRows(1, lambda texts: effects.mean_of(effects.hashed(texts))[:, None])

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """Features `float32 [N, F + 1]`."""
        features = np.empty((len(responses), self.dimension), np.float32)
        features[:, :-1] = self.inner(prompts, responses)
        features[:, -1:] = self._column.rows(responses)
        return features

    def warm_up(self) -> None:
        self.inner.warm_up()


@functools.lru_cache(maxsize=16)
def scorer_with_effects(scorer: Scorer) -> Scorer:
    """The scorer on features whose last column is the text's effect, which everyone's reward gets."""

    def represent(params: Params, features: jax.Array) -> jax.Array:
        return scorer.represent(params, features[..., :-1]).at[..., 0].add(features[..., -1])

    return scorer._replace(represent=represent)
