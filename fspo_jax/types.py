"""Frozen values that every floor of the package exchanges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fspo_jax.errors import DataError, LimitError

MAX_TEXT_CHARACTERS = 50_000
"""Longest text, in characters, that any entry point takes; longer ones raise `LimitError`."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]
"""A prompt is a string or a conversation."""


def check_text(text: Any, name: str) -> str:
    """Returns `text` if it is a string that can be encoded and is not over-long.

    Args:
        text: The value to check. Empty strings and control characters are allowed.
        name: How the error calls it, e.g. `"candidates[3]"`.

    Raises:
        DataError: `text` is not a string, or holds a lone surrogate (no UTF-8 form).
        LimitError: `text` has more than `MAX_TEXT_CHARACTERS` characters.
    """
    if not isinstance(text, str):
        raise DataError(f"{name} must be a string, not {type(text).__name__}.")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise LimitError(
            f"{name} has {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are allowed. "
            "Shorten it: texts are never cut silently."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name} holds a lone surrogate at character {error.start}, which no UTF-8 text can. "
            "Repair the text, e.g. with text.encode('utf-8', 'replace').decode()."
        ) from None
    return text


def check_texts(texts: Any, name: str) -> list[str]:
    """Returns `texts` as a list of strings, in their order.

    Args:
        texts: A list or tuple, an array or a column of one axis, or a generator of strings.
        name: How the error calls it, e.g. `"candidates"`.

    Raises:
        DataError: It has no order of strings, such as a single string, a dict, a set or None, or as `check_text`.
        LimitError: A text is over-long.
    """
    wanted = f"{name} must be a list of strings"
    if isinstance(texts, str):
        raise DataError(f"{wanted}, not one string. Put it into a list: [text].")
    unordered = isinstance(texts, bytes | Mapping | set | frozenset)
    if unordered or not hasattr(texts, "__iter__") or getattr(texts, "ndim", 1) != 1:
        kind = type(texts).__name__ if getattr(texts, "ndim", 1) == 1 else "a table"
        raise DataError(f"{wanted}, not {kind}. Scores are returned by position, so the order must be known.")
    return [check_text(text, f"{name}[{i}]") for i, text in enumerate(texts)]


def check_prompt(prompt: Any, name: str = "prompt") -> Prompt:
    """Returns `prompt` as a string or a tuple of `Message`.

    Args:
        prompt: A string, or a non-empty sequence of `{"role", "content"}` mappings or `Message`.
        name: How the error calls it.

    Raises:
        DataError: Neither form fits.
        LimitError: A text is over-long.
    """
    if isinstance(prompt, str):
        return check_text(prompt, name)
    if not isinstance(prompt, Sequence) or not prompt:
        raise DataError(
            f"{name} must be a string or a non-empty list of {{'role', 'content'}} messages, "
            f"not {prompt!r:.80}."
        )
    messages = []
    for i, message in enumerate(prompt):
        if isinstance(message, Mapping):
            if set(message) != {"role", "content"}:
                raise DataError(
                    f"{name}[{i}] must have the keys 'role' and 'content', not {sorted(map(str, message))}."
                )
            message = Message(message["role"], message["content"])
        if not isinstance(message, Message):
            raise DataError(f"{name}[{i}] must be a {{'role', 'content'}} message, not {message!r:.80}.")
        check_text(message.role, f"{name}[{i}].role")
        check_text(message.content, f"{name}[{i}].content")
        messages.append(message)
    return tuple(messages)


