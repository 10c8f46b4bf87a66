"""The gate: candidate and champion on the same newest window that neither was trained on.

Pure functions over numbers; who trained what and where it is written lives elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainspring.domain.metric import METRICS, Estimate
from mainspring.domain.scoring import estimate, estimate_gain, score
from mainspring.settings.project import GateSettings, ProjectSettings


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The gate's metric on the rows of one value of a column. `judged`: large enough for the floor."""

    column: str
    value: str
    rows: int
    candidate: float
    champion: float | None
    judged: bool
    passed: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the gate saw and what it decided; `champion` fields are empty for the first model.

    `base_rate` is the metric of the constant answer, `training` the same metrics on the training rows.
    """

    passed: bool
    reason: str
    metric: str
    candidate: dict[str, Estimate]
    champion: dict[str, Estimate] = field(default_factory=dict)
    champion_version: str = ""
    gain: Estimate | None = None
    base_rate: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    slices: tuple[SliceScore, ...] = ()
    own: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldOut:
    """The gate's rows: truth, the answers of both models, the block (day) of each row, and the slices' columns."""

    truth: Any
    candidate: Any
    blocks: Any
    champion: Any = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def judge(
    rows: HeldOut,
    settings: ProjectSettings,
    *,
    champion_version: str = "",
    training: Mapping[str, float] | None = None,
    own: Mapping[str, float] | None = None,
) -> Evaluation:
    """Compare on every metric of the task, decide by the gate's."""
    metrics = [metric.name for metric in METRICS.values() if settings.task in metric.tasks]
    candidate = {name: estimate(name, rows.truth, rows.candidate, rows.blocks, seed=settings.seed) for name in metrics}
    champion: dict[str, Estimate] = {}
    gain = None
    if rows.champion is not None:
        champion = {
            name: estimate(name, rows.truth, rows.champion, rows.blocks, seed=settings.seed) for name in metrics
        }
        gain = estimate_gain(
            settings.metric.name,
            rows.truth,
            rows.candidate,
            rows.champion,
            rows.blocks,
            higher_is_better=settings.metric.higher_is_better,
            seed=settings.seed,
        )
    base = base_rate(settings, rows.truth, metrics)
    slices = tuple(_slices(rows, settings))
    passed, reason = _verdict(settings, candidate, champion, gain, base, slices, champion_version)
    return Evaluation(
        passed,
        reason,
        settings.metric.name,
        candidate,
        champion,
        champion_version,
        gain,
        base,
        dict(training or {}),
        slices,
        dict(own or {}),
    )


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
            ours = score(metric.name, known[here], candidate[here])
            theirs = None if rows.champion is None else score(metric.name, known[here], np.asarray(rows.champion)[here])
            judged = bool(here.sum() >= gate.slice_min_rows) and theirs is not None
            # A slice in which the metric is not defined (one class only) cannot fail.
            lost = judged and theirs is not None and metric.gain(ours, theirs) < -gate.slice_max_loss
            found.append(SliceScore(column, str(value), int(here.sum()), ours, theirs, judged, not lost))
    return found


def _verdict(
    settings: ProjectSettings,
    candidate: Mapping[str, Estimate],
    champion: Mapping[str, Estimate],
    gain: Estimate | None,
    base: Mapping[str, float],
    slices: Sequence[SliceScore],
    version: str,
) -> tuple[bool, str]:
    metric, gate = settings.metric, settings.gate
    ours = candidate[metric.name].value
    floor, name = _floor(gate, base[metric.name])
    if not metric.better(ours, floor):
        return False, f"{metric.name} {ours:.4f} is not better than {name} {floor:.4f}"
    lost = [one for one in slices if not one.passed]
    if lost:
        texts = [f"{one.column}={one.value}: {one.candidate:.4f} against {one.champion:.4f}" for one in lost]
        return False, f"{metric.name} lost more than {gate.slice_max_loss:g} in {', '.join(texts)}"
    if gain is None:
        return True, f"{metric.name} {ours:.4f} is better than {name} {floor:.4f}; there is no champion to compare with"
    theirs = champion[metric.name].value
    span = "" if gain.low is None else f", {gain.confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f}"
    text = f"{metric.name} {ours:.4f} against {theirs:.4f} of version {version}: {gain.value:+.4f}{span}"
    if gain.value > gate.min_gain:
        return True, text
    return False, f"{text}; more than {gate.min_gain:+.4f} is asked for"


def _floor(gate: GateSettings, base: float) -> tuple[float, str]:
    return (base, "the base rate's") if gate.floor is None else (gate.floor, "gate.floor")
