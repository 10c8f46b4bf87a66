"""What a feature's drift does to the predictions: the same rows asked again, with that feature as it used to be.

The rows of the window keep everything but one feature, whose values are moved to the reference's distribution by as little
as it takes: numbers keep their order (the value of the same rank), categories and what is missing stay where the
reference has as many of them. What the model then answers otherwise is due to that feature's drift alone.

[1] C. Villani, Optimal Transport, 2009, ch. 1: the monotone and the maximal coupling of two distributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Numbers:
    """A reference distribution of numbers: `masses[i]` rows lie in (edges[i-1], edges[i]], and `missing` have no value."""

    edges: np.ndarray[Any, np.dtype[np.float64]]
    masses: np.ndarray[Any, np.dtype[np.float64]]
    missing: float = 0.0


def numbers_as_before(values: Any, reference: Numbers, *, seed: int) -> Any:
    """Numbers (float64 [rows], NaN where missing) moved to the reference's distribution, each by as little as it takes.

    Equal values have ranks by chance: a heavy value becomes several where the reference has several.

    >>> import numpy as np
    >>> before = Numbers(np.array([0.0, 10.0]), np.array([0.0, 5.0, 0.0]))
    >>> numbers_as_before(np.array([110.0, 103.0, 101.0, 105.0, 107.0]), before, seed=1).round(1).tolist()
    [9.0, 3.0, 1.0, 5.0, 7.0]
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    moved = np.array(values, np.float64)
    known = np.flatnonzero(~np.isnan(moved))
    gone = np.flatnonzero(np.isnan(moved))
    total = float(reference.masses.sum()) + reference.missing
    if not len(moved) or not reference.masses.sum():
        return moved
    # Numbers of the same rank; of equal ones chance decides which is the lower.
    shuffled = generator.permutation(known)
    ranked = shuffled[np.argsort(moved[shuffled], kind="stable")]
    moved[ranked] = _quantiles(reference, (np.arange(len(ranked)) + 0.5) / max(1, len(ranked)))
    surplus = len(gone) - round(len(moved) * reference.missing / total)
    if surplus > 0:
        there = generator.choice(gone, surplus, replace=False)
        moved[there] = _quantiles(reference, (np.arange(surplus) + 0.5) / surplus)
    elif surplus < 0:
        moved[generator.choice(known, min(-surplus, len(known)), replace=False)] = np.nan
    return moved


def categories_as_before(values: list[str | None], reference: Mapping[str | None, float], *, seed: int) -> Any:
    """Categories (None where missing) moved to the reference's shares: those that it has as often stay.

    >>> categories_as_before(["new", "a", "a", "new"], {"a": 2, None: 2}, seed=1)
    [None, 'a', 'a', None]
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    total, rows = sum(reference.values()), len(values)
    if not rows or not total:
        return list(values)
    places: dict[str | None, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    names = list(reference)
    due = np.array([reference[name] / total * rows for name in names])
    wanting = np.maximum(due - [len(places.get(name, ())) for name in names], 0.0)
    moved, free = list(values), []
    for name, having in places.items():
        surplus = round(len(having) - reference.get(name, 0.0) / total * rows)
        if surplus > 0:
            free += generator.choice(having, surplus, replace=False).tolist()
    if free and wanting.sum():
        ends = np.cumsum(wanting) / wanting.sum()
        drawn = np.searchsorted(ends, (np.arange(len(free)) + 0.5) / len(free))
        for place, which in zip(generator.permutation(free), drawn, strict=True):
            moved[int(place)] = names[min(int(which), len(names) - 1)]
    return moved


def change_of(before: Any, now: Any) -> tuple[float, float | None]:
    """How far two arrays of answers are apart: mean absolute change, and mean change (None of several classes).

    Answers are [rows], or [rows, classes] where half the sum over classes is a row's change (total variation).

    >>> import numpy as np
    >>> change_of(np.array([0.25, 0.5]), np.array([0.5, 0.5]))
    (0.125, 0.125)
    >>> change_of(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    (0.5, None)
    """
    import numpy as np

    apart = np.asarray(now, np.float64) - np.asarray(before, np.float64)
    if apart.ndim == 2:
        return float(np.abs(apart).sum(axis=1).mean() / 2), None
    return float(np.abs(apart).mean()), float(apart.mean())


def _quantiles(reference: Numbers, shares: Any) -> Any:
    """Values at shares of the reference's mass, linear within a cell; what lies beyond all edges lies at the last one."""
    import numpy as np

    edges, masses = reference.edges, reference.masses
    ends = np.cumsum(masses)
    at = np.asarray(shares) * ends[-1]
    cell = np.searchsorted(ends, at)
    low = edges[np.clip(cell - 1, 0, len(edges) - 1)]
    high = edges[np.clip(cell, 0, len(edges) - 1)]
    return low + (high - low) * (at - (ends[cell] - masses[cell])) / masses[cell]
