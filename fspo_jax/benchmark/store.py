"""Runs a benchmark cell by cell. Finished cells are stored, so that a stopped benchmark can be continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.benchmark.communities import CommunityPanel, inside_communities, judge_communities, make_panel
from fspo_jax.benchmark.folds import SEED, Fold, Studies
from fspo_jax.benchmark.methods import fit, is_trained, settings
from fspo_jax.checkpoints import tree_digest
from fspo_jax.config import BenchmarkConfig, MethodConfig, config_to_dict
from fspo_jax.errors import CheckpointError
from fspo_jax.evaluation.controls import Control, control_scores, first_pairs, make_controls
from fspo_jax.evaluation.episodes import MeasuredUsers
from fspo_jax.evaluation.predict import Method, leave_one_out_log_odds, log_odds
from fspo_jax.metrics import calibration, fit_temperature, probability, scores
from fspo_jax.private_files import make_directory

RESULTS = "results.jsonl"

VERSION = 3
"""Version of stored cells. Files with another version are refused."""


class CellProgress(NamedTuple):
    """Progress of a benchmark: cells done, all cells, and the name of the next cell."""

    done: int
    cells: int
    name: str


def run_benchmark(
    config: BenchmarkConfig,
    studies: Studies,
    directory: str | Path,
    *,
    on_progress: Callable[[CellProgress], None] | None = None,
) -> list[dict[str, Any]]:
    """Runs the cells (fold, method, seed) that have no result in `directory` yet.

    Settings are chosen with seed 0, by the log loss on the fold's meta-validation users, and used for all seeds.

    Args:
        config: The config of the benchmark.
        studies: Its people, with features.
        directory: Where `results.jsonl` is or will be, with one line per cell.
        on_progress: Called before every cell and after the last.

    Returns:
        All cells, in the order of folds, methods and seeds.

    Raises:
        CheckpointError: The directory has results of a different config, other data or another version. (Cells with
            other features are run again.)
    """
    store = _Store(Path(directory), config, studies)
    cells = list(_cells(config, studies))
    for number, cell in enumerate(cells):
        if on_progress is not None:
            fold, method, seed = cell.key
            on_progress(CellProgress(number, len(cells), f"{method}, {fold}, seed {seed}"))
        if cell.key not in store.done:
            store.add(cell.key, _run_cell(cell, studies.fitted(cell.method.name, cell.fold), store))
    if on_progress is not None:
        on_progress(CellProgress(len(cells), len(cells), "done"))
    return [store.done[cell.key] for cell in cells]


class _Panel(NamedTuple):
    """The measured users of one source with their episodes, drawn once for all methods."""

    measured: MeasuredUsers
    controls: Sequence[Control]
    communities: CommunityPanel


class _Cell(NamedTuple):
    """One method with one seed on one fold; `panels` by source."""

    fold: Fold
    panels: Mapping[str, _Panel]
    method: MethodConfig
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """Identifies the cell in the results."""
        return self.fold.name, self.method.name, self.seed


def _cells(config: BenchmarkConfig, studies: Studies) -> Iterator[_Cell]:
    for fold in studies.folds():
        panels = {name: _panel(users, fold, studies) for name, users in fold.test.items()}
        for method in config.methods:
            for seed in range(config.seeds if is_trained(method) else 1):
                yield _Cell(fold, panels, method, seed)


def _panel(users: np.ndarray, fold: Fold, studies: Studies) -> _Panel:
    measured = studies.episodes(users)
    controls = make_controls(studies.people, measured, seed=SEED, numbers=users)
    return _Panel(measured, controls, make_panel(measured, fold.pool, studies))


def _run_cell(cell: _Cell, studies: Studies, store: _Store) -> dict[str, Any]:
    tried, config = settings(cell.method, studies), studies.config
    first = store.done.get((cell.fold.name, cell.method.name, 0), {})
    if cell.seed == 0:
        fits = [fit(cell.method, cell.fold, studies, setting, 0) for setting in tried]
        chosen = int(np.argmin([one.validation_loss for one in fits]))
        fitted = fits[chosen]
    else:
        chosen = first["setting"]
        fitted = fit(cell.method, cell.fold, studies, tried[chosen], cell.seed)
    known = first.get("community_settings")
    best, inside = inside_communities(cell.method, fitted, cell.fold, studies, known)
    return {
        "setting": chosen,
        "community_settings": best,
        "validation_loss": fitted.validation_loss,
        "cost": fitted.cost._asdict(),
        "sources": {
            name: {
                **_judged(fitted.method, panel, studies),
                "communities": judge_communities(fitted, inside, panel.communities, config),
            }
            for name, panel in cell.panels.items()
        },
    }


def _judged(method: Method, panel: _Panel, studies: Studies) -> dict[str, Any]:
    """Returns the results on the users of one source: accuracies of users, and other metrics."""
    (users, episode), config = panel.measured, studies.config
    mask, texts = episode.query_mask, np.asarray(studies.people.table.texts)
    shots = {}
    for count in config.shots:
        shortened = first_pairs(episode, count)
        odds = log_odds(method.margins, shortened)
        found = scores(odds, mask)
        temperature = fit_temperature(leave_one_out_log_odds(method.margins, shortened, texts))
        shots[str(count)] = {
            "accuracy": found.accuracy.round(4).tolist(),
            "log_loss": found.log_loss,
            "brier": found.brier,
            "calibration_error": found.calibration_error,
            "temperature": temperature,
            "calibrated_error": calibration(probability(odds[mask] / temperature)).error,
        }
    return {
        "users": users.tolist(),
        "context": episode.context_mask.sum(1).tolist(),
        "shots": shots,
        "controls": {
            name: {"accuracy": one.accuracy.round(4).tolist(), "gain": one.gain.round(4).tolist()}
            for name, one in control_scores(method, panel.controls, config.headline_shots).items()
        },
    }


class _Store:
    """Results by (fold, method, seed), one JSON line each, after a line that says what was measured."""

    def __init__(self, directory: Path, config: BenchmarkConfig, studies: Studies):
        make_directory(directory)
        self._path = directory / RESULTS
        plain = config_to_dict(config)
        # Methods and seeds may be added to a benchmark. Any other change would make the stored cells wrong.
        rest = {key: value for key, value in plain.items() if key not in ("methods", "seeds")}
        digest = tree_digest([np.asarray(leaf) for leaf in studies.people.table], rest)
        head = {"benchmark": digest, "version": VERSION}
        digests = {
            id(read.rows): tree_digest(
                [read.rows], {"reward": read.reward.fingerprint} if read.reward else {}
            )
            for read in studies.features.values()
        }
        self._features = {name: digests[id(read.rows)] for name, read in studies.features.items()}
        self.done: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._models = {method["name"]: method for method in plain["methods"]}
        if not self._path.exists():
            self._path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        lines = self._path.read_text(encoding="utf-8").splitlines()
        if lines[:1] != [json.dumps(head)]:
            raise CheckpointError(
                f"{self._path}: holds results of a different config, of other data, or of another version of fspo_jax. "
                "Choose another directory."
            )
        for line in lines[1:]:
            try:
                cell = json.loads(line)
            except ValueError:  # the incomplete last line of a run that was killed
                continue
            name = cell["method"]["name"]
            if cell["method"] == self._models.get(name) and cell["features"] == self._features[name]:
                self.done[cell["fold"], cell["method"]["name"], cell["seed"]] = cell

    def add(self, key: tuple[str, str, int], result: dict[str, Any]) -> None:
        """Appends the result of a cell."""
        fold, method, seed = key
        about = {
            "fold": fold,
            "method": self._models[method],
            "features": self._features[method],
            "seed": seed,
        }
        cell = {**about, **result}
        text = self._path.read_text(encoding="utf-8")
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(("" if text.endswith("\n") else "\n") + json.dumps(cell) + "\n")
        self.done[key] = cell
