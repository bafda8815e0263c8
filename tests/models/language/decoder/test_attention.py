from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import random_layout

from fspo_jax.errors import LimitError
from fspo_jax.models.language.decoder.attention import attend, causal, visibility_mask, window_mask
from fspo_jax.models.language.decoder.flash import BLOCK, block_table, flash_attention

FAR = 2**31 - 1


def heads(seed: int, length: int, count: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (2, length, count, 16))


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("window", [FAR, 20])
def test_flash_attention_equals_reference_in_value_and_gradient(shots: int, window: int) -> None:
    length = 4 * BLOCK
    layout = random_layout(shots, 2, length, shots=shots)
    real = (layout.episode > 0)[..., None, None]
    mask = visibility_mask(layout, layout) & causal(length) & window_mask(layout, layout, window)
    upstream = heads(9, length, 4)

    def reference(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.where(real, attend(q, [(k, v, mask)], 0.3), 0.0)

    def fast(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        out = flash_attention(q, k, v, block_table(layout), jnp.array(window, jnp.int32), 0.3)
        return jnp.where(real, out, 0.0)

    inputs = (heads(0, length, 4), heads(1, length, 2), heads(2, length, 2))
    np.testing.assert_allclose(jax.jit(fast)(*inputs), reference(*inputs), atol=2e-6)
    gradients = [
        jax.jit(jax.grad(lambda *x, f=f: (f(*x) * upstream).sum(), (0, 1, 2)))(*inputs)
        for f in (reference, fast)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_block_table_lists_exactly_the_visible_blocks() -> None:
    layout = random_layout(5, 2, 6 * BLOCK, shots=2)
    seen = (
        np.asarray(visibility_mask(layout, layout) & causal(6 * BLOCK))
        .reshape(2, 6, BLOCK, 6, BLOCK)
        .any((2, 4))
    )
    table = block_table(layout)
    for row in range(2):
        for i in range(6):
            keys = np.asarray(table.keys)[row, i, : int(table.key_count[row, i, 0])]
            queries = np.asarray(table.queries)[row, i, : int(table.query_count[row, i, 0])]
            assert keys.tolist() == np.flatnonzero(seen[row, i]).tolist()
            assert queries.tolist() == np.flatnonzero(seen[row, :, i]).tolist()
    assert not seen.all() and seen.sum() < np.tril(np.ones((6, 6))).sum() * 2  # some blocks are skipped


def test_block_table_odd_length_raises() -> None:
    with pytest.raises(LimitError, match="not a multiple of 64"):
        block_table(random_layout(0, 1, 100))


def test_attend_shared_part_equals_copied_part() -> None:
    q, k, v = heads(0, 5, 4), heads(1, 5, 2), heads(2, 5, 2)
    past_k, past_v = heads(3, 7, 2)[:1], heads(4, 7, 2)[:1]
    everything, own = jnp.ones((1, 5, 7), bool), causal(5)
    shared = attend(q, [(past_k, past_v, everything), (k, v, own)], 0.25)
    joined = [jnp.concatenate([jnp.repeat(past, 2, 0), x], 1) for past, x in ((past_k, k), (past_v, v))]
    mask = jnp.concatenate([jnp.ones((1, 5, 7), bool), own], 2)
    np.testing.assert_allclose(shared, attend(q, [(*joined, mask)], 0.25), atol=1e-6)


def test_visibility_mask_keeps_branches_questions_shots_and_episodes_apart() -> None:
    layout = random_layout(1, 1, 160, shots=2)
    seen = np.asarray(visibility_mask(layout, layout))[0]
    episode, group, branch = (np.asarray(leaf)[0] for leaf in layout[1:])
    for t in range(0, 155, 3):
        for s in range(t):
            same = episode[t] == episode[s]
            shot = group[s] < 0 and (group[t] == group[s] or group[t] > 0)
            question = group[s] > 0 and group[t] == group[s] and branch[s] in (0, branch[t])
            assert seen[t, s] == (same and (group[s] == 0 or shot or question)), (t, s)
