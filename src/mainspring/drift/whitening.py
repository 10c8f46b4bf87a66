"""Whitening: how unusual a window's change is, measured by how windows change anyway.

Belongs here: square-root shares, and `T = z' S^-1 z` for residuals z of them. A change along which days differ from each other
all the time weighs little; one that days never make weighs much, however small it is beside PSI 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]


def root_shares(counts: Counts) -> Numbers:
    """Square roots of smoothed shares [windows, groups]; their sampling variance is 1/(4 rows), whatever the share.

    >>> root_shares(np.array([[50, 50]])).round(3).tolist()
    [[0.707, 0.707]]
    """
    groups = counts.shape[-1]
    shares: Numbers = np.sqrt((counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + groups / 2))
    return shares


@dataclass(frozen=True, slots=True)
class Whitener:
    """The normal variation of a feature's residuals: directions [groups, groups], variances [groups], and the sampling
    variance of the windows that it was fitted on.
    """

    directions: Numbers
    variances: Numbers
    sampling: float

    def statistic(self, residuals: Numbers, rows: Numbers) -> Numbers:
        """T of each residual [windows, groups]; `rows` [windows] is how many rows each window has.

        A window of fewer rows than those of the reference has more sampling noise: its variances are larger by that much.
        """
        more = np.maximum(0.25 / np.maximum(rows, 1.0) - self.sampling, 0.0)
        along = residuals @ self.directions
        statistics: Numbers = (along**2 / (self.variances + more[..., None])).sum(axis=-1)
        return statistics


def fit_whitener(residuals: Numbers, rows: Numbers) -> Whitener:
    """The whitener of residuals [windows, groups] of windows with `rows` [windows] rows each.

    The covariance about zero is shrunk after Ledoit and Wolf (2004): with 30 windows and 12 groups the plain one is nearly
    singular. Groups are put on one scale before: else what restless groups vary by is taken for what quiet ones may. No direction varies less than independent rows would let it: a schedule that never changes gives a residual
    of zero, and one row more is no drift.
    """
    sampling = float(np.mean(0.25 / np.maximum(rows, 1.0)))
    spread = np.sqrt(np.maximum((residuals**2).mean(axis=0), sampling))
    covariance = spread[:, None] * shrunk_covariance(residuals / spread) * spread
    variances, directions = np.linalg.eigh(covariance)
    return Whitener(directions, np.maximum(variances, sampling), sampling)


def shrunk_covariance(values: Numbers) -> Numbers:
    """The covariance about zero of values [samples, dimensions], shrunk to a multiple of the identity (Ledoit & Wolf 2004).

    The same as scikit-learn's `ledoit_wolf(values, assume_centered=True)`, without two milliseconds of checks: a report
    fits hundreds.

    >>> shrunk_covariance(np.array([[1.0, 0.0], [0.0, 2.0]])).round(3).tolist()
    [[1.25, 0.0], [0.0, 1.25]]
    """
    samples, dimensions = values.shape
    covariance = values.T @ values / samples
    mean = float(np.trace(covariance)) / dimensions
    squared = float((covariance**2).sum())
    apart = (squared - dimensions * mean**2) / dimensions
    noise = (float(((values**2).sum(axis=1) ** 2).sum()) / samples - squared) / (dimensions * samples)
    shrinkage = 0.0 if noise <= 0 else min(noise, apart) / apart if apart > 0 else 1.0
    found: Numbers = (1.0 - shrinkage) * covariance + shrinkage * mean * np.eye(dimensions)
    return found


def cube_root_score(statistics: Numbers, normal: Numbers, groups: int) -> Numbers:
    """Statistics [...] as normal scores, by mean and spread of the cube roots of `normal` [windows], those without drift.

    The cube root of a chi-squared is nearly normal (Wilson & Hilferty 1931). Neither mean nor spread is taken for smaller than
    that of a chi-squared with a degree of freedom for each group. Scores order features of different spread; as a tail they are
    an extrapolation, so no rate is taken from them.
    """
    root, part = np.cbrt(normal), 2.0 / (9.0 * groups)
    mean = max(float(root.mean()), groups ** (1 / 3) * (1.0 - part))
    spread = max(float(root.std(ddof=1)) if len(root) > 1 else 0.0, groups ** (1 / 3) * float(np.sqrt(part)))
    scores: Numbers = (np.cbrt(statistics) - mean) / spread
    return scores


def statistic_at(score: float, normal: Numbers, groups: int) -> float:
    """The statistic that has this score: the inverse of `cube_root_score`.

    >>> normal = np.array([9.0, 11.0, 13.0])
    >>> round(statistic_at(float(cube_root_score(np.array(40.0), normal, 10)), normal, 10), 6)
    40.0
    """
    zero, one = (float(cube_root_score(np.array(value), normal, groups)) for value in (0.0, 1.0))
    return float(max((score - zero) / (one - zero), 0.0) ** 3)
