"""`LaptopDrift`: counts windows of the prediction log over a version's cells, and reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.drift_report import DriftReport, ReferenceName
from mainspring.domain.errors import DataError, MainspringError, NotFound
from mainspring.domain.time import TimeWindow, floor_to
from mainspring.drift.cells import Counts, Integers
from mainspring.drift.decide import calibrating_windows
from mainspring.drift.page import page
from mainspring.drift.profile import CONFIDENCE, PREDICTION, Profile
from mainspring.drift.report import Exact, drifted, report
from mainspring.drift.statistics import ks_exact
from mainspring.drift.storage import read_profile
from mainspring.drift.sureness import trailing_with_training
from mainspring.drift.telling import told
from mainspring.drift.windows import Past, group_windows, past_of
from mainspring.platforms.drift_counts import HourCounts
from mainspring.platforms.drift_effects import effects_of, importance_of
from mainspring.platforms.drift_rows import needed, values_of
from mainspring.platforms.whole_file import write_whole
from mainspring.ports import LogHour, ModelRegistry, PredictionLog
from mainspring.serving.runtime import load_card
from mainspring.settings.load import LoadedProject
from mainspring.telemetry.logs import Log

_STILL_COMING = 3
"""Newest windows that are counted again: rows come late."""
LATEST, COUNTS = "latest.json", "counts"
_VERSIONS_IN_MEMORY = 4
"""Profiles with their windows are tens of megabytes; a version that was replaced may come back, and its answers calibrate the next ones'."""


