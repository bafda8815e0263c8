"""Which labelled pairs are the same pair."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.types import Preference

DIGEST_BYTES = 16


def pair_digest(pair: Preference) -> bytes:
    """Returns 16 bytes that are equal for equal pairs. Unicode normal forms and line ends do not matter.

    A pair with its responses swapped is another pair: it contradicts the first.
    """
    prompt = pair.prompt
    texts = [prompt] if isinstance(prompt, str) else [text for message in prompt for text in message]
    plain = [_plain(text) for text in (*texts, pair.chosen, pair.rejected)]
    kind = "text" if isinstance(prompt, str) else "conversation"
    marked = kind + "".join(f"\n{len(text)}\n{text}" for text in plain)
    return hashlib.blake2b(marked.encode(), digest_size=DIGEST_BYTES).digest()


def pair_digests(pairs: Sequence[Preference]) -> np.ndarray:
    """Returns the digests of N pairs, `uint8 [N, 16]`."""
    return np.frombuffer(b"".join(map(pair_digest, pairs)), np.uint8).reshape(-1, DIGEST_BYTES)


def digest_list(digests: np.ndarray) -> list[bytes]:
    """The rows of `uint8 [N, 16]` as bytes."""
    return [row.tobytes() for row in digests]


def distinct(pairs: Sequence[Preference]) -> list[Preference]:
    """Returns the pairs without repetitions. A repeated pair stands where it was given last."""
    latest: dict[bytes, Preference] = {}
    for pair in pairs:
        digest = pair_digest(pair)
        latest.pop(digest, None)
        latest[digest] = pair
    return list(latest.values())


def unknown_pair(place: int) -> DataError:
    """The error about a pair to forget that the user does not have."""
    return DataError(
        f"preferences[{place}] is not a pair of this user. A pair is found by its prompt and both responses, "
        "letter by letter."
    )


def _plain(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)
