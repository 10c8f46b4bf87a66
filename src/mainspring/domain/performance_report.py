"""`PerformanceReport`: what versions achieved on blocks of time, what was to be expected, and whether it became worse.

Metrics are named as in `domain.metric`. What is not defined on some rows (an AUC of one class) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mainspring.domain.metric import METRICS, Estimate
from mainspring.domain.time import TimeWindow

BlockLength = Literal["day", "week"]
LossBasis = Literal["realised", "expected"]


@dataclass(frozen=True, slots=True)
class PerformanceBlock:
    """One version on one block of time, in one slice (`column=value`; "" is all rows).

    `rows` are predictions that callers were answered, `labelled` those of them whose label is known. `realised` is measured on
    the labelled rows; `expected` is estimated for all rows, without their labels. `settled` says that the block's labels had
    their time (`performance.mature_after`): it is not computed again.

    >>> from datetime import UTC
    >>> day = TimeWindow(datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 3, 2, tzinfo=UTC))
    >>> PerformanceBlock(day, "1", rows=200, labelled=150).coverage
    0.75
    """

    window: TimeWindow
    version: str
    rows: int
    labelled: int
    realised: dict[str, Estimate] = field(default_factory=dict)
    expected: dict[str, Estimate] = field(default_factory=dict)
    slice: str = ""
    settled: bool = False

    @property
    def coverage(self) -> float:
        """Of the rows those with a label; 0 without rows."""
        return self.labelled / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class ReferenceBand:
    """A version's metric on its held-out rows, and where one new block's value lies if nothing changes.

    `low` and `high` bound a block of the report's length, with the stated `confidence`, by how much the held-out days differed
    from each other; None where there are too few of them. `daily` are those days' values, oldest first.
    """

    version: str
    metric: str
    value: float
    low: float | None
    high: float | None
    rows: int
    days: int
    slice: str = ""
    confidence: float = 0.9
    daily: tuple[float, ...] = ()

    def excludes(self, value: float) -> bool:
        """Whether a block's value lies outside; never where there are no ends."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def beyond(self, value: float) -> Literal["", "better", "worse"]:
        """On which side outside a block's value lies; "" inside.

        >>> ReferenceBand("1", "auc", 0.8, 0.7, 0.9, 100, 14).beyond(0.65)
        'worse'
        """
        if not self.excludes(value):
            return ""
        return "better" if METRICS[self.metric].better(value, self.value) else "worse"


@dataclass(frozen=True, slots=True)
class LossTest:
    """Whether a version is worse now than on its held-out rows, in the gate's metric; whole days are drawn, not rows.

    `loss` is how much worse it is, positive is worse whatever the metric's direction, with its interval. `p_value` is one-sided,
    for "no worse than `tolerance` beyond the reference": 1 where there is too little to tell, and `reason` says so. On basis `expected` no
    label was used: what is tested is the estimate, under what it assumes.
    """

    basis: LossBasis
    version: str
    metric: str
    window: TimeWindow
    days: int
    rows: int
    labelled: int
    p_value: float
    worse: bool
    alpha: float
    reason: str
    reference: Estimate | None = None
    current: Estimate | None = None
    loss: Estimate | None = None
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformanceReport:
    """Everything about the performance of the versions that served, as it was known at `at`.

    `version` is in service, `metric` the gate's. `blocks` are oldest first, all slices of a block together; `bands` are of the
    versions that have blocks. `realised_loss` and `expected_loss` are of the version in service, None before it has rows.
    `findings` say what could not be done, and why.

    >>> from datetime import UTC
    >>> report = PerformanceReport("performance-1", datetime(2013, 3, 2, tzinfo=UTC), "flights", "1", "auc", "day")
    >>> report.of_slice(), report.verdict
    ((), 'no evidence')
    """

    id: str
    at: datetime
    name: str
    version: str
    metric: str
    by: BlockLength
    blocks: tuple[PerformanceBlock, ...] = ()
    bands: tuple[ReferenceBand, ...] = ()
    realised_loss: LossTest | None = None
    expected_loss: LossTest | None = None
    findings: tuple[str, ...] = ()

    def of_slice(self, slice_: str = "") -> tuple[PerformanceBlock, ...]:
        """The blocks of one slice, oldest first."""
        return tuple(one for one in self.blocks if one.slice == slice_)

    def band(self, version: str, metric: str, slice_: str = "") -> ReferenceBand | None:
        """A version's band for a metric, None where it has none."""
        wanted = (version, metric, slice_)
        return next((one for one in self.bands if (one.version, one.metric, one.slice) == wanted), None)

    @property
    def verdict(self) -> Literal["worse", "expected worse", "as on held-out rows", "no evidence"]:
        """In two words: what the labels say, or before they say anything what is to be expected."""
        realised, expected = self.realised_loss, self.expected_loss
        if realised is not None and realised.worse:
            return "worse"
        if expected is not None and expected.worse:
            return "expected worse"
        return "as on held-out rows" if realised is not None and realised.loss is not None else "no evidence"

    @property
    def reason(self) -> str:
        """What the verdict goes by, in words."""
        told = {"worse": self.realised_loss, "expected worse": self.expected_loss}
        by = told.get(self.verdict, self.realised_loss) or self.expected_loss
        return by.reason if by is not None else "; ".join(self.findings) or "nothing was answered yet"
