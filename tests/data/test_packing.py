import numpy as np
import pytest
from tiny_language import TOKENIZER, some_pairs

from fspo_jax.data.packing import (
    RowFormat,
    context_tokens,
    fitting_context,
    pack_episodes,
    padded_size,
)
from fspo_jax.errors import LimitError
from fspo_jax.text.templates import make_template
from fspo_jax.types import Preference

TEMPLATE = make_template("structured", TOKENIZER, 7)


def form(length: int = 512, layout="sequential", rows: int = 1) -> RowFormat:
    return RowFormat(length, layout, 64, rows)


def test_pack_every_response_is_at_its_place() -> None:
    episodes = [(some_pairs(e, e), some_pairs(10 + e, 3)) for e in range(4)]
    packing = pack_episodes(TEMPLATE, episodes, form())
    rows = packing.rows
    pairs = rows.ends.shape[1]
    for (_, queries), places in zip(episodes, packing.places, strict=True):
        for query, (row, pair) in zip(queries, places, strict=True):
            for side, text in enumerate((query.chosen, query.rejected)):
                own = rows.owners[row] == 2 * pair + side
                assert rows.targets[row][own].tolist() == TEMPLATE.response(text).tolist()
                before = rows.predictors[row][own]
                assert rows.tokens[row, rows.ends[row, pair, side]] == TOKENIZER.structure["<end>"]
                # The first token is predicted from the question's last, each other from the one before it.
                assert rows.tokens[row, before[0]] == TOKENIZER.structure["<chosen>"]
                np.testing.assert_array_equal(rows.tokens[row, before[1:]], rows.targets[row][own][:-1])
    assert rows.weights.sum() == pytest.approx(1.0)
    assert (rows.owners <= 2 * pairs).all()
    assert packing.tokens == (rows.layout.episode > 0).sum()


def test_pack_weights_are_means_of_means() -> None:
    packing = pack_episodes(TEMPLATE, [([], some_pairs(0, 1)), ([], some_pairs(1, 4)), ([], [])], form())
    weights = [packing.rows.weights[places[:, 0], places[:, 1]].tolist() for places in packing.places]
    assert weights == [[0.5], [0.125] * 4, []]


def test_pack_long_episode_takes_several_rows_with_its_context_in_each() -> None:
    context, queries = some_pairs(0, 2), some_pairs(1, 12)
    packing = pack_episodes(TEMPLATE, [(context, queries)], form(192))
    used = np.unique(packing.places[0][:, 0])
    assert len(used) > 1 and packing.dropped_shots == 0
    head = context_tokens(TEMPLATE, context, form(192)).tokens
    for row in used:
        np.testing.assert_array_equal(packing.rows.tokens[row, : len(head)], head)


def test_pack_drops_whole_oldest_shots_and_counts_them() -> None:
    context, queries = some_pairs(0, 20), some_pairs(1, 2)
    packing = pack_episodes(TEMPLATE, [(context, queries)], form(256))
    kept = 20 - packing.dropped_shots
    assert 0 < kept < 20
    tokens = context_tokens(TEMPLATE, context[-kept:], form(256)).tokens
    row = packing.places[0][0, 0]
    np.testing.assert_array_equal(packing.rows.tokens[row, : len(tokens)], tokens)


def test_pack_pair_that_cannot_fit_alone_raises_with_its_length() -> None:
    long = Preference("q", "warm " * 200, "cold")
    size = (
        len(TEMPLATE.question("q")) + len(TEMPLATE.response(long.chosen)) + len(TEMPLATE.response("cold")) + 1
    )
    with pytest.raises(
        LimitError, match=f"the pair with prompt 'q' has {size:,} tokens, but a row has only 128"
    ):
        pack_episodes(TEMPLATE, [([], [long])], form(128))


def test_pack_number_of_rows_divides_by_devices() -> None:
    for count in (1, 3, 9):
        packing = pack_episodes(TEMPLATE, [([], some_pairs(i, 2)) for i in range(count)], form(128, rows=4))
        assert len(packing.rows.tokens) % 4 == 0


def test_parallel_shots_start_at_one_position_and_do_not_depend_on_order() -> None:
    pairs = some_pairs(0, 3)
    laid = context_tokens(TEMPLATE, pairs, form(layout="parallel"))
    starts = [int(laid.position[laid.group == -i].min()) for i in (1, 2, 3)]
    assert len(set(starts)) == 1 and laid.next == starts[0] + 64
    reversed_order = context_tokens(TEMPLATE, pairs[::-1], form(layout="parallel"))
    assert reversed_order.next == laid.next and sorted(reversed_order.tokens.tolist()) == sorted(
        laid.tokens.tolist()
    )


def test_parallel_shot_longer_than_its_span_is_dropped() -> None:
    pairs = [*some_pairs(0, 2), Preference("q", "warm " * 100, "cold")]
    context, dropped = fitting_context(TEMPLATE, pairs, form(layout="parallel"), 512)
    assert (context.shots, dropped) == (2, 1)


def test_padded_size_grows_in_steps_of_a_third_or_half() -> None:
    assert [padded_size(count, 1) for count in (1, 2, 3, 4, 5, 6, 7, 9, 13)] == [1, 2, 3, 4, 6, 6, 8, 12, 16]
    assert all(count <= padded_size(count, 64) <= max(64, 1.5 * count) for count in range(1, 2000))
