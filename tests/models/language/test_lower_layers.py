"""Lower layers that read each text by itself: states alone and together, cached and not, and rewards over them."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_language import (
    CANDIDATES,
    PAIRS,
    QUERY,
    lora_reward,
    some_pairs,
    tiny_config,
    tiny_params,
    tiny_parts,
)

from fspo_jax.checkpoints.language import read_base
from fspo_jax.errors import ConfigError
from fspo_jax.models.language.base import load_base, load_lower_layers
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.language.decoder.peft import PEFT_FILE
from fspo_jax.models.language.lower_layers import LowerLayers
from fspo_jax.models.language.parts import make_parts
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.packing import pack_episodes
from fspo_jax.types import Preference, TokenLayout

LAYERS = 2
TEXTS = [(pair.prompt, text) for pair in PAIRS for text in (pair.chosen, pair.rejected, "")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = tiny_parts(config := tiny_config("sft", "implicit", scorer={"layers": LAYERS + 1}))
    place = tmp_path_factory.mktemp("base") / "reward"
    PersonalizedReward.from_language(config, parts, *tiny_params(parts, noise=0.2)).save(place)
    return place


def lower_of(directory: Path, cache: Path | None = None) -> LowerLayers:
    return load_lower_layers(read_base(directory), LAYERS, cache)


def split_reward(directory: Path, reward: str, objective: str, **scorer: object) -> PersonalizedReward:
    sizes = {"split_layer": LAYERS, "lora_rank": 2, "beta": 0.5, **scorer}
    return lora_reward(tiny_config(objective, reward, scorer={"base": str(directory), **sizes}))


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
        states, _ = bind(decoder).each_layer(tokens, layout, LAYERS, lambda x: x[:, 0])
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


def test_pooled_states_are_means_of_neighbours_and_the_end(directory: Path) -> None:
    lower = lower_of(directory)
    for prompt, response in TEXTS:
        whole = lower.read(lower.places(prompt, response, 0)).states.astype(np.float32)
        text, end = whole[:-1], whole[-1:]
        expected = [*(text[i : i + 3].mean(0) for i in range(0, len(text), 3)), *end]
        found = lower.read(lower.places(prompt, response, 0, 3)).states
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_scores_with_a_cached_context_equal_margins_of_packed_rows(reward: PersonalizedReward) -> None:
    mean, _ = reward.margins([PAIRS, PAIRS[:1], []], [[QUERY], [QUERY, PAIRS[3]], [QUERY]])
    for context, margin in ((PAIRS, mean[0, 0]), (PAIRS[:1], mean[1, 0]), ([], mean[2, 0])):
        chosen, rejected = reward.adapt(context).score(QUERY.prompt, [QUERY.chosen, QUERY.rejected])
        np.testing.assert_allclose(chosen - rejected, margin, atol=1e-4)
    assert len({round(float(m), 3) for m in mean[:, 0]}) == 3  # the context matters


def test_score_does_not_depend_on_the_other_candidates(reward: PersonalizedReward) -> None:
    ana = reward.adapt(PAIRS)
    together = ana.score("p", CANDIDATES)
    np.testing.assert_allclose(together, [ana.score("p", [one])[0] for one in CANDIDATES], atol=1e-4)
    flipped = reward.adapt([Preference(p.prompt, p.rejected, p.chosen) for p in PAIRS])
    assert np.abs(flipped.score("p", CANDIDATES) - together).max() > 1e-3  # labels are read


def test_saved_split_reward_scores_the_same_and_names_the_layers_of_its_base(
    reward: PersonalizedReward, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    reward.save(tmp_path / "reward")
    loaded = PersonalizedReward.load(tmp_path / "reward", cache=tmp_path / "cache")
    expected = reward.adapt(PAIRS).score("p", CANDIDATES)
    np.testing.assert_allclose(loaded.adapt(PAIRS).score("p", CANDIDATES), expected, atol=1e-3)
    names = load_file(tmp_path / "reward" / "adapters" / PEFT_FILE)
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == {str(LAYERS)}


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
