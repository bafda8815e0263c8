import numpy as np
import pytest
from tiny_language import TOKENIZER, some_pairs

from fspo_jax.data.batches import Packer, with_room_for_pairs
from fspo_jax.data.episodes import index_items
from fspo_jax.errors import LimitError
from fspo_jax.text.packing import (
    RowFormat,
    context_tokens,
    fitting_context,
    pack_episodes,
    pack_to_common_shape,
    padded_size,
)
from fspo_jax.text.templates import make_template
from fspo_jax.types import Preference, User

TEMPLATE = make_template("structured", TOKENIZER, 7)


def form(length: int = 512, layout="sequential", rows: int = 1, context: int = 0) -> RowFormat:
    return RowFormat(length, layout, 64, rows, context=context)


def test_pack_every_response_is_at_its_place() -> None:
    episodes = [(some_pairs(e, e), some_pairs(10 + e, 3)) for e in range(4)]
    packing = pack_episodes(TEMPLATE, episodes, form())
    rows = packing.rows
    pairs = rows.ends.shape[1]
    for (_, queries), places in zip(episodes, packing.places, strict=True):
        for query, (row, pair) in zip(queries, places, strict=True):
            for side, text in enumerate((query.chosen, query.rejected)):
                own = rows.owners[row] == 2 * pair + side
                assert rows.targets[row][own].tolist() == TEMPLATE.response("", text).tolist()
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
    packing = pack_episodes(TEMPLATE, [(context, queries)], form(192, context=128))
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


@pytest.mark.parametrize("layout", ["sequential", "parallel"])
def test_shots_that_are_dropped_do_not_depend_on_what_is_asked(layout) -> None:
    context = [Preference("q", f"warm {i} " * 4, "cold") for i in range(20)]
    small, large = Preference("?", "a", "b"), Preference("?", "warm " * 60, "cold")
    kept, dropped = fitting_context(TEMPLATE, context, form(layout=layout))
    assert 0 < kept.shots < 20 and len(kept.tokens) <= 256 and dropped == 20 - kept.shots
    for queries in ([small], [large], [small, large]):
        rows = pack_episodes(TEMPLATE, [(context, queries)], form(layout=layout)).rows
        np.testing.assert_array_equal(rows.tokens[0, : len(kept.tokens)], kept.tokens)


def test_context_without_room_for_its_description_keeps_its_shots() -> None:
    context = some_pairs(0, 2)
    plain = context_tokens(TEMPLATE, context, form()).tokens
    (kept, dropped), (given, lost) = (
        fitting_context(TEMPLATE, context, form(), text) for text in ("warm " * 300, "warm")
    )
    np.testing.assert_array_equal(kept.tokens, plain)
    assert len(given.tokens) > len(plain) and dropped == lost == 0


def test_context_gets_the_room_beside_the_longest_pair_and_at_least_half_a_row() -> None:
    items, table = index_items([User("u", tuple(some_pairs(0, 4)))])
    packer = Packer(items, TEMPLATE, form(), False)  # type: ignore[arg-type]
    longest = int(packer.lengths(table).max())
    (found,) = with_room_for_pairs([packer], [table])
    assert found.form.context == 512 - longest > 256
    assert with_room_for_pairs([packer._replace(form=form(context=100))], [table])[0].form.context == 100
    narrow = packer._replace(form=form(2 * longest - 2))
    with pytest.raises(LimitError, match=f"do not fit into a row of .*; the longest has {longest}"):
        with_room_for_pairs([narrow], [table])
    with_room_for_pairs([narrow._replace(context_free=True)], [table])


def test_rows_of_a_measurement_are_longer_where_two_responses_need_it() -> None:
    context, long = some_pairs(0, 20), Preference("?", "warm " * 90, "cold " * 90)
    (packing,) = pack_to_common_shape(TEMPLATE, [[(context, [long])]], form(), [[None]])
    kept, _ = fitting_context(TEMPLATE, context, form())
    assert packing.rows.tokens.shape[1] == 1024
    np.testing.assert_array_equal(packing.rows.tokens[0, : len(kept.tokens)], kept.tokens)
    with pytest.raises(LimitError, match=r"its rejected response have .* after this context, and 512 in all"):
        pack_to_common_shape(TEMPLATE, [[(context, [Preference("?", "a", "cold " * 300)])]], form(), [[None]])


def test_pack_pair_that_cannot_fit_alone_raises_with_its_length() -> None:
    long = Preference("q", "warm " * 200, "cold")
    size = (
        len(TEMPLATE.question("q"))
        + len(TEMPLATE.response("", long.chosen))
        + len(TEMPLATE.response("", "cold"))
        + 1
    )
    expected = f"the pair with prompt 'q' has {size - 1:,} tokens, but a row of 128 has only 127 beside"
    with pytest.raises(LimitError, match=expected):
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
    context, dropped = fitting_context(TEMPLATE, pairs, form(layout="parallel"))
    assert (context.shots, dropped) == (2, 1)


def test_padded_size_grows_in_steps_of_a_third_or_half() -> None:
    assert [padded_size(count, 1) for count in (1, 2, 3, 4, 5, 6, 7, 9, 13)] == [1, 2, 3, 4, 6, 6, 8, 12, 16]
    assert all(count <= padded_size(count, 64) <= max(64, 1.5 * count) for count in range(1, 2000))
