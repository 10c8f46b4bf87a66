"""Scores: every metric of `domain.metric` from answers and truth, weighted, and its interval over blocks of time.

`outputs` is [rows] (the positive class' probability, or a value) or [rows, classes]; `truth` is 0/1, class positions or
values. NumPy is imported when a score is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainspring.domain.metric import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_SMALLEST = 1e-15
_BINS = 10


def score(metric: str, truth: Any, outputs: Any, weights: Any = None) -> float:
    """One metric's value; NaN where it is not defined (an AUC of one class, no rows).

    >>> score("auc", [0, 1, 0, 1], [0.1, 0.9, 0.4, 0.4])
    0.875
    >>> score("rmse", [1.0, 3.0], [1.0, 1.0])
    1.4142135623730951
    """
    import numpy as np

    known, answered = np.asarray(truth, np.float64), np.asarray(outputs, np.float64)
    weighed = np.ones(len(known)) if weights is None else np.asarray(weights, np.float64)
    if not len(known) or weighed.sum() <= 0:
        return float("nan")
    return float(_SCORES[metric](known, answered, weighed))


def estimate(
    metric: str,
    truth: Any,
    outputs: Any,
    blocks: Any,
    *,
    seed: int = 7,
    repetitions: int = 200,
    confidence: float = 0.9,
) -> Estimate:
    """A metric with its percentile interval when whole blocks (days) are drawn again: rows of a day are not independent.

    With fewer than two blocks there is no interval.
    """
    import numpy as np

    known, answered = np.asarray(truth), np.asarray(outputs)
    value = score(metric, known, answered)
    names, of_row = np.unique(np.asarray(blocks), return_inverse=True)
    if len(names) < 2:
        return Estimate(value, rows=len(known), blocks=len(names), confidence=confidence)
    draws = _draws(len(names), repetitions, seed)
    low, high = _ends(weighted(metric, known, answered, of_row, draws), confidence)
    return Estimate(value, low, high, len(known), len(names), confidence)


def estimate_gain(
    metric: str,
    truth: Any,
    new: Any,
    old: Any,
    blocks: Any,
    *,
    higher_is_better: bool,
    seed: int = 7,
    repetitions: int = 200,
    confidence: float = 0.9,
) -> Estimate:
    """How much better `new` answers than `old` on the same rows, the same blocks drawn for both; positive is better."""
    import numpy as np

    known, left, right = np.asarray(truth), np.asarray(new), np.asarray(old)
    sign = 1.0 if higher_is_better else -1.0
    value = sign * (score(metric, known, left) - score(metric, known, right))
    names, of_row = np.unique(np.asarray(blocks), return_inverse=True)
    if len(names) < 2:
        return Estimate(value, rows=len(known), blocks=len(names), confidence=confidence)
    draws = _draws(len(names), repetitions, seed)
    ours, theirs = (weighted(metric, known, one, of_row, draws) for one in (left, right))
    low, high = _ends([sign * (one - other) for one, other in zip(ours, theirs, strict=True)], confidence)
    return Estimate(value, low, high, len(known), len(names), confidence)


def weighted(metric: str, truth: Any, outputs: Any, of_row: Any, draws: Any) -> list[float]:
    """The metric for each of `draws` [draws, blocks], in which a block's rows count so often; `of_row` [rows] is each row's block.

    Rows are put in order once: sorting what is sorted costs next to nothing.

    >>> import numpy as np
    >>> weighted("mae", np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0, 1, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    [1.0, 2.5]
    """
    import numpy as np

    if outputs.ndim == 1:
        order = np.argsort(outputs, kind="stable")
        truth, outputs, of_row = truth[order], outputs[order], of_row[order]
    return [score(metric, truth, outputs, weights[of_row]) for weights in draws]


def _draws(blocks: int, repetitions: int, seed: int) -> Any:
    import numpy as np

    generator = np.random.default_rng(seed)
    return generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=repetitions).astype(np.float64)


def _ends(drawn: list[float], confidence: float) -> tuple[float | None, float | None]:
    import numpy as np

    values = np.array(drawn)
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _auc(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    import numpy as np

    order = np.argsort(outputs, kind="stable")
    values, positive = outputs[order], (weights * truth)[order]
    negative = (weights * (1 - truth))[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    of_positive, of_negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(of_negative) - of_negative
    pairs = positive.sum() * negative.sum()
    return float((of_positive * (below + of_negative / 2)).sum() / pairs) if pairs else float("nan")


def _average_precision(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    import numpy as np

    order = np.argsort(-outputs, kind="stable")
    values, positive, weighed = outputs[order], (weights * truth)[order], weights[order]
    if positive.sum() <= 0:
        return float("nan")
    ends = np.flatnonzero(np.r_[values[1:] != values[:-1], True])
    found, shown = np.cumsum(positive)[ends], np.cumsum(weighed)[ends]
    precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
    return float((np.diff(np.r_[0.0, found]) * precision).sum() / found[-1])


def _brier(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    return _mean((outputs - truth) ** 2, weights)


def _log_loss(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    import numpy as np

    given = outputs[np.arange(len(truth)), truth.astype(int)] if outputs.ndim == 2 else None
    chance = np.where(truth == 1, outputs, 1 - outputs) if given is None else given
    return _mean(-np.log(np.clip(chance, _SMALLEST, 1.0)), weights)


def _decided(outputs: Numbers) -> Any:
    return outputs.argmax(axis=1) if outputs.ndim == 2 else outputs >= 0.5


def _accuracy(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    return _mean((_decided(outputs) == truth).astype(float), weights)


def _macro_f1(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    import numpy as np

    decided = _decided(outputs)
    scores = []
    for one in np.unique(truth):
        right = weights[(decided == one) & (truth == one)].sum()
        either = weights[decided == one].sum() + weights[truth == one].sum()
        scores.append(2 * right / either if either else 0.0)
    return float(np.mean(scores))


def _calibration_error(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    """Expected calibration error over ten bins of equal mass; of several classes, of the one that was decided for."""
    import numpy as np

    if outputs.ndim == 2:
        truth, outputs = (_decided(outputs) == truth).astype(float), outputs.max(axis=1)
    total = 0.0
    for rows in np.array_split(np.argsort(outputs, kind="stable"), _BINS):
        mass = weights[rows].sum()
        if mass > 0:
            total += abs(float((weights[rows] * (truth[rows] - outputs[rows])).sum()))
    return total / float(weights.sum())


def _rmse(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    return float(_mean((outputs - truth) ** 2, weights) ** 0.5)


def _mae(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    return _mean(abs(outputs - truth), weights)


def _r2(truth: Numbers, outputs: Numbers, weights: Numbers) -> float:
    centre = _mean(truth, weights)
    spread = _mean((truth - centre) ** 2, weights)
    return 1 - _mean((outputs - truth) ** 2, weights) / spread if spread else float("nan")


def _mean(values: Numbers, weights: Numbers) -> float:
    return float((values * weights).sum() / weights.sum())


_SCORES: dict[str, Callable[[Numbers, Numbers, Numbers], float]] = {
    "auc": _auc,
    "average_precision": _average_precision,
    "brier": _brier,
    "calibration_error": _calibration_error,
    "log_loss": _log_loss,
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
