from pathlib import Path

import pytest

from fspo_jax.config.cache import cache_directory


def test_the_given_place_wins_then_the_variable_then_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FSPO_CACHE", "of the variable")
    assert cache_directory("given") == Path("given")
    assert cache_directory() == Path("of the variable")
    monkeypatch.delenv("FSPO_CACHE")
    assert cache_directory() == tmp_path / ".cache" / "fspo_jax"
    assert not list((tmp_path / ".cache" / "fspo_jax").iterdir())
    assert (tmp_path / ".cache").stat().st_mode & 0o777 == 0o700


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_a_home_directory_that_cannot_be_used_gives_none_and_a_warning(tmp_path, monkeypatch):
    monkeypatch.delenv("FSPO_CACHE", raising=False)
    (tmp_path / "file").touch()
    for home in ("/dev/null", "/proc/nothing", str(tmp_path / "file")):
        monkeypatch.setenv("HOME", home)
        with pytest.warns(UserWarning, match="nothing is cached on disk.*FSPO_CACHE"):
            assert cache_directory() is None
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(UserWarning, match="Could not determine home directory"):
        assert cache_directory() is None
