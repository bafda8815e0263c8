"""Users are saved and loaded; copies share them; pickles are refused."""

import copy
import pickle

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, make_reward

from fspo_jax.errors import CheckpointError, FspoError
from fspo_jax.reward import UserReward
from fspo_jax.types import Preference


def test_user_save_and_load_keep_the_scores_and_hold_no_text(reward, tmp_path):
    ana = reward.adapt([Preference("a secret prompt", "a secret answer", "another answer"), *PAIRS])
    ana.save(tmp_path / "users" / "ana")
    again = UserReward.load(tmp_path / "users" / "ana", reward)
    np.testing.assert_array_equal(ana.score("p", CANDIDATES), again.score("p", CANDIDATES))
    assert again.shots == 6
    saved = b"".join(p.read_bytes() for p in (tmp_path / "users").rglob("*") if p.is_file())
    assert b"secret" not in saved and b"pickle" not in saved


def test_user_load_another_base_raises(reward, tmp_path):
    reward.adapt(PAIRS).save(tmp_path / "ana")
    with pytest.raises(CheckpointError, match=r"another|other"):
        UserReward.load(tmp_path / "ana", make_reward(seed=1))


def test_copies_are_the_same_object_and_pickle_says_to_save(reward):
    ana = reward.adapt(PAIRS)
    for value, way in ((reward, r"reward\.save\(path\)"), (ana, r"user\.save\(path\)")):
        assert copy.copy(value) is value and copy.deepcopy([value])[0] is value
        with pytest.raises(FspoError, match=f"cannot be pickled. Write it with {way}"):
            pickle.dumps(value)


def test_save_replaces_a_user_only_with_overwrite(reward, tmp_path):
    reward.adapt(PAIRS[:1]).save(tmp_path / "ana")
    before = (tmp_path / "ana").read_bytes()
    with pytest.raises(CheckpointError, match=r"ana: already exists.*overwrite=True"):
        reward.adapt(PAIRS).save(tmp_path / "ana")
    assert (tmp_path / "ana").read_bytes() == before
    reward.adapt(PAIRS).save(tmp_path / "ana", overwrite=True)
    assert UserReward.load(tmp_path / "ana", reward).shots == 5
    (tmp_path / "letter").write_text("Dear Ana,")
    with pytest.raises(CheckpointError):
        reward.adapt(PAIRS).save(tmp_path / "letter", overwrite=True)
