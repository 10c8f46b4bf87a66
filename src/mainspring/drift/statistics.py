"""How far two windows of one feature are apart, from counts alone: KS, PSI, KL, JS, Wasserstein, chi-squared.

None of them sees a row, so each costs the same for a thousand rows and for a billion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.drift.cells import Cells, Counts, Floats, Integers

STRETCHES = 10
"""Groups of equal mass that are aimed at; a value with half as much of the mass is a group of its own."""
MOST_GROUPS = 20
_EXACT_BELOW = 10
"""Shares are compared exactly where fewer rows than this are expected: the normal approximation is not to be had there."""


@dataclass(frozen=True, slots=True)
class Distances:
    """How far two windows are apart; None where a statistic does not apply (KS of text, anything without values).

    KS is known up to `ks_low <= KS <= ks_high`. `wasserstein` is in the feature's own units.
    """

    ks_low: float | None = None
    ks_high: float | None = None
    psi: float | None = None
    kl: float | None = None
    js: float | None = None
    wasserstein: float | None = None
    chi_squared: float | None = None
    chi_squared_p: float | None = None


def distances(cells: Cells, reference: Counts, current: Counts, groups: Integers | None = None) -> Distances:
    """All statistics. `groups` are those of the profile, `grouped(cells, reference)` where they are not given.

    Values alone are compared: null, NaN, infinities and new categories are findings of their own.

    >>> cells = Cells("number", np.array([0.0, 1.0, 2.0]))
    >>> same = distances(cells, Counts(np.array([0, 5, 5, 0] + [0] * 5)), Counts(np.array([0, 50, 50, 0] + [0] * 5)))
    >>> same.ks_low, round(same.psi, 6), round(same.chi_squared_p, 6)
    (0.0, 0.0, 1.0)
    """
    before, now = reference.cells, current.cells
    if not before.sum() or not now.sum():
        return Distances()
    ks_low = ks_high = apart = None
    if cells.ordered:
        ks_low, ks_high = ks_interval(before, now, cells.single)
        apart = wasserstein(cells.edges, reference, current)
    groups = grouped(cells, reference) if groups is None else groups
    left, right = merged(cells, before, groups), merged(cells, now, groups)
    if not left.sum() or not right.sum():
        return Distances(ks_low, ks_high, wasserstein=apart)
    p, q = smoothed(left), smoothed(right)
    logs = np.log(q / p)
    statistic, probability = chi_squared(left, right)
    return Distances(
        ks_low,
        ks_high,
        float(((q - p) * logs).sum()),
        float((q * logs).sum()),
        jensen_shannon(p, q),
        apart,
        statistic,
        probability,
    )


def ks_interval(before: Integers, now: Integers, single: NDArray[np.bool_]) -> tuple[float, float]:
    """The least and the greatest that the two-sample Kolmogorov-Smirnov distance of the rows can be, from counts in order.

    At the edges both distribution functions are known. Within a cell each lies between its values at the two edges, so they
    can be further apart than at either; not in a cell of one single value (`single`), where both jump at once.

    >>> ks_interval(np.array([0, 6, 4]), np.array([0, 1, 9]), np.array([False, False, False]))
    (0.5, 0.9)
    """
    f, g = np.cumsum(before) / before.sum(), np.cumsum(now) / now.sum()
    low = float(np.abs(f - g).max())
    f_before, g_before = np.concatenate([[0.0], f[:-1]]), np.concatenate([[0.0], g[:-1]])
    within = np.maximum(f - g_before, g - f_before)[~single]
    return low, max(low, float(within.max(initial=0.0)))


def ks_exact(reference: Floats, current: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov distance of rows (finite values count).

    >>> ks_exact(np.array([1.0, 2.0]), np.array([2.0, 3.0, np.nan]))
    0.5
    """
    one, other = np.sort(reference[np.isfinite(reference)]), np.sort(current[np.isfinite(current)])
    values = np.concatenate([one, other])
    f = np.searchsorted(one, values, side="right") / max(1, len(one))
    g = np.searchsorted(other, values, side="right") / max(1, len(other))
    return float(np.abs(f - g).max(initial=0.0))


def grouped(cells: Cells, reference: Counts) -> Integers:
    """Cells merged to at most `MOST_GROUPS` neighbouring groups: the first cell of each, int64 [groups].

    On thousands of cells PSI is large without any drift, and blind. About `STRETCHES` groups have equal mass in the reference; a
    value or category with a twentieth of the mass is a group of its own. What lies outside the reference is in the
    first and last group; new categories are in none (see `covered`).
    """
    mass = reference.cells[: covered(cells)]
    rows = int(mass.sum())
    if not rows:
        return np.zeros(1, np.int64)
    stretch = (np.cumsum(mass) - mass) * STRETCHES // rows
    heavy = (mass * 2 * STRETCHES >= rows) & cells.single[: len(mass)]
    begins = np.zeros(len(mass), np.bool_)
    begins[1:] = (np.diff(stretch) > 0) | heavy[1:] | heavy[:-1]
    begins[0] = True
    starts = np.flatnonzero(begins)
    return _without_small(starts, np.add.reduceat(mass, starts), heavy[starts], rows)


