"""Past windows of features as counts over few groups: what alarms are calibrated on.

A feature's groups are those of its profile (`statistics.grouped`), and beside them `APART_GROUPS`: what is missing, what is
infinite or of another type, and what the reference never had: new categories, numbers beyond its ends or in its gaps, as a
0 in a column of orders. Groups stay the same for a version's life, so that
windows of different weeks can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.drift.cells import (
    APART,
    MINUS_INFINITY,
    MISTYPED,
    NAN,
    NULL,
    PLUS_INFINITY,
    Cells,
    Counts,
    Integers,
    Windows,
)
from mainspring.drift.statistics import covered, grouped, merged

APART_GROUPS = 3
_TAIL, _NEW = 0.005, 0.005
Starts = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Past:
    """Windows in order of time: `starts` datetime64[us] [windows], and by feature int64 [windows, groups]."""

    starts: Starts
    counts: dict[str, Integers]


def group_windows(cells: Cells, reference: Counts, vectors: Any) -> Integers:
    """Counts over cells [..., cells.width] as counts over the groups that `reference` makes [..., groups + 3].

    >>> cells = Cells("category", categories=("a", "b"))
    >>> counts = Counts(np.array([50, 50, 0, 0, 0, 0, 0, 0]))
    >>> group_windows(cells, counts, np.array([3, 4, 2, 1, 0, 0, 0, 0])).tolist()
    [3, 4, 1, 0, 2]
    """
    whole = np.asarray(vectors, np.int64)
    never = np.zeros(cells.width, np.bool_)
    never[covered(cells) : -len(APART)] = True
    if cells.ordered and reference.known:
        # The least of all floats has no edge below it, and is in the first cell.
        never[[0, cells.size - 1]] = reference.cells[[0, cells.size - 1]] == 0
        if _knows_its_values(reference):
            never[: cells.size] = reference.cells == 0
    groups = merged(cells, np.where(never, 0, whole), _with_tails(cells, reference))
    apart = whole[..., -len(APART) :]
    odd = apart[..., PLUS_INFINITY] + apart[..., MINUS_INFINITY] + apart[..., MISTYPED]
    new = whole[..., never].sum(axis=-1)
    beside = np.stack([apart[..., NULL] + apart[..., NAN], odd, new], axis=-1)
    return np.concatenate([groups, beside], axis=-1)


def _knows_its_values(reference: Counts) -> bool:
    """Whether a value in a gap is another one than all before, and not one more of a thousand different ones.

    The chance that the next row has a new value is about the share of rows whose value came once (Good & Turing 1953).
    """
    return int((reference.cells == 1).sum()) <= _NEW * reference.known


def _with_tails(cells: Cells, reference: Counts) -> Integers:
    """The groups of PSI, and of ordered features the outermost half per cent at both ends apart: there other units show."""
    starts = grouped(cells, reference)
    known = reference.known
    if not cells.ordered or not known:
        return starts
    below = np.cumsum(reference.cells) / known
    low = int(np.searchsorted(below, _TAIL, side="right"))
    high = int(np.searchsorted(below, 1 - _TAIL, side="left")) + 1
    more = [place for place in (low, high) if 0 < place < cells.size]
    found: Integers = np.unique(np.append(starts, more)).astype(np.int64)
    return found


def past_of(found: Sequence[tuple[np.datetime64, Mapping[str, Integers]]]) -> Past:
    """Windows, each with its start and counts over groups; zeros where a feature was not in one."""
    names = {name: len(one) for _, counts in found for name, one in counts.items()}
    starts = np.array([start for start, _ in found], "datetime64[us]")
    counts = {
        name: np.array([one.get(name, np.zeros(width, np.int64)) for _, one in found]) for name, width in names.items()
    }
    return Past(starts, counts)


def training_past(cells: Mapping[str, Cells], reference: Mapping[str, Counts], windows: Mapping[str, Windows]) -> Past:
    """The reference's own windows; features with fewer (the prediction has those that were held out) have zeros."""
    starts = np.unique(np.concatenate([one.starts for one in windows.values()] or [np.empty(0, "datetime64[us]")]))
    counts = {}
    for name, one in windows.items():
        known = group_windows(cells[name], reference[name], one.counts)
        counts[name] = np.zeros((len(starts), known.shape[1]), np.int64)
        counts[name][np.searchsorted(starts, one.starts)] = known
    return Past(starts, counts)


def joined(first: Past, then: Past) -> Past:
    """Windows of `first` that began before those of `then`, and these: where both know a time, what was served counts."""
    early = first.starts < (then.starts[0] if len(then.starts) else np.datetime64("9999-01-01"))
    counts = {}
    for name in {**first.counts, **then.counts}:
        width = (first.counts.get(name, then.counts.get(name))).shape[1]  # type: ignore[union-attr]
        old = first.counts.get(name, np.zeros((len(first.starts), width), np.int64))[early]
        new = then.counts.get(name, np.zeros((len(then.starts), width), np.int64))
        counts[name] = np.concatenate([old, new])
    return Past(np.concatenate([first.starts[early], then.starts]), counts)
