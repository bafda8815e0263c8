"""Runs a benchmark cell by cell; what is done is kept, so a stopped one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.benchmark.folds import Fold, Studies, encoder_of
from fspo_jax.benchmark.methods import Fitted, fit, leave_one_out_logits, logits, settings
from fspo_jax.checkpoints import tree_digest
from fspo_jax.config import BenchmarkConfig, FeatureScorerConfig, ItemIdentityConfig, config_to_dict
from fspo_jax.errors import CheckpointError
from fspo_jax.metrics import (
    brier,
    calibration,
    correctness,
    fit_temperature,
    log_loss,
    probability,
    user_means,
)

RESULTS = "results.jsonl"


class CellProgress(NamedTuple):
    """Where a benchmark is: cells done and of all, and the next cell in words."""

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
    """Runs the cells (fold, method, seed) that `directory` has no result of.

    Settings are chosen on seed 0, by the log loss on the fold's meta-validation users, and kept for the other seeds.

    Args:
        config: Of the benchmark.
        studies: Its people, with features.
        directory: Has or gets `results.jsonl`, a line a cell.
        on_progress: Called before every cell and after the last.

    Returns:
        All cells, in the order of folds, methods and seeds.

    Raises:
        CheckpointError: The directory has results of another config or other data. (Cells of other features are run
            again.)
    """
    store = _Store(Path(directory), config, studies)
    cells = list(_cells(config, studies))
    for number, (fold, method, seed) in enumerate(cells):
        key = (fold.name, config.methods[method].name, seed)
        if on_progress is not None:
            on_progress(CellProgress(number, len(cells), f"{key[1]}, {key[0]}, seed {seed}"))
        if key not in store.done:
            store.add(key, _run_cell(fold, method, seed, studies, store))
    if on_progress is not None:
        on_progress(CellProgress(len(cells), len(cells), "done"))
    keys = [(fold.name, config.methods[method].name, seed) for fold, method, seed in cells]
    return [store.done[key] for key in keys]


def _cells(config: BenchmarkConfig, studies: Studies) -> Iterator[tuple[Fold, int, int]]:
    for fold in studies.folds():
        for method in range(len(config.methods)):
            trained = isinstance(config.methods[method].model, FeatureScorerConfig | ItemIdentityConfig)
            for seed in range(config.seeds if trained else 1):
                yield fold, method, seed


def _run_cell(fold: Fold, number: int, seed: int, studies: Studies, store: _Store) -> dict[str, Any]:
    method = studies.config.methods[number]
    tried = settings(method, studies)
    if seed == 0:
        fits = [fit(method, fold, studies, setting, 0) for setting in tried]
        chosen = int(np.argmin([one.validation_loss for one in fits]))
        fitted = fits[chosen]
    else:
        chosen = store.done[fold.name, method.name, 0]["setting"]
        fitted = fit(method, fold, studies, tried[chosen], seed)
    return {
        "setting": chosen,
        "validation_loss": fitted.validation_loss,
        "cost": fitted.cost._asdict(),
        "sources": {name: _judged(fitted, users, studies) for name, users in fold.test.items()},
    }


def _judged(fitted: Fitted, users: np.ndarray, studies: Studies) -> dict[str, Any]:
    """Results on the users of one source who have a query: accuracy of each, and what is not a mean over users."""
    episode = studies.episodes(users)
    kept = episode.query_mask.any(1)
    episode = type(episode)(*(leaf[kept] for leaf in episode))
    mask, texts = episode.query_mask, np.asarray(studies.table.texts)

    def accuracy(margins: np.ndarray) -> list[float]:
        return user_means(correctness(margins), mask).round(4).tolist()

    shots = {}
    for count in studies.config.shots:
        found = logits(fitted.margins, episode, count)
        prediction = probability(found)
        temperature = fit_temperature(leave_one_out_logits(fitted.margins, episode, texts, count))
        shots[str(count)] = {
            "accuracy": accuracy(found),
            "log_loss": float(user_means(log_loss(prediction), mask).mean()),
            "brier": float(user_means(brier(prediction), mask).mean()),
            "ece": calibration(prediction[mask]).error,
            "temperature": temperature,
            "calibrated_ece": calibration(probability(found[mask] / temperature)).error,
        }
    control = studies.config.headline_shots
    stranger = np.roll(np.arange(len(mask)), 1)
    of_stranger = accuracy(logits(fitted.margins, episode, control, owners=stranger))
    return {
        "users": np.asarray(users)[kept].tolist(),
        "context": episode.context_mask.sum(1).tolist(),
        "shots": shots,
        "flipped": accuracy(logits(fitted.margins, episode, control, flipped=True)),
        "stranger": of_stranger if len(mask) > 1 else [float("nan")] * len(mask),
    }


class _Store:
    """Results by (fold, method, seed), one JSON line each, behind a line that says what they are of."""

    def __init__(self, directory: Path, config: BenchmarkConfig, studies: Studies):
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / RESULTS
        plain = config_to_dict(config)
        # Methods and seeds may be added to a benchmark; everything else would change the cells that are there.
        rest = {key: value for key, value in plain.items() if key not in ("methods", "seeds")}
        head = {"benchmark": tree_digest([np.asarray(leaf) for leaf in studies.table], rest)}
        digests = {encoder: tree_digest([features], {}) for encoder, features in studies.features.items()}
        self._features = {method.name: digests[encoder_of(method, config)] for method in config.methods}
        self.done: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._models = {method["name"]: method for method in plain["methods"]}
        if not self._path.exists():
            self._path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        lines = self._path.read_text(encoding="utf-8").splitlines()
        if json.loads(lines[0]) != head:
            raise CheckpointError(
                f"{self._path}: has results of another config, or of other data. Name another directory."
            )
        for line in lines[1:]:
            try:
                cell = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            name = cell["method"]["name"]
            if cell["method"] == self._models.get(name) and cell["features"] == self._features[name]:
                self.done[cell["fold"], cell["method"]["name"], cell["seed"]] = cell

    def add(self, key: tuple[str, str, int], result: dict[str, Any]) -> None:
        """Appends a cell."""
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
