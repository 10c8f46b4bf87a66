"""`PerformanceReference`: what a version did on its held-out rows, and what lets its performance be estimated without labels.

Numbers only, no rows: metrics with each day left out, the chances behind answers, small trees. It is fitted once, from
predictions on rows that the model was not trained on, and lies beside the version's drift profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mainspring.domain.block_interval import LeftOut, inflation, leave_out, open_scale
from mainspring.domain.metric import METRICS, Task
from mainspring.domain.scoring import score
from mainspring.performance.booster import (
    LEAST_ROWS,
    Columns,
    corrected,
    fit_correction,
    fit_losses,
    logits,
    losses,
    together,
)
from mainspring.performance.chances import Chances, fit_chances
from mainspring.performance.expected import Errors
from mainspring.performance.row_estimates import RowEstimates, joined_estimates
from mainspring.performance.whole_days import by_block

MOST_ROWS = 200_000
"""Of more held-out rows so many, evenly spread, are looked at."""
LEAST_DAY_ROWS = 30
"""Of a day with fewer rows the metric is not taken for itself."""
MOST_SLICES = 50
"""Of a column with more values those with the most rows."""
_FOLDS = 5
NO_TIMES = "held-out rows have no times: how days differ from each other is not known, and bands are too narrow"


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that the model was not trained on: labels, answers, the day of each (`blocks`), slices' and features' columns.

    `timed`: blocks are days; else they are groups of rows.
    """

    truth: Any
    outputs: Any
    blocks: Any
    slices: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = True


@dataclass(frozen=True, slots=True)
class SliceReference:
    """A metric in one slice: altogether, without each day, and on each day (None: too few rows, or not defined)."""

    slice: str
    left_out: LeftOut
    daily: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far what was realised on held-out days lay from what had been estimated for them, beyond chance, on the open scale.

    `shared` is the standard deviation of what days have in common (an estimate learnt from few rows), `daily` of what each has
    for itself; `inflation` is how much more a mean of days varies because neighbours resemble each other.
    """

    shared: float
    daily: float
    inflation: float
    days: int


@dataclass(frozen=True, slots=True)
class Estimator:
    """What makes estimates of answers. `trees` are XGBoost's own bytes: of two classes one correction, of values absolute and
    squared losses as shares of their `means`. Of values, labels lie about a line over what was said (`slope`, `base`), and
    `share` is the part of the squared error that is left about it."""

    chances: Chances = field(default_factory=Chances)
    trees: dict[str, bytes] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PerformanceReference:
    """See the module. `whole` is fitted on all rows, each of `others` without a fifth of the days: how far they are apart on rows
    that are asked about says how well these rows are known."""

    task: Task
    rows: int
    days: tuple[str, ...]
    timed: bool
    scores: tuple[SliceReference, ...]
    deviations: dict[str, Deviation]
    columns: Columns = field(default_factory=Columns)
    whole: Estimator = field(default_factory=Estimator)
    others: tuple[Estimator, ...] = ()
    findings: tuple[str, ...] = ()
    blocks: tuple[float, ...] = ()

    @property
    def estimates(self) -> bool:
        """Whether anything can be estimated without labels."""
        return bool(self.whole.chances.curves or self.whole.means)

    def of(self, metric: str, slice_: str = "") -> SliceReference | None:
        """A metric in a slice, None where it was not taken."""
        found = (one for one in self.scores if one.slice == slice_ and one.left_out.metric == metric)
        return next(found, None)


def metrics_of(task: Task) -> list[str]:
    """The task's metrics by name."""
    return [one.name for one in METRICS.values() if task in one.tasks]


