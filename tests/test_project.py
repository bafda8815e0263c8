"""What holds for the project as a whole: public names, start-up, packaging. Layers are in test_layout."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fspo_jax
from fspo_jax.errors import FspoError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fspo_jax"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_opens_with_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


def test_public_names_resolve_and_are_what_they_say() -> None:
    for name in fspo_jax.__all__:
        assert getattr(fspo_jax, name).__name__ == name
    assert [name for name in dir(fspo_jax) if not name.startswith("__")] == sorted(fspo_jax.__all__)
    assert issubclass(fspo_jax.FspoError, FspoError)


def test_mistyped_public_name_names_the_closest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'Preference'"):
        fspo_jax.Preferences  # noqa: B018


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    code = """
import sys
import fspo_jax, fspo_jax.rerank
heavy = {"jax", "numpy", "flax", "optax", "transformers", "datasets", "orbax", "matplotlib", "rich"}
print(sorted(heavy & set(sys.modules)), callable(fspo_jax.rerank))
"""
    assert run_python(code).strip() == "[] True"


def test_serving_loads_no_library_that_only_training_or_data_need() -> None:
    code = """
import sys
import fspo_jax.reward, fspo_jax.rerank, fspo_jax.serving.requests
heavy = {"chex", "orbax", "transformers", "datasets", "pandas", "pyarrow", "grain", "matplotlib", "torch"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


def test_public_functions_survive_imports_of_modules_of_like_names() -> None:
    code = """
import importlib, sys
for later in ("fspo_jax.reward", "fspo_jax.evaluation", "fspo_jax.training", "fspo_jax.rerank"):
    for name in [name for name in sys.modules if name.split(".")[0] == "fspo_jax"]:
        del sys.modules[name]
    importlib.import_module(later)
    import fspo_jax as f
    print(callable(f.rerank), callable(f.train), callable(f.evaluate))
"""
    assert run_python(code).split() == ["True"] * 12


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_tracked_files_are_small_and_name_no_host_of_packages() -> None:
    host = re.compile(rb"https?://[^\s]*(?:pypi|pythonhosted|/simple/)")
    for path in tracked_files():
        data = path.read_bytes()
        most = 4 * 2**20 if "shipped" in path.parts else 2**20
        assert len(data) <= most, f"{path} is larger than {most} bytes"
        assert path == Path(__file__) or not host.search(data), f"{path} names a package host"


def test_constraints_pin_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    pinned = (ROOT / "constraints" / "packages.txt").read_text(encoding="utf-8").lower()
    for requirement in declared:
        name = re.match(r"[A-Za-z0-9_-]+", requirement)
        assert name
        assert re.search(rf"(?m)^{re.escape(name.group().lower())}==", pinned), (
            f"{name.group()} is not pinned"
        )


def test_changelog_names_the_version() -> None:
    assert fspo_jax.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh"), key=str), ids=lambda p: p.name)
def test_shell_script_parses(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0


def test_set_up_finds_a_python_and_refuses_an_old_one(tmp_path: Path) -> None:
    def find(python: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", "set -euo pipefail; . scripts/environment.sh; find_python"],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, "FSPO_PYTHON": python},
        )  # fmt: skip

    assert find(sys.executable).stdout.strip() == sys.executable
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    refused = find(str(old))
    assert refused.returncode == 1
    assert "no Python >= 3.11" in refused.stderr


RIDDLES = (
    "there already", "could not be had", "whoever", "foresee", "foreseen", "stranger", "of that time", "has the say",
    "pairs a user", "queries a user", "tokens a row", "pairs a row", "one a user", "one a row", "rows a user",
    "a host:", "misshapen", "do not fit each other", "whole or not at all",
)  # fmt: skip
"""Phrases that readers had to read twice. Write what they mean instead."""
TEXT_BANKS = re.compile(r"personas/(elix_|roleplay_|review_)\w+\.py$")


def riddles(text: str) -> list[str]:
    words = " ".join(text.lower().split())
    return [riddle for riddle in RIDDLES if re.search(rf"\b{re.escape(riddle)}", words)]


def test_riddle_is_found_across_lines_and_in_capitals() -> None:
    assert riddles("Whoever asks\nis there  already.") == ["there already", "whoever"]
    assert riddles("The run already exists and is not empty.") == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_messages_help_and_docstrings_have_no_riddle(path: Path) -> None:
    if TEXT_BANKS.search(path.as_posix()):
        pytest.skip("a bank of texts")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not riddles(node.value), f"{path}:{node.lineno}"
