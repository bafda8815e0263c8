"""Episodes as trees of tokens, packed into rows.

A row contains the context of an episode once. The questions follow, and the two responses to a question are branches
that see the context and their own question only. The rewards equal those of scoring every (context, question, response)
by itself, with a fraction of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from fspo_jax.errors import LimitError
from fspo_jax.text.templates import Template
from fspo_jax.types import PackedRows, Preference, Prompt, RowFormat, TokenLayout

NO_TOKENS = np.zeros(0, np.int32)

DESCRIPTION = -1
"""Number of the question that asks for a description. It is the last question of its row."""


class Description(NamedTuple):
    """A user's description, and whether the model reads it (`given`) or has to predict it."""

    text: str
    given: bool


class Pair(Protocol):
    """Two responses to one prompt, such as a `Preference`."""

    @property
    def prompt(self) -> Prompt: ...

    @property
    def chosen(self) -> str: ...

    @property
    def rejected(self) -> str: ...


class Context(NamedTuple):
    """A context as tokens, without questions.

    Attributes:
        tokens, position, group: `int32 [n]`.
        next: Position of the first token of a question.
        shots: Number of shots.
    """

    tokens: np.ndarray
    position: np.ndarray
    group: np.ndarray
    next: int
    shots: int


class Tree(NamedTuple):
    """One context with some of its questions.

    Attributes:
        tokens, position, group, branch: `int32 [n]`.
        predictors, targets, owners: `int32 [m]`, as in `PackedRows`, within the tree.
        ends: `int32 [P, 2]`.
    """

    tokens: np.ndarray
    position: np.ndarray
    group: np.ndarray
    branch: np.ndarray
    predictors: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    ends: np.ndarray


class Packing(NamedTuple):
    """Packed episodes.

    Attributes:
        rows: The arrays.
        places: For each episode `int32 [Q, 2]`, the (row, pair) of each query.
        shots: Number of context pairs of all episodes.
        dropped_shots: Number of them that were left out because a row had no room.
        tokens: Number of tokens that are not padding.
    """

    rows: PackedRows
    places: list[np.ndarray]
    shots: int
    dropped_shots: int
    tokens: int


def context_tokens(
    template: Template, preferences: Sequence[Preference], form: RowFormat, description: str = ""
) -> Context:
    """Turns a context into tokens with positions and groups; keeps all shots, however long."""
    head, tail = template.head(len(preferences)), template.tail(len(preferences))
    if description:
        tail = np.concatenate([tail, template.describe(), template.described(description)])
    shots = [template.shot(i, pair) for i, pair in enumerate(preferences, start=1)]
    tokens = np.concatenate([head, *shots, tail])
    if form.layout == "sequential":
        return Context(tokens, np.arange(len(tokens)), np.zeros_like(tokens), len(tokens), len(shots))
    start = len(head)
    position = np.concatenate(
        [
            np.arange(start),
            *(start + np.arange(len(shot)) for shot in shots),
            start + form.shot_span + np.arange(len(tail)),
        ]
    )
    numbers = [np.full(len(shot), -i) for i, shot in enumerate(shots, start=1)]
    group = np.concatenate([np.zeros(start), *numbers, np.zeros(len(tail))])
    return Context(tokens, position, group, start + form.shot_span + len(tail), len(shots))


def fitting_context(
    template: Template, preferences: Sequence[Preference], form: RowFormat, description: str = ""
) -> tuple[Context, int]:
    """Returns the context with as many whole shots as fit into its part of a row, and the number of dropped shots.

    This is the one rule for training, evaluation and serving. It does not depend on what is asked. The oldest shots are
    dropped first. The parallel layout also drops shots longer than `shot_span`. A description that does not fit by
    itself is left out, and no shot for its sake.
    """
    if description and len(context_tokens(template, (), form, description).tokens) > form.context_room:
        description = ""
    kept = list(preferences)
    if form.layout == "parallel":
        kept = [pair for pair in kept if len(template.shot(1, pair)) <= form.shot_span]
    context = context_tokens(template, kept, form, description)
    while kept and len(context.tokens) > form.context_room:
        kept = kept[1:]
        context = context_tokens(template, kept, form, description)
    return context, len(preferences) - len(kept)


