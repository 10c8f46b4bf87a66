"""A window against its references: the report, and whether it is an alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mainspring.domain.drift_report import Bin, DriftReport, DriftVerdict, FeatureDrift, ReferenceName
from mainspring.domain.time import TimeWindow
from mainspring.drift.profile import Cells, Counts, Profile
from mainspring.drift.statistics import difference_of_shares, distances, grouped
from mainspring.settings.project import DriftSettings

_MOVED = 3
_NAMED = 3
_SURE = 0.001


def report(
    version: str,
    at: datetime,
    current: TimeWindow,
    profile: Profile,
    counts: Mapping[str, Counts],
    trailing: Mapping[str, Counts],
    settings: DriftSettings,
    earlier: Sequence[DriftReport] = (),
) -> DriftReport:
    """Compare a window's counts with training's and with the trailing windows'.

    `earlier` are the reports before this one, newest last: a feature alarms when it drifts now and in so many of the
    last `persistence + 1` windows, this one included. No rows are no evidence, and never quiet.
    """
    references: dict[ReferenceName, Mapping[str, Counts]] = {"training": profile.counts, "trailing": trailing}
    rows = max((one.rows for one in counts.values()), default=0)
    features = tuple(
        _compare(name, where, profile.cells[name], reference[name], counts[name], settings)
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
    name: str, where: ReferenceName, cells: Cells, reference: Counts, current: Counts, settings: DriftSettings
) -> FeatureDrift:
    apart = distances(cells, reference, current)
    # KS does not apply to text; then PSI stands in for it, against its own usual limit.
    statistic = settings.statistic if not (settings.statistic == "ks" and cells.text) else "psi"
    value = {"ks": apart.ks, "psi": apart.psi, "kl": apart.kl}[statistic]
    enough = current.rows >= settings.min_rows and reference.rows >= settings.min_rows
    return FeatureDrift(
        name,
        where,
        apart.ks,
        apart.psi,
        apart.kl,
        settings.threshold,
        statistic,
        enough and value is not None and value > settings.threshold,
        reference.rows,
        current.rows,
        tuple(_findings(cells, reference, current)),
        tuple(_moved(cells, reference, current)),
    )


def _findings(cells: Cells, reference: Counts, current: Counts) -> list[str]:
    found = []
    if not current.rows:
        return ["no rows"]
    if current.nulls == current.rows:
        found.append("all values are missing")
    elif difference_of_shares(reference.nulls, reference.rows, current.nulls, current.rows) < _SURE:
        before, now = reference.nulls / reference.rows, current.nulls / current.rows
        found.append(f"missing values: {before:.1%} then, {now:.1%} now")
    if cells.text and current.cells[-1] and not reference.cells[-1]:
        found.append(f"{current.cells[-1]:,} rows of categories that training never saw")
    return found


def _moved(cells: Cells, reference: Counts, current: Counts) -> list[Bin]:
    before, now = sum(reference.cells), sum(current.cells)
    if not before or not now:
        return []
    bins = []
    for group in grouped(cells, reference):
        label = cells.label(group[0]) if len(group) == 1 else _span(cells, group)
        share = sum(reference.cells[cell] for cell in group) / before
        bins.append(Bin(label, share, sum(current.cells[cell] for cell in group) / now))
    return sorted(bins, key=lambda one: -abs(one.current_share - one.reference_share))[:_MOVED]


def _span(cells: Cells, group: Sequence[int]) -> str:
    if cells.text:
        return "other categories"
    low, high = group[0], group[-1]
    if low == 0:
        return f"<= {cells.edges[high]:g}" if high < len(cells.edges) else "all"
    return (
        f"> {cells.edges[low - 1]:g}"
        if high == len(cells.edges)
        else f"{cells.edges[low - 1]:g} to {cells.edges[high]:g}"
    )


def _named(now: DriftReport, names: set[str]) -> str:
    """The features that moved most, by name; of many, how many there are."""
    acted_on = [one for one in now.features if one.feature in names and one.reference == now.acted_on]
    order = sorted(acted_on, key=lambda one: -(getattr(one, one.statistic) or 0.0))
    first = [f"{one.feature} ({one.statistic} {getattr(one, one.statistic):.2f})" for one in order[:_NAMED]]
    more = f" and {len(order) - _NAMED} more" if len(order) > _NAMED else ""
    return ", ".join(first) + more


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
