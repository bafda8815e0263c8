"""Layout of the package: each rule is a function over a directory and is shown to fail on made-up trees."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fspo_jax"

FLOORS = {
    "errors": 0,
    "types": 0,
    "config": 0,
    "private_files": 0,
    "arguments": 0,
    "shipped": 0,
    "losses": 1,
    "metrics": 1,
    "text": 1,
    "partitioning": 1,
    "processes": 1,
    "data": 2,
    "models": 2,
    "checkpoints": 3,
    "training": 4,
    "reward": 4,
    "evaluation": 5,
    "rerank": 5,
    "generation": 5,
    "asking": 5,
    "benchmark": 6,
    "serving": 6,
    "integrations": 6,
    "cli": 7,
    "__init__": 7,
    "__main__": 7,
}
"""Units by floor. Units of one floor are siblings, which may import each other on `OPEN_FLOORS` or in a group only."""

OPEN_FLOORS = {0, 7}
GROUPS = [{"rerank", "generation", "asking"}]
"""Files of one floor that are one unit: what a user does with a reward."""
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MAX_LINES = 400


def modules(package: Path) -> dict[str, ast.Module]:
    """Dotted name within the package to syntax tree; a package's `__init__.py` has the package's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imported_modules(tree: ast.Module, importer: str, package: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a module imports anywhere in it, inside functions too."""
    is_package = (package / importer.replace(".", "/")).is_dir() or importer == "__init__"
    own = [package.name, *importer.removesuffix("__init__").split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".")
            if node.level:
                home = [part for part in own if part]
                base = home[: len(home) - node.level + is_package] + [part for part in base if part]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first != package.name or rest == ["__version__"]:
                continue
            while rest and ".".join(rest) not in known and (len(rest) > 1 or rest[0] not in FLOORS):
                rest.pop()  # a name inside the module
            yield ".".join(rest) or "__init__"


def check_floors(package: Path) -> list[str]:
    """Imports that go up, go to a sibling unit, or come from a unit without a floor."""
    trees = modules(package)
    problems = []
    for name, tree in trees.items():
        unit = name.split(".")[0]
        if unit not in FLOORS:
            problems.append(f"{name}: has no floor")
            continue
        for other in imported_modules(tree, name, package, set(trees)):
            target = other.split(".")[0]
            grouped = any({unit, target} <= group for group in GROUPS)
            if target == unit or target not in FLOORS or grouped:
                continue
            if FLOORS[target] > FLOORS[unit]:
                problems.append(f"{name} imports {other}: it is on a higher floor")
            elif FLOORS[target] == FLOORS[unit] and FLOORS[unit] not in OPEN_FLOORS:
                problems.append(f"{name} imports {other}: they are siblings")
    return problems


def without_type_imports(tree: ast.Module) -> ast.Module:
    """The module without `if TYPE_CHECKING:` blocks, which are never run."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return ast.Module(body, tree.type_ignores)


def check_cycles(package: Path) -> list[str]:
    """Import cycles between modules, imports inside functions included, imports for types only left out."""
    trees = {name: without_type_imports(tree) for name, tree in modules(package).items()}
    edges = {
        name: sorted(set(imported_modules(tree, name, package, set(trees))) - {name, "__init__"})
        for name, tree in trees.items()
    }
    problems, done = [], set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            problems.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in edges.get(name, ()):
                visit(other, [*path, name])
            done.add(name)

    for name in edges:
        visit(name, [])
    return problems


def check_names(package: Path) -> list[str]:
    """Modules whose name says nothing."""
    return [f"{name}: says nothing" for name in modules(package) if FORBIDDEN_NAMES & set(name.split("."))]


def check_lengths(package: Path) -> list[str]:
    """Files above `MAX_LINES` lines."""
    counts = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(package.rglob("*.py"))
    }
    return [
        f"{path.relative_to(package)}: {count} lines" for path, count in counts.items() if count > MAX_LINES
    ]


def check_printing(package: Path) -> list[str]:
    """Calls of `print` and writes to the standard streams outside the command line."""
    problems = []
    for name, tree in modules(package).items():
        if name.split(".")[0] in ("cli", "__main__"):
            continue
        for node in ast.walk(tree):
            prints = isinstance(node, ast.Name) and node.id == "print" and isinstance(node.ctx, ast.Load)
            stream = isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")
            if prints or stream:
                problems.append(f"{name}:{node.lineno}: prints")
    return problems


def check_docstrings(package: Path) -> list[str]:
    """Names in `__all__` of the package that have no docstring where they are defined."""
    trees = modules(package)
    (exported,) = [
        ast.literal_eval(node.value)
        for node in trees["__init__"].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ] or [()]
    documented = {}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                documented[node.name] = documented.get(node.name, True) and bool(ast.get_docstring(node))
    return [
        f"{name}: {'has no docstring' if name in documented else 'is not defined'}"
        for name in exported
        if not documented.get(name, False) and not name.startswith("__")
    ]


