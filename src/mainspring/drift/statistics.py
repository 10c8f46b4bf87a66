"""KS, PSI and KL between two windows of one feature, from counts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.drift.profile import Cells, Counts

GROUPS = 10


@dataclass(frozen=True, slots=True)
class Distances:
    """How far two windows are apart; None where a statistic does not apply (KS of text, anything without rows)."""

    ks: float | None
    psi: float | None
    kl: float | None


def distances(cells: Cells, reference: Counts, current: Counts) -> Distances:
    """KS over all cells (exact up to one cell's mass), PSI and KL over groups of about equal mass in the reference.

    Shares are smoothed as (n + 1/2) / (N + B/2): an empty group is rare, not impossible. Nulls are not in them.

    >>> cells = Cells(edges=(0.0, 1.0, 2.0))
    >>> same = distances(cells, Counts((5, 5, 5, 5)), Counts((10, 10, 10, 10)))
    >>> same.ks, round(same.psi, 6)
    (0.0, 0.0)
    """
    before, now = sum(reference.cells), sum(current.cells)
    if not before or not now:
        return Distances(None, None, None)
    ks = None if cells.text else _ks(reference.cells, current.cells, before, now)
    groups = grouped(cells, reference)
    left, right = _shares(reference.cells, groups), _shares(current.cells, groups)
    psi = sum((q - p) * math.log(q / p) for p, q in zip(left, right, strict=True))
    kl = sum(q * math.log(q / p) for p, q in zip(left, right, strict=True))
    return Distances(ks, psi, kl)


def grouped(cells: Cells, reference: Counts) -> list[list[int]]:
    """Cells merged to at most ten groups of about equal mass; categories: the nine most frequent, and the rest."""
    if cells.text:
        order = sorted(range(cells.size), key=lambda cell: -reference.cells[cell])
        first = order[: GROUPS - 1]
        rest = sorted(order[GROUPS - 1 :])
        return [[cell] for cell in first] + ([rest] if rest else [])
    groups: list[list[int]] = [[]]
    total, mass = sum(reference.cells), 0
    for cell, rows in enumerate(reference.cells):
        groups[-1].append(cell)
        mass += rows
        if mass >= total * len(groups) / GROUPS and cell < cells.size - 1 and len(groups) < GROUPS:
            groups.append([])
    return [group for group in groups if group]


def difference_of_shares(before: int, of_before: int, now: int, of_now: int) -> float:
    """Two-sided p-value that two shares are one (pooled z): for nulls and new categories.

    >>> difference_of_shares(0, 1000, 0, 100)
    1.0
    """
    if not of_before or not of_now or before + now in (0, of_before + of_now):
        return 1.0
    pooled = (before + now) / (of_before + of_now)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / of_before + 1 / of_now))
    return math.erfc(abs(before / of_before - now / of_now) / spread / math.sqrt(2))


def _ks(before: Sequence[int], now: Sequence[int], of_before: int, of_now: int) -> float:
    largest, left, right = 0.0, 0, 0
    for one, other in zip(before, now, strict=True):
        left, right = left + one, right + other
        largest = max(largest, abs(left / of_before - right / of_now))
    return largest


def _shares(counts: Sequence[int], groups: Sequence[Sequence[int]]) -> list[float]:
    total = sum(counts)
    return [(sum(counts[cell] for cell in group) + 0.5) / (total + len(groups) / 2) for group in groups]
