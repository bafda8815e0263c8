"""The README's example runs, and the files and commands it names are there."""

import re
import shlex
from pathlib import Path

import pytest
from tiny_reward import make_reward

import fspo_jax as fspo

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_example_runs_and_ranks(monkeypatch, capsys):
    """With a reward of this test in place of a trained one."""
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    monkeypatch.setattr(fspo.PersonalizedReward, "load", lambda path: make_reward())
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"(?:scripts|configs|docs|benchmarks|notebooks)/[\w./-]*\w|CHANGELOG\.md", README))
    ),
)
def test_readme_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", re.findall(r"^fspo .*$", README, re.MULTILINE))
def test_readme_command_parses(command):
    from fspo_jax.cli.parser import make_parser

    make_parser().parse_args(shlex.split(command, comments=True)[1:])
