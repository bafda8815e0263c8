"""Files of rewards and users that are damaged or made up: a documented error, or a reward that scores."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_language import lora_reward, tiny_config, tiny_params, tiny_parts
from tiny_reward import CANDIDATES, PAIRS, HashedFeatures, make_reward

from fspo_jax.checkpoints import FORMAT_VERSION, reward_fingerprint, tree_digest
from fspo_jax.checkpoints.files import nested
from fspo_jax.config import config_from_dict
from fspo_jax.errors import CheckpointError, FspoError
from fspo_jax.reward import PersonalizedReward, UserReward


@pytest.fixture
def language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward of a language model with adapters, marks and a scalar head, over a base beside it."""
    monkeypatch.chdir(tmp_path)
    parts = tiny_parts(config := tiny_config("sft", "implicit"))
    PersonalizedReward.from_language(config, parts, *tiny_params(parts)).save("base")
    lora = tiny_config("bradley_terry", "scalar", scorer={"base": "base", "lora_rank": 2})
    lora_reward(lora).save("reward")
    return tmp_path / "reward"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: HashedFeatures())
    make_reward().save(tmp_path / "reward")
    return tmp_path / "reward"


def sign(directory: Path) -> None:
    """Writes the fingerprint that fits the files, as somebody does who made them up."""
    path = directory / "config.json"
    record = json.loads(path.read_text())
    try:
        params = nested(load_file(directory / "model.safetensors"))
        config = config_from_dict(record["config"])
        record["fingerprint"] = reward_fingerprint(params, config, record["featurizer_fingerprint"])
    except Exception:
        return
    path.write_text(json.dumps(record))


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in a JSON document."""
    yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from leaves(item, (*path, key))


ODD = [None, True, -1, 0, 10**30, float("nan"), float("inf"), 0.5, "", "x", "\ud800", [], [[]], {}, {"a": {}}]


@pytest.mark.slow
def test_config_with_any_value_replaced_is_refused_or_scores(saved: Path) -> None:
    """Each value in turn is replaced by an odd one, deleted, or has an unknown key beside it; signed and unsigned."""
    path = saved / "config.json"
    record = json.loads(path.read_text())
    expected = PersonalizedReward.load(saved).adapt(PAIRS).score("p", CANDIDATES)
    generator = np.random.default_rng(0)
    loaded = 0
    for at in list(leaves(record))[1:]:
        for odd in [ODD[i] for i in generator.choice(len(ODD), 4, replace=False)]:
            changed = copy.deepcopy(record)
            inner = changed
            for key in at[:-1]:
                inner = inner[key]
            if odd is None:
                del inner[at[-1]]
            else:
                inner[at[-1]] = odd
            path.write_text(json.dumps(changed))
            if generator.random() < 0.5:
                sign(saved)
            try:
                scores = PersonalizedReward.load(saved).adapt(PAIRS[:1]).score("p", CANDIDATES)
            except FspoError as error:
                str(error).encode()
            else:
                loaded += 1
                assert scores.shape == expected.shape and np.isfinite(scores).all(), (at, odd)
    assert loaded > 10  # values that decide nothing when a reward is loaded


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "",
        "null",
        "[]",
        "3",
        '"x"',
        '{"format_version": 2}',
        "{" + '"a": 1, ' * 3_000_000 + '"b": 1}',
        '{"format_version": ' + "9" * 5000 + "}",
        '{"format_version": [' + "[" * 900 + "]" * 900 + "]}",
        b"\xff\xfe\x00",
    ],
    ids=range(12),
)
def test_config_that_is_no_record_is_refused(saved: Path, text: str | bytes) -> None:
    (saved / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError) as caught:
        PersonalizedReward.load(saved)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("temperature", [0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), "hot", None])
def test_temperature_that_makes_no_sense_is_refused(saved: Path, temperature: Any) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": temperature}))
    with pytest.raises(CheckpointError, match=r"config.json: damaged"):
        PersonalizedReward.load(saved)


def odd_tensors(tensor: np.ndarray) -> Iterator[Any]:
    """Tensors that may stand in place of another one; None for nothing."""
    for number in (np.nan, np.inf, -np.inf):
        spoiled = tensor.copy()
        spoiled.flat[-1] = number
        yield spoiled
    yield tensor.astype(np.int32)
    yield tensor.astype(bool)
    yield tensor[..., None]
    yield np.zeros((0,), np.float32)
    yield tensor.astype(ml_dtypes.bfloat16)
    yield None


def test_tensors_that_are_not_finite_or_of_another_shape_or_name_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        for odd in odd_tensors(tensor):
            rest = {other: value for other, value in tensors.items() if other != name}
            save_file(rest if odd is None else {**rest, name: odd}, path)
            sign(saved)
            with pytest.raises(CheckpointError) as caught:
                PersonalizedReward.load(saved)
            assert name in str(caught.value) or "safetensors" in str(caught.value)
    for names in (["a", "a/b"], ["²/x"], ["1/2", "1"], [""], ["/"], ["\x00"]):
        save_file({**tensors, **dict.fromkeys(names, np.zeros(1, np.float32))}, path)
        sign(saved)
        with pytest.raises(CheckpointError):
            PersonalizedReward.load(saved)


@pytest.mark.slow
def test_language_rewards_with_odd_tensors_are_refused(
    language: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fspo_jax.reward.load_language.check_fingerprint", lambda *_: None)
    path = language / "model.safetensors"
    tensors = load_file(path)
    assert len(tensors) > 1
    for name, tensor in tensors.items():
        for odd in odd_tensors(tensor):
            rest = {other: value for other, value in tensors.items() if other != name}
            save_file(rest if odd is None else {**rest, name: odd}, path)
            with pytest.raises(CheckpointError):
                PersonalizedReward.load(language)
    save_file({**tensors, "more": np.zeros(1, np.float32)}, path)
    with pytest.raises(CheckpointError):
        PersonalizedReward.load(language)


def test_numbers_that_overflow_are_an_error_and_never_a_rank(saved: Path) -> None:
    path = saved / "model.safetensors"
    save_file({name: np.full_like(tensor, 1e30) for name, tensor in load_file(path).items()}, path)
    sign(saved)
    reward = PersonalizedReward.load(saved)
    for call in (
        lambda: reward.adapt(PAIRS).score("p", CANDIDATES),
        lambda: reward.margins([PAIRS], [PAIRS]),
        lambda: reward.calibrated([PAIRS]),
    ):
        with pytest.raises(CheckpointError, match="is not a finite number"):
            call()


def write_user(path: Path, arrays: dict[str, np.ndarray], fingerprint: str) -> None:
    about = {"format_version": str(FORMAT_VERSION), "kind": "user", "fingerprint": fingerprint}
    save_file(arrays, path, {**about, "digest": tree_digest(arrays, fingerprint)})


def test_users_that_do_not_fit_the_reward_are_refused(saved: Path, tmp_path: Path) -> None:
    reward, ones = PersonalizedReward.load(saved), np.ones((3, 2, 10), np.float32)
    spoiled = ones.copy()
    spoiled[2, 1, 9] = np.nan
    many = np.random.default_rng(0).integers(0, 255, (65, 16), np.uint8)
    three = np.arange(48, dtype=np.uint8).reshape(3, 16)
    for arrays in (
        {"context": ones[:, :, :9].copy(), "digests": three},
        {"context": ones[:, :1].copy(), "digests": three},
        {"context": ones[0], "digests": three},
        {"context": np.ones((), np.float32)},
        {"context": ones.astype(np.float64), "digests": three},
        {"context": ones.astype(np.int32), "digests": three},
        {"context": np.ones((65, 2, 10), np.float32), "digests": many},  # at most 64 are kept one by one
        {"context": spoiled, "digests": three},
        {"context": ones, "digests": three, "more": ones},
        {"context": ones, "digests": three[:2].copy()},
        {"context": ones},
        {"texts": np.frombuffer(b"{}", np.uint8)},
        {},
    ):
        write_user(tmp_path / "ana", arrays, reward.fingerprint)
        with pytest.raises(CheckpointError, match="this reward cannot read the saved context"):
            UserReward.load(tmp_path / "ana", reward)
    write_user(tmp_path / "ana", {"context": ones, "digests": three}, reward.fingerprint)
    assert UserReward.load(tmp_path / "ana", reward).shots == 3


def test_saved_users_are_for_their_owner(saved: Path, tmp_path: Path) -> None:
    PersonalizedReward.load(saved).adapt(PAIRS).save(tmp_path / "users" / "private" / "ana")
    for path in (tmp_path / "users").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert jax.tree.leaves(
        UserReward.load(tmp_path / "users/private/ana", PersonalizedReward.load(saved)).state
    )