class LaptopDrift:
    """`DriftJob` on the prediction log. Counts of each hour are kept, so that every window and reference is their sum."""

    def __init__(self, loaded: LoadedProject, registry: ModelRegistry, log: PredictionLog) -> None:
        self._settings = loaded.settings.drift
        self._units = loaded.settings.features.units
        self._unwatched = {name for names in loaded.settings.concealed for name in names}
        self._folder = loaded.paths.drift
        self._registry = registry
        self._log = log
        self._profiles: dict[str, Profile] = {}
        self._counts: dict[str, HourCounts] = {}
        self._grouped: dict[str, dict[datetime, dict[str, Integers]]] = {}
        self._earlier: dict[str, list[DriftReport]] = {}
        self._predecessors: dict[str, list[str]] = {}

    def run(self, version: str, at: datetime) -> DriftReport:
        """The report for the window that ended at `at`; written as JSON and as a page."""
        window = TimeWindow(at - self._settings.every, at)
        before = TimeWindow(window.start - self._settings.trailing, window.start)
        counts = self.counts(version)
        # Asked once, before any rows are read: a report looks at months of hours.
        starts = self._past_starts(window)
        there = self._log.hours(TimeWindow(min([before.start, *starts]), window.end))
        past = self._past(version, window, starts, there) if starts else None
        profile, current = self._profiles[version], counts.of(window, there)
        trailing = trailing_with_training(profile, counts.of(before, there), past, window, self._settings)
        found = report(
            version,
            at,
            window,
            profile,
            current,
            trailing,
            self._settings,
            self._before(version, at),
            self._exact(version, window, before),
            past,
        )
        hidden = tuple(name for name in profile.cells if name in self._unwatched)
        found = replace(found, unwatched=hidden)
        found = self._told(found, profile, current, {"training": profile.counts, "trailing": trailing})
        self._put(version, found)
        self._earlier[version] = self._needed([*self._before(version, found.at), found])
        return found

    def counts(self, version: str) -> HourCounts:
        """The version's counts by hour. Errors: `DataError` for a version without a profile that can be read."""
        if version not in self._counts:
            for old in list(self._counts)[: 1 - _VERSIONS_IN_MEMORY]:
                del self._counts[old], self._profiles[old]
                self._grouped.pop(old, None)
            folder = self._registry.fetch(version)
            profile = read_profile(folder)
            self._profiles[version] = profile
            # The classes are in the model's card, and needed only where there are several.
            classes = load_card(folder).signature.classes if CONFIDENCE in profile.cells else ()
            self._counts[version] = HourCounts(
                version,
                profile,
                self._log,
                self._folder / version / COUNTS,
                classes=classes,
                unwatched=frozenset(self._unwatched),
            )
        # The one that was asked for last is the last to go.
        self._counts[version] = self._counts.pop(version)
        return self._counts[version]

    def _past_starts(self, current: TimeWindow) -> list[datetime]:
        """Where the windows before `current` start, as far back as alarms are calibrated on; none where they are not."""
        settings = self._settings
        if settings.statistic != "calibrated":
            return []
        windows = settings.trailing // settings.every + calibrating_windows(settings.rate) + settings.persistence
        return [current.start - settings.every * place for place in range(windows, 0, -1)]

    def _past(
        self, version: str, current: TimeWindow, starts: Sequence[datetime], there: Mapping[datetime, LogHour]
    ) -> Past:
        """The log's windows before `current`. Those that rows may still come to are counted again."""
        every, kept = self._settings.every, self._grouped.setdefault(version, {})
        # Hours that the log does not keep any more stay counted.
        served = min([*there, *self.counts(version).days()], default=current.start)
        new = [start for start in starts if start + every > served and start not in kept]
        if new:
            self.counts(version).count(TimeWindow(new[0], current.end), there)
        found = []
        for place, start in enumerate(starts):
            if start + every <= served and start not in kept:
                continue
            own = self._groups(version, start, there, anew=len(starts) - place <= _STILL_COMING)
            one = self._with_predecessors(version, start, own, there)
            if any(counts.any() for counts in one.values()):
                found.append((np.datetime64(start.replace(tzinfo=None), "us"), one))
        for old in [start for start in kept if start < starts[0]]:
            del kept[old]
        return past_of(found)

    def _groups(
        self, version: str, start: datetime, there: Mapping[datetime, LogHour], *, anew: bool = False
    ) -> dict[str, Integers]:
        """The groups of the window that starts at `start`, over the version's cells; kept, unless they are asked for `anew`."""
        kept = self._grouped.setdefault(version, {})
        if anew or start not in kept:
            found = self.counts(version).of(TimeWindow(start, start + self._settings.every), there)
            cells, reference = self._profiles[version].cells, self._profiles[version].counts
            kept[start] = {name: group_windows(cells[name], reference[name], one.vector) for name, one in found.items()}
        return kept[start]

    def _with_predecessors(
        self, version: str, start: datetime, own: dict[str, Integers], there: Mapping[datetime, LogHour]
    ) -> dict[str, Integers]:
        """A window's groups; of one that the version did not answer in, the answers of the newest one before it that did.

        Each version's answers are over groups of what it answered when it was held out. So what is told of windows is how
        much they differ from each other, whoever answered.
        """
        silent = [name for name in (PREDICTION, CONFIDENCE) if name in own and not own[name].any()]
        for before in self._before_it(version) if silent else ():
            theirs = self._groups(before, start, there)
            then, now = self._profiles[before].cells, self._profiles[version].cells
            answered = {
                name: theirs[name]
                for name in silent
                if name in theirs
                and theirs[name].any()
                and theirs[name].shape == own[name].shape
                and then[name].categories == now[name].categories
            }
            if answered:
                return own | answered
        return own

    def _before_it(self, version: str) -> list[str]:
        """The versions that were reported on before this one, newest first, of those whose profiles can be read."""
        if version not in self._predecessors:
            folders = [one for one in self._folder.glob(f"*/{COUNTS}") if one.parent.name != version]
            found = []
            for folder in sorted(folders, key=lambda one: -one.stat().st_mtime_ns)[: _VERSIONS_IN_MEMORY - 1]:
                with suppress(MainspringError):
                    self.counts(folder.parent.name)
                    found.append(folder.parent.name)
            self._predecessors = {version: found}
        return self._predecessors[version]

    def _exact(self, version: str, current: TimeWindow, trailing: TimeWindow) -> Exact:
        """KS from the rows themselves. Training's rows are not at hand when a window is reported on."""

        def exact(name: str, where: ReferenceName) -> float | None:
            if where == "training" or name in (PREDICTION, CONFIDENCE):
                return None
            one, other = (
                values_of(self._log.read(window, needed([name])), name, version) for window in (trailing, current)
            )
            return None if one is None or other is None else ks_exact(one, other)

        return exact

    def _told(
        self,
        found: DriftReport,
        profile: Profile,
        current: Mapping[str, Counts],
        references: Mapping[ReferenceName, Mapping[str, Counts]],
    ) -> DriftReport:
        """The report with what each change means; what drifted is held against the model."""
        folder, names = self._registry.fetch(found.version), sorted(drifted(found))
        try:
            reference = references[found.acted_on]
            moved = effects_of(folder, self._log, found.current, names, profile.cells, reference) if names else {}
        except Exception as error:
            # Whatever the model cannot be asked for, the report stands without it.
            Log().warning("what drift does to the predictions is not known", version=found.version, why=str(error))
            moved = {}
        importance = importance_of(folder)
        return told(found, profile.cells, current, references, units=self._units, importance=importance, effects=moved)

    def _before(self, version: str, at: datetime) -> list[DriftReport]:
        if version not in self._earlier:
            found: list[DriftReport] = []
            for path in sorted((self._folder / version).glob("drift-*.json"), reverse=True):
                one = _read(path)
                found = found if one is None else [one, *found]
                if self._suffice(found):
                    break
            self._earlier[version] = self._needed(found)
        return [one for one in self._earlier[version] if one.at < at]

    @property
    def _newest(self) -> int:
        """How many of the last reports decide the next; one more, as the newest may be of the window that is reported on again."""
        return self._settings.persistence + 2

    def _suffice(self, reports: Sequence[DriftReport]) -> bool:
        """Whether older reports have no say: of windows with too few rows to decide on, none moves the level."""
        decided = [one for one in reports if one.sureness or self._settings.statistic != "calibrated"]
        return len(decided) >= self._newest

    def _needed(self, reports: Sequence[DriftReport]) -> list[DriftReport]:
        """The newest reports, and as many that were decided."""
        decided = [place for place, one in enumerate(reports) if one.sureness][-self._newest :]
        return [reports[place] for place in sorted({*decided, *range(len(reports))[-self._newest :]})]

    def _put(self, version: str, found: DriftReport) -> None:
        folder = self._folder / version
        folder.mkdir(parents=True, exist_ok=True)
        raw = to_json(found)
        write_whole(folder / f"{found.id}.html", page(found).encode())
        write_whole(folder / f"{found.id}.json", raw)
        write_whole(self._folder / LATEST, raw)


