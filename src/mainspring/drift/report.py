"""A window against its references: the report, and whether it is an alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mainspring.domain.drift_report import DriftReport, DriftVerdict, FeatureDrift, ReferenceName, StatisticName
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.decide import FeatureDecision
from mainspring.drift.findings import findings_of
from mainspring.drift.histogram import histogram
from mainspring.drift.profile import Profile
from mainspring.drift.statistics import distances, grouped
from mainspring.drift.sureness import by_own_windows, sureness
from mainspring.drift.windows import Past
from mainspring.drift.words import beyond_limit
from mainspring.settings.drift import DriftSettings

Exact = Callable[[str, ReferenceName], float | None]
"""A feature's KS against a reference from the rows themselves; None where they are not to be had."""
_MOVED = 3
_NAMED = 3
_GRAVE = ("all_null", "type_changed")
_GONE = 0.5
"""A feature of which more than this has no value any more, or one of another type, has drifted whatever its other values do."""


def report(
    version: str,
    at: datetime,
    current: TimeWindow,
    profile: Profile,
    counts: Mapping[str, Counts],
    trailing: Mapping[str, Counts],
    settings: DriftSettings,
    earlier: Sequence[DriftReport] = (),
    exact: Exact | None = None,
    past: Past | None = None,
) -> DriftReport:
    """Compare a window's counts with training's and with the trailing windows'.

    `earlier` are the reports before this one, newest last: a feature alarms when it drifts now and in so many of the
    last `persistence + 1` windows, this one included. No rows are no evidence, and never quiet. `exact` is asked only where the
    threshold lies inside the interval that the counts leave for KS; without it the interval's lower end counts.
    `past` are the log's own windows before this one, by which alarms are calibrated, and the reference's own; `trailing` is what
    `trailing_with_training` makes of the log's counts.
    """
    references: dict[ReferenceName, Mapping[str, Counts]] = {"training": profile.counts, "trailing": trailing}
    rows = max((one.rows for one in counts.values()), default=0)
    decided = {
        where: by_own_windows(where, current, profile, counts, reference, settings, earlier, past)
        for where, reference in references.items()
        if settings.statistic == "calibrated" and rows
    }
    chosen = {where: one.features for where, one in decided.items()}
    features = tuple(
        _compare(
            name,
            where,
            profile.cells[name],
            reference[name],
            counts[name],
            settings,
            exact,
            chosen.get(where, {}).get(name),
        )
        for where, reference in references.items()
        for name in profile.cells
        if name in counts and name in reference and reference[name].rows
    )
    found = DriftReport(
        f"drift-{version}-{at:%Y%m%dT%H%M}",
        version,
        at,
        current,
        rows,
        features,
        "quiet",
        "",
        settings.reference,
        settings.rate if decided else None,
        sureness=tuple(sureness(where, one, settings) for where, one in decided.items() if one.features),
    )
    verdict, reason = _verdict(found, settings, earlier)
    found = replace(found, verdict=verdict, reason=reason)
    return replace(found, since=_since(found, settings, earlier))


def drifted(report: DriftReport) -> set[str]:
    """The features that drifted against the reference that is acted on."""
    return {one.feature for one in report.features if one.drifted and one.reference == report.acted_on}


