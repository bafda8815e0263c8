"""Scripts are there for a reason: each is named by a page, a card, a config or another script."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path
    for path in chain((ROOT / "scripts").iterdir(), (ROOT / "benchmarks").glob("*.py"))
    if path.suffix in (".py", ".sh", ".slurm")
)
READ = [
    ROOT / "README.md",
    ROOT / "mkdocs.yml",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "configs").rglob("*.toml"),
    *(ROOT / "fspo_jax" / "shipped").rglob("*.md"),
    *SCRIPTS,
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_named_where_people_look(script: Path) -> None:
    name = f"{script.parent.name}/{script.name}"
    imported = f"from {script.stem} import"
    texts = [path.read_text(encoding="utf-8") for path in READ if path != script]
    assert any(name in text or imported in text for text in texts), f"nothing names {name}: delete it"
