"""Frozen values that all parts of the package exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from fspo_jax.arguments import check_sequence, check_text, shown
from fspo_jax.errors import DataError, counted


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]
"""A prompt is a string or a conversation."""


def check_prompt(prompt: Any, name: str = "prompt") -> Prompt:
    """Returns `prompt` as a string or a tuple of `Message`.

    Args:
        prompt: A string, or a non-empty list of `{"role", "content"}` mappings or `Message`.
        name: Its name in messages.

    Raises:
        DataError: It has another form.
        LimitError: A text is too long.
    """
    if isinstance(prompt, str):
        return check_text(prompt, name)
    wanted = "a string or a non-empty list of {'role', 'content'} messages"
    given = check_sequence(prompt, name, wanted)
    if not given:
        raise DataError(f"{name} must be {wanted}, not an empty one.")
    messages = []
    for i, message in enumerate(given):
        if isinstance(message, Mapping):
            if set(message) != {"role", "content"}:
                raise DataError(
                    f"{name}[{i}] must have the keys 'role' and 'content', not {shown(list(message))}."
                )
            message = Message(message["role"], message["content"])
        if not isinstance(message, Message):
            raise DataError(f"{name}[{i}] must be a {{'role', 'content'}} message, not {shown(message)}.")
        role = check_text(message.role, f"{name}[{i}].role")
        messages.append(Message(role, check_text(message.content, f"{name}[{i}].content")))
    return tuple(messages)


@dataclass(frozen=True, slots=True)
class Preference:
    """A labelled pair of a user: in answer to `prompt`, the user preferred `chosen` to `rejected`.

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
        for name in ("chosen", "rejected"):
            object.__setattr__(self, name, check_text(getattr(self, name), name))
        for name in ("prompt", "chosen", "rejected"):
            value = getattr(self, name)
            texts = [value] if isinstance(value, str) else [message.content for message in value]
            if not any(text.strip() for text in texts):
                raise DataError(f"{name} is empty, but a preference needs a prompt and two responses.")
        if self.chosen == self.rejected:
            raise DataError("chosen equals rejected, so the pair says nothing about the user. Leave it out.")


def check_preferences(preferences: Any, name: str) -> list[Preference]:
    """Returns preferences as a list; raises `DataError` for anything else."""
    listed = check_sequence(preferences, name, "a list of Preference")
    for i, preference in enumerate(listed):
        if not isinstance(preference, Preference):
            raise DataError(f"{name}[{i}] must be a Preference, not {type(preference).__name__}.")
    return listed


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """A prompt with unlabelled candidates and their true utilities, which are known in synthetic worlds.

    Args:
        prompt: As in `Preference`.
        candidates: Response texts.
        utilities: A user's true utility for each candidate, in nats.
    """

    prompt: Prompt
    candidates: tuple[str, ...]
    utilities: tuple[float, ...]


@dataclass(frozen=True, slots=True, repr=False)
class User:
    """The preferences of one person or persona.

    Args:
        user_id: Unique within its source.
        preferences: The labelled pairs, in file order.
        source: Name of the study or world. Reports have a row per source.
        group: Name of a group of users, or `""`. Reports show the worst-served group.
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

    def __repr__(self) -> str:
        return f"User({self.user_id!r}, {counted(len(self.preferences), 'pair')})"


def check_users(users: Any) -> list[User]:
    """Returns users as a list; raises `DataError` for anything else."""
    listed = list(check_sequence(users, "users", "a list of User"))
    for i, user in enumerate(listed):
        if not isinstance(user, User):
            raise DataError(f"users[{i}] must be a User, not {type(user).__name__}.")
        for field in ("user_id", "source", "group", "description"):
            check_text(getattr(user, field), f"users[{i}].{field}")
        preferences = check_preferences(user.preferences, f"users[{i}].preferences")
        if not isinstance(user.preferences, tuple):
            listed[i] = replace(user, preferences=tuple(preferences))
    return listed


class Episode(NamedTuple):
    """Context and queries of a batch of users.

    The arrays contain either rows of a feature table, `int32 [B, K, 2]` and `[B, Q, 2]`, or the features themselves,
    `float32 [B, K, 2, F]` and `[B, Q, 2, F]`. Axis 2 is (chosen, rejected).

    Attributes:
        context: Pairs that the model reads.
        context_mask: `bool [B, K]`, false for padding.
        queries: Other pairs of the same user, which share no text with the context.
        query_mask: `bool [B, Q]`, false for padding.
    """

    context: Any
    context_mask: Any
    queries: Any
    query_mask: Any


class RankedCandidate(NamedTuple):
    """One line of a ranking.

    Attributes:
        rank: Rank from 1, the best.
        index: Position in the list of candidates, from 0.
        score: Reward in nats. Compare it only within one prompt.
        uncertainty: Posterior standard deviation of the score minus the candidates' mean, in nats; NaN for scorers
            without a posterior.
        text: The candidate.
    """

    rank: int
    index: int
    score: float
    uncertainty: float
    text: str


class Sampling(NamedTuple):
    """How responses are drawn.

    Attributes:
        temperature: Divides the logits. 0 always takes the most probable token.
        top_p: Probability of the nucleus from which tokens are drawn, above 0 and at most 1.
        max_tokens: Largest number of tokens of a response; a longer one is cut.
        seed: Equal seeds give equal responses, for writers that know seeds.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 0


