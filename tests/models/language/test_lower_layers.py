"""Lower layers that read each text by itself: states alone and together, cached and not, and rewards over them."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from tiny_language import (
    CANDIDATES,
    LOWER_LAYERS,
    PAIRS,
    QUERY,
    expect_scores_of_one_candidate_each,
    expect_scores_to_equal_margins,
    some_pairs,
    split_base,
    split_reward,
    tiny_config,
)

from fspo_jax.checkpoints.language import read_base
from fspo_jax.errors import ConfigError, LimitError
from fspo_jax.models.language.base import load_base, load_lower_layers
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.language.decoder.peft import PEFT_FILE
from fspo_jax.models.language.lower_layers import LowerLayers
from fspo_jax.models.language.parts import make_parts
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.packing import pack_episodes
from fspo_jax.types import Preference, TokenLayout

TEXTS = [(pair.prompt, text) for pair in PAIRS for text in (pair.chosen, pair.rejected, "")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_base(tmp_path_factory.mktemp("base") / "reward")


def lower_of(directory: Path, cache: Path | None = None, **bound: int) -> LowerLayers:
    return load_lower_layers(read_base(directory), LOWER_LAYERS, cache, **bound)


@pytest.fixture(scope="module", params=["scalar", "implicit"])
def reward(request: pytest.FixtureRequest, directory: Path) -> PersonalizedReward:
    objective = "bradley_terry" if request.param == "scalar" else "ipo"
    return split_reward(directory, request.param, objective, pool=3)


def test_states_are_those_of_the_first_layers_of_the_whole_decoder_for_each_text_by_itself(
    directory: Path,
) -> None:
    base, lower = read_base(directory), lower_of(directory)
    places = [lower.places(*text, 0) for text in TEXTS]  # read together, responses to a prompt in one row
    bind = pure_module(lambda rngs: Decoder(base.architecture, 0, rngs))[1]
    config = tiny_config(scorer={"base": str(directory), "lora_rank": 1})
    model = make_parts(config, base.architecture, base.tokenizer).model
    decoder = load_base(base, model, 0, frozen=False)
    for (prompt, response), where in zip(TEXTS, places, strict=True):
        opening = lower._chat.opening(prompt)
        tokens = np.concatenate([opening, lower._tokenizer.encode([response])[0], [lower.end]])[None]
        ones = np.ones_like(tokens)
        layout = TokenLayout(np.arange(tokens.size)[None], ones, 0 * ones, 0 * ones)
        states, _ = bind(decoder).each_layer(tokens, layout, LOWER_LAYERS, lambda x: x[:, 0])
        read = lower.read(where)
        np.testing.assert_allclose(read.states, states[0, len(opening) :], rtol=2e-3, atol=2e-3)
        assert read.tokens.tolist() == tokens[0, len(opening) :].tolist()


def test_cached_states_equal_computed_ones_and_are_computed_once(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower, cached = lower_of(directory), lower_of(directory, tmp_path)
    expected = [lower.read(lower.places(*text, 1)) for text in TEXTS]
    for one in (cached, lower_of(directory, tmp_path)):
        for text, states in zip(TEXTS, expected, strict=True):
            found = one.read(one.places(*text, 1))
            np.testing.assert_allclose(found.states, states.states, rtol=2e-3, atol=2e-3)
            assert found.marks.tolist() == states.marks.tolist() == [1] * len(states.marks)
        monkeypatch.setattr(LowerLayers, "_compute", None)  # the second one must find all on disk


def test_few_short_texts_are_read_in_a_short_row(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ranks two drafts does not pay for a whole row, and its states are the same."""
    lower, whole, shapes = lower_of(directory), lower_of(directory), []
    run = lower._run
    monkeypatch.setattr(lower, "_run", lambda *rows: (shapes.append(rows[0].shape), run(*rows))[1])
    expected = [whole.places(*text, 0) for text in TEXTS]
    whole.prepare(expected)
    for text, places in zip(TEXTS[:2], expected, strict=False):
        found = lower.read(lower.places(*text, 0))
        np.testing.assert_allclose(found.states, whole.read(places).states, rtol=2e-3, atol=2e-3)
    assert len(shapes) == 2 and max(width for _, width in shapes) < 256


