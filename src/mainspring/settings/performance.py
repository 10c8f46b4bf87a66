"""`performance:` of `mainspring.yaml`: how often what was achieved is looked at, and when a loss is called one."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from mainspring.settings.part import Duration, Part

_DAY = timedelta(days=1)


class PerformanceSettings(Part):
    """Realised and expected performance by day and by week, of the versions that answered, in the task's metrics."""

    every: Duration = _DAY
    """How often the loop looks. A day: the shortest block."""
    by: Literal["day", "week"] = "day"
    """The blocks that `mainspring performance` shows unless it is asked otherwise; both are always there."""
    history: Duration = timedelta(days=182)
    """How far back a report goes. Half a year: a season and the one before it."""
    mature_after: Duration | None = None
    """How long after a block's end its labels are still waited for: until then each look computes it again, later labels change it no
    more. None: `labels.late_after`."""
    window: Duration = timedelta(days=14)
    """The newest days that are held against the held-out ones, to say whether a version is worse. Two weeks: each weekday twice."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance that one such look calls a version worse that is not. It is asked at each look: over a year it will happen."""
    tolerance: float = Field(default=0.0, ge=0)
    """How much worse than on held-out rows is no loss, in the gate's metric."""
    min_coverage: float = Field(default=0.8, gt=0, le=1)
    """A day of which less has its label is no evidence of a loss: what is labelled first may be unlike the rest."""
    min_rows: int = Field(default=30, ge=2)
    """A block, or a slice of it, with fewer rows is counted and not measured."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """Of the intervals and bands."""

    @model_validator(mode="after")
    def _whole_days(self) -> PerformanceSettings:
        if self.every < _DAY:
            raise ValueError("performance.every is shorter than a day, which is the shortest block")
        if self.window < 7 * _DAY or self.window % _DAY:
            raise ValueError("performance.window is at least seven days, in whole days: less than a week says nothing")
        return self
