"""What a metric comes to on rows whose labels are not known yet, if what the model said still means what it meant.

Classes: each row's label is drawn from its chance, many times, and the metric is taken of each draw. The mean is what is to be
expected, calibration error included, which is never 0 on a few rows; the spread is what labels will differ from it by chance.
Values: means of the losses that are to be expected of each row.

Assumed: inputs may move (covariate shift), what follows from an input may not (no concept drift). Nothing here can see that it
did; labels can. Source of the idea: NannyML's CBPE and DLE; Guerrero and others, Garg and others, Leveraging unlabeled data to
predict out-of-distribution performance (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.domain.block_interval import open_scale
from mainspring.domain.scoring import score

DRAWS = 100
_FEWER = 20
"""Of estimators that knew less: only their differences are looked at, and these share their luck."""
MOST_ROWS = 50_000
"""Of more rows so many, evenly spread, are drawn for; the chance's share of the spread is then made smaller in proportion."""
_SMALLEST = 1e-15
_BINS = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """A metric that is to be expected of `rows`. On the metric's open scale: `error` is the standard deviation by chance alone,
    `doubt` the jackknife's standard error from estimators that knew fewer days; 0 without such."""

    value: float
    error: float
    rows: int
    doubt: float = 0.0


def of_classes(
    metrics: Sequence[str], outputs: Any, chances: Any, others: Sequence[Any] = (), *, seed: int = 7
) -> dict[str, Expected]:
    """By metric, from what was said and the chances [rows] or [rows, classes]; what is not defined is left out.

    `others` are chances by estimators that knew less.

    >>> found = of_classes(["accuracy"], [0.9] * 1000, [0.8] * 1000)["accuracy"]
    >>> abs(found.value - 0.8) < 0.01, found.rows
    (True, 1000)
    """
    import numpy as np

    said, chance = np.asarray(outputs, np.float64), np.asarray(chances, np.float64)
    rows = len(said)
    if not rows:
        return {}
    if rows > MOST_ROWS:
        taken = np.linspace(0, rows - 1, MOST_ROWS).astype(int)
        said, chance, others = said[taken], chance[taken], [one[taken] for one in others]
    shrink = (len(said) / rows) ** 0.5
    drawn = _binary if said.ndim == 1 else _several
    draws = drawn(metrics, said, chance, seed, DRAWS)
    fewer = [drawn(metrics, said, one, seed, _FEWER) for one in others]
    found = {}
    for name, values in draws.items():
        defined = values[np.isfinite(values)]
        if len(defined) > DRAWS // 2:
            error = float(np.std(open_scale(name, defined), ddof=1)) * shrink
            found[name] = Expected(float(defined.mean()), error, rows, _doubt(name, [one[name] for one in fewer]))
    return found


def _doubt(metric: str, draws: Sequence[Any]) -> float:
    """The jackknife's standard error of a metric from its draws by each estimator that left a fold out, the same luck in all."""
    import numpy as np

    if len(draws) < 2:
        return 0.0
    middles = np.array([open_scale(metric, float(np.mean(one))) for one in draws])
    if not np.isfinite(middles).all():
        return 0.0
    return float(np.sqrt((len(draws) - 1) / len(draws) * ((middles - middles.mean()) ** 2).sum()))


def of_values(
    absolute: Any, squared: Any, others: Sequence[tuple[Any, Any]] = (), *, fourth: float = 3.0
) -> dict[str, Expected]:
    """Mean absolute and root mean squared error from each row's expected absolute and squared error [rows].

    `others` are the same two by estimators that knew less. `fourth` is how much larger the square of a squared error is than the square of its expectation, 3 of normal errors.

    >>> of_values([1.0, 3.0], [2.0, 16.0])["mae"].value
    2.0
    """
    import numpy as np

    size, square = np.asarray(absolute, np.float64), np.asarray(squared, np.float64)
    rows = len(size)
    if not rows or size.sum() <= 0 or square.sum() <= 0:
        return {}
    mean, mean_square = float(size.mean()), float(square.mean())
    # On logarithms a standard deviation is relative; of a root it is half of the square's.
    of_mean = float(np.sqrt(np.maximum(square - size**2, 0.0).sum())) / rows / mean
    of_square = float(np.sqrt((max(fourth - 1.0, 0.0) * square**2).sum())) / rows / mean_square
    doubts = (
        _doubt("mae", [one.mean() for one, _ in others]),
        _doubt("rmse", [np.sqrt(one.mean()) for _, one in others]),
    )
    return {
        "mae": Expected(mean, of_mean, rows, doubts[0]),
        "rmse": Expected(mean_square**0.5, of_square / 2, rows, doubts[1]),
    }