def slices_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of each slice `column=value` as places, of a column those with the most rows.

    >>> sorted(slices_of({"city": ["a", "b", "a"]}))
    ['city=a', 'city=b']
    """
    import numpy as np

    found: dict[str, Any] = {}
    for column, values in columns.items():
        names, of_row, counts = np.unique(np.asarray(values, str), return_inverse=True, return_counts=True)
        order = np.argsort(of_row, kind="stable")
        places = np.split(order, np.cumsum(counts)[:-1])
        for place in np.argsort(-counts, kind="stable")[:MOST_SLICES]:
            found[f"{column}={names[place]}"] = places[place]
    return found


def fit_reference(rows: HeldOutRows, task: Task, metric: str, columns: Columns) -> PerformanceReference:
    """Fit from held-out rows; `metric` is the gate's, the only one that slices have.

    What cannot be fitted is a finding, never an error.
    """
    import numpy as np

    rows = _thinned(rows)
    truth, outputs = np.asarray(rows.truth, np.float64), np.asarray(rows.outputs, np.float64)
    days, of_row = np.unique(np.asarray(rows.blocks), return_inverse=True)
    findings = [] if rows.timed else [NO_TIMES]
    by_days = by_block(METRICS[metric], truth, outputs, np.asarray(rows.blocks)) if rows.timed else {}
    blocks = tuple(by_days.values())
    scores = [_scores("", name, truth, outputs, of_row, len(days)) for name in metrics_of(task)] if len(truth) else []
    for name, here in slices_of(rows.slices).items():
        scores.append(_scores(name, metric, truth[here], outputs[here], of_row[here], len(days)))
    if len(truth) < LEAST_DAY_ROWS:
        findings.append(f"{len(truth)} held-out rows: performance cannot be estimated before labels come")
        return PerformanceReference(
            task,
            len(truth),
            _texts(days),
            rows.timed,
            tuple(scores),
            {},
            columns=columns,
            findings=tuple(findings),
            blocks=blocks,
        )
    matrix = columns.matrix(rows.values, _first(outputs)) if task != "multiclass" else None
    deviations: dict[str, Deviation] = {}
    others: tuple[Estimator, ...] = ()
    if len(days) > 1:
        folds = of_row * min(_FOLDS, len(days)) // len(days)
        crossed, others, better = _crossed(task, truth, outputs, matrix, folds, of_row)
        whole = _fitted(task, truth, outputs, matrix if better else None)
        deviations = _deviations(metrics_of(task), truth, outputs, crossed, of_row, len(days))
    else:
        whole = _fitted(task, truth, outputs, None)
        findings.append("held-out rows are of one day: how days differ is not known, and intervals are too narrow")
    return PerformanceReference(
        task,
        len(truth),
        _texts(days),
        rows.timed,
        tuple(scores),
        deviations,
        columns,
        whole,
        others,
        tuple(findings),
        blocks,
    )


def estimate_rows(reference: PerformanceReference, outputs: Any, values: Mapping[str, Any]) -> RowEstimates:
    """What is to be expected of each row, from what was said [rows] or [rows, classes] and the features' columns."""
    import numpy as np

    said = np.asarray(outputs, np.float64)
    matrix = together(reference.columns.matrix(values, _first(said))) if reference.whole.trees else None
    others = tuple(_applied(one, reference.task, said, matrix) for one in reference.others)
    return replace(_applied(reference.whole, reference.task, said, matrix), others=others)


def _fitted(task: Task, truth: Any, outputs: Any, matrix: Any) -> Estimator:
    """Without a matrix, or with few rows, from what was said alone."""
    import numpy as np

    learns = matrix is not None and len(truth) >= LEAST_ROWS
    matrix = together(matrix) if learns else None
    if task != "regression":
        chances = fit_chances(truth, outputs)
        trees = {}
        if task == "binary" and learns and chances.curves:
            trees["correction"] = fit_correction(matrix, truth, chances.of(outputs))
        return Estimator(chances, trees, {})
    absolute, squared = np.abs(truth - outputs), (truth - outputs) ** 2
    means = {"absolute": float(absolute.mean()), "squared": float(squared.mean())}
    trees = {}
    if learns and min(means.values()) > 0:
        trees = {
            "absolute": fit_losses(matrix, absolute / means["absolute"]),
            "squared": fit_losses(matrix, squared / means["squared"]),
        }
        relative = squared / means["squared"] / np.maximum(losses(trees["squared"], matrix), 1e-9)
    else:
        relative = squared / means["squared"] if means["squared"] > 0 else squared
    means["fourth"] = float(np.clip((relative**2).mean(), 1.0, 1e3))
    return Estimator(Chances(), trees, means | _line(truth, outputs))


def _line(truth: Any, outputs: Any) -> dict[str, float]:
    """The line about which labels lie, by least squares; it is flat where all that was said is one value."""
    import numpy as np

    middle, apart = float(outputs.mean()), outputs - outputs.mean()
    vary, squared = float((apart**2).mean()), float(((truth - outputs) ** 2).mean())
    slope = float((apart * truth).mean()) / vary if vary > 0 else 0.0
    base = float(truth.mean()) - slope * middle
    left = float(((truth - base - slope * outputs) ** 2).mean())
    # Never more than the squared error, of which it is a part, but for the last bits.
    return {"slope": slope, "base": base, "share": float(np.clip(left / squared, 0.0, 1.0)) if squared > 0 else 0.0}


def _applied(estimator: Estimator, task: Task, outputs: Any, matrix: Any) -> RowEstimates:
    import numpy as np

    if task != "regression":
        chances = estimator.chances.of(outputs)
        if "correction" in estimator.trees:
            chances = corrected(estimator.trees["correction"], matrix, chances)
        return RowEstimates(outputs, chances)
    means, ones = estimator.means, np.ones(len(outputs))
    sizes = {
        name: means.get(name, 0.0) * (losses(estimator.trees[name], matrix) if name in estimator.trees else ones)
        for name in ("absolute", "squared")
    }
    errors = Errors(**sizes)
    if "slope" in means:
        errors = replace(errors, centre=means["base"] + means["slope"] * outputs, noise=means["share"] * errors.squared)
    return RowEstimates(outputs, None, errors, means.get("fourth", 3.0))


