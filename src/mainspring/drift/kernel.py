"""The counting kernel: float64 values over sorted edges, some nanoseconds each, without the interpreter's lock.

Compiled once on a machine: Numba keeps the machine code beside this file, or in the user's cache folder where that may not be
written, and compiles in memory where neither may. Small columns never come here, so that short processes do not import Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.drift.cells import Floats, Integers

LEAST_ROWS = 50_000
"""Below this NumPy is done before Numba would be imported."""
_STRETCHES = 1 << 14
_TRIMMED = 64
"""One far value must not make the table useless: then it lies between the quantiles 1/64 and 63/64."""
_FEW_STEPS = 2
_MOST_STEPS = 8
"""With more edges in a stretch, halving is faster than going from one to the next without a branch."""


@dataclass(frozen=True)
class Table:
    """Where to search for a value: `firsts[s]` edges lie before stretch s, uint16 [stretches + 1].

    The stretch of a value is `floor((x - origin) * scale)`, cut to the table's ends, where x is the value, or with `by_bits` its bits
    read as an integer, which for positive numbers is about their logarithm. All of these keep the order of their
    arguments, so an edge in an earlier stretch than a value's is below it, and one in a later stretch above it. No stretch but
    the first and the last has more than `steps` edges. Scale 0: no table.
    """

    firsts: NDArray[np.uint16]
    origin: float = 0.0
    scale: float = 0.0
    by_bits: bool = False
    steps: int = 0


def count_floats(values: Floats, edges: Floats, vector: Integers, tails: Floats) -> None:
    """Add values to `vector` (cells, null, NaN, +infinity, -infinity, mistyped) and to `tails`, as `counting.count` says."""
    values = np.ascontiguousarray(values)
    found = table(edges)
    given = (values, values.view(np.int64), edges, found.firsts, found.origin, found.scale, found.by_bits, found.steps)
    try:
        _compiled(kept=True)(*given, vector, tails)
    except OSError:  # a full disk: machine code is kept before it runs, so nothing was counted yet
        _compiled(kept=False)(*given, vector, tails)


def table(edges: Floats) -> Table:
    """The table of sorted edges whose fullest stretch has the fewest: over all of them or without the outer ones, of the values
    or of their bits.
    """
    best = Table(np.array([0, len(edges)], np.uint16))
    trimmed = len(edges) // _TRIMMED
    if not trimmed:
        return best
    bits = edges.view(np.int64).astype(np.float64)
    for at, by_bits in ((edges, False), (bits, True)):
        for low, high in ((0, 0), (0, trimmed), (trimmed, 0), (trimmed, trimmed)):
            # Of negative numbers bits have the opposite order.
            found = None if by_bits and edges[low] <= 0 else _table(at, low, len(edges) - 1 - high, by_bits)
            if found is not None and (not best.steps or found.steps < best.steps):
                best = found
            if 0 < best.steps <= _FEW_STEPS:
                return best
    return best


def _table(at: Floats, low: int, high: int, by_bits: bool) -> Table | None:
    """A table from edge `low`, in the second stretch, to edge `high`, in the last. None where it would not help."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scale = float((_STRETCHES - 2) / (at[high] - at[low]))
        origin = float(at[low] - 1.5 / scale) if 0 < scale < np.inf else np.inf
        if not np.isfinite(origin):
            return None
        stretches = np.clip((at - origin) * scale, 0, _STRETCHES - 1).astype(np.int64)
    edges_in = np.bincount(stretches, minlength=_STRETCHES)
    steps = max(1, int(edges_in[1:-1].max()))
    if steps > _MOST_STEPS:
        return None
    firsts = np.concatenate([[0], np.cumsum(edges_in)]).astype(np.uint16)
    return Table(firsts, origin, scale, by_bits, steps)


@cache
def _compiled(*, kept: bool) -> Callable[..., None]:
    from numba import njit

    try:
        found: Any = njit(nogil=True, cache=kept)(_count)
    except RuntimeError:  # no place that may be written
        found = njit(nogil=True)(_count)
    compiled: Callable[..., None] = found
    return compiled


def _count(  # noqa: PLR0912 - a compiled loop calls nothing
    values: Floats,
    bits: Integers,
    edges: Floats,
    firsts: NDArray[np.uint16],
    origin: float,
    scale: float,
    by_bits: bool,
    steps: int,
    vector: Integers,
    tails: Floats,
) -> None:
    """Numba's own subset of Python; it is not called by the interpreter."""
    last = len(edges)
    lowest = edges[0] if last else 0.0
    highest = edges[last - 1] if last else 0.0
    end = len(firsts) - 2
    for row in range(len(values)):
        value = values[row]
        place = ((np.float64(bits[row]) if by_bits else value) - origin) * scale
        if value > lowest and 1.0 <= place < end:
            # Unsigned and narrow: nothing has to be checked or widened, and the table stays in the nearest cache.
            stretch = np.uint32(place)
            cell = np.uint32(firsts[stretch])
            cell += np.uint32(edges[cell] < value)
            for _ in range(steps - 1):
                cell += np.uint32(edges[cell] < value)
            vector[cell] += 1
        elif lowest < value <= highest:
            low, high = 0, last
            if scale != 0.0:
                low, high = (0, int(firsts[1])) if place < 1.0 else (int(firsts[end]), last)
            while low < high:
                middle = (low + high) >> 1
                if edges[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            vector[low] += 1
        elif value != value:  # noqa: PLR0124
            vector[last + 2] += 1
        elif value == np.inf:
            vector[last + 3] += 1
        elif value == -np.inf:
            vector[last + 4] += 1
        elif last == 0:
            vector[0] += 1
        else:
            end_cell, at = (0, 0) if value <= lowest else (last, 3)
            vector[end_cell] += 1
            tails[at] += value
            tails[at + 1] = min(tails[at + 1], value)
            tails[at + 2] = max(tails[at + 2], value)
