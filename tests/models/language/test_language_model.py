"""Packed rows against scoring every (context, question, response) alone, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_language import rewards, some_pairs, tiny_config, tiny_params, tiny_parts

from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.text.packing import context_tokens, pack_episodes
from fspo_jax.types import TokenLayout

EPISODES = [(some_pairs(e, 3), some_pairs(10 + e, 3)) for e in range(3)] + [([], some_pairs(20, 2))]


def whole_prompts(parts, asked):
    """Rows that hold one (context, query, response) each, as plain sequences, and where the responses stand."""
    width = 320
    tokens = np.zeros((len(asked), width), np.int32)
    leaves = np.zeros((4, len(asked), width), np.int32)
    spans = []
    for r, (context, query, response) in enumerate(asked):
        laid = context_tokens(parts.template, context, parts.form)
        question, answer = (
            parts.template.question(query.prompt),
            parts.template.response(query.prompt, response),
        )
        size, end = len(laid.tokens), len(laid.tokens) + len(question) + len(answer)
        tokens[r, :end] = np.concatenate([laid.tokens, question, answer])
        leaves[0, r, :end] = np.concatenate([laid.position, laid.next + np.arange(end - size)])
        leaves[1, r, :end] = 1
        leaves[2, r, :end] = np.concatenate([laid.group, np.ones(end - size)])
        leaves[3, r, end - len(answer) : end] = 1
        spans.append((end - len(answer), end))
    return tokens, TokenLayout(*leaves), spans


@pytest.mark.parametrize("layout", ["sequential", "parallel"])
def test_packed_log_probabilities_equal_scoring_each_response_alone(layout: str) -> None:
    config = tiny_config("dpo", "implicit", scorer={"layout": layout, "shot_span": 64})
    parts = tiny_parts(config)
    params, _ = tiny_params(parts)
    packing = pack_episodes(parts.template, EPISODES, parts.form)
    assert len(packing.rows.tokens) < len(EPISODES)  # some share a row
    decoder = params["decoder"]

    def packed(decoder):
        sums = parts.model.log_probabilities(decoder, packing.rows)
        return jnp.stack([sums[row, pair] for places in packing.places for row, pair in places])

    asked = [(c, q, text) for c, queries in EPISODES for q in queries for text in (q.chosen, q.rejected)]
    tokens, placed, spans = whole_prompts(parts, asked)

    def separate(decoder):
        hidden = parts.model.hidden(decoder, tokens, placed)
        logs = jax.nn.log_softmax(hidden @ parts.model.bind(decoder).output_matrix().T)
        following = jnp.take_along_axis(logs[:, :-1], tokens[:, 1:, None], axis=2)[..., 0]
        return jnp.stack([following[r, a - 1 : b - 1].sum() for r, (a, b) in enumerate(spans)]).reshape(-1, 2)

    upstream = jax.random.normal(jax.random.key(3), (11, 2))

    def values_and_gradient(function):
        def weighted(decoder):
            sums = function(decoder)
            return (sums * upstream).sum(), sums

        (_, sums), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(decoder)
        return sums, gradient

    (sums, ours), (expected, theirs) = map(values_and_gradient, (packed, separate))
    np.testing.assert_allclose(sums, expected, atol=1e-4)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    assert largest > 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * largest), ours, theirs)


def test_fast_attention_gives_the_rewards_of_the_reference() -> None:
    found = []
    for attention in ("xla", "pallas"):
        parts = tiny_parts(tiny_config(scorer={"attention": attention}))
        params, frozen = tiny_params(parts)
        rows = pack_episodes(parts.template, EPISODES, parts.form).rows
        found.append(np.asarray(rewards(parts.model, params, frozen, rows))[rows.weights > 0])
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.std(found[0]) > 0.01


def test_token_log_probabilities_in_chunks_equal_log_softmax_in_value_and_gradient() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    hidden, matrix = jax.random.normal(keys[0], (20, 8)), 3 * jax.random.normal(keys[1], (101, 8))
    targets = jax.random.randint(keys[2], (20,), 0, 101)

    def whole(hidden, matrix):
        return jnp.take_along_axis(jax.nn.log_softmax(hidden @ matrix.T), targets[:, None], 1)[:, 0]

    def parts(hidden, matrix):
        return token_log_probabilities(hidden, matrix, targets, chunk=16)

    np.testing.assert_allclose(jax.jit(parts)(hidden, matrix), jax.jit(whole)(hidden, matrix), atol=1e-5)
    gradients = (
        jax.jit(jax.grad(lambda *x, f=f: (f(*x) ** 2).sum(), (0, 1)))(hidden, matrix) for f in (parts, whole)
    )
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_loss_makes_no_array_of_all_tokens_by_the_whole_vocabulary() -> None:
    hidden, matrix = jnp.zeros((64, 8)), jnp.zeros((50_000, 8))
    function = jax.value_and_grad(
        lambda h, m: token_log_probabilities(h, m, jnp.zeros(64, int)).sum(), (0, 1)
    )
    text = jax.jit(function).lower(hidden, matrix).compile().as_text()
    assert "64,50000]" not in text and "64,7143]" in text  # 50,000 in 7 chunks


@pytest.mark.parametrize("rank", [0, 2])
def test_implicit_rewards_start_at_zero(rank: int) -> None:
    parts = tiny_parts(
        tiny_config("dpo", "implicit", scorer={"lora_rank": rank, "base": "base" if rank else ""})
    )
    params, frozen = tiny_params(parts, noise=0.0)
    rows = pack_episodes(parts.template, EPISODES, parts.form).rows
    np.testing.assert_allclose(rewards(parts.model, params, frozen, rows), 0.0, atol=1e-6)


def test_adapters_train_structure_tokens_but_not_the_base() -> None:
    parts = tiny_parts(tiny_config("dpo", "implicit", scorer={"lora_rank": 2, "base": "base"}))
    params, frozen = tiny_params(parts)
    rows = pack_episodes(parts.template, EPISODES, parts.form).rows
    assert set(params) == {"adapters", "marks"} and set(frozen) == {"decoder"}
    moved = parts.model.decoder_of(params, frozen)["embedding"] - frozen["decoder"]["embedding"]
    assert jnp.abs(moved[: parts.tokenizer.text_tokens]).max() == 0.0
    assert jnp.abs(moved[parts.tokenizer.text_tokens :]).min() > 0.0
    weights = jnp.asarray(rows.weights)

    @jax.jit
    @jax.grad
    def gradient(params):
        return (parts.model.rewards(params, frozen, rows)[..., 0] * weights).sum()

    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient(params)))


def test_context_reaches_the_reward_only_in_its_own_episode() -> None:
    parts = tiny_parts(tiny_config())
    params, frozen = tiny_params(parts)
    other = [EPISODES[0], (some_pairs(99, 3), EPISODES[1][1]), *EPISODES[2:]]
    found = []
    for episodes in (EPISODES, other):
        packing = pack_episodes(parts.template, episodes, parts.form)
        values = np.asarray(rewards(parts.model, params, frozen, packing.rows))
        found.append([values[places[:, 0], places[:, 1]] for places in packing.places])
    for i in (0, 2, 3):
        np.testing.assert_allclose(found[0][i], found[1][i], atol=1e-5)
    assert np.abs(found[0][1] - found[1][1]).max() > 1e-3


def test_parallel_layout_does_not_depend_on_the_order_of_shots() -> None:
    parts = tiny_parts(tiny_config(scorer={"layout": "parallel", "shot_span": 64}))
    params, frozen = tiny_params(parts)
    context, queries = EPISODES[0]
    one, two = (
        rewards(
            parts.model, params, frozen, pack_episodes(parts.template, [(pairs, queries)], parts.form).rows
        )
        for pairs in (context, context[::-1])
    )
    np.testing.assert_allclose(one, two, atol=1e-5)