def test_pooled_states_are_means_of_neighbours_and_the_end(directory: Path) -> None:
    lower = lower_of(directory)
    for prompt, response in TEXTS:
        whole = lower.read(lower.places(prompt, response, 0)).states.astype(np.float32)
        text, end = whole[:-1], whole[-1:]
        expected = [*(text[i : i + 3].mean(0) for i in range(0, len(text), 3)), *end]
        found = lower.read(lower.places(prompt, response, 0, 3)).states
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_scores_are_margins_and_functions_of_one_candidate_and_labels_are_read(
    reward: PersonalizedReward,
) -> None:
    expect_scores_to_equal_margins(reward)
    together = expect_scores_of_one_candidate_each(reward)
    flipped = reward.adapt([Preference(p.prompt, p.rejected, p.chosen) for p in PAIRS])
    assert np.abs(flipped.score("p", CANDIDATES) - together).max() > 1e-3


def test_saved_split_reward_scores_the_same_and_names_the_layers_of_its_base(
    reward: PersonalizedReward, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    reward.save(tmp_path / "reward")
    loaded = PersonalizedReward.load(tmp_path / "reward", cache=tmp_path / "cache")
    expected = reward.adapt(PAIRS).score("p", CANDIDATES)
    np.testing.assert_allclose(loaded.adapt(PAIRS).score("p", CANDIDATES), expected, atol=1e-3)
    names = load_file(tmp_path / "reward" / "adapters" / PEFT_FILE)
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == {str(LOWER_LAYERS)}


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("scalar", "parallel"), ("implicit", "sequential"), ("gaussian_process", "sequential")],
)
def test_a_reward_that_forgets_every_text_at_once_scores_the_same(
    directory: Path, kind: str, layout: str
) -> None:
    """Places hold within one block of reading only; whoever keeps them longer would read other texts."""
    objective = "ipo" if kind == "implicit" else "bradley_terry"
    reward = split_reward(directory, kind, objective, pool=3, layout=layout, shot_span=64)
    scoring: Any = reward.scoring

    def measured() -> list[float]:
        if kind == "gaussian_process":
            scoring.featurizer._known.clear()
        else:
            scoring.reader.cache._kept.clear()
        other, ana = reward.adapt(PAIRS[2:]), reward.adapt(PAIRS[:1])
        other.score(QUERY.prompt, ["something", "else"])
        ana = ana.update(PAIRS[1:3])
        margins, _ = reward.margins([PAIRS[:3], ()], [[QUERY], PAIRS[3:]])
        return [*ana.score("p", CANDIDATES), *other.score("p", CANDIDATES), *margins.ravel()]

    expected = measured()
    scoring.parts.lower._limit = 0
    for _ in range(2):
        np.testing.assert_allclose(measured(), expected, atol=1e-4)
        assert len(scoring.parts.lower._pieces) == 1 and len(scoring.parts.lower._states) <= 1024


def test_states_in_memory_are_bounded_and_the_texts_used_last_are_kept(directory: Path) -> None:
    """A long-lived process reads ever new texts. What was dropped is computed again, and is the same."""
    bounded, free = lower_of(directory, memory=200 * 2 * 16), lower_of(directory)
    texts = [(pair.prompt, pair.chosen) for pair in some_pairs(3, 60)]
    often = texts[0]
    for text in texts:
        with bounded.reading():
            for one in (text, often):
                states = bounded.read(bounded.places(*one, 0)).states
                expected = free.read(free.places(*one, 0)).states
                np.testing.assert_allclose(states, expected, rtol=2e-3, atol=2e-3)
        assert bounded._used <= 200 and len(bounded._states) <= 1024
        assert (*often, 1) in bounded._pieces
    assert free._used > 400 and (*texts[1], 1) not in bounded._pieces
    assert bounded.first == free.first == 0