class Draft(NamedTuple):
    """A response that is being written.

    Attributes:
        text: What is written so far.
        room: Number of tokens that it may still get.
        ended: Whether the writer ended it. Otherwise it goes on, or was cut where its room was 0.
        state: What its writer needs to go on.
    """

    text: str
    room: int
    ended: bool
    state: Any


class Writer(Protocol):
    """Writes responses, in one go or block by block: a decoder, a user's own policy, or a server."""

    @property
    def continues(self) -> bool:
        """Whether it can go on with a draft. Otherwise each of `continuations` is a new whole response."""
        ...

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        """An empty response to a prompt."""
        ...

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        """Goes on with a draft that has room, in n ways, each by at most so many tokens."""
        ...


def check_writer(writer: Any) -> Writer:
    """Returns a writer; raises `DataError` for anything else. Asks no server."""
    # On the type first: whether a server continues takes a request to know.
    whole = all(
        hasattr(type(writer), name) or hasattr(writer, name)
        for name in ("begin", "continuations", "continues")
    )
    if not whole or isinstance(writer, type):
        raise DataError(
            "writer must come from load_writer or openai_endpoint, or have their begin, continuations and continues, "
            f"not {shown(writer)}."
        )
    return writer


class TokenLayout(NamedTuple):
    """The place of each token of a row in the tree of its episode. Each leaf is `int32 [R, T]`.

    A token sees earlier tokens of its episode, if they are in its own group or in the shared head (group 0), and not in
    another branch. Tokens of questions also see all shots.

    Attributes:
        position: Rotary position. The branches of a question start at the same position.
        episode: Number of the episode in its row, from 1; 0 for padding.
        group: 0 for what the whole episode shares, -k for shot k if shots do not see each other, q for question q.
        branch: Number of the response within its question, from 1; 0 outside responses.
    """

    position: Any
    episode: Any
    group: Any
    branch: Any


class ReadTexts(NamedTuple):
    """Tokens as lower layers read them, each text by itself, in place of tokens. Leaves `[R, T, ...]`.

    Attributes:
        states: `float16 [R, T, D]`, outputs of the lower layers.
        marks: `int32 [R, T]`, what the user said of the text that the token is of: an index of `text.templates.MARKS`.
        tokens: `int32 [R, T]`, the tokens themselves.
    """

    states: Any
    marks: Any
    tokens: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tokens."""
        return self.tokens.shape

    @property
    def size(self) -> int:
        """Number of the tokens."""
        return self.tokens.size


@dataclass(frozen=True)
class RowFormat:
    """How episodes are laid out as rows of tokens.

    Attributes:
        length: T, tokens per row. No tree is longer, and no context with a question and one response.
        layout: `sequential`: a shot sees the shots before it, as in FSPO. `parallel`: shots do not see each other and
            start at the same position, so that their order does not matter and a new shot changes no other.
        shot_span: Positions that the parallel layout reserves for a shot. Longer shots are dropped.
        rows: The number of rows is a multiple of this (the devices along the batch).
        least: Smallest (rows, response tokens per row, pairs per row). Larger ones are padded to a `padded_size`.
        context: Largest number of tokens of a context, whatever is asked after it; 0 for half of the length.
    """

    length: int
    layout: Literal["sequential", "parallel"]
    shot_span: int
    rows: int = 1
    least: tuple[int, int, int] = (1, 64, 1)
    context: int = 0

    @property
    def context_room(self) -> int:
        """Largest number of tokens of a context."""
        return self.context or self.length // 2


class PackedRows(NamedTuple):
    """Episodes as rows of tokens: R rows of T tokens, with N response tokens and P pairs per row.

    Attributes:
        tokens: `int32 [R, T]`, or `ReadTexts`.
        layout: Place of each token, leaves `int32 [R, T]`.
        predictors: `int32 [R, N]`, for each response token the position in its row of the token before it.
        targets: `int32 [R, N]`, the response tokens.
        owners: `int32 [R, N]`, the response of each token: `2 pair + side`, where side 0 is chosen; `2 P` for padding.
        ends: `int32 [R, P, 2]`, positions of the last tokens of (chosen, rejected).
        weights: `float32 [R, P]`, weight of each pair in the loss. They add up to 1 over a batch; padding has 0.
        described: `float32 [R, P]`, weight in the loss of descriptions, for pairs whose first side is a description.
            They add up to 1 over a batch, or to 0 without descriptions.
    """

    tokens: Any
    layout: TokenLayout
    predictors: Any
    targets: Any
    owners: Any
    ends: Any
    weights: Any
    described: Any
