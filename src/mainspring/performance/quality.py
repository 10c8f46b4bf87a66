"""Quality of a model by block of time (days), in the gate's own metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mainspring.domain.metric import Metric
from mainspring.domain.scoring import score


@dataclass(frozen=True, slots=True)
class Block:
    """One block of time: both models' metric on the same rows."""

    name: str
    new: float
    old: float
    rows: int


def by_day(metric: Metric, truth: Any, new: Any, old: Any, days: Any, *, min_rows: int = 30) -> list[Block]:
    """Both models on every day with at least `min_rows` rows on which the metric is defined, oldest first.

    `days` is a NumPy array of datetime64[D], one for each row.
    """
    import numpy as np

    found = []
    for day in np.unique(days):
        here = days == day
        if here.sum() < min_rows:
            continue
        one, other = score(metric.name, truth[here], new[here]), score(metric.name, truth[here], old[here])
        if np.isfinite(one) and np.isfinite(other):
            found.append(Block(str(day), one, other, int(here.sum())))
    return found
