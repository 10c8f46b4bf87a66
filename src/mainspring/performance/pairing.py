"""Two answers to one request: how far a shadow's are from the primary's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOLERANCE = 0.01
"""Answers closer than this count as the same: a hundredth of a probability decides nothing. For values of a regression it
is a share of the primary's standard deviation."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Distance:
    """Absolute differences of paired answers; `furthest` are places, the furthest apart first."""

    differing: int
    tolerance: float
    mean: float
    largest: float
    furthest: tuple[int, ...]


def distance(primary: Any, shadow: Any, *, share_of_spread: bool) -> Distance:
    """How far paired answers are apart; both are arrays [pairs] or [pairs, classes], of probabilities or values.

    With `share_of_spread` the tolerance is a share of the primary's standard deviation (values have units).

    >>> import numpy as np
    >>> found = distance(np.array([0.2, 0.5]), np.array([0.2, 0.8]), share_of_spread=False)
    >>> found.differing, round(found.largest, 3), found.furthest
    (1, 0.3, (1, 0))
    """
    import numpy as np

    if not len(primary):
        return Distance(0, TOLERANCE, 0.0, 0.0, ())
    apart = np.abs(np.asarray(primary, float) - np.asarray(shadow, float))
    if apart.ndim > 1:
        apart = apart.max(axis=1)
    tolerance = TOLERANCE * float(np.std(primary)) if share_of_spread else TOLERANCE
    order = np.argsort(-apart, kind="stable")[:_EXAMPLES]
    return Distance(
        int((apart > tolerance).sum()), tolerance, float(apart.mean()), float(apart.max()), tuple(order.tolist())
    )