def _binary(metrics: Sequence[str], said: Any, chance: Any, seed: int, draws: int) -> dict[str, Any]:
    import numpy as np

    order = np.argsort(said, kind="stable")
    said, chance = said[order], chance[order]
    drawn = (np.random.default_rng(seed).random((draws, len(said)), np.float32) < chance).astype(np.float32)
    found = {}
    for name in metrics:
        if name in _LOSSES:
            without, having = _LOSSES[name](said)
            found[name] = (without.sum() + drawn @ (having - without).astype(np.float32)) / len(said)
        elif name == "auc":
            found[name] = _auc(drawn, said)
        elif name == "average_precision":
            found[name] = _average_precision(drawn, said)
        elif name == "calibration_error":
            ends = [rows[0] for rows in np.array_split(np.arange(len(said)), min(_BINS, len(said)))]
            apart = np.add.reduceat(drawn, ends, axis=1) - np.add.reduceat(said, ends)
            found[name] = np.abs(apart).sum(axis=1) / len(said)
        else:
            found[name] = np.array([score(name, labels, said) for labels in drawn])
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _auc(drawn: Any, said: Any) -> Any:
    """Of each draw of labels, from the ranks of what was said, which are the same in all of them."""
    import numpy as np

    _, place, count = np.unique(said, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    ranks = middle[place]
    # Ranks are centred: sums of large numbers would lose digits in single precision.
    positive = drawn.sum(axis=1, dtype=np.float64)
    total = (drawn @ (ranks - ranks.mean()).astype(np.float32)).astype(np.float64) + positive * ranks.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total - positive * (positive + 1) / 2) / (positive * (len(said) - positive))


def _average_precision(drawn: Any, said: Any) -> Any:
    """Of each draw, as `domain.scoring` has it: rows from the highest answer down, equal answers together."""
    import numpy as np

    down = said[::-1]
    ends = np.flatnonzero(np.r_[down[1:] != down[:-1], True])
    found = np.cumsum(drawn[:, ::-1], axis=1)[:, ends].astype(np.float64)
    gained = np.diff(found, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (gained * found / (ends + 1)).sum(axis=1) / found[:, -1]


def _several(metrics: Sequence[str], said: Any, chance: Any, seed: int, draws: int) -> dict[str, Any]:
    import numpy as np

    generator, ends = np.random.default_rng(seed), np.cumsum(chance, axis=1)
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(draws):
        labels = (generator.random((len(said), 1)) > ends[:, :-1]).sum(axis=1)
        for name in metrics:
            found[name].append(score(name, labels, said))
    return {name: np.array(values) for name, values in found.items()}


def _log_losses(said: Any) -> Any:
    import numpy as np

    inside = np.clip(said, _SMALLEST, 1.0)
    return -np.log(np.clip(1 - said, _SMALLEST, 1.0)), -np.log(inside)


def _brier_losses(said: Any) -> Any:
    return said**2, (1 - said) ** 2


def _hits(said: Any) -> Any:
    return (said < 0.5).astype(float), (said >= 0.5).astype(float)


_LOSSES: dict[str, Callable[[Any], Any]] = {"brier": _brier_losses, "log_loss": _log_losses, "accuracy": _hits}
"""Means over rows: what a row adds when its label is 0, and when it is 1."""
