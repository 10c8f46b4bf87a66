"""Calibration: in bins of equal size, what a model said beside what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_BINS = 10


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Mean answer and mean truth of the rows of one bin; of several classes, the likeliest one's chance and how often it
    was right.
    """

    said: float
    happened: float
    rows: int


def calibration(truth: Any, outputs: Any) -> tuple[CalibrationBin, ...]:
    """At most ten bins in order of the answers, as many rows in each; equal answers stay together.

    >>> calibration([0, 1, 1, 1], [0.2, 0.2, 0.9, 0.9])
    (CalibrationBin(said=0.2, happened=0.5, rows=2), CalibrationBin(said=0.9, happened=1.0, rows=2))
    """
    import numpy as np

    known, answered = np.asarray(truth, np.float64), np.asarray(outputs, np.float64)
    if answered.ndim == 2:
        known, answered = (answered.argmax(axis=1) == known).astype(np.float64), answered.max(axis=1)
    if not len(known):
        return ()
    edges = np.unique(np.quantile(answered, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, answered, side="left")
    return tuple(
        CalibrationBin(float(answered[here].mean()), float(known[here].mean()), int(here.sum()))
        for here in (bins == one for one in np.unique(bins))
    )
