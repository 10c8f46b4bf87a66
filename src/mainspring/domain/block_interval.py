"""Intervals from blocks of time by the jackknife: each block is left out once, and Student's t has a degree for each block but one.

Beside `domain.scoring.estimate`, which draws blocks again: with seven days a bootstrap's percentiles are too narrow (it knows
nothing of the few blocks), and a quantile of t is not. Metrics with a bound are compared on a scale without one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mainspring.domain.metric import Estimate
from mainspring.domain.scoring import score, weighted

_SHARES = {"auc", "accuracy", "average_precision", "macro_f1"}
_SQUEEZE = 1e-6
_MOST_CORRELATION = 0.8


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A metric's value, and its value without each block in turn (None: not defined without it), blocks in order.

    `rows` are those of each block.
    """

    metric: str
    value: float | None
    without: tuple[float | None, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """A value, with its standard error and the degrees of freedom of that; on its metric's open scale unless asked otherwise."""

    value: float
    error: float
    degrees: int


def open_scale(metric: str, value: Any) -> Any:
    """A metric's values where intervals are symmetric: logits of shares, logarithms of losses, others as they are.

    >>> open_scale("auc", 0.5), open_scale("rmse", 1.0), open_scale("r2", -1.0)
    (0.0, 0.0, -1.0)
    """
    import numpy as np

    if metric in _SHARES:
        inside = np.clip(value, _SQUEEZE, 1 - _SQUEEZE)
        found = np.log(inside / (1 - inside))
    elif metric == "r2":
        found = np.asarray(value, np.float64)
    else:
        found = np.log(np.maximum(value, _SQUEEZE))
    return float(found) if np.ndim(found) == 0 else found


def closed_scale(metric: str, value: float) -> float:
    """Back from `open_scale`.

    >>> round(closed_scale("auc", open_scale("auc", 0.7)), 6), round(closed_scale("mae", open_scale("mae", 3.0)), 6)
    (0.7, 3.0)
    """
    if metric in _SHARES:
        return 1 / (1 + math.exp(-min(max(value, -700.0), 700.0)))
    return value if metric == "r2" else math.exp(min(value, 700.0))


def leave_out(metric: str, truth: Any, outputs: Any, blocks: Any) -> LeftOut:
    """The metric, and the metric without each block. `blocks` [rows] names the blocks.

    >>> leave_out("mae", [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0, 1, 1]).without
    (1.5, 0.0)
    """
    import numpy as np

    known, answered = np.asarray(truth), np.asarray(outputs)
    names, of_row = np.unique(np.asarray(blocks), return_inverse=True)
    rows = tuple(np.bincount(of_row, minlength=len(names)).tolist())
    value = _defined(score(metric, known, answered))
    if len(names) < 2:
        return LeftOut(metric, value, (None,) * len(names), rows)
    found = weighted(metric, known, answered, of_row, 1.0 - np.eye(len(names)))
    return LeftOut(metric, value, tuple(_defined(one) for one in found), rows)


def spread(found: LeftOut, *, neighbours: bool = False, opened: bool = True) -> Spread | None:
    """The jackknife's standard error, on the open scale or (`opened` false) in the metric's own unit; None with fewer than two blocks, or where the metric is not defined.

    With `neighbours` it is as much larger as blocks that resemble the block before make it: by (1 + r) / (1 - r), r their
    correlation, where that is positive. Source: Efron and Stein, The jackknife estimate of variance (1981); block sizes may
    differ, as in Busing, Meijer and van der Leeden, Delete-m jackknife for unequal m (1999).
    """
    import numpy as np

    if found.value is None:
        return None
    kept = [(one, rows) for one, rows in zip(found.without, found.rows, strict=True) if one is not None and rows]
    if len(kept) < 2:
        return None
    whole, left = found.value, np.array([one for one, _ in kept])
    if opened:
        whole, left = open_scale(found.metric, whole), open_scale(found.metric, left)
    of_rows = np.array([rows for _, rows in kept], np.float64)
    times = of_rows.sum() / of_rows
    pseudo = times * whole - (times - 1) * left
    centre = float((pseudo / times).sum())
    variance = float(((pseudo - centre) ** 2 / (times - 1)).mean())
    if neighbours:
        variance *= inflation(pseudo)
    return Spread(whole, math.sqrt(variance), len(kept) - 1)


def inflation(values: Any) -> float:
    """How much larger the variance of a mean is because neighbours resemble each other: (1 + r) / (1 - r), at least 1.

    Of few values the correlation comes out too small, by about 1/n, which is added.

    >>> round(inflation([1.0, -1.0] * 10), 3), inflation([0.0] * 5)
    (1.0, 1.0)
    """
    import numpy as np

    seen = np.asarray(values, np.float64)
    apart = seen - seen.mean()
    total = float((apart**2).sum())
    if len(seen) < 5 or total <= 0:
        return 1.0
    r = float((apart[1:] * apart[:-1]).sum()) / total + 1 / len(seen)
    r = min(max(r, 0.0), _MOST_CORRELATION)
    return (1 + r) / (1 - r)


def t_quantile(share: float, degrees: float) -> float:
    """Student's t.

    >>> round(t_quantile(0.95, 6), 3)
    1.943
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))


def t_above(t: float, degrees: float) -> float:
    """The chance that Student's t is larger.

    >>> round(t_above(1.943, 6), 3)
    0.05
    """
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))


def interval(found: LeftOut, *, confidence: float = 0.9, neighbours: bool = False) -> Estimate | None:
    """The metric with its interval; None where it is not defined, without ends where there is one block.

    >>> import numpy as np
    >>> days = np.repeat(np.arange(7), 50)
    >>> errors = np.random.default_rng(7).normal(size=350)
    >>> found = interval(leave_out("mae", errors, np.zeros(350), days))
    >>> found.low < found.value < found.high, found.blocks
    (True, 7)
    """
    if found.value is None:
        return None
    here = spread(found, neighbours=neighbours)
    rows, blocks = sum(found.rows), len(found.rows)
    if here is None:
        return Estimate(found.value, rows=rows, blocks=blocks, confidence=confidence)
    half = t_quantile((1 + confidence) / 2, here.degrees) * here.error
    ends = (closed_scale(found.metric, here.value - half), closed_scale(found.metric, here.value + half))
    return Estimate(found.value, *ends, rows, blocks, confidence)


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
