"""Links lead somewhere: to files that are there, and from a page of the site only to pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TEXTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "fspo_jax" / "shipped").rglob("*.md")),
]


def dead_links(path: Path, text: str, root: Path) -> list[str]:
    """Relative links of a text at `path` that lead to nothing, or out of `root`."""
    found = re.findall(r"\]\((?!https?:|#)([^)\s#]+)", text)
    targets = {link: (path.parent / link).resolve() for link in found}
    return [link for link, target in targets.items() if not (target.exists() and target.is_relative_to(root))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    root = DOCS if path.is_relative_to(DOCS) else ROOT
    assert not dead_links(path, path.read_text(encoding="utf-8"), root)


def test_dead_link_and_link_out_of_the_site_are_found() -> None:
    text = "[a](index.md#words) [b](nowhere.md) [c](../README.md) [d](https://example.org) [e](#here)"
    assert dead_links(DOCS / "log.md", text, DOCS) == ["nowhere.md", "../README.md"]
