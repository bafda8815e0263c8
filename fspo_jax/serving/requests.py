"""Requests and answers as values, read from and written to JSON. Errors name the path of a wrong value.

The command line uses them, and a server can: nothing here depends on where the JSON comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fspo_jax.arguments import check_number, check_text, shown
from fspo_jax.data.rows.fields import BadRow, joined, messages
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError, LimitError, did_you_mean
from fspo_jax.rerank import MOST_QUALITY, check_quality
from fspo_jax.reward.caution import MOST_CAUTION
from fspo_jax.types import Preference, Prompt, RankedCandidate, check_prompt

RERANK_KEYS = ("pairs", "prompt", "candidates", "top_k", "quality", "quality_weight", "caution", "certainty")
"""Keys of the JSON of a `RerankRequest`."""


@dataclass(frozen=True)
class AdaptRequest:
    """Pairs to learn one person from.

    Attributes:
        pairs: The labelled pairs. Without pairs the reward is that of people in general.
        summary: How many rows were set aside and why, in words; empty if every row is a pair.
    """

    pairs: tuple[Preference, ...]
    summary: str = ""

    @classmethod
    def from_json(cls, value: Any, name: str = "request", most: int | None = None) -> AdaptRequest:
        """Reads `{"pairs": [...]}`, a list of rows, one row, or the bytes of any container that `load_users` reads.

        Args:
            value: The body. Rows may have any shape that `load_users` reads, and belong to one person.
            name: How messages call it.
            most: Most rows, and most pairs; None for any number.

        Raises:
            DataError: The value has another form, or a row is no preference. The message names its number and field.
            LimitError: There are more than `most` rows or pairs.

        Example:
            >>> body = {"pairs": [{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}]}
            >>> AdaptRequest.from_json(body).pairs
            (Preference(prompt='Hi', chosen='Hello!', rejected='What?'),)
        """
        if isinstance(value, str):  # a path to the loader; a request must not open files
            raise DataError(f"{name}: must be an object with pairs, not {shown(value)}.")
        rows = value.get("pairs") if isinstance(value, Mapping) else value
        if most is not None and isinstance(rows, list) and len(rows) > most:
            raise LimitError(f"{name}: there are {len(rows):,} pairs; at most {most:,} are allowed at once.")
        loaded = load_pairs(value, name=name, most=most)
        pairs = tuple(pair for user in loaded for pair in user.preferences)
        return cls(pairs, "" if len(pairs) == loaded.counts["rows"] else loaded.summary())

    def to_json(self) -> dict[str, Any]:
        """The request as plain values."""
        return {"pairs": [pair_json(pair) for pair in self.pairs]}


@dataclass(frozen=True)
class RerankRequest:
    """Candidates to order for one person.

    Attributes:
        prompt: What the candidates answer: a string or a conversation.
        candidates: The response texts.
        pairs: The person's labelled pairs. Without pairs the ranking is for people in general.
        top_k: How many of the best to return; None for all.
        quality: A number from outside for each candidate, as in `rerank`, or None.
        quality_weight: What one unit of quality is worth, in nats.
        caution, certainty: As in `rerank`.
        summary: As in `AdaptRequest`.
    """

    prompt: Prompt
    candidates: tuple[str, ...]
    pairs: tuple[Preference, ...] = ()
    top_k: int | None = None
    quality: tuple[float, ...] | None = None
    quality_weight: float = 1.0
    caution: float = 0.0
    certainty: float = 0.0
    summary: str = ""

    @classmethod
    def from_json(cls, value: Any, name: str = "request") -> RerankRequest:
        """Reads `{"prompt": ..., "candidates": [...]}`, and what else the attributes name. Null is the same as nothing.

        Args:
            value: The body.
            name: How messages call it.

        Raises:
            DataError: A key is unknown or missing, or a value is wrong. The message names its path.
        """
        check_keys(value, name)
        value = {key: given for key, given in value.items() if given is not None}
        for key in ("prompt", "candidates"):
            if key not in value:
                raise DataError(f"{name}: '{key}' is missing.")
        adapt = AdaptRequest.from_json({"pairs": value.get("pairs", [])}, name)
        top_k = value.get("top_k")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise DataError(f"{name}: top_k must be a positive whole number, not {shown(top_k)}.")
        candidates, quality = candidates_of(value["candidates"], name), value.get("quality")
        if quality is not None:
            quality = tuple(check_quality(quality, len(candidates), f"{name}: quality"))
        return cls(
            prompt_of(value["prompt"], name),
            candidates,
            adapt.pairs,
            top_k,
            quality,
            check_number(value.get("quality_weight", 1.0), f"{name}: quality_weight", 0.0, MOST_QUALITY),
            check_number(value.get("caution", 0.0), f"{name}: caution", 0.0, MOST_CAUTION),
            check_number(value.get("certainty", 0.0), f"{name}: certainty", 0.0, 1.0),
            adapt.summary,
        )

    def to_json(self) -> dict[str, Any]:
        """The request as plain values."""
        top_k = {} if self.top_k is None else {"top_k": self.top_k}
        quality = (
            {"quality": list(self.quality), "quality_weight": self.quality_weight} if self.quality else {}
        )
        return {
            "pairs": [pair_json(pair) for pair in self.pairs],
            "prompt": prompt_json(self.prompt),
            "candidates": list(self.candidates),
            **top_k,
            **quality,
            **{key: value for key in ("caution", "certainty") if (value := getattr(self, key))},
        }


@dataclass(frozen=True)
class RerankResponse:
    """The candidates in order.

    Attributes:
        prompt: As in the request.
        shots: Number of pairs of the person that were read.
        ranking: From best to worst.
    """

    prompt: Prompt
    shots: int
    ranking: tuple[RankedCandidate, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer as plain values: numbers with six decimals, null for an unknown uncertainty."""
        lines = [
            {
                "rank": line.rank,
                "index": line.index,
                "score": round(line.score, 6),
                "uncertainty": None if math.isnan(line.uncertainty) else round(line.uncertainty, 6),
                "text": line.text,
            }
            for line in self.ranking
        ]
        return {"prompt": prompt_json(self.prompt), "shots": self.shots, "ranking": lines}