CHECKS = [check_floors, check_cycles, check_names, check_lengths, check_printing, check_docstrings]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package_keeps_the_layout(check: Callable[[Path], list[str]]) -> None:
    assert check(PACKAGE) == []


GOOD = {
    "__init__.py": "from demo.rerank import rank\n__all__ = ['rank']\n",
    "errors.py": "class Oops(Exception):\n    '''An error.'''\n",
    "types.py": "from demo.errors import Oops\n",
    "data/__init__.py": "'''Data.'''\n",
    "data/rows.py": "import json\nfrom demo.types import Oops\n",
    "data/sources.py": "from demo.data.rows import json\nfrom . import rows\n",
    "models/scorer.py": "def score():\n    from demo import types\n",
    "training/train.py": "from demo.models import scorer\nimport demo.data.sources\n",
    "reward.py": "from demo.models.scorer import score\n",
    "rerank.py": "from demo.reward import score\ndef rank():\n    '''Ranks.'''\n",
    "cli.py": "from demo import rank\nprint('hello')\n",
}


def make_package(root: Path, changes: dict[str, str]) -> Path:
    package = root / "demo"
    for name, text in {**GOOD, **changes}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_good_tree_has_no_problem(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(make_package(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("check", "file", "text", "problem"),
    [
        (check_floors, "errors.py", "import demo.losses\n", "errors imports losses: it is on a higher floor"),
        (check_floors, "errors.py", "from demo import __version__\nimport demography\n", None),
        (
            check_floors,
            "errors.py",
            "import demo.data.rows\n",
            "errors imports data.rows: it is on a higher floor",
        ),
        (
            check_floors,
            "errors.py",
            "from demo import rank\n",
            "errors imports __init__: it is on a higher floor",
        ),
        (
            check_floors,
            "data/rows.py",
            "def f():\n    from demo.models.scorer import score\n",
            "data.rows imports models.scorer: they are siblings",
        ),
        (
            check_floors,
            "data/rows.py",
            "from demo.models import x\n",
            "data.rows imports models: they are siblings",
        ),
        (
            check_floors,
            "data/rows.py",
            "from ..models import scorer\n",
            "data.rows imports models.scorer: they are siblings",
        ),
        (
            check_floors,
            "models/scorer.py",
            "from demo.data import rows\n",
            "models.scorer imports data.rows: they are siblings",
        ),
        (
            check_floors,
            "training/train.py",
            "from demo import reward\n",
            "training.train imports reward: they are siblings",
        ),
        (
            check_floors,
            "reward.py",
            "from demo.training.train import x\n",
            "reward imports training.train: they are siblings",
        ),
        (
            check_floors,
            "evaluation/report.py",
            "import demo.rerank\n",
            "evaluation.report imports rerank: they are siblings",
        ),
        (check_floors, "extra.py", "", "extra: has no floor"),
        (
            check_cycles,
            "data/rows.py",
            "import demo.data.sources\n",
            "data.rows -> data.sources -> data.rows",
        ),
        (
            check_cycles,
            "data/rows.py",
            "def f():\n    from .sources import x\n",
            "data.rows -> data.sources -> data.rows",
        ),
        (check_cycles, "data/rows.py", "if TYPE_CHECKING:\n    import demo.data.sources\n", None),
        (check_names, "data/helpers.py", "", "data.helpers: says nothing"),
        (check_names, "utils/text.py", "", "utils.text: says nothing"),
        (check_lengths, "data/rows.py", "x = 1\n" * 401, "data/rows.py: 401 lines"),
        (check_lengths, "data/rows.py", "x = 1\n" * 400, None),
        (check_printing, "data/rows.py", "def f():\n    print(1)\n", "data.rows:2: prints"),
        (check_printing, "data/rows.py", "show = print\n", "data.rows:1: prints"),
        (check_printing, "reward.py", "import sys\nsys.stderr.write('x')\n", "reward:2: prints"),
        (check_printing, "data/rows.py", "'''>>> print(1)'''\nx = 'print(1)'  # print(1)\n", None),
        (check_docstrings, "rerank.py", "def rank():\n    pass\n", "rank: has no docstring"),
        (check_docstrings, "rerank.py", "class other:\n    '''Text.'''\n", "rank: is not defined"),
    ],
)
def test_check_made_up_tree_names_the_problem(
    tmp_path: Path, check: Callable[[Path], list[str]], file: str, text: str, problem: str | None
) -> None:
    assert check(make_package(tmp_path, {file: text})) == ([problem] if problem else [])
