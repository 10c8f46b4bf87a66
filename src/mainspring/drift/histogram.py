"""A feature's groups as bins in its own units, with the shares of two windows: what a report shows and draws."""

from __future__ import annotations

import numpy as np

from mainspring.domain.drift_report import Bin
from mainspring.drift.cells import Cells, Counts, Integers
from mainspring.drift.statistics import covered

_NAMED = 3


def histogram(cells: Cells, reference: Counts, current: Counts, groups: Integers) -> tuple[Bin, ...]:
    """One bin for each group, and one for new categories where there are any. Empty where either window has no values.

    Bins end where values do: the gap between 0 and 1 of a count of children belongs to nobody.

    >>> cells = Cells("category", categories=("a", "b"))
    >>> before, now = np.array([6, 4, 0, 0, 0, 0, 0, 0]), np.array([3, 0, 7, 0, 0, 0, 0, 0])
    >>> [(one.label, one.current_share) for one in histogram(cells, Counts(before), Counts(now), np.array([0, 1]))]
    [('a', 0.3), ('b', 0.0), ('new category', 0.7)]
    """
    before, now = reference.known, current.known
    if not before or not now:
        return ()
    there = (reference.cells > 0) | (current.cells > 0)
    starts = [int(start) for start in groups]
    bins = []
    for start, end in zip(starts, [*starts[1:], covered(cells)], strict=True):
        filled = start + np.flatnonzero(there[start:end])
        first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (start, end - 1)
        low, high = cells.bounds(first, last) if cells.ordered else (None, None)
        then, share = reference.cells[start:end].sum() / before, current.cells[start:end].sum() / now
        bins.append(Bin(_label(cells, first, last), float(then), float(share), low, high))
    new = slice(covered(cells), None)
    if there[new].any():
        label = cells.label(cells.size - 1)
        bins.append(Bin(label, float(reference.cells[new].sum() / before), float(current.cells[new].sum() / now)))
    return tuple(bins)


def _label(cells: Cells, first: int, last: int) -> str:
    if cells.kind != "category" or last - first < _NAMED:
        return cells.span(first, last)
    return f"{cells.span(first, first + _NAMED - 1)} and {last - first - _NAMED + 1} more"
