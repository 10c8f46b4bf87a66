"""`LaptopCollector` and `mainspring gc`: what is not kept any more, what would go and why, and its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mainspring.adapters.clock import WallClock
from mainspring.adapters.kfp.leftovers import Leftover, leftovers
from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.locks import held
from mainspring.adapters.processes.server import ENDPOINT, look
from mainspring.adapters.sinks.state import SentHour
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import MainspringError
from mainspring.loop.keep import doomed, reasons
from mainspring.loop.keep import turn as keep_turn
from mainspring.loop.outcome import MOVED
from mainspring.loop.platform import Doomed, Platform
from mainspring.loop.state import COLLECT_WANTED, RUN, RunRequest, read, rollout_of
from mainspring.platforms.lease import lease
from mainspring.platforms.sink import required_shipper, sent_before
from mainspring.ports import Ledger
from mainspring.serving.process import LOCK
from mainspring.settings.load import LoadedProject
from mainspring.telemetry.logs import Log


@dataclass(frozen=True, slots=True)
class Going:
    """One thing that goes: `version`, `model`, `predictor`, `step`, `artifacts`, `run` or `log`; its size, and why."""

    kind: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, in the order in which it does, and why each version that stays stays."""

    going: tuple[Going, ...]
    staying: dict[str, str]

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(one.bytes for one in self.going)


class LaptopCollector:
    """`Collector` on MLflow and the project's state folder."""

    def __init__(
        self, loaded: LoadedProject, registry: MlflowRegistry, log: ParquetPredictionLog, ledger: Ledger
    ) -> None:
        self._loaded = loaded
        self._registry = registry
        self._log = log
        self._ledger = ledger

    def collect(self, doomed: Doomed) -> None:
        """The version from the registry, then its models from the tracking's runs, then its files here."""
        self._registry.remove(doomed.version)
        for run in doomed.tracking_runs:
            try:
                self._registry.remove_model(run)
            except MainspringError as error:
                # Nothing refers to them: that they stay costs room, and is no reason to stop here for ever.
                Log().warning("a deleted version's files stay", version=doomed.version, why=error.what)
        for path in self._copies(doomed.version):
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self, now: datetime) -> int:
        """Files that nothing refers to any more, and the log's that are too old; returns bytes."""
        known = {one.version for one in self._registry.versions()}
        total = 0
        for one in self.left_over(known):
            total += _size(one.path)
            _delete(one.path)
        for hour in self._old_hours(now):
            total += _size(hour)
            self._log.remove_hour(hour)
        keep, sink = self._loaded.settings.keep.log, self._loaded.settings.log.sink
        if keep is not None and sink is not None:
            try:
                total += sum(one.bytes for one in required_shipper(self._loaded).remove_older(now - keep))
            except MainspringError as error:
                # It stays until the next sweep; nothing else waits for it.
                Log().warning("old hours of the log stay in its sink", sink=sink.url, why=error.what)
        return total

    def plan(self, now: datetime) -> Plan:
        """What `collect` and `sweep` would do; nothing is changed."""
        settings, versions = self._loaded.settings, self._registry.versions()
        running = {one.version for one in look(self._loaded.paths)}
        stay = reasons(versions, self._ledger, settings.keep, running)
        going = []
        for one in doomed(versions, self._ledger, settings.keep, running):
            size = sum(self._registry.model_bytes(run) for run in one.tracking_runs)
            size += sum(_size(path) for path in self._copies(one.version))
            going.append(Going("version", one.version, size, one.why))
        for left in self.left_over(stay.keys()):
            going.append(Going(left.kind, left.path.name, _size(left.path), left.why))
        for hour in self._old_hours(now):
            why = "older than keep.log"
            going.append(Going("log", f"{hour.parent.name}/{hour.name}", _size(hour), why))
        for sent in self._old_sent(now):
            going.append(Going("log", f"{sent.at:%Y-%m-%d %H}:00 in the sink", sent.bytes, "older than keep.log"))
        return Plan(tuple(going), stay)

    def left_over(self, known: Collection[str]) -> list[Leftover]:
        """Files of versions that are not among `known`, in the order in which they may go."""
        settings, paths = self._loaded.settings, self._loaded.paths
        stable = rollout_of(self._ledger).stable
        if stable and stable not in known:
            return []  # A registry that does not say all is no reason to delete.
        found = []
        for path in sorted(paths.models.iterdir()) if paths.models.is_dir() else ():
            version = path.name.strip(".").removesuffix(".part")
            if version not in known:
                found.append(Leftover("model", path, "its version is not there any more"))
        for path in sorted(paths.serving.iterdir()) if paths.serving.is_dir() else ():
            version = path.name.strip(".").split("-")[0]
            if version not in known and not _serves(path):
                found.append(Leftover("predictor", path, "its version is not there any more"))
        asked = read(self._ledger, RUN, RunRequest)
        runs = leftovers(paths, known, asked.id if asked else "", settings.keep.versions)
        return [*found, *runs]

    def _copies(self, version: str) -> list[Path]:
        paths = self._loaded.paths
        found = [paths.models / version, paths.models / f".{version}.part"]
        return [one for one in found if one.exists()]

    def _old_hours(self, now: datetime) -> list[Path]:
        keep = self._loaded.settings.keep.log
        return [] if keep is None else self._log.older(now - keep)

    def _old_sent(self, now: datetime) -> list[SentHour]:
        keep, sink = self._loaded.settings.keep.log, self._loaded.settings.log.sink
        return [] if keep is None or sink is None else sent_before(self._loaded, sink, now - keep)


def plan(loaded: LoadedProject) -> Plan:
    """What `mainspring gc` would delete now."""
    return _parts(loaded)[1].plan(datetime.now(UTC))


def collect_now(loaded: LoadedProject, *, by: str, tell: Callable[[str], None]) -> None:
    """Delete what is not kept, as the one writer: no loop runs meanwhile. Killed, it is called again and goes on.

    `tell` hears of each version. Errors: `ConflictError` when a loop runs.
    """
    with lease(loaded.paths.lease):
        platform, _ = _parts(loaded)
        ledger = platform.ledger
        assert isinstance(ledger, SqliteLedger)
        ledger.take_epoch()
        ledger.put_state({COLLECT_WANTED: by})
        seen = len(ledger.decisions(kind="retired"))
        while keep_turn(platform) == MOVED:
            new = ledger.decisions(kind="retired")[seen:]
            seen += len(new)
            for one in new:
                tell(f"{one.what}: {one.why}")


def _parts(loaded: LoadedProject) -> tuple[Platform, LaptopCollector]:
    from mainspring.platforms.parts import laptop

    platform = laptop(loaded, WallClock(), quiet=True)
    assert isinstance(platform.collector, LaptopCollector)
    return platform, platform.collector


def _serves(folder: Path) -> bool:
    return (folder / ENDPOINT).exists() or held(folder / LOCK) is not None


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def _delete(path: Path) -> None:
    """A folder goes out of sight before its files go: killed in between, nobody takes it for whole."""
    if path.is_dir():
        gone = path.with_name(f".{path.name}.gone") if not path.name.endswith(".gone") else path
        if gone != path:
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def in_bytes(count: int) -> str:
    """A size for a person.

    >>> in_bytes(999), in_bytes(1_500_000)
    ('999 B', '1.5 MB')
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(count)