def _compare(
    name: str,
    where: ReferenceName,
    cells: Cells,
    reference: Counts,
    current: Counts,
    settings: DriftSettings,
    exact: Exact | None,
    decided: FeatureDecision | None,
) -> FeatureDrift:
    groups = grouped(cells, reference)
    apart = distances(cells, reference, current, groups)
    # KS does not apply to text; then PSI stands in for it, against its own usual limit.
    statistic: StatisticName = "psi" if settings.statistic == "calibrated" else settings.statistic
    statistic = "psi" if statistic == "ks" and not cells.ordered else statistic
    threshold = settings.threshold or 0.0
    interval = None if apart.ks_low is None or apart.ks_high is None else (apart.ks_low, apart.ks_high)
    enough = current.rows >= settings.min_rows and reference.rows >= settings.min_rows
    if statistic == "ks" and exact is not None and interval is not None and enough:
        low, high = interval
        found = exact(name, where) if low <= threshold < high else None
        interval = interval if found is None else (found, found)
    ks = None if interval is None else interval[0]
    value = {"ks": ks, "psi": apart.psi, "kl": apart.kl, "js": apart.js}[statistic]
    drifts = value is not None and value > threshold
    if settings.statistic == "calibrated":
        calibrated = decided is not None and decided.method == "calibrated"
        statistic = "t" if calibrated else "psi"
        threshold, drifts = (0.0, False) if decided is None else (decided.threshold, decided.drifted)
    findings = tuple(findings_of(cells, reference, current))
    gone = any(one.name in _GRAVE and one.reference_share < _GONE < one.current_share for one in findings)
    bins = histogram(cells, reference, current, groups)
    return FeatureDrift(
        name,
        where,
        ks,
        apart.psi,
        apart.kl,
        threshold,
        statistic,
        enough and (drifts or gone),
        reference.rows,
        current.rows,
        findings,
        tuple(sorted(bins, key=lambda one: -abs(one.current_share - one.reference_share))[:_MOVED]),
        bins,
        interval,
        apart.js,
        apart.wasserstein,
        apart.chi_squared,
        apart.chi_squared_p,
        decided.value if decided is not None and decided.method == "calibrated" else None,
        decided.method if decided is not None else "convention",
    )


def _named(now: DriftReport, names: set[str]) -> str:
    """The features that moved most, by name; of many, how many there are."""
    acted_on = [one for one in now.features if one.feature in names and one.reference == now.acted_on]
    order = sorted(acted_on, key=lambda one: -(getattr(one, one.statistic) or 0.0) / (one.threshold or 1.0))
    first = [f"{one.feature} ({_value(one)})" for one in order[:_NAMED]]
    more = f" and {len(order) - _NAMED} more" if len(order) > _NAMED else ""
    return ", ".join(first) + more


def shown(statistic: StatisticName) -> str:
    """A statistic as it is written."""
    return "T" if statistic == "t" else statistic


def _value(one: FeatureDrift) -> str:
    value: float | None = getattr(one, one.statistic)
    if value is None:
        return "; ".join(found.text for found in one.findings if found.name in _GRAVE)
    return beyond_limit(shown(one.statistic), value, one.threshold, [found.text for found in one.findings])


def _verdict(now: DriftReport, settings: DriftSettings, earlier: Sequence[DriftReport]) -> tuple[DriftVerdict, str]:
    if now.rows < settings.min_rows:
        return "no_data", f"{now.rows} rows; {settings.min_rows} are needed"
    if not any(one.reference == settings.reference for one in now.features):
        return "no_data", f"the {settings.reference} reference has no rows yet"
    current = drifted(now)
    if not current:
        return "quiet", f"no feature has drifted; {now.sure_in_words}"
    lasting = _lasting(current, settings, earlier)
    text = _named(now, lasting or current)
    if lasting:
        windows = f"{settings.persistence} of the last {settings.persistence + 1} windows"
        return "alarm", f"{text} in {windows}; {now.sure_in_words}"
    return "warning", f"{text} in this window; {now.sure_in_words}"


def _lasting(current: set[str], settings: DriftSettings, earlier: Sequence[DriftReport]) -> set[str]:
    recent = [drifted(one) for one in earlier[-settings.persistence :]]
    return {name for name in current if 1 + sum(name in one for one in recent) >= settings.persistence}


def _since(now: DriftReport, settings: DriftSettings, earlier: Sequence[DriftReport]) -> datetime | None:
    """The start of the first window of the alarm that stands; a window without rows does not end one."""
    stood = earlier[-1].since if earlier else None
    if now.verdict == "no_data" or (now.verdict == "alarm" and stood is not None):
        return stood
    if now.verdict != "alarm":
        return None
    lasting = _lasting(drifted(now), settings, earlier)
    begun = [one.current.start for one in earlier[-settings.persistence :] if drifted(one) & lasting]
    return min([*begun, now.current.start])
