"""The frontier: how much so many retrainings can gain at the best instants, chosen in hindsight, and at even spacing.

No policy knows the future, so none reaches the frontier but by luck; what even spacing gains is what a policy has to beat.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from mainspring.domain.backtest import FrontierPoint
from mainspring.domain.scoring import score
from mainspring.platforms.backtest.history import moment
from mainspring.platforms.backtest.measure import Measure


def frontier_of(measure: Measure, most: int) -> tuple[FrontierPoint, ...]:
    """Points for 0 to `most` retrainings. The best instants are beginnings of weeks, found exactly for the mean over weeks
    by dynamic programming; both are then measured as policies are."""
    weeks = measure.weeks
    worth = _worth(measure)
    found = []
    for count in range(min(most, len(weeks) - 1) + 1):
        best = [weeks[place] for place in best_places(worth, count)]
        span = (measure.until - measure.start) / (count + 1)
        even = [_week(measure, span * place) for place in range(1, count + 1)]
        found.append(
            FrontierPoint(count, measure.quality(measure.answers(best))[0], measure.quality(measure.answers(even))[0])
        )
    return tuple(found)


def best_places(worth: Any, count: int) -> list[int]:
    """The weeks at which `count` retrainings make the sum of `worth[model's week, week]` largest.

    >>> import numpy as np
    >>> best_places(np.array([[5, 1, 1, 1], [0, 2, 2, 2], [0, 0, 4, 1], [0, 0, 0, 9]]), 2)
    [2, 3]
    """
    import numpy as np

    weeks = len(worth)
    sums = np.concatenate([np.zeros((weeks, 1)), np.cumsum(worth, axis=1)], axis=1)

    def served(model: int, end: int) -> float:
        return float(sums[model, end] - sums[model, model])

    # best[end] with so many retrainings before `end`: the value, and the places.
    best: list[tuple[float, list[int]]] = [(served(0, end), []) for end in range(weeks + 1)]
    for _ in range(count):
        later: list[tuple[float, list[int]]] = [(-np.inf, [])] * (weeks + 1)
        for end in range(1, weeks + 1):
            tried = [
                (best[at][0] + served(at, end), [*best[at][1], at]) for at in range(1, end) if best[at][0] > -np.inf
            ]
            later[end] = max(tried, key=lambda one: one[0], default=(-np.inf, []))
        best = later
    return best[weeks][1]


def _worth(measure: Measure) -> Any:
    """The gate's metric, higher is better, of the model of each week on each week that it could serve in."""
    import numpy as np

    weeks, metric = measure.weeks, measure.settings.metric
    asked = measure.history.asked[measure.places]
    ends = [*(moment(at) for at in weeks), moment(measure.until)]
    spans = [np.flatnonzero((asked >= one) & (asked < other)) for one, other in pairwise(ends)]
    found = np.zeros((len(weeks), len(weeks)))
    for row, at in enumerate(weeks):
        model = measure.model(at)
        for week in range(row, len(weeks)):
            here = spans[week]
            value = (
                score(metric.name, measure.truth[here], model.at(measure.places[here])) if len(here) else float("nan")
            )
            found[row, week] = metric.gain(value, 0.0) if np.isfinite(value) else 0.0
    return found


def _week(measure: Measure, after: Any) -> Any:
    """The beginning of the week that is nearest to so long after the start."""
    place = min(max(1, round(after / (measure.weeks[1] - measure.weeks[0]))), len(measure.weeks) - 1)
    return measure.weeks[place]
