"""`DriftReport`: how far the current window is from its references, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mainspring.domain.time import TimeWindow

DriftVerdict = Literal["alarm", "warning", "quiet", "no_data"]
ReferenceName = Literal["training", "trailing"]


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin in the feature's own units, with its share in the reference and now.

    Of numbers it holds low < v <= high, None without a bound; of a single value low is the number just below high.
    """

    label: str
    reference_share: float
    current_share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What one feature's drift does to the predictions: `rows` of the window, asked again with the feature as it was.

    `mean_absolute` and `mean` are changes from then to now, in the prediction's own units (a chance, a value); of several
    classes there is no `mean`, and `mean_absolute` is the total variation.
    """

    mean_absolute: float
    mean: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature against one reference. Statistics are None where they do not apply; `findings` name what is odd."""

    feature: str
    reference: ReferenceName
    ks: float | None
    psi: float | None
    kl: float | None
    threshold: float
    statistic: Literal["ks", "psi", "kl"]
    drifted: bool
    reference_rows: int
    current_rows: int
    findings: tuple[str, ...] = ()
    moved: tuple[Bin, ...] = ()
    histogram: tuple[Bin, ...] = ()
    importance: float | None = None
    effect: Effect | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All features and the prediction (`feature == "prediction"`), against both references.

    `unwatched` are features whose values the project keeps out of the log. `false_alarm_rate` is the stated rate of the whole report, None where the thresholds carry none (folklore limits).
    """

    id: str
    version: str
    at: datetime
    current: TimeWindow
    rows: int
    features: tuple[FeatureDrift, ...]
    verdict: DriftVerdict
    reason: str
    acted_on: ReferenceName = "training"
    false_alarm_rate: float | None = None
    unwatched: tuple[str, ...] = ()

    @property
    def unwatched_in_words(self) -> str:
        """What is not watched and why, for a person; "" where everything is."""
        return (
            f"not watched, for log.drop or log.hash keeps it out of the log: {', '.join(self.unwatched)}"
            if self.unwatched
            else ""
        )

    @property
    def rate_in_words(self) -> str:
        """The false-alarm rate that the report's limits were set for, for a person."""
        if self.false_alarm_rate is None:
            return "The limit is a convention and carries no false-alarm rate."
        return f"Without any drift {self.false_alarm_rate:.0%} of such windows would alarm."
