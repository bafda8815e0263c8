"""The results of an evaluation as frozen values, which can be written as JSON."""

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
        accuracy: Mean over users; ties count one half.
        log_loss: Mean over users, in nats.
        brier: Brier score, mean over users.
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
        name: Name of the control.
        accuracy: Mean over the users for whom the control exists.
        difference: Accuracy of the control minus the model's own zero-shot accuracy, paired by user; of shuffled
            users, minus that on the same shuffled queries.
        expectation: The expected result, in words.
    """

    name: str
    accuracy: Interval
    difference: Interval
    expectation: str


@dataclass(frozen=True)
class LabelSensitivity:
    """Whether the model reads the labels: flipping all labels of a context should reverse what the context changed.

    Attributes:
        changed: Number of queries for which K shots predict another response than zero shots.
        queries: Number of all queries.
        flip_rate: Share of `changed` for which flipped labels change the prediction again; NaN for none.
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
    """Users of one source or group with at least `shots` context pairs.

    Attributes:
        name: Source or group.
        users: Number of users.
        zero_shot, accuracy: Accuracy of the model at 0 and at `shots` shots.
        baselines: Accuracy of each other method at `shots` shots.
        gains: Accuracy of the model minus that of each other method, paired by user.
    """

    name: str
    users: int
    zero_shot: Interval
    accuracy: Interval
    baselines: dict[str, Interval]
    gains: dict[str, Interval]


@dataclass(frozen=True)
class CertaintyRow:
    """The model where it is at least so sure.

    Attributes:
        certainty: Least probability that the model gives to the response it predicts.
        coverage: Share of the queries for which it does.
        accuracy: Accuracy on these queries, of the users who have any.
        with_general: Accuracy on all queries, if for the others the prediction without any pair is kept.
    """

    certainty: float
    coverage: float
    accuracy: Interval
    with_general: Interval


@dataclass(frozen=True)
class PickRow:
    """Best-of-n: the candidates that a method picks, judged by the user's true utility.

    Attributes:
        picker: Name of the method.
        winrate: Win rate against a random candidate, ties one half; mean over users.
        regret: Utility lost against the best candidate, in nats; mean over users.
    """

    picker: str
    winrate: Interval
    regret: Interval


@dataclass(frozen=True)
class Report:
    """The result of `evaluate`. All accuracies are on pairs that the model did not read.

    Attributes:
        users: Number of users with at least one query.
        left_out: Number of users without, who have too few pairs that share no text.
        full_context: For each K, the number of users with at least K context pairs. The others use all they have.
        shots: The numbers of shots.
        control_shots: K of the controls, label sensitivity, sources, groups, reliability, certainty and best-of-n.
        curve: Every method at every K.
        controls: The controls.
        label_sensitivity: Whether the model reads the labels.
        paired: The model against each other method at every K.
        sources: One row per source, of users with at least `control_shots` context pairs.
        groups: One row per group, of the same users.
        worst_group: The group with the lowest accuracy, among groups with at least 5 users; None if there are fewer
            than two groups.
        reliability: (confidence, frequency, weight) of each bin of the model.
        certainty: Accuracy against coverage of the model.
        picks: Best-of-n; empty if no true utility is known.
        provenance: Config, seeds and versions.
        warnings: What a reader must know before the numbers, for example that the reward was trained on these people.
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
    certainty: tuple[CertaintyRow, ...]
    picks: tuple[PickRow, ...]
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def row(self, method: str, shots: int) -> CurveRow:
        """Returns the row of a method at a number of shots; raises `KeyError` if there is none."""
        for row in self.curve:
            if (row.method, row.shots) == (method, shots):
                return row
        raise KeyError((method, shots))

    def to_json(self) -> str:
        """Returns strict JSON, with null for NaN and [mean, low, high] for intervals."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(key): plain(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return json.dumps(plain(dataclasses.asdict(self)), indent=2, allow_nan=False) + "\n"
