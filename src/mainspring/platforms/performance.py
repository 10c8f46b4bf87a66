"""`LaptopPerformance`: what versions achieved by day and by week, from the prediction log and the labels known by then.

A block is computed again at each look until its labels had their time (`performance.mature_after`), then a last time, and is kept:
later labels do not change what was reported. A day's answers are read from the log again where rows came or went, and only blocks
whose answers or labels changed are computed. Everything that is kept is derived: without it the next look computes it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.adapters.processes.locks import locked
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import DataError, NotFound
from mainspring.domain.performance_report import BlockLength, PerformanceBlock, PerformanceReport
from mainspring.domain.time import TimeWindow, floor_to, utc
from mainspring.labels.known import Unlabelled
from mainspring.performance.page import page
from mainspring.platforms.performance_measures import Measures
from mainspring.platforms.performance_reference import read_reference
from mainspring.platforms.performance_rows import DAY, Answers, Known, Labelled, label_all, read_day
from mainspring.platforms.whole_file import write_whole
from mainspring.ports import LabelSource, ModelRegistry, PredictionLog
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

LENGTHS: tuple[BlockLength, ...] = ("day", "week")
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Settled:
    """Blocks of one length that end at or before `until`, all of them final; None before any is."""

    until: datetime | None = None
    blocks: tuple[PerformanceBlock, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """A block's numbers, and the answers and labels that they were taken from."""

    parts: list[Answers]
    labelled: list[Labelled]
    blocks: list[PerformanceBlock]

    def same(self, parts: list[Answers], labelled: list[Labelled]) -> bool:
        """Whether these are the same answers with the same labels."""
        if len(parts) != len(self.parts) or any(one is not other for one, other in zip(parts, self.parts, strict=True)):
            return False
        return [one.key for one in labelled] == [one.key for one in self.labelled]


@dataclass
class _Look:
    """One look: what was read for it, and what it found odd."""

    at: datetime
    days: dict[datetime, list[Answers]]
    labelled: dict[tuple[datetime, str], Labelled]
    findings: list[str] = field(default_factory=list)