def question_tokens(
    template: Template, queries: Sequence[Pair], chosen_only: bool = False
) -> list[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """Tokens of the question and of both responses of each query, or of the chosen one only."""

    def texts(pair: Pair) -> tuple[str, ...]:
        return (pair.chosen,) if chosen_only else (pair.chosen, pair.rejected)

    return [
        (
            template.question(pair.prompt),
            tuple(template.response(pair.prompt, text) for text in texts(pair)),
        )
        for pair in queries
    ]


def pack_episodes(
    template: Template,
    episodes: Sequence[tuple[Sequence[Preference], Sequence[Pair]]],
    form: RowFormat,
    descriptions: Sequence[Description | None] | None = None,
    chosen_only: bool = False,
) -> Packing:
    """Packs episodes into rows.

    An episode whose questions do not fit into one row takes several rows, with its context in each.

    Args:
        template: Turns texts into tokens.
        episodes: (context, queries) of each episode.
        form: The layout and size of rows.
        descriptions: For each episode the user's description, or None. A given description is placed between context
            and questions. One that is to be predicted becomes the answer to a further question, and is left out where
            it does not fit.
        chosen_only: Whether to leave out the rejected responses of the queries.

    Raises:
        LimitError: A question with its two responses does not fit into a row beside its context.
    """
    trees: list[tuple[Tree, int, list[int]]] = []
    dropped = 0
    for e, (preferences, queries) in enumerate(episodes):
        questions = question_tokens(template, queries, chosen_only)
        sizes = [len(question) + sum(map(len, responses)) for question, responses in questions]
        description = descriptions[e] if descriptions else None
        given = description.text if description and description.given else ""
        context, lost = fitting_context(template, preferences, form, given)
        dropped += lost
        room = form.length - len(context.tokens)
        for query, size in zip(queries, sizes, strict=True):
            if size > room:
                raise LimitError(
                    f"the pair with prompt {str(query.prompt)[:60]!r} has {size:,} tokens, but a row of "
                    f"{form.length:,} has only {room:,} beside the context. Raise 'scorer.row_length', or leave it out."
                )
        chunks: list[list[int]] = [[]]
        used = 0
        for q, size in enumerate(sizes):
            if used + size > room and chunks[-1]:
                chunks.append([])
                used = 0
            chunks[-1].append(q)
            used += size
        if description and not given:
            asked = template.describe(), (template.described(description.text),)
            if used + len(asked[0]) + len(asked[1][0]) <= room:
                questions.append(asked)
                chunks[-1].append(DESCRIPTION)
        trees += [(grow_tree(context, [questions[q] for q in chunk]), e, chunk) for chunk in chunks if chunk]
    counts = [len(queries) for _, queries in episodes]
    return pack_trees(trees, counts, form, sum(len(context) for context, _ in episodes), dropped)


def pack_to_common_shape(
    template: Template,
    parts: Sequence[Sequence[tuple[Sequence[Preference], Sequence[Pair]]]],
    form: RowFormat,
    descriptions: Sequence[Sequence[Description | None]],
) -> list[Packing]:
    """Packs several lists of episodes into rows of one shape, so that one compiled program serves all.

    The rows are longer than `form.length` where a context, a question and two responses need it. Each response by
    itself must fit.

    Raises:
        LimitError: A context, a question and one response are longer than `form.length`.
    """
    longest = 0
    for part, described in zip(parts, descriptions, strict=True):
        for (preferences, queries), description in zip(part, described, strict=True):
            given = description.text if description and description.given else ""
            size = len(fitting_context(template, preferences, form, given)[0].tokens)
            for pair, (question, responses) in zip(queries, question_tokens(template, queries), strict=True):
                for name, response in zip(("chosen", "rejected"), responses, strict=True):
                    of = f"the prompt {str(pair.prompt)[:60]!r} and its {name} response"
                    check_length(of, size, len(question) + len(response), form)
                longest = max(longest, size + len(question) + sum(map(len, responses)))
    form = replace(form, length=form.length * max(1, -(-longest // form.length)), context=form.context_room)

    def packed(form: RowFormat) -> list[Packing]:
        together = zip(parts, descriptions, strict=True)
        return [pack_episodes(template, part, form, described) for part, described in together]

    found = [sizes(packing.rows) for packing in packed(form)]
    if not found:
        return []
    rows, targets, pairs = (max(column) for column in zip(*found, strict=True))
    return packed(replace(form, least=(rows, targets, pairs)))


def check_length(name: str, context: int, size: int, form: RowFormat) -> None:
    """Raises `LimitError` unless a question with one response, of `size` tokens, fits into a row beside its context."""
    if context + size > form.length:
        raise LimitError(
            f"{name} have {size:,} tokens; this checkpoint reads {form.length - context:,} after this context, and "
            f"{form.length:,} in all. Shorten them, or the context: texts are never cut silently."
        )


def grow_tree(context: Context, questions: Sequence[tuple[np.ndarray, tuple[np.ndarray, ...]]]) -> Tree:
    """Appends questions, and their responses as branches, to a context."""
    size = len(context.tokens)
    parts = [context.tokens]
    positions, groups, branches = [context.position], [context.group], [np.zeros(size)]
    predictors, targets, owners, ends = [], [], [], []
    for q, (question, responses) in enumerate(questions):
        parts.append(question)
        positions.append(context.next + np.arange(len(question)))
        groups.append(np.full(len(question), q + 1))
        branches.append(np.zeros(len(question)))
        before = size + len(question) - 1
        size += len(question)
        places = []
        for side, response in enumerate(responses):
            parts.append(response)
            positions.append(context.next + len(question) + np.arange(len(response)))
            groups.append(np.full(len(response), q + 1))
            branches.append(np.full(len(response), side + 1))
            predictors.append(np.concatenate([[before], size + np.arange(len(response) - 1)]))
            targets.append(response)
            owners.append(np.full(len(response), 2 * q + side))
            size += len(response)
            places.append(size - 1)
        ends.append([places[0], places[-1]])

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([NO_TOKENS, *arrays]).astype(np.int32)

    return Tree(
        joined(parts),
        joined(positions),
        joined(groups),
        joined(branches),
        joined(predictors),
        joined(targets),
        joined(owners),
        np.array(ends, np.int32).reshape(-1, 2),
    )


def padded_size(count: int, smallest: int) -> int:
    """Returns the next of the sizes 1, 1.5, 2, 3, 4, 6, ... times `smallest`.

    Few different sizes mean few compiled programs. At most a third of the result is padding.
    """
    size = smallest
    while size < count:
        if size + size // 2 >= count and size % 2 == 0:
            return size + size // 2
        size *= 2
    return size


def sizes(rows: PackedRows) -> tuple[int, int, int]:
    """Returns (rows, response tokens per row, pairs per row), with padding."""
    return rows.tokens.shape[0], rows.targets.shape[1], rows.ends.shape[1]


def pack_trees(
    trees: list[tuple[Tree, int, list[int]]], counts: list[int], form: RowFormat, shots: int, dropped: int
) -> Packing:
    """Places the trees into rows: longest first, each into the first row with room."""
    order = sorted(range(len(trees)), key=lambda i: (-len(trees[i][0].tokens), i))
    rows: list[list[int]] = []
    free: list[int] = []
    for i in order:
        size = len(trees[i][0].tokens)
        row = next((r for r, room in enumerate(free) if room >= size), None)
        if row is None:
            row = len(rows)
            rows.append([])
            free.append(form.length)
        rows[row].append(i)
        free[row] -= size
    height, targets, pairs = (
        least if count <= least else padded_size(count, unit)
        for count, least, unit in zip(
            (
                len(rows),
                max((sum(len(trees[i][0].targets) for i in row) for row in rows), default=0),
                max((sum(len(trees[i][0].ends) for i in row) for row in rows), default=0),
            ),
            form.least,
            (1, 64, 1),
            strict=True,
        )
    )
    height = -(-height // form.rows) * form.rows

    tokens, position, episode, group, branch = (np.zeros((height, form.length), np.int32) for _ in range(5))
    predictors, target_tokens = (np.zeros((height, targets), np.int32) for _ in range(2))
    owners = np.full((height, targets), 2 * pairs, np.int32)
    ends = np.zeros((height, pairs, 2), np.int32)
    weights, described = (np.zeros((height, pairs), np.float32) for _ in range(2))
    predicted = max(1, sum(DESCRIPTION in chunk for _, _, chunk in trees))
    places = [np.zeros((count, 2), np.int32) for count in counts]
    filled = sum(count > 0 for count in counts)
    for r, row in enumerate(rows):
        start = first = pair = 0
        for number, i in enumerate(row, start=1):
            tree, e, chunk = trees[i]
            span = slice(start, start + len(tree.tokens))
            tokens[r, span], position[r, span] = tree.tokens, tree.position
            episode[r, span], group[r, span], branch[r, span] = number, tree.group, tree.branch
            span = slice(first, first + len(tree.targets))
            predictors[r, span], target_tokens[r, span] = start + tree.predictors, tree.targets
            owners[r, span] = 2 * pair + tree.owners
            span = slice(pair, pair + len(tree.ends))
            ends[r, span] = start + tree.ends
            asked = np.array(chunk) == DESCRIPTION
            weights[r, span] = np.where(asked, 0.0, 1.0 / max(counts[e] * filled, 1))
            described[r, span] = asked / predicted
            where = np.stack([np.full(len(chunk), r), pair + np.arange(len(chunk))], 1)
            places[e][np.array(chunk)[~asked]] = where[~asked]
            start, first, pair = start + len(tree.tokens), first + len(tree.targets), pair + len(tree.ends)
    packed = PackedRows(
        tokens,
        TokenLayout(position, episode, group, branch),
        predictors,
        target_tokens,
        owners,
        ends,
        weights,
        described,
    )
    return Packing(packed, places, shots, dropped, int((episode > 0).sum()))