def test_threads_that_make_each_other_forget_read_their_own_texts(directory: Path) -> None:
    lower, free = lower_of(directory, memory=0), lower_of(directory)
    expected = {text: free.read(free.places(*text, 0)).tokens for text in TEXTS[:2]}
    faults: list[object] = []

    def read(text: tuple) -> None:
        for _ in range(20):
            with lower.reading():
                found = lower.read(lower.places(*text, 0)).tokens
            if not np.array_equal(found, expected[text]):
                faults.append(text)

    threads = [threading.Thread(target=read, args=(text,)) for text in TEXTS[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_hidden_states_under_the_process_come_from_split_models_too(directory: Path) -> None:
    reward = split_reward(directory, "gaussian_process", "bradley_terry", pool=3)
    scores = reward.adapt(PAIRS).score("p", CANDIDATES)
    assert np.isfinite(scores).all() and np.std(scores) > 0


def test_gradients_reach_marks_and_adapters_of_upper_layers_only(directory: Path) -> None:
    parts = split_reward(directory, "scalar", "bradley_terry").scoring.parts  # type: ignore[union-attr]
    scoring = split_reward(directory, "scalar", "bradley_terry").scoring
    params, frozen = scoring.params, scoring.frozen  # type: ignore[union-attr]
    rows = parts.read_rows(pack_episodes(parts.template, [(PAIRS[:2], some_pairs(7, 1))], parts.form).rows)
    gradient = jax.grad(lambda p: parts.model.rewards(p, frozen, rows).sum())(params)
    assert gradient["adapters"]["layers"]["query"]["lora_a"].shape[0] == 1
    assert float(np.abs(gradient["marks"]["marks"][1]).max()) > 0


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ({"split_layer": 1}, "'scorer.base'"),
        ({"pool": 2}, "'scorer.split_layer'"),
        ({"split_layer": 1, "base": "b", "lora_rank": 1, "template": "fspo_v1"}, "structured"),
    ],
)
def test_settings_that_need_lower_layers_are_refused_without(scorer: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny_config("dpo", "implicit", scorer=scorer)


def test_too_many_lower_layers_are_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 layers"):
        load_lower_layers(read_base(directory), 3, None)


def test_a_text_beyond_the_positions_of_the_base_is_refused(directory: Path) -> None:
    lower = lower_of(directory)
    lower._architecture = dataclasses.replace(lower._architecture, positions=24)
    for text in (("warm " * 40, None), ("p", "warm " * 40)):
        with pytest.raises(
            LimitError, match=r"(the prompt|a response) has \d+ tokens; .* reads 24\. Shorten it"
        ):
            lower.places(*text, 0)


def test_a_text_that_does_not_fit_into_a_row_is_refused_unread(
    reward: PersonalizedReward, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring = cast(Any, reward.scoring)
    lower, read = scoring.parts.lower, []
    compute = lower._compute
    monkeypatch.setattr(lower, "_compute", lambda pieces: (read.extend(pieces), compute(pieces))[1])
    long = "warm " * 900
    with pytest.warns(UserWarning, match="the oldest 1 of 4 context pairs do not fit"):
        user = reward.adapt([Preference("q", long, "cold"), *PAIRS[:3]])
    with pytest.raises(LimitError, match=r"have .* tokens; this checkpoint reads"):
        user.score("q", [long, "cold"])
    found = user.score("q", ["warm", "cold"])
    assert read and long not in {text for _, text in read}
    np.testing.assert_allclose(found, reward.adapt(PAIRS[:3]).score("q", ["warm", "cold"]), atol=1e-5)