class LaptopPerformance:
    """`PerformanceJob` on the prediction log."""

    def __init__(self, loaded: LoadedProject, registry: ModelRegistry, log: PredictionLog, labels: LabelSource) -> None:
        self._settings = loaded.settings
        self._folder = loaded.paths.performance
        self._registry = registry
        self._log = log
        self._labels = labels
        self._measures = Measures(loaded.settings, self._known)
        self._versions: dict[str, Known] = {}
        self._days: dict[datetime, list[Answers]] = {}
        self._tokens: dict[datetime, list[str]] = {}
        self._newest: PerformanceReport | None = None
        self._found: dict[tuple[BlockLength, datetime, str], _Measured] = {}

    def run(self, version: str, at: datetime) -> PerformanceReport:
        """The report on whole days up to `at`, `version` being in service; written as JSON and as a page, by day and by week."""
        with locked(self._folder / "performance.lock"):
            at = floor_to(at, DAY)
            kept = {by: self._kept(by) for by in LENGTHS}
            look = self._read(at, min(self._since(kept[by], at) for by in LENGTHS))
            reports = {by: self._report(by, version, look, kept[by]) for by in LENGTHS}
            for by in LENGTHS:
                self._put(by, reports[by])
            self._newest = reports[self._settings.performance.by]
            return self._newest

    def latest(self) -> PerformanceReport | None:
        """The newest report in the project's own blocks, None before the first."""
        if self._newest is None:
            self._newest = latest(self._folder, self._settings.performance.by)
        return self._newest

    # ---- reading

    def _since(self, kept: Settled, at: datetime) -> datetime:
        """The first day that is looked at: what is not settled, and the days that a loss is looked for in."""
        settings = self._settings.performance
        oldest = floor_to(at - settings.history, DAY)
        asked = at - self._settings.mature_after - settings.window
        return max(oldest, min(asked, kept.until or oldest))

    def _read(self, at: datetime, since: datetime) -> _Look:
        days = [since + DAY * place for place in range((at - since) // DAY)]
        told: dict[datetime, list[str]] = {day: [] for day in days}
        for hour, found in self._log.hours(TimeWindow(since, at)).items():
            told[floor_to(hour, DAY)].append(found.token)
        signatures = [one.signature for one in self._registry.versions()]
        hidden = [name for names in self._settings.concealed for name in names]
        slices = self._settings.gate.slices
        for day, tokens in told.items():
            if day in self._days and self._tokens[day] == tokens:
                continue
            self._tokens[day] = tokens
            new = read_day(self._log, day, signatures, self._known, slices, hidden) if tokens else []
            # What is the same stays the same object: what was measured on it is not measured again.
            before = {one.version: one for one in self._days.get(day, ())}
            self._days[day] = [
                before[one.version] if one.version in before and before[one.version].same(one) else one for one in new
            ]
        for old in [one for one in self._days if one < since]:
            del self._days[old], self._tokens[old]
        answers = {day: self._days[day] for day in days}
        flat = [one for day in days for one in answers[day]]
        look = _Look(at, answers, {}, [text for one in flat for text in one.findings])
        look.findings += self._unseen_slices(flat)
        found_labels = label_all(flat, self._known_labels(at, since, look), self._versions) if flat else []
        strange: dict[str, set[str]] = {}
        for one, labelled in zip(flat, found_labels, strict=True):
            look.labelled[one.day, one.version] = labelled
            strange.setdefault(one.version, set()).update(labelled.strange)
        for name, labels in strange.items():
            if labels:
                names = ", ".join(sorted(labels)[:5])
                look.findings.append(f"version {name}: labels that its training never saw are not measured: {names}")
        return look

    def _unseen_slices(self, answers: Sequence[Answers]) -> list[str]:
        if not any(one.rows for one in answers):
            return []
        seen = {name.partition("=")[0] for one in answers for name in one.slices}
        gone = [name for name in self._settings.gate.slices if name not in seen]
        return [f"no slices of {', '.join(gone)}: the prediction log does not have it"] if gone else []

    def _known_labels(self, at: datetime, since: datetime, look: _Look) -> pa.Table:
        import pyarrow as pa

        try:
            return self._labels.labels(at, TimeWindow(since - DAY, at))
        except Unlabelled as error:
            look.findings.append(f"{error.what}: nothing can be realised")
            return pa.table({"request_id": pa.array([], pa.string()), "label": pa.array([], pa.string())})

    def _known(self, version: str) -> Known | None:
        """A version with its reference; None where the registry does not have it any more."""
        if version in self._versions:
            return self._versions[version]
        found = next((one for one in self._registry.versions() if one.version == version), None)
        if found is None:
            return None
        reference, findings = None, ["it has no held-out rows on record: no band, and no estimate before labels come"]
        try:
            reference = read_reference(self._registry.fetch(version))
        except DataError as error:
            findings = [f"its reference cannot be read: {error.what}"]
        if reference is not None:
            findings = list(reference.findings)
        self._versions[version] = Known(found.signature, reference, tuple(findings))
        return self._versions[version]

    # ---- reporting

    def _report(self, by: BlockLength, version: str, look: _Look, kept: Settled) -> PerformanceReport:
        settings, at = self._settings.performance, look.at
        blocks = list(kept.blocks)
        mature = at - self._settings.mature_after
        settled = list(kept.blocks)
        until = kept.until
        for window in _windows(by, look, kept.until):
            new = self._blocks(by, window, look, settled=window.end <= mature)
            blocks += new
            if window.end <= mature:
                settled += new
                until = window.end
        oldest = at - settings.history
        final = Settled(until, tuple(one for one in settled if one.window.end > oldest))
        write_whole(self._folder / f"settled-{by}.json", to_json(final))
        blocks = [one for one in blocks if one.window.end > oldest]
        own = [one for day in look.days for one in look.days[day] if one.version == version]
        realised, expected = self._measures.losses(version, own, look.labelled)
        return PerformanceReport(
            f"performance-{at:%Y%m%d}",
            at,
            self._settings.name,
            version,
            self._settings.metric.name,
            by,
            tuple(blocks),
            tuple(self._measures.bands(by, blocks)),
            realised,
            expected,
            tuple(dict.fromkeys(look.findings)),
        )

    def _blocks(self, by: BlockLength, window: TimeWindow, look: _Look, *, settled: bool) -> list[PerformanceBlock]:
        days = [day for day in look.days if window.contains(day)]
        found: list[PerformanceBlock] = []
        for version in sorted({one.version for day in days for one in look.days[day]}):
            parts = [one for day in days for one in look.days[day] if one.version == version]
            labelled = [look.labelled[one.day, version] for one in parts]
            place = (by, window.start, version)
            before = self._found.get(place)
            if before is None or not before.same(parts, labelled):
                before = _Measured(parts, labelled, self._measures.blocks(by, window, version, parts, labelled))
                self._found[place] = before
            found += [replace(one, settled=settled) for one in before.blocks]
            if settled:
                del self._found[place]
        return found

    # ---- keeping

    def _kept(self, by: BlockLength) -> Settled:
        path = self._folder / f"settled-{by}.json"
        try:
            return from_json(Settled, path.read_bytes()) if path.exists() else Settled()
        except DataError:
            return Settled()  # Damaged: everything in it can be computed again.

    def _put(self, by: BlockLength, report: PerformanceReport) -> None:
        write_whole(self._folder / f"{by}.html", page(report).encode())
        write_whole(self._folder / f"{by}.json", to_json(report))


def _windows(by: BlockLength, look: _Look, done: datetime | None) -> list[TimeWindow]:
    """Whole blocks of the days that were read, oldest first, after what is settled."""
    days = [day for day in look.days if done is None or day >= done]
    if by == "day":
        return [TimeWindow(day, day + DAY) for day in days]
    mondays = dict.fromkeys(monday(day) for day in days)
    weeks = [TimeWindow(one, one + 7 * DAY) for one in mondays]
    # The first of them may have begun before what was read.
    return [one for one in weeks if one.end <= look.at and one.start in look.days]


def monday(at: datetime) -> datetime:
    """The Monday on which the week began, midnight UTC.

    >>> monday(datetime(2013, 3, 6, 15, tzinfo=UTC)).isoformat()
    '2013-03-04T00:00:00+00:00'
    """
    return _MONDAY + ((utc(at) - _MONDAY) // timedelta(days=7)) * timedelta(days=7)


def latest(folder: Path, by: BlockLength) -> PerformanceReport | None:
    """The newest report, None before the first."""
    path = folder / f"{by}.json"
    return from_json(PerformanceReport, path.read_bytes()) if path.exists() else None


def newest_report(loaded: LoadedProject, by: BlockLength | None, *, compute: bool) -> tuple[PerformanceReport, Path]:
    """The newest report and its page; with `compute`, of the days up to now, looked at now.

    Errors: `NotFound` before there is one.
    """
    by = by or loaded.settings.performance.by
    if compute:
        _compute(loaded)
    found = latest(loaded.paths.performance, by)
    if found is None:
        raise NotFound(
            "there is no performance report yet: the first comes with the first whole day that was served",
            where=str(loaded.paths.performance),
            next_step="mainspring performance --now",
        )
    return found, loaded.paths.performance / f"{by}.html"


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
    job = LaptopPerformance(loaded, registry, ParquetPredictionLog(loaded.paths), _Labels(loaded))
    job.run(stable, datetime.now(UTC))


class _Labels:
    """`LabelSource` without opening feature views."""

    def __init__(self, loaded: LoadedProject) -> None:
        self._loaded = loaded

    def labels(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """Those that are known, of any window."""
        from mainspring.platforms.coverage import known_labels

        return known_labels(self._loaded, known_at)
