"""A window against its references: the report, and whether it is an alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mainspring.domain.drift_report import DriftReport, DriftVerdict, FeatureDrift, ReferenceName
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.findings import findings_of
from mainspring.drift.histogram import histogram
from mainspring.drift.profile import Profile
from mainspring.drift.statistics import distances, grouped
from mainspring.settings.project import DriftSettings

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
) -> DriftReport:
    """Compare a window's counts with training's and with the trailing windows'.

    `earlier` are the reports before this one, newest last: a feature alarms when it drifts now and in so many of the
    last `persistence + 1` windows, this one included. No rows are no evidence, and never quiet. `exact` is asked only where the
    threshold lies inside the interval that the counts leave for KS; without it the interval's lower end counts.
    """
    references: dict[ReferenceName, Mapping[str, Counts]] = {"training": profile.counts, "trailing": trailing}
    rows = max((one.rows for one in counts.values()), default=0)
    features = tuple(
        _compare(name, where, profile.cells[name], reference[name], counts[name], settings, exact)
        for where, reference in references.items()
        for name in profile.cells
        if name in counts and name in reference and reference[name].rows
    )
    found = DriftReport(
        f"drift-{version}-{at:%Y%m%dT%H%M}", version, at, current, rows, features, "quiet", "", settings.reference
    )
    verdict, reason = _verdict(found, settings, earlier)
    return replace(found, verdict=verdict, reason=reason)


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
) -> FeatureDrift:
    groups = grouped(cells, reference)
    apart = distances(cells, reference, current, groups)
    # KS does not apply to text; then PSI stands in for it, against its own usual limit.
    statistic = settings.statistic if not (settings.statistic == "ks" and not cells.ordered) else "psi"
    interval = None if apart.ks_low is None or apart.ks_high is None else (apart.ks_low, apart.ks_high)
    enough = current.rows >= settings.min_rows and reference.rows >= settings.min_rows
    if statistic == "ks" and exact is not None and interval is not None and enough:
        low, high = interval
        found = exact(name, where) if low <= settings.threshold < high else None
        interval = interval if found is None else (found, found)
    ks = None if interval is None else interval[0]
    value = {"ks": ks, "psi": apart.psi, "kl": apart.kl, "js": apart.js}[statistic]
    findings = tuple(findings_of(cells, reference, current))
    gone = any(one.name in _GRAVE and one.reference_share < _GONE < one.current_share for one in findings)
    bins = histogram(cells, reference, current, groups)
    return FeatureDrift(
        name,
        where,
        ks,
        apart.psi,
        apart.kl,
        settings.threshold,
        statistic,
        enough and ((value is not None and value > settings.threshold) or gone),
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
    )


def _named(now: DriftReport, names: set[str]) -> str:
    """The features that moved most, by name; of many, how many there are."""
    acted_on = [one for one in now.features if one.feature in names and one.reference == now.acted_on]
    order = sorted(acted_on, key=lambda one: -(getattr(one, one.statistic) or 0.0))
    first = [f"{one.feature} ({_value(one)})" for one in order[:_NAMED]]
    more = f" and {len(order) - _NAMED} more" if len(order) > _NAMED else ""
    return ", ".join(first) + more


def _value(one: FeatureDrift) -> str:
    value: float | None = getattr(one, one.statistic)
    gone = [found.text for found in one.findings if found.name in _GRAVE]
    return f"{one.statistic} {value:.2f}" if value is not None else "; ".join(gone)


def _verdict(now: DriftReport, settings: DriftSettings, earlier: Sequence[DriftReport]) -> tuple[DriftVerdict, str]:
    if now.rows < settings.min_rows:
        return "no_data", f"{now.rows} rows; {settings.min_rows} are needed"
    if not any(one.reference == settings.reference for one in now.features):
        return "no_data", f"the {settings.reference} reference has no rows yet"
    current = drifted(now)
    if not current:
        return "quiet", f"no feature is above {settings.statistic} {settings.threshold:g}"
    recent = [drifted(one) for one in earlier[-settings.persistence :]]
    lasting = {name for name in current if 1 + sum(name in one for one in recent) >= settings.persistence}
    text = _named(now, lasting or current)
    if lasting:
        return "alarm", f"{text} above {settings.threshold:g} in {settings.persistence} windows"
    return "warning", f"{text} above {settings.threshold:g} in this window"
