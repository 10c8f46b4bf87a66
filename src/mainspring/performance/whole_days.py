"""Quality by blocks of whole days, for questions that are asked of weeks: a day, or as many days as hold enough rows.

Tests of a rollout have blocks that stay what they are as rows come in (`quality.by_day`); these are made anew each time.
"""

from __future__ import annotations

import math
from typing import Any

from mainspring.domain.metric import Metric
from mainspring.domain.scoring import score

LEAST_ROWS = 20
"""Rows that a block needs. By the hour a day has 24."""


def by_block(metric: Metric, truth: Any, outputs: Any, days: Any, *, min_rows: int = LEAST_ROWS) -> dict[str, float]:
    """The metric on each block with at least `min_rows` rows on which it is defined, oldest first, named by its first day.

    `days` is a NumPy array of datetime64[D], one for each row.
    """
    import numpy as np

    found = {}
    blocks = whole_days(days, min_rows=min_rows)
    for block in np.unique(blocks):
        here = blocks == block
        value = score(metric.name, truth[here], outputs[here]) if here.sum() >= min_rows else math.nan
        if math.isfinite(value):
            found[str(block)] = value
    return found


def whole_days(days: Any, *, min_rows: int = LEAST_ROWS) -> Any:
    """The block of each row, named by its first day: of one day, or of so many that half of all blocks have `min_rows` rows.

    >>> import numpy as np
    >>> days = np.repeat(np.arange("2026-01-01", "2026-01-07", dtype="datetime64[D]"), 10)
    >>> [str(one) for one in np.unique(whole_days(days))]
    ['2026-01-01', '2026-01-03', '2026-01-05']
    """
    import numpy as np

    if not len(days):
        return days
    found, counts = np.unique(days, return_counts=True)
    length = max(1, math.ceil(min_rows / float(np.median(counts))))
    return found[0] + (days - found[0]) // length * length
