"""False alarms and detections of drift by one configuration, on real days: mainspring's defaults at rates of 5 and 10 % a window.

Each day is reported on as the product does it: against the four weeks before it, calibrated on the windows before it. The
tested days are later than all windows that their thresholds come from, and than those on which the calibration was designed
(flights before July, retail before December 2010): the constants of `mainspring.drift.decide` were fixed before a tested day was looked
at; those of the level's feedback in the commit that froze ADR 34, before the groceries were. A named window is one in which any feature is named; the binomial interval is the central 95 % for that many windows.

Peers, on the same counts, against the same four weeks: PSI > 0.1 in any feature, KS p < 0.05 in any ordered feature.

Detections: from every 14th tested day on a fault is planted and stays; the days until its feature is named, and until its
alarm, for which it has to be named twice in three windows. One that is not found in 14 days counts as 15.

`python benchmarks/drift_alarms.py [--json] [--quick]`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
from scipy.stats import binom, kstwobign

from drift_streams import EVERY, Stream, flights, groceries, power, retail, start_of
from mainspring.domain.drift_report import DriftReport, FeatureDrift
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Counts, total
from mainspring.drift.decide import calibrating_windows
from mainspring.drift.profile import Profile
from mainspring.drift.report import report as report_on
from mainspring.drift.windows import group_windows, past_of
from mainspring.settings.drift import DriftSettings
from report import Row, report

RATES = (0.05, 0.1)
LONGEST, BETWEEN = 14, 14


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="the first 20 tested days of each stream")
    arguments = parser.parse_args()
    rows: list[Row] = []
    pooled: dict[float, list[bool]] = {rate: [] for rate in RATES}
    for stream in (flights(), retail(), groceries(), power()):
        replay = Replay(stream, quick=arguments.quick)
        for rate in RATES:
            rows += false_alarms(replay, rate)
            rows += detections(replay, rate)
            if stream.clean:
                windows = [_named(one) for one in replay.clean[rate] if one.verdict != "no_data"]
                pooled[rate] += windows
    for rate, windows in pooled.items():
        rows += within_interval(f"all clean streams, {rate:.0%}, {len(windows)} windows", windows, rate)
    report([replace(row, unit="") for row in rows], as_json=arguments.json)


@dataclass
class Replay:
    """A stream's days, counted once."""

    stream: Stream
    quick: bool = False
    profile: Profile = field(init=False)
    days: list[date] = field(init=False)
    counts: dict[date, dict[str, Counts]] = field(init=False)
    clean: dict[float, list[DriftReport]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.profile = self.stream.profile()
        self.days = sorted(self.stream.days)
        self.counts = {day: self.stream.count(self.profile, self.stream.days[day]) for day in self.days}
        self.grouped = {day: self.group(one) for day, one in self.counts.items()}

    @property
    def tested(self) -> list[date]:
        """The days that are reported on."""
        found = [day for day in self.days if day >= self.stream.tested_from]
        return found[:20] if self.quick else found

    def group(self, counts: dict[str, Counts]) -> dict[str, Any]:
        """Counts over the groups that alarms are calibrated on."""
        cells, whole = self.profile.cells, self.profile.counts
        return {name: group_windows(cells[name], whole[name], one.vector) for name, one in counts.items()}

    def reported(
        self, day: date, rate: float, earlier: Sequence[DriftReport], planted: dict[date, dict[str, Counts]]
    ) -> DriftReport:
        """The report of a day, as the product makes it; `planted` are counts of days with a fault."""
        settings = DriftSettings(rate=rate)
        window = TimeWindow(start_of(day), start_of(day) + EVERY)
        known = [one for one in self.days if one < day]
        reach = settings.trailing // EVERY
        month = [(planted.get(one) or self.counts[one]) for one in known if (day - one).days <= reach]
        trailing = {name: total([one[name] for one in month], cells) for name, cells in self.profile.cells.items()}
        back = known[-(reach + calibrating_windows(rate) + settings.persistence) :]
        past = past_of(
            [
                (np.datetime64(one, "us"), self.group(planted[one]) if one in planted else self.grouped[one])
                for one in back
            ]
        )
        counts = planted.get(day) or self.counts[day]
        return report_on(
            self.stream.name,
            window.end,
            window,
            self.profile,
            counts,
            trailing,
            settings,
            earlier[-settings.persistence - 2 :],
            past=past,
        )


def false_alarms(replay: Replay, rate: float) -> list[Row]:
    """How often anything is named on days in which nothing was planted."""
    reports: list[DriftReport] = []
    for day in replay.tested:
        reports.append(replay.reported(day, rate, reports, {}))
    replay.clean[rate] = reports
    judged = [one for one in reports if one.verdict != "no_data"]
    windows = len(judged)
    named = float(np.mean([_named(one) for one in judged]))
    begun = sum(one.verdict == "alarm" and (not before or before.verdict != "alarm") for before, one in _pairs(judged))
    expected = float(np.mean([one.sureness[-1].alarms_a_month for one in judged])) * windows / 30
    name = f"{replay.stream.name}, {rate:.0%}, {windows} windows"
    at_rest = [one for before, one in _pairs(judged) if before is None or before.verdict != "alarm"]
    psi, ks = (float(np.mean([_peer(one, peer) for one in judged])) for peer in ("psi", "ks"))
    found = [
        Row(
            f"{name}: named, no alarm standing / stated",
            float(np.mean([_named(one) for one in at_rest])),
            rate,
            2.0,
            at_most=True,
        ),
        Row(f"{name}: named / PSI > 0.1's", named, psi, 1.0, at_most=True),
        Row(f"{name}: named / KS p < 0.05's", named, ks, 0.2, at_most=True),
        Row(f"{name}: alarms begun / expected", begun, expected, 3.0, at_most=True),
    ]
    if replay.stream.clean:
        found = [*within_interval(name, [_named(one) for one in judged], rate), *found]
    return found


def within_interval(name: str, named: Sequence[bool], rate: float) -> list[Row]:
    """The share of windows that were named, beside both ends of the interval; at least one has to be expected."""
    low, high = (bound / len(named) for bound in binom.interval(0.95, len(named), rate))
    share = float(np.mean(named))
    return [
        Row(f"{name}: named / most of the interval", share, high, 1.0, at_most=True),
        Row(f"{name}: named / least of the interval", share, low, 1.0, rate=True),
        Row(f"{name}: windows that the least end asks for / one", low * len(named), 1.0, 1.0, rate=True),
    ]


def detections(replay: Replay, rate: float) -> list[Row]:
    """How soon a planted fault is named, by the same configuration."""
    rows = []
    tested = replay.tested
    starts = range(0, len(tested) - (1 if replay.quick else LONGEST), BETWEEN)
    for name, (feature, fault) in replay.stream.faults.items():
        days: dict[str, list[int]] = {"named": [], "alarm": [], "psi": []}
        for start in starts:
            rng = np.random.default_rng(start)
            planted: dict[date, dict[str, Counts]] = {}
            reports = list(replay.clean[rate][:start])
            first = {}
            for place, day in enumerate(tested[start : start + LONGEST], 1):
                changed = fault(replay.stream.days[day], rng)
                planted[day] = replay.counts[day] | {feature: _only(replay, feature, changed)}
                found = replay.reported(day, rate, reports, planted)
                reports.append(found)
                now = _of(found, feature)
                hits = {
                    "named": now.drifted,
                    "alarm": found.verdict == "alarm" and now.drifted,
                    "psi": (now.psi or 0.0) > 0.1,
                }
                first |= {key: place for key, hit in hits.items() if hit and key not in first}
                if "alarm" in first and ("psi" in first or place >= 3):
                    break
            for key, found_after in days.items():
                found_after.append(first.get(key, LONGEST + 1))
        text = f"{replay.stream.name}, {rate:.0%}, {name}"
        share = float(np.mean([one <= LONGEST for one in days["alarm"]]))
        rows += [
            Row(f"{text}: days until named / one", float(np.mean(days["named"])), 1.0, 3.0, at_most=True),
            Row(f"{text}: days until its alarm / two", float(np.mean(days["alarm"])), 2.0, 2.0, at_most=True),
            Row(f"{text}: never found in 14 days / one in ten", 1 - share, 0.1, 1.0, at_most=True),
            Row(
                f"{text}: named on the first day / PSI > 0.1's",
                float(np.mean([one == 1 for one in days["named"]])),
                max(float(np.mean([one == 1 for one in days["psi"]])), 0.01),
                1.0,
                rate=True,
            ),
        ]
    return rows


def _only(replay: Replay, feature: str, rows: Any) -> Counts:
    return replay.stream.count(replay.profile, rows)[feature]


def _named(one: DriftReport) -> bool:
    return any(feature.drifted for feature in one.features if feature.reference == one.acted_on)


def _of(one: DriftReport, feature: str) -> FeatureDrift:
    return next(found for found in one.features if found.feature == feature and found.reference == one.acted_on)


def _peer(one: DriftReport, peer: str) -> bool:
    for found in one.features:
        if found.reference != one.acted_on:
            continue
        if peer == "psi" and (found.psi or 0.0) > 0.1:
            return True
        if peer == "ks" and found.ks is not None:
            sizes = found.reference_rows * found.current_rows / (found.reference_rows + found.current_rows)
            if kstwobign.sf(found.ks * np.sqrt(sizes)) < 0.05:
                return True
    return False


def _pairs(reports: Sequence[DriftReport]) -> list[tuple[DriftReport | None, DriftReport]]:
    return list(zip([None, *reports[:-1]], reports, strict=True))


if __name__ == "__main__":
    main()
