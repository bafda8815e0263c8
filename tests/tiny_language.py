"""A tiny language-model reward and its texts, for tests."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fspo_jax.checkpoints.language import read_base
from fspo_jax.config import TrainConfig, config_from_dict
from fspo_jax.data.episodes import EpisodeTable, index_items
from fspo_jax.models.language.base import load_base, load_lower_layers
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.parts import LanguageParts, make_parts
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.types import Preference, User

WORDS = "red green blue cold warm small large quick slow bright dark plain".split()
TOKENIZER = TextTokenizer.train([f"{a} {b}." for a in WORDS for b in WORDS], 300)


def text(generator: np.random.Generator, words: int = 8) -> str:
    """A sentence of up to `words` words, never empty."""
    return (
        " ".join(generator.choice(WORDS, generator.integers(1, words + 1))) + f" {generator.integers(10**6)}."
    )


def some_pairs(seed: int, count: int, words: int = 8) -> list[Preference]:
    """Pairs of random sentences."""
    generator = np.random.default_rng(seed)
    return [Preference(*(text(generator, words) for _ in range(3))) for _ in range(count)]


def tiny_config(objective: str = "bradley_terry", reward: str = "scalar", **changes: Any) -> TrainConfig:
    """A config of a language model; keys of the scorer in `scorer`, of the episodes in `episodes`."""
    scorer = {
        "kind": "language_model",
        "reward": reward,
        "width": 16,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "vocabulary": 300,
        "row_length": 512,
        **changes.pop("scorer", {}),
    }
    episodes = {"batch_size": 4, "max_context": 4, "queries": 2, **changes.pop("episodes", {})}
    raw = {
        "seed": 0,
        "steps": 4,
        "steps_per_dispatch": 2,
        "evaluate_every": 2,
        "objective": objective,
        "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
        "scorer": scorer,
        "optimizer": {"learning_rate": 1e-2, "warmup_steps": 1},
        "episodes": episodes,
    }
    return config_from_dict(raw | changes)


def tiny_parts(config: TrainConfig, rows: int = 1) -> LanguageParts:
    """The reward of a config, over a tokenizer of a few words."""
    scorer: Any = config.scorer
    width = scorer.width // scorer.heads
    architecture = Architecture(
        family="llama",
        vocabulary=TOKENIZER.size,
        width=scorer.width,
        mlp_width=24,
        layers=scorer.layers,
        heads=scorer.heads,
        kv_heads=scorer.kv_heads,
        head_width=width,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        query_scale=width**-0.5,
        end_tokens=(3,),
    )
    return make_parts(config, architecture, TOKENIZER, rows=rows)


rewards = jax.jit(LanguageModel.rewards, static_argnums=0)
log_probabilities = jax.jit(LanguageModel.log_probabilities, static_argnums=0)
"""Methods of a model, compiled once for all models of the same config."""


@functools.partial(jax.jit, static_argnums=0)
def initial_params(model: LanguageModel, key: jax.Array) -> tuple[Params, Params]:
    """Trained and frozen parameters as training starts with them."""
    return model.init(key, model.init_decoder(key))


def tiny_params(parts: LanguageParts, seed: int = 0, noise: float = 0.05) -> tuple[Params, Params]:
    """Trained and frozen parameters; the trained ones moved a little, so that no reward is zero."""
    params, frozen = initial_params(parts.model, jax.random.key(seed))
    generator = np.random.default_rng(seed)
    moved = jax.tree.map(
        lambda leaf: np.asarray(leaf) + noise * generator.normal(size=leaf.shape).astype(np.float32), params
    )
    return jax.device_put(moved), frozen


def lora_reward(config: TrainConfig) -> PersonalizedReward:
    """A reward with adapters over the base that its config names, which is on disk."""
    base = read_base(config.scorer.base)  # type: ignore[union-attr]
    layers = config.scorer.split_layer  # type: ignore[union-attr]
    lower = load_lower_layers(base, layers, None) if layers else None
    parts = make_parts(config, base.architecture, base.tokenizer, base_digest=base.digest, lower=lower)
    params, frozen = parts.model.init(
        jax.random.key(0), load_base(base, parts.model, config.seed, frozen=True)
    )
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + (0.1 + 0.1 * generator.normal(size=leaf.shape)).astype(leaf.dtype), params
    )
    return PersonalizedReward.from_language(config, parts, params, frozen)


LOWER_LAYERS = 2
"""Number of lower layers of `split_reward`; one layer is above them."""


def split_base(place: Path) -> Path:
    """Writes a model of three layers, to be split."""
    parts = tiny_parts(config := tiny_config("sft", "implicit", scorer={"layers": LOWER_LAYERS + 1}))
    PersonalizedReward.from_language(config, parts, *tiny_params(parts, noise=0.2)).save(place)
    return place


def split_reward(directory: Path, reward: str, objective: str, **scorer: object) -> PersonalizedReward:
    """A reward with adapters in the upper layer of `split_base`."""
    sizes = {"split_layer": LOWER_LAYERS, "lora_rank": 2, "beta": 0.5, **scorer}
    return lora_reward(tiny_config(objective, reward, scorer={"base": str(directory), **sizes}))


def language_world(seed: int, users: int = 12, pairs: int = 8) -> tuple[list[tuple[str, str]], EpisodeTable]:
    """Users who like warm answers or cold ones: items and table, as `LanguageModelTask` takes them."""
    generator = np.random.default_rng(seed)
    made = []
    for u in range(users):
        liked, other = (("warm", "cold"), ("cold", "warm"))[u % 2]
        preferences = [
            Preference(text(generator), f"{liked} {text(generator, 3)}", f"{other} {text(generator, 3)}")
            for _ in range(pairs)
        ]
        made.append(User(f"u{u}", tuple(preferences)))
    return index_items(made)  # type: ignore[return-value]


def run_language(run: Path, config: TrainConfig | None = None, **options: Any) -> Path:
    """Meta-trains on the tiny world; `options` are those of `fit`."""
    from fspo_jax.training.fit import fit
    from fspo_jax.training.tasks.language_model import LanguageModelTask

    config = config or tiny_config(steps=40, steps_per_dispatch=5, evaluate_every=10)
    return fit(LanguageModelTask(config, *language_world(1), *language_world(2)), run, **options)


PAIRS = some_pairs(0, 4)
QUERY = some_pairs(1, 1)[0]
CANDIDATES = [QUERY.chosen, QUERY.rejected, *(text(np.random.default_rng(i), 12) for i in range(5))]


@functools.cache
def make_language_reward(
    reward: str = "implicit", layout: str = "sequential", seed: int = 0
) -> PersonalizedReward:
    """One of each kind a test run: its programs are compiled once."""
    objective = "dpo" if reward == "implicit" else "bradley_terry"
    config = tiny_config(objective, reward, scorer={"layout": layout, "shot_span": 64, "beta": 0.5})
    parts = tiny_parts(config)
    params, frozen = tiny_params(parts, seed, noise=0.2)
    return PersonalizedReward.from_language(config, parts, params, frozen)


def expect_scores_to_equal_margins(reward: PersonalizedReward) -> None:
    """Scores with a cached context are the margins of packed rows, and the context matters."""
    mean, _ = reward.margins([PAIRS, PAIRS[:1], []], [[QUERY], [QUERY, PAIRS[3]], [QUERY]])
    assert mean.shape == (3, 2) and mean[0, 1] == 0.0
    for context, margin in ((PAIRS, mean[0, 0]), (PAIRS[:1], mean[1, 0]), ([], mean[2, 0])):
        chosen, rejected = reward.adapt(context).score(QUERY.prompt, [QUERY.chosen, QUERY.rejected])
        np.testing.assert_allclose(chosen - rejected, margin, atol=1e-4)
    assert len({round(float(m), 3) for m in mean[:, 0]}) == 3


def expect_scores_of_one_candidate_each(reward: PersonalizedReward) -> np.ndarray:
    """Candidates scored together have the scores that each has alone, which are returned."""
    ana = reward.adapt(PAIRS)
    together = ana.score("p", CANDIDATES)
    np.testing.assert_allclose(together, [ana.score("p", [one])[0] for one in CANDIDATES], atol=1e-4)
    return together