def latest(folder: Path) -> DriftReport | None:
    """The newest report, None before the first."""
    path = folder / LATEST
    return _read(path) if path.exists() else None


def _read(path: Path) -> DriftReport | None:
    """A report; None for one that an earlier mainspring wrote in other words: the next window has one again."""
    try:
        return from_json(DriftReport, path.read_bytes())
    except DataError:
        return None


def newest_report(loaded: LoadedProject, *, compute: bool) -> tuple[DriftReport, Path]:
    """The newest report and its page; with `compute`, of the newest whole window, counted now.

    Errors: `NotFound` before there is one.
    """
    if compute:
        _compute(loaded)
    found = latest(loaded.paths.drift)
    if found is None:
        raise NotFound(
            "there is no drift report yet: the first comes with the first whole window that was served",
            where=str(loaded.paths.drift),
            next_step="mainspring drift --now",
        )
    return found, loaded.paths.drift / found.version / f"{found.id}.html"


def _compute(loaded: LoadedProject) -> None:
    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
    from mainspring.adapters.sql.ledger import SqliteLedger
    from mainspring.loop.state import rollout_of

    stable = rollout_of(SqliteLedger(loaded.paths.ledger)).stable
    if not stable:
        raise NotFound("nothing is served yet", where=str(loaded.paths.ledger), next_step="mainspring up")
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    job = LaptopDrift(loaded, registry, ParquetPredictionLog(loaded.paths))
    job.run(stable, window_end(datetime.now(UTC), loaded.settings.drift.every))


def window_end(at: datetime, every: timedelta) -> datetime:
    """The end of the newest whole window at an instant."""
    return floor_to(at, every)