def _crossed(
    task: Task, truth: Any, outputs: Any, matrix: Any, folds: Any, days: Any
) -> tuple[RowEstimates, tuple[Estimator, ...], bool]:
    """Each fold's estimates by what was fitted on the others, those estimators, and whether features made them better.

    They have to on the mean of days by more than its standard error: what is learnt from features is one more thing that can
    go wrong on rows unlike these.
    """
    import numpy as np

    with_features = _by_fold(task, truth, outputs, matrix, folds)
    if task != "binary" or matrix is None:
        return *with_features, True
    without = _by_fold(task, truth, outputs, None, folds)
    sign = 2 * truth - 1
    gains = _log_chance(sign * logits(with_features[0].chances)) - _log_chance(sign * logits(without[0].chances))
    daily = np.bincount(days, weights=gains) / np.bincount(days)
    better = len(daily) > 2 and bool(daily.mean() > daily.std(ddof=1) / len(daily) ** 0.5)
    return (*with_features, True) if better else (*without, False)


def _log_chance(logit: Any) -> Any:
    import numpy as np

    return -np.logaddexp(0.0, -logit)


def _by_fold(
    task: Task, truth: Any, outputs: Any, matrix: Any, folds: Any
) -> tuple[RowEstimates, tuple[Estimator, ...]]:
    import numpy as np

    places = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    found, estimators = [], []
    for here in places:
        rest = np.setdiff1d(np.arange(len(truth)), here, assume_unique=True)
        estimators.append(_fitted(task, truth[rest], outputs[rest], None if matrix is None else matrix[rest]))
        found.append(_applied(estimators[-1], task, outputs[here], None if matrix is None else matrix[here]))
    joined, back = joined_estimates(found), np.argsort(np.concatenate(places))
    return replace(joined.at(back), fourth=float(np.mean([one.fourth for one in found]))), tuple(estimators)


def _deviations(
    metrics: Sequence[str], truth: Any, outputs: Any, estimates: RowEstimates, days: Any, count: int
) -> dict[str, Deviation]:
    import numpy as np

    apart: dict[str, list[float]] = {name: [] for name in metrics}
    chance: dict[str, list[float]] = {name: [] for name in metrics}
    for day in range(count):
        here = np.flatnonzero(days == day)
        if len(here) < LEAST_DAY_ROWS:
            continue
        for name, found in estimates.expected(metrics, here).items():
            real = score(name, truth[here], outputs[here])
            if np.isfinite(real):
                apart[name].append(open_scale(name, real) - open_scale(name, found.value))
                chance[name].append(found.error**2)
    return {name: _deviation(np.array(apart[name]), np.array(chance[name])) for name in metrics if len(apart[name]) > 1}


def _deviation(apart: Any, chance: Any) -> Deviation:
    days, by_chance = len(apart), float(chance.mean())
    shared = max(float(apart.mean()) ** 2 - by_chance / days, 0.0)
    daily = max(float(apart.var(ddof=1)) - by_chance, 0.0)
    return Deviation(shared**0.5, daily**0.5, inflation(apart), days)


def _scores(name: str, metric: str, truth: Any, outputs: Any, days: Any, count: int) -> SliceReference:
    import numpy as np

    daily: list[float | None] = [None] * count
    order = np.argsort(days, kind="stable")
    for day, here in zip(np.unique(days), np.split(order, np.flatnonzero(np.diff(days[order])) + 1), strict=True):
        if len(here) >= LEAST_DAY_ROWS:
            value = score(metric, truth[here], outputs[here])
            daily[int(day)] = value if np.isfinite(value) else None
    return SliceReference(name, leave_out(metric, truth, outputs, days), tuple(daily))


def _thinned(rows: HeldOutRows) -> HeldOutRows:
    import numpy as np

    count = len(rows.truth)
    if count <= MOST_ROWS:
        return rows
    taken = np.linspace(0, count - 1, MOST_ROWS).astype(int)
    parts = {
        name: {key: np.asarray(one)[taken] for key, one in getattr(rows, name).items()} for name in ("slices", "values")
    }
    return HeldOutRows(
        np.asarray(rows.truth)[taken],
        np.asarray(rows.outputs)[taken],
        np.asarray(rows.blocks)[taken],
        **parts,
        timed=rows.timed,
    )


def _first(outputs: Any) -> Any:
    return outputs if outputs.ndim == 1 else outputs.max(axis=1)


def _texts(days: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in days)
