import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_language import tiny_config, tiny_params, tiny_parts

from fspo_jax.models.language.decoder.sampling import Read, choose, extend, no_drafts
from fspo_jax.types import TokenLayout

PROBABILITIES = np.array([0.05, 0.5, 0.1, 0.3, 0.05])


def frequencies(temperature: float, top_p: float, draws: int = 4000) -> np.ndarray:
    logits = jnp.log(jnp.tile(jnp.asarray(PROBABILITIES, jnp.float32), (draws, 1)))
    tokens = choose(jax.random.key(0), logits, jnp.float32(temperature), jnp.float32(top_p))
    return np.bincount(tokens, minlength=5) / draws


def test_choose_at_temperature_zero_takes_the_likeliest() -> None:
    assert frequencies(0.0, 0.3).tolist() == [0, 1, 0, 0, 0]


def test_choose_draws_with_the_softmax_probabilities() -> None:
    np.testing.assert_allclose(frequencies(1.0, 1.0), PROBABILITIES, atol=0.03)
    squared = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    np.testing.assert_allclose(frequencies(0.5, 1.0), squared, atol=0.03)


@pytest.mark.parametrize(("top_p", "nucleus"), [(0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.85, [1, 2, 3])])
def test_choose_draws_from_the_smallest_nucleus(top_p: float, nucleus: list[int]) -> None:
    found = frequencies(1.0, top_p)
    assert np.flatnonzero(found).tolist() == nucleus
    kept = PROBABILITIES[nucleus] / PROBABILITIES[nucleus].sum()
    np.testing.assert_allclose(found[nucleus], kept, atol=0.03)


def test_responses_end_at_each_of_the_end_tokens_and_draws_allowed_tokens_only() -> None:
    parts = tiny_parts(tiny_config("sft", "implicit"))
    params, _ = tiny_params(parts)
    one = np.ones((1, 1), np.int32)
    past = parts.model.prefill(params["decoder"], one, TokenLayout(0 * one, one, 0 * one, 0 * one))
    allowed = jnp.zeros(parts.model.architecture.vocabulary, bool).at[jnp.array([50, 60, 70])].set(True)
    network = parts.model.bind(params["decoder"])
    drafts = extend(
        [network],
        [Read((past,), jnp.int32(2), jnp.int32(1))],
        no_drafts([network], 64, 4, jnp.float32),
        jnp.int32(4),
        jax.random.key(0),
        mix=lambda logits: logits[0],
        temperature=jnp.float32(1),
        top_p=jnp.float32(1),
        allowed=allowed,
        end_tokens=(60, 70),
        dtype=jnp.float32,
    )
    tokens, lengths = drafts.tokens, drafts.lengths
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4}
    rows = [
        row[: length + 1].tolist() for row, length in zip(np.asarray(tokens), lengths.tolist(), strict=True)
    ]
    assert all(set(row[:-1]) <= {50} for row in rows)
    assert {row[-1] for row in rows if len(row) < 4} == {60, 70}
