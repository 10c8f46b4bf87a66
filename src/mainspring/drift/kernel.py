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
"""The table lies between the quantiles 1/64 and 63/64: one far value must not make it useless."""
_MOST_STEPS = 8
"""With more edges in a stretch, halving is faster than going from one to the next without a branch."""


@dataclass(frozen=True)
class Table:
    """Where to search for a value: `firsts[s]` edges lie before stretch s, int32 [stretches + 1].

    The stretch of a value is `floor((x - origin) * scale)`, cut to the table's ends, where x is the value, or with `by_bits` its bits
    read as an integer, which for positive numbers is about their logarithm. All of these keep the order of their
    arguments, so an edge in an earlier stretch than a value's is below it, and one in a later stretch above it. No stretch but
    the first and the last has more than `steps` edges; 0: too many to go through one by one. Scale 0: no table.
    """

    firsts: NDArray[np.int32]
    origin: float = 0.0
    scale: float = 0.0
    by_bits: bool = False
    steps: int = 0


def count_floats(values: Floats, edges: Floats, vector: Integers, tails: Floats) -> None:
    """Add values to `vector` (cells, null, NaN, +infinity, -infinity, mistyped) and to `tails`, as `counting.count` says."""
    values = np.ascontiguousarray(values)
    found = table(edges)
    _compiled()(
        values,
        values.view(np.int64),
        edges,
        found.firsts,
        found.origin,
        found.scale,
        found.by_bits,
        found.steps,
        vector,
        tails,
    )


def table(edges: Floats) -> Table:
    """The table of sorted edges: of the values, or for skewed columns of their bits, whichever spreads them better."""
    plain = _table(edges, edges, by_bits=False)
    if 0 < plain.steps <= _MOST_STEPS // 2 or len(edges) < _TRIMMED or edges[len(edges) // _TRIMMED] <= 0:
        return plain
    other = _table(edges, edges.view(np.int64).astype(np.float64), by_bits=True)
    return other if other.steps and (other.steps < plain.steps or not plain.steps) else plain


def _table(edges: Floats, at: Floats, *, by_bits: bool) -> Table:
    nothing = Table(np.array([0, len(edges)], np.int32))
    if len(edges) < _TRIMMED:
        return nothing
    trimmed = len(edges) // _TRIMMED
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scale = _STRETCHES / (at[-1 - trimmed] - at[trimmed])
        if not 0 < scale < np.inf:
            return nothing
        stretches = np.clip((at - at[trimmed]) * scale, 0, _STRETCHES - 1).astype(np.int64)
    firsts = np.searchsorted(stretches, np.arange(_STRETCHES + 1)).astype(np.int32)
    steps = max(1, int(np.diff(firsts)[1:-1].max()))
    return Table(firsts, float(at[trimmed]), float(scale), by_bits, steps if steps <= _MOST_STEPS else 0)


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit

    try:
        found: Any = njit(nogil=True, cache=True)(_count)
    except RuntimeError:  # no place that may be written
        found = njit(nogil=True)(_count)
    compiled: Callable[..., None] = found
    return compiled


def _count(  # noqa: PLR0912 - a compiled loop calls nothing
    values: Floats,
    bits: Integers,
    edges: Floats,
    firsts: NDArray[np.int32],
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
        if 1.0 <= place < end:
            low = int(firsts[int(place)])
            if steps:
                for _ in range(steps):
                    low += edges[low] < value
            else:
                high = int(firsts[int(place) + 1])
                while low < high:
                    middle = (low + high) >> 1
                    if edges[middle] < value:
                        low = middle + 1
                    else:
                        high = middle
            vector[low] += 1
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
            cell, at = (0, 0) if value <= lowest else (last, 3)
            vector[cell] += 1
            tails[at] += value
            tails[at + 1] = min(tails[at + 1], value)
            tails[at + 2] = max(tails[at + 2], value)