def covered(cells: Cells) -> int:
    """How many cells are in groups: all, without that of new categories."""
    return cells.size - (cells.kind in ("category", "boolean") and cells.size > 1)


def merged(cells: Cells, counts: Integers, groups: Integers) -> Integers:
    """Counts of groups: [..., cells] (or [..., width]) to [..., groups]."""
    found: Integers = np.add.reduceat(counts[..., : covered(cells)], groups, axis=-1)
    return found


def smoothed(counts: Integers) -> Floats:
    """Shares as (n + 1/2) / (N + B/2): an empty group is rare, not impossible.

    >>> smoothed(np.array([0, 9])).round(3).tolist()
    [0.05, 0.95]
    """
    found: Floats = (counts + 0.5) / (counts.sum() + len(counts) / 2)
    return found


def jensen_shannon(p: Floats, q: Floats) -> float:
    """The Jensen-Shannon distance to base 2, in [0, 1]; shares must be above 0.

    >>> jensen_shannon(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    0.0
    """
    middle = (p + q) / 2
    divergence = float((p * np.log2(p / middle) + q * np.log2(q / middle)).sum() / 2)
    return math.sqrt(max(0.0, divergence))


def chi_squared(before: Integers, now: Integers) -> tuple[float, float]:
    """Pearson's chi-squared that two rows of counts have the same shares, and its p-value for independent rows."""
    from scipy.special import chdtrc

    there = before + now > 0
    r, c = before[there].astype(np.float64), now[there].astype(np.float64)
    if len(r) < 2:
        return 0.0, 1.0
    scale = math.sqrt(c.sum() / r.sum())
    statistic = float(((r * scale - c / scale) ** 2 / (r + c)).sum())
    return statistic, float(chdtrc(len(r) - 1, statistic))


def wasserstein(edges: Floats, reference: Counts, current: Counts) -> float | None:
    """The first Wasserstein distance: the area between the two distribution functions, in the values' own units.

    Within a cell rows are taken to lie evenly. Beyond the reference's ends the sums of the rows are known, and the area is
    exact where only one of the two has rows there; else it is the least that it can be. None where it is larger than any float.
    """
    if not len(edges):
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        found = _area(edges, reference, current)
    return found if math.isfinite(found) else None


def _area(edges: Floats, reference: Counts, current: Counts) -> float:
    f, g = np.cumsum(reference.cells)[:-1] / reference.known, np.cumsum(current.cells)[:-1] / current.known
    apart, wide = f - g, np.diff(edges)
    left, right = apart[:-1], apart[1:]
    size = np.abs(left) + np.abs(right)
    crossing = (left * right < 0) & (size > 0)
    area = np.where(crossing, (left**2 + right**2) / np.where(size > 0, size, 1.0), size) / 2
    beyond = 0.0
    for cell, edge, at, sign in ((0, edges[0], 0, 1.0), (-1, edges[-1], 3, -1.0)):
        one = (reference.cells[cell] * edge - reference.tails[at]) / reference.known
        other = (current.cells[cell] * edge - current.tails[at]) / current.known
        beyond += abs(sign * float(one - other))
    return float((area * wide).sum()) + beyond


def difference_of_shares(before: int, of_before: int, now: int, of_now: int) -> float:
    """Two-sided p-value that two shares are one: pooled z, and of few rows Fisher's exact test.

    >>> difference_of_shares(0, 1000, 0, 100), round(difference_of_shares(0, 1_000_000, 1, 1001), 4)
    (1.0, 0.001)
    """
    if not of_before or not of_now or before + now in (0, of_before + of_now):
        return 1.0
    pooled = (before + now) / (of_before + of_now)
    if min(pooled, 1 - pooled) * min(of_before, of_now) < _EXACT_BELOW:
        from scipy.stats import fisher_exact

        found: Any = fisher_exact([[before, of_before - before], [now, of_now - now]])
        return float(found.pvalue)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / of_before + 1 / of_now))
    return math.erfc(abs(before / of_before - now / of_now) / spread / math.sqrt(2))


def _without_small(starts: Integers, mass: Integers, heavy: NDArray[np.bool_], rows: int) -> Integers:
    """Groups with too little mass join the smaller neighbour, a heavy value's group only where there is no other."""
    kept = [[int(start), int(own), bool(alone)] for start, own, alone in zip(starts, mass, heavy, strict=True)]
    while len(kept) > 1:
        place = min(range(len(kept)), key=lambda one: kept[one][1])
        if len(kept) <= MOST_GROUPS and kept[place][1] * 4 * STRETCHES >= rows:
            break
        beside = [one for one in (place - 1, place + 1) if 0 <= one < len(kept)]
        into = min(beside, key=lambda one: (kept[one][2], kept[one][1]))
        first, second = sorted((place, into))
        # What is heavy stays so when it takes in nearly nothing: the gap before the next whole number.
        alone = (kept[place][2] or kept[into][2]) and min(kept[place][1], kept[into][1]) == 0
        kept[first : second + 1] = [[kept[first][0], kept[first][1] + kept[second][1], alone]]
    return np.array([one[0] for one in kept], np.int64)