@dataclass(frozen=True, slots=True)
class Preference:
    """One labelled pair of one user: for `prompt`, `chosen` was preferred to `rejected`.

    Args:
        prompt: A string, or a conversation as `[{"role": ..., "content": ...}, ...]`.
        chosen: The preferred response, not empty.
        rejected: The other response, not empty and not equal to `chosen`.

    Raises:
        DataError: A field is empty, of the wrong type, or both responses are the same.
        LimitError: A text has more than `MAX_TEXT_CHARACTERS` characters.

    Example:
        >>> Preference("Explain entropy.", chosen="A messy room.", rejected="S = k log W.").chosen
        'A messy room.'
    """

    prompt: Prompt
    chosen: str
    rejected: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", check_prompt(self.prompt))
        check_text(self.chosen, "chosen")
        check_text(self.rejected, "rejected")
        for name in ("prompt", "chosen", "rejected"):
            value = getattr(self, name)
            if isinstance(value, str) and not value.strip():
                raise DataError(f"{name} is empty; a preference needs a prompt and two responses.")
        if self.chosen == self.rejected:
            raise DataError("chosen equals rejected: such a pair says nothing about the user. Leave it out.")


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """A prompt with unlabelled candidates and, where the world is synthetic, their true utilities.

    Args:
        prompt: As in `Preference`.
        candidates: Response texts.
        utilities: One user's true utility of each candidate, in nats.
    """

    prompt: Prompt
    candidates: tuple[str, ...]
    utilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class User:
    """The preferences of one person or persona.

    Args:
        user_id: Unique within its source.
        preferences: The labelled pairs, in file order.
        source: Name of the study or world it comes from; reports have a row per source.
        group: Group label for worst-group reports, or `""`.
        candidate_sets: For best-of-n with known utility; empty for real people.
        description: What the user is like, in words; empty for most real people. Only language models that learn to
            predict descriptions read it.
    """

    user_id: str
    preferences: tuple[Preference, ...]
    source: str = ""
    group: str = ""
    candidate_sets: tuple[CandidateSet, ...] = ()
    description: str = ""


class Episode(NamedTuple):
    """Context and queries of a batch of users.

    The arrays hold either rows of a feature table, `int32 [B, K, 2]` and `[B, Q, 2]`, or the features
    themselves, `float32 [B, K, 2, F]` and `[B, Q, 2, F]`. Axis 2 is (chosen, rejected).

    Attributes:
        context: Pairs that the model may read.
        context_mask: `bool [B, K]`, false where a slot is padding.
        queries: Held-out pairs of the same user; no text of the context occurs in them.
        query_mask: `bool [B, Q]`.
    """

    context: Any
    context_mask: Any
    queries: Any
    query_mask: Any


class RankedCandidate(NamedTuple):
    """One line of a ranking.

    Attributes:
        rank: 1 is the best.
        index: Position in the candidates that were given.
        score: Reward in nats; only differences within one prompt mean anything.
        uncertainty: Posterior standard deviation, in nats, of the score against the mean of the
            candidates; NaN for scorers without a posterior.
        text: The candidate.
    """

    rank: int
    index: int
    score: float
    uncertainty: float
    text: str


class TokenLayout(NamedTuple):
    """Where each token of a row stands in the tree of its episode. Each leaf `int32 [R, T]`.

    A token sees earlier tokens of its row that are of its episode, in its own group, in the shared head (group 0) or,
    from a question, in any shot, and not in another branch.

    Attributes:
        position: Rotary position; branches of one question restart at the same position.
        episode: Number of the episode in its row, from 1; 0 is padding.
        group: 0 in what the whole episode shares; -k in shot k where shots do not see each other; q in question q.
        branch: Number of the response within its question, from 1; 0 outside responses.
    """

    position: Any
    episode: Any
    group: Any
    branch: Any


class PackedRows(NamedTuple):
    """Episodes as rows of tokens. R rows of T tokens, N response tokens and P pairs a row.

    Attributes:
        tokens: `int32 [R, T]`.
        layout: Where each token stands, leaves `int32 [R, T]`.
        predictors: `int32 [R, N]`, for each response token the place in its row of the token before it.
        targets: `int32 [R, N]`, the response token itself.
        owners: `int32 [R, N]`, its response: `2 pair + side`, side 0 is chosen; `2 P` for padding.
        ends: `int32 [R, P, 2]`, place of the last token of (chosen, rejected).
        weights: `float32 [R, P]`, share of each pair in the loss; all shares of a batch add up to 1, padding has 0.
        described: `float32 [R, P]`, share in the loss of descriptions of those pairs whose first side is one; the
            shares of a batch add up to 1, or to 0 where there is none.
    """

    tokens: Any
    layout: TokenLayout
    predictors: Any
    targets: Any
    owners: Any
    ends: Any
    weights: Any
    described: Any
