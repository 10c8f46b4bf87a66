"""Many features at once: Benjamini-Hochberg, and the smallest level at which it rejects anything."""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.float64]]


def benjamini_hochberg(p_values: Numbers, rate: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of the hypotheses [m] are rejected, so that the expected share of false ones among them is at most `rate`.

    Benjamini & Hochberg 1995: the k smallest, for the largest k with `p_(k) <= k rate / m`. Where no feature drifts, this is
    the chance that any is named.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.8]), 0.05).tolist()
    [True, False, False, False]
    >>> benjamini_hochberg(np.array([0.01, 0.02, 0.03, 0.8]), 0.05).tolist()
    [True, True, True, False]
    """
    m = len(p_values)
    if not m:
        return np.zeros(0, np.bool_)
    ordered = np.sort(p_values)
    within = np.flatnonzero(ordered <= rate * np.arange(1, m + 1) / m)
    return p_values <= ordered[within[-1]] if len(within) else np.zeros(m, np.bool_)


def smallest_level(p_values: Numbers) -> Numbers:
    """Of each row of [..., m] the smallest rate at which Benjamini-Hochberg rejects anything: Simes' p-value.

    >>> round(float(smallest_level(np.array([0.01, 0.04, 0.03, 0.8]))), 6)
    0.04
    """
    m = p_values.shape[-1]
    levels: Numbers = (np.sort(p_values, axis=-1) * m / np.arange(1, m + 1)).min(axis=-1)
    return levels
