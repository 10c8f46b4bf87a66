"""The gate: candidate and champion on the same newest window that neither was trained on.

Pure functions over numbers; who trained what and where it is written lives elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mainspring.domain.errors import ConfigError
from mainspring.domain.metric import METRICS, Estimate
from mainspring.domain.scoring import estimate, estimate_gain, score
from mainspring.pipeline.calibration import CalibrationBin, calibration
from mainspring.settings.project import GateSettings, ProjectSettings


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The gate's metric on the rows of one value of a column; None where it is not defined (rows of one class only).

    `judged`: large enough for its floors.
    """

    column: str
    value: str
    rows: int
    candidate: float | None
    champion: float | None
    judged: bool
    passed: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the gate saw and what it decided; `champion` fields are empty for the first model.

    `base_rate` is the metric of the constant answer, `training` the same metrics on the training rows, `own` what the
    project's `evaluate` found. Metrics that are not defined on these rows are left out. `champion_build` is `shipped`,
    or `evaluated` where what ships was trained on these very rows.
    """

    passed: bool
    reason: str
    metric: str
    candidate: dict[str, Estimate]
    champion: dict[str, Estimate] = field(default_factory=dict)
    champion_version: str = ""
    champion_build: str = ""
    gain: Estimate | None = None
    base_rate: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    slices: tuple[SliceScore, ...] = ()
    own: dict[str, float] = field(default_factory=dict)
    champion_own: dict[str, float] = field(default_factory=dict)
    calibration: tuple[CalibrationBin, ...] = ()
    champion_calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True)
class HeldOut:
    """The gate's rows: truth, the answers of both models, the block (day) of each row, and the slices' columns."""

    truth: Any
    candidate: Any
    blocks: Any
    champion: Any = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What is known of candidate and champion beside their answers: see the fields of the same names in `Evaluation`."""

    champion_version: str = ""
    champion_build: str = ""
    training: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    champion_own: Mapping[str, float] = field(default_factory=dict)


def judge(rows: HeldOut, settings: ProjectSettings, beside: Beside | None = None) -> Evaluation:
    """Compare on every metric of the task, decide by the gate's, or by the project's own number.

    Errors: `ConfigError` when `gate.own` names a number that the project's `evaluate` does not give.
    """
    beside = beside or Beside()
    metrics = [metric.name for metric in METRICS.values() if settings.task in metric.tasks]
    candidate = _estimates(metrics, rows, rows.candidate, settings.seed)
    champion = {} if rows.champion is None else _estimates(metrics, rows, rows.champion, settings.seed)
    base = {name: value for name, value in base_rate(settings, rows.truth, metrics).items() if math.isfinite(value)}
    found = Evaluation(
        False,
        "",
        settings.metric.name,
        candidate,
        champion,
        beside.champion_version,
        beside.champion_build,
        _gain(rows, settings, beside),
        base,
        {name: value for name, value in beside.training.items() if math.isfinite(value)},
        tuple(_slices(rows, settings)),
        dict(beside.own),
        dict(beside.champion_own),
        calibration(rows.truth, rows.candidate),
        () if rows.champion is None else calibration(rows.truth, rows.champion),
    )
    passed, reason = _verdict(settings, found)
    return replace(found, passed=passed, reason=reason)


def _estimates(metrics: Sequence[str], rows: HeldOut, outputs: Any, seed: int) -> dict[str, Estimate]:
    found = {name: estimate(name, rows.truth, outputs, rows.blocks, seed=seed) for name in metrics}
    return {name: one for name, one in found.items() if math.isfinite(one.value)}


def _gain(rows: HeldOut, settings: ProjectSettings, beside: Beside) -> Estimate | None:
    """How much better the candidate is, by the number that decides; None without a champion."""
    own = settings.gate.own
    if own is not None and own not in beside.own:
        raise ConfigError(
            f"gate.own is {own!r}, which the project's evaluate does not give",
            where="mainspring.yaml: gate.own",
            valid=", ".join(beside.own) or "a name that `evaluate(model, data)` in training.py returns",
        )
    if rows.champion is None:
        return None
    if own is not None:
        sign = 1.0 if settings.gate.own_higher_is_better else -1.0
        return Estimate(sign * (beside.own[own] - beside.champion_own[own]), rows=len(rows.truth))
    found = estimate_gain(
        settings.metric.name,
        rows.truth,
        rows.candidate,
        rows.champion,
        rows.blocks,
        higher_is_better=settings.metric.higher_is_better,
        seed=settings.seed,
    )
    return found if math.isfinite(found.value) else None