@dataclass(frozen=True)
class EncodeRequest:
    """Texts to turn into features.

    Attributes:
        items: Prompt and text of each item. A string has an empty prompt.
    """

    items: tuple[tuple[Prompt, str], ...]

    @classmethod
    def from_json(cls, value: Any, name: str = "request") -> EncodeRequest:
        """Reads a list of strings and pairs. A pair gives two items, chosen and rejected.

        Raises:
            DataError: A row is neither, or a pair is wrong. The message names its number.
        """
        items: list[tuple[Prompt, str]] = []
        for i, row in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(row, str):
                items.append(("", check_text(row, f"{name}: texts[{i}]")))
            elif isinstance(row, dict):
                for pair in AdaptRequest.from_json(row, f"{name}, row {i + 1}").pairs:
                    items += [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
            else:
                raise DataError(f"{name}: row {i + 1} must be a string or a pair, not {shown(row)}.")
        return cls(tuple(items))


def check_keys(value: Any, name: str) -> None:
    """Raises `DataError` unless the value is an object with keys of a `RerankRequest` only."""
    if not isinstance(value, Mapping):
        raise DataError(f"{name}: must be an object with prompt and candidates, not {shown(value)}.")
    for key in value:
        if key not in RERANK_KEYS:
            raise DataError(
                f"{name}: unknown key '{key}'.{did_you_mean(str(key), RERANK_KEYS)} Known: {', '.join(RERANK_KEYS)}."
            )


def prompt_of(value: Any, name: str) -> Prompt:
    """Reads a prompt from JSON: a string, or a list of messages. Raises `DataError` for anything else."""
    try:
        return messages(value, "prompt") if isinstance(value, list) and value else check_prompt(value)
    except (BadRow, DataError) as error:
        raise DataError(f"{name}: {str(error).rstrip('.')}.") from None


def candidates_of(value: Any, name: str, key: str = "candidates") -> tuple[str, ...]:
    """Reads candidate texts from JSON: strings, or objects with a `text` or `content`. Messages call them `key`.

    Raises:
        DataError: The value has another form. The message names the candidate.
    """
    if isinstance(value, Mapping) and "candidates" in value:
        value = value["candidates"]
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, Sequence):
        raise DataError(f"{name}: {key} must be a list of strings, not {shown(value)}.")
    candidates = []
    for number, item in enumerate(value):
        text = item
        if isinstance(item, Mapping):
            try:
                text = joined(item.get("text", item.get("content")), f"{key}[{number}].content")
            except BadRow as bad:
                raise DataError(f"{name}: {bad}.") from None
        if not isinstance(text, str):
            raise DataError(f"{name}: {key}[{number}] must be a string or have a 'text', not {shown(item)}.")
        candidates.append(text)
    return tuple(candidates)


def prompt_json(prompt: Prompt) -> Any:
    """A prompt as plain values."""
    return prompt if isinstance(prompt, str) else [message._asdict() for message in prompt]


def pair_json(pair: Preference) -> dict[str, Any]:
    """A pair as plain values; `Preference(**values)` reads them."""
    return {"prompt": prompt_json(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}
