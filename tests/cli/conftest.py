"""A run, a config and pairs for the tests of the console command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_calls import (
    PAIRS,
    WordFeaturizer,
)

CONFIG = """
seed = 0
steps = 2
objective = "bradley_terry"
steps_per_dispatch = 2
evaluate_every = 2
[[data.sources]]
kind = "personas"
seed = 0
personas = 20
prompts = 10
[episodes]
max_context = 4
[scorer]
kind = "preferential_gp"
hidden = 8
width = 4
[optimizer]
learning_rate = 1e-3
warmup_steps = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported reward directory with parameters as initialised."""
    import jax

    import fspo_jax.reward
    import fspo_jax.reward.load
    from fspo_jax.config import load_config
    from fspo_jax.models.scorers.make import make_scorer

    featurizer = WordFeaturizer()
    monkeypatch.setattr(fspo_jax.reward.load, "restore_featurizer", lambda *_, **__: featurizer)
    loaded = load_config(config)
    params = make_scorer(loaded.scorer, featurizer.blocks).init(jax.random.key(0))
    path = tmp_path / "run"
    fspo_jax.reward.PersonalizedReward.from_parts(loaded, params, featurizer).save(path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rows = [
        {"user_id": f"u{i % 2}", "prompt": f"p{i}", "chosen": f"a {i}", "rejected": f"b {i} longer"}
        for i in range(6)
    ]
    lines = [*map(json.dumps, rows), json.dumps({**rows[0], "chosen": ""}), "{"]
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