def base_rate(settings: ProjectSettings, truth: Any, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics of the best constant answer on these rows."""
    import numpy as np

    known = np.asarray(truth)
    if settings.task == "multiclass":
        shares = np.bincount(known.astype(int)) / len(known)
        constant: Any = np.tile(shares, (len(known), 1))
    else:
        constant = np.full(len(known), known.mean())
    return {name: score(name, known, constant) for name in metrics}


def _slices(rows: HeldOut, settings: ProjectSettings) -> list[SliceScore]:
    import numpy as np

    metric, gate = settings.metric, settings.gate
    known, candidate = np.asarray(rows.truth), np.asarray(rows.candidate)
    found = []
    for column in gate.slices:
        values = np.asarray([str(value) for value in rows.columns[column]])
        for value in np.unique(values):
            here = values == value
            ours = _defined(score(metric.name, known[here], candidate[here]))
            theirs = None
            if rows.champion is not None:
                theirs = _defined(score(metric.name, known[here], np.asarray(rows.champion)[here]))
            judged = bool(here.sum() >= gate.slice_min_rows) and ours is not None
            passed = not judged or ours is None or not _lost(ours, theirs, settings)
            found.append(SliceScore(column, str(value), int(here.sum()), ours, theirs, judged, passed))
    return found


def _lost(ours: float, theirs: float | None, settings: ProjectSettings) -> bool:
    metric, gate = settings.metric, settings.gate
    if gate.slice_floor is not None and not metric.better(ours, gate.slice_floor):
        return True
    return theirs is not None and metric.gain(ours, theirs) < -gate.slice_max_loss


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _verdict(settings: ProjectSettings, found: Evaluation) -> tuple[bool, str]:
    metric, gate = settings.metric, settings.gate
    if metric.name not in found.candidate:
        return False, f"{metric.name} is not defined on the held-out rows: all of them have the same label"
    ours = found.candidate[metric.name].value
    floor, name = _floor(gate, found.base_rate[metric.name])
    if not metric.better(ours, floor):
        return False, f"{metric.name} {ours:.4f} is not better than {name} {floor:.4f}"
    lost = [one for one in found.slices if not one.passed]
    if lost:
        return False, f"{metric.name} is too low in {', '.join(_slice_in_words(one, gate) for one in lost)}"
    if found.gain is None:
        return True, f"{metric.name} {ours:.4f} is better than {name} {floor:.4f}; there is no champion to compare with"
    gain, version = found.gain, found.champion_version
    decides, new, old = metric.name, ours, found.champion[metric.name].value
    if gate.own is not None:
        decides, new, old = gate.own, found.own[gate.own], found.champion_own[gate.own]
    span = "" if gain.low is None else f", {gain.confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f}"
    build = (
        ""
        if found.champion_build != "evaluated"
        else " as it was evaluated, for the one that ships has seen these rows"
    )
    text = f"{decides} {new:.4f} against {old:.4f} of version {version}{build}: {gain.value:+.4f}{span}"
    if gain.value > gate.min_gain:
        return True, text
    return False, f"{text}; more than {gate.min_gain:+.4f} is asked for"


def _slice_in_words(one: SliceScore, gate: GateSettings) -> str:
    against = f" against {one.champion:.4f}" if one.champion is not None else ""
    floor = f", floor {gate.slice_floor:g}" if gate.slice_floor is not None else ""
    return f"{one.column}={one.value}: {one.candidate:.4f}{against} (loss of {gate.slice_max_loss:g} allowed{floor})"


def _floor(gate: GateSettings, base: float) -> tuple[float, str]:
    return (base, "the base rate's") if gate.floor is None else (gate.floor, "gate.floor")
