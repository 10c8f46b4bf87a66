"""From a report's counts to the one decider and back: what it decides on, at which level, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from mainspring.domain.drift_report import DriftReport, ReferenceName, Sureness
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Counts, Integers
from mainspring.drift.decide import Decided, FeatureWindows, Rule, decide, next_level
from mainspring.drift.profile import Profile
from mainspring.drift.windows import APART_GROUPS, Past, group_windows, joined, past_of
from mainspring.settings.drift import DriftSettings


def by_own_windows(
    where: ReferenceName,
    current: TimeWindow,
    profile: Profile,
    counts: Mapping[str, Counts],
    reference: Mapping[str, Counts],
    settings: DriftSettings,
    earlier: Sequence[DriftReport],
    past: Past | None,
) -> Decided:
    """The decision about a window against one reference, from the windows that are known of it.

    Against the trailing reference those are of the log (`past`), and of the time before it training's own; against training's,
    its own alone. Where windows are not known one by one (a project without times, a table's weeks before, a window that is
    not as long as theirs), the reference is a sum.
    """
    now = {name: _grouped(profile, name, one) for name, one in counts.items() if name in profile.cells}
    start = _microseconds(current.start)
    nothing = past_of([])
    same_length = current.end - current.start == settings.every and _as_long(profile, settings)
    own = profile.own_windows if same_length else nothing
    known = own if where == "training" else nothing if past is None else joined(own, past)
    early = known.starts < start
    known = Past(known.starts[early], {name: one[early] for name, one in known.counts.items()})
    fixed = where == "training"
    rule = Rule(
        settings.rate,
        settings.tolerated_psi,
        settings.persistence,
        settings.min_rows,
        None if fixed else settings.trailing,
    )
    features = {}
    for name, one in now.items():
        if name in reference:
            windows = known.counts.get(name, np.zeros((len(known.starts), len(one)), np.int64))
            features[name] = FeatureWindows(windows, one, APART_GROUPS, _grouped(profile, name, reference[name]))
    since = earlier[-1].since if earlier and where == settings.reference else None
    level = _level(where, settings, earlier)
    return decide(
        known.starts, start, settings.every, features, rule, level, None if since is None else _microseconds(since)
    )


def sureness(where: ReferenceName, decided: Decided, settings: DriftSettings) -> Sureness:
    """What a report keeps of a decision."""
    rest = tuple(name for name, one in decided.features.items() if one.method != "calibrated")
    return Sureness(
        where,
        decided.rate,
        decided.level,
        decided.p_value,
        decided.windows,
        decided.windows_needed,
        decided.expected_alarms,
        settings.tolerated_psi,
        rest,
        any(one.drifted and one.method == "calibrated" for one in decided.features.values()),
    )


def _level(where: ReferenceName, settings: DriftSettings, earlier: Sequence[DriftReport]) -> float:
    """The last level, moved by the window of `persistence` reports before the last one.

    So the first windows of a drift are held against a level that they have not lowered yet. Windows with too few rows to
    decide on move nothing.
    """
    decided = [one for report in earlier if (one := _of(report, where)) is not None]
    if not decided or decided[-1].rate != settings.rate:
        return settings.rate
    last = decided[-1]
    if len(decided) <= settings.persistence or decided[-1 - settings.persistence].p_value is None:
        return last.level
    return next_level(last.level, settings.rate, decided[-1 - settings.persistence].named)


def _of(report: DriftReport, where: ReferenceName) -> Sureness | None:
    return next((one for one in report.sureness if one.reference == where), None)


def trailing_with_training(
    profile: Profile, trailing: Mapping[str, Counts], past: Past | None, current: TimeWindow, settings: DriftSettings
) -> Mapping[str, Counts]:
    """The trailing counts, and where the log is younger than they reach back, training's windows of the time before it."""
    if past is None or not _as_long(profile, settings):
        return trailing
    until = _microseconds(current.start)
    since = until - np.timedelta64(settings.trailing, "us")
    if len(past.starts):
        until = min(until, past.starts[0])
    found = dict(trailing)
    for name, one in profile.windows.items():
        there = one.counts[(one.starts >= since) & (one.starts < until)]
        if len(there):
            more = Counts(there.sum(axis=0, dtype=np.int64))
            found[name] = found[name] + more if name in found else more
    return found


def _as_long(profile: Profile, settings: DriftSettings) -> bool:
    """Whether training's windows are as long as those that are reported on."""
    return profile.every_seconds == settings.every.total_seconds()


def _grouped(profile: Profile, name: str, counts: Counts) -> Integers:
    return group_windows(profile.cells[name], profile.counts[name], counts.vector)


def _microseconds(at: datetime) -> np.datetime64:
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")
