"""`DriftReport`: how far the current window is from its references, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mainspring.domain.time import TimeWindow

DriftVerdict = Literal["alarm", "warning", "quiet", "no_data"]
ReferenceName = Literal["training", "trailing"]
StatisticName = Literal["t", "ks", "psi", "kl", "js"]
DriftMethod = Literal["calibrated", "minimum_effect", "convention"]
"""By what a feature is decided: how its own past windows differ from each other; a PSI that is tolerated whatever the number of
rows, where too few of those are there; a limit that somebody set, which carries no false-alarm rate."""
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
    t: float | None = None
    method: DriftMethod = "convention"
    importance: float | None = None
    """What shuffling the feature cost the version's metric on rows held out."""
    effect: Effect | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Sureness:
    """What the thresholds against one reference were set for, and how sure the window's verdict is.

    `rate` is the stated share of windows without drift in which some feature is named, `level` the one that past windows were
    held against to keep it; `p_value` the share of `windows` calibrating ones that are at least as unusual as this one, itself
    included (None where nothing is calibrated, never below `1/(windows + 1)`); `windows_needed` how many the reference
    is too short by, for the features `uncalibrated`, which differ by more than PSI `tolerated_psi` where they are named;
    `alarms_a_month` how many alarms begin in 30 days without drift, after persistence. `named`: whether any calibrated feature was.
    """

    reference: ReferenceName
    rate: float
    level: float
    p_value: float | None
    windows: int
    windows_needed: int
    alarms_a_month: float
    tolerated_psi: float
    uncalibrated: tuple[str, ...] = ()
    named: bool = False

    @property
    def in_words(self) -> str:
        """For a person: the rate, what it is about, and what is missing."""
        a_month = f"{self.alarms_a_month:,.0f}" if self.alarms_a_month >= 10 else f"{self.alarms_a_month:.2g}"
        text = f"thresholds are set for false alarms in {self.rate:.1%} of windows, about {a_month} alarms a month"
        if self.p_value is not None:
            rank = round(self.p_value * (self.windows + 1))
            text += f"; {rank} of {self.windows + 1} windows without known drift, this one included, are as unusual"
        if self.uncalibrated:
            which = "all features" if self.p_value is None else ", ".join(self.uncalibrated)
            text += (
                f"; the reference is {self.windows_needed} windows too short to know how windows differ from each other"
                f" ({which}): there the rate is for windows within PSI {self.tolerated_psi:g} of the reference"
            )
        return text


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All features and the prediction (`feature == "prediction"`), against both references.

    `unwatched` are features whose values the project keeps out of the log. `false_alarm_rate` is the stated rate of the whole report, None where the thresholds carry none (folklore limits); `sureness` says by
    reference what it is about. `since` is the start of the first window of the alarm that stands.
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
    sureness: tuple[Sureness, ...] = ()
    since: datetime | None = None

    @property
    def sure_in_words(self) -> str:
        """What the thresholds that are acted on were set for."""
        acted_on = [one.in_words for one in self.sureness if one.reference == self.acted_on]
        return acted_on[0] if acted_on else "the threshold is a convention and carries no false-alarm rate"

    @property
    def unwatched_in_words(self) -> str:
        """What is not watched and why, for a person; "" where everything is."""
        return (
            f"not watched, for log.drop or log.hash keeps it out of the log: {', '.join(self.unwatched)}"
            if self.unwatched
            else ""
        )
