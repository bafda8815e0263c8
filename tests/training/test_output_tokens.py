"""Training that estimates normalisers from some tokens of the vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_language import log_probabilities, run_language, some_pairs, tiny_config, tiny_params, tiny_parts

from fspo_jax.errors import ConfigError
from fspo_jax.models.language.decoder.log_probabilities import sum_by_owner
from fspo_jax.text.packing import pack_episodes
from fspo_jax.training.tasks.language_start import OutputTokenDraws

EPISODES = [(some_pairs(e, 3), some_pairs(10 + e, 2)) for e in range(6)]


def test_normalisers_that_some_tokens_stand_for_are_right_on_average() -> None:
    config = tiny_config("ipo", "implicit")
    parts = tiny_parts(config)
    params, frozen = tiny_params(parts)
    rows = pack_episodes(parts.template, EPISODES, parts.form).rows
    whole = log_probabilities(parts.model, params["decoder"], rows)
    items = [
        (pair.prompt, text)
        for _, asked in EPISODES
        for pair in asked
        for text in (pair.chosen, pair.rejected)
    ]
    vocabulary = parts.model.architecture.vocabulary
    every = OutputTokenDraws(parts, [items], vocabulary, seed=0).draw(0)
    np.testing.assert_allclose(
        log_probabilities(parts.model, params["decoder"], rows, every), whole, atol=1e-5
    )
    known, _ = every
    assert set(rows.targets[rows.owners < 2 * rows.ends.shape[1]].tolist()) <= set(known.tolist())
    draws = OutputTokenDraws(parts, [items], (len(known) + vocabulary) // 2, seed=0)
    few = [draws.draw(batch) for batch in range(40)]
    for draw in few:
        np.testing.assert_array_equal(draw.known, known)
        assert len({*known.tolist(), *draw.drawn.tolist()}) == (len(known) + vocabulary) // 2
    np.testing.assert_array_equal(few[3].drawn, draws.draw(3).drawn)
    assert {token for draw in few for token in draw.drawn.tolist()} == {*range(vocabulary)} - {
        *known.tolist()
    }
    found = np.array([log_probabilities(parts.model, params["decoder"], rows, draw) for draw in few])
    some = np.abs(found - np.asarray(whole)).max((1, 2, 3)) > 1e-3
    assert some.all()  # each draw is off
    lengths = sum_by_owner(np.ones(rows.targets.shape, np.float32), rows)
    off = np.asarray((found.mean(0) - whole) / np.maximum(lengths, 1))
    assert np.abs(off).max() < 0.02  # but not their mean, in nats a token
    with pytest.raises(ConfigError, match=r"'scorer.output_tokens' \(3\) must be above"):
        OutputTokenDraws(parts, [items], 3, seed=0)
    assert frozen.get("output_tokens") is None  # scores know the whole vocabulary


@pytest.mark.parametrize("objective", ["sft", "ipo"])
def test_a_run_that_normalises_among_all_tokens_has_the_losses_of_one_that_does_not_choose(
    tmp_path: Path, objective: str
) -> None:
    losses = []
    for tokens in (0, 10_000):
        seen: list[float] = []
        config = tiny_config(
            objective, "implicit", steps=4, evaluate_every=4, scorer={"output_tokens": tokens}
        )
        run_language(tmp_path / str(tokens), config, on_progress=lambda p, seen=seen: seen.append(p.loss))
        losses.append(seen)
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
