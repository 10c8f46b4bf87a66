"""`DriftReport`: how far the current window is from its references, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mainspring.domain.time import TimeWindow

DriftVerdict = Literal["alarm", "warning", "quiet", "no_data"]
ReferenceName = Literal["training", "trailing"]
StatisticName = Literal["ks", "psi", "kl", "js"]
FindingName = Literal[
    "empty_window", "all_null", "missing", "infinite", "constant", "new_category", "type_changed", "outside"
]
"""What may be odd about a feature beside its distance, each by a name of its own.

`empty_window`: no rows at all. `all_null`: rows, and no value. `missing`: the share of
null or NaN is another one. `infinite`: infinities, which are in no other number. `constant`: one single value where the
reference had several. `new_category`: categories that the reference never had. `type_changed`: text where numbers were, or
the reverse. `outside`: more values below or above everything that the reference had than chance explains.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a feature: which, in words, and as shares of all rows, then and now."""

    name: FindingName
    text: str
    reference_share: float = 0.0
    current_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin in the feature's own units, with its share in the reference and now (of the rows that have a value).

    `low` and `high` are its ends as numbers (`low < v <= high`), None where it has none.
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
    """One feature against one reference. Statistics are None where they do not apply; `findings` name what is odd.

    `ks` lies in `ks_interval`, ends included: from counts the true distance is known up to the mass of a cell. `js` is the
    Jensen-Shannon distance (the root of the divergence to base 2, in [0, 1]), `wasserstein` is in the feature's own units
    (of a time in microseconds), `chi_squared` has `chi_squared_p` by the usual, independent-rows reckoning. `histogram` has
    all bins that PSI, KL, JS and chi-squared are taken from, `moved` those of them that moved most.
    """

    feature: str
    reference: ReferenceName
    ks: float | None
    psi: float | None
    kl: float | None
    threshold: float
    statistic: StatisticName
    drifted: bool
    reference_rows: int
    current_rows: int
    findings: tuple[Finding, ...] = ()
    moved: tuple[Bin, ...] = ()
    histogram: tuple[Bin, ...] = ()
    ks_interval: tuple[float, float] | None = None
    js: float | None = None
    wasserstein: float | None = None
    chi_squared: float | None = None
    chi_squared_p: float | None = None
    importance: float | None = None
    """What shuffling the feature cost the version's metric on rows held out."""
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
