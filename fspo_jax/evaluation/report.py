"""What an evaluation found: frozen values, and their JSON form."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from fspo_jax.metrics import Interval, WorstGroup


@dataclass(frozen=True)
class CurveRow:
    """One method at one number of shots, over all users.

    Attributes:
        method: `model`, or the name of a baseline or predictor.
        shots: K.
        accuracy: Mean over users, ties one half.
        log_loss: Nats, mean over users.
        brier: Mean over users.
        calibration_error: Expected calibration error over all queries.
        worst_decile: Mean accuracy of the worst tenth of users.
    """

    method: str
    shots: int
    accuracy: Interval
    log_loss: float
    brier: float
    calibration_error: float
    worst_decile: float


@dataclass(frozen=True)
class ControlRow:
    """An evaluation that should fail on purpose: see `evaluation.controls`.

    Attributes:
        name: Of the control.
        accuracy: Mean over the users for whom the control exists.
        difference: Accuracy of the control minus the model's own zero-shot accuracy, paired by user; of shuffled
            users, minus that on the same shuffled queries.
        expectation: What it shows when all is well.
    """

    name: str
    accuracy: Interval
    difference: Interval
    expectation: str


@dataclass(frozen=True)
class LabelSensitivity:
    """Does the model read the labels? Flipping every label of a context should reverse what the context changed.

    Attributes:
        changed: Queries whose predicted side differs between K shots and zero shots.
        queries: All queries.
        flip_rate: Share of `changed` for which the context with flipped labels predicts the other side; NaN for none.
    """

    changed: int
    queries: int
    flip_rate: float


@dataclass(frozen=True)
class PairedRow:
    """Accuracy of the model minus that of another method, paired by user."""

    method: str
    shots: int
    difference: Interval


@dataclass(frozen=True)
class GroupRow:
    """Users of one source or group who have as many context pairs as `shots`.

    Attributes:
        name: Source or group.
        users: Number of users.
        zero_shot, accuracy: The model at 0 and at `shots` shots.
        baselines: Accuracy of each other method at `shots` shots.
        gains: Model minus each other method, paired by user.
    """

    name: str
    users: int
    zero_shot: Interval
    accuracy: Interval
    baselines: dict[str, Interval]
    gains: dict[str, Interval]


@dataclass(frozen=True)
class PickRow:
    """Best-of-n: the candidate a picker takes, judged by the user's true utility.

    Attributes:
        picker: Which method picks.
        winrate: Against a uniformly drawn candidate, ties one half; mean over users.
        regret: Nats lost against the best candidate; mean over users.
    """

    picker: str
    winrate: Interval
    regret: Interval


@dataclass(frozen=True)
class Report:
    """What `evaluate` found; all accuracies are on pairs that the model was not given.

    Attributes:
        users: Users with at least one query.
        left_out: Users without: too few pairs that share no text.
        full_context: For each K, the users with at least K context pairs; the others enter with all they have.
        shots: The numbers of shots.
        control_shots: K of controls, label sensitivity, sources, groups, reliability and best-of-n.
        curve: Every method at every K.
        controls: At `control_shots`.
        label_sensitivity: At `control_shots`.
        paired: The model against each other method at every K.
        sources: One row a source, of users with `control_shots` context pairs.
        groups: One row a group, likewise.
        worst_group: The group with the lowest accuracy, of those with at least 5 such users; None below two groups.
        reliability: (confidence, frequency, weight) of each bin of the model.
        picks: Empty where no true utility is known.
        provenance: Config, seeds and versions.
        warnings: What a reader must know before the numbers, such as people that the reward was trained on.
    """

    users: int
    left_out: int
    full_context: dict[int, int]
    shots: tuple[int, ...]
    control_shots: int
    curve: tuple[CurveRow, ...]
    controls: tuple[ControlRow, ...]
    label_sensitivity: LabelSensitivity
    paired: tuple[PairedRow, ...]
    sources: tuple[GroupRow, ...]
    groups: tuple[GroupRow, ...]
    worst_group: WorstGroup | None
    reliability: tuple[tuple[float, float, float], ...]
    picks: tuple[PickRow, ...]
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def row(self, method: str, shots: int) -> CurveRow:
        """The row of the curve of one method at one number of shots; raises `KeyError`."""
        for row in self.curve:
            if (row.method, row.shots) == (method, shots):
                return row
        raise KeyError((method, shots))

    def to_json(self) -> str:
        """Strict JSON; NaN is written as null, intervals as [mean, low, high]."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(key): plain(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return json.dumps(plain(dataclasses.asdict(self)), indent=2, allow_nan=False) + "\n"
