"""`LaptopDrift`: counts windows of the prediction log over a version's cells, and reports them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.errors import NotFound
from mainspring.domain.time import TimeWindow, floor_to
from mainspring.drift.page import page
from mainspring.drift.profile import PREDICTION, Counts, Profile, add_up, count_window
from mainspring.drift.report import report
from mainspring.platforms.steps import PROFILE
from mainspring.ports import ModelRegistry, PredictionLog
from mainspring.prediction_log.requests import NEEDED, asked_once
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
LATEST = "latest.json"


class LaptopDrift:
    """`DriftJob` on the prediction log. Counts of each window are kept, so that a trailing reference is their sum."""

    def __init__(self, loaded: LoadedProject, registry: ModelRegistry, log: PredictionLog) -> None:
        self._settings = loaded.settings.drift
        self._unwatched = {name for names in loaded.settings.concealed for name in names}
        self._folder = loaded.paths.drift
        self._registry = registry
        self._log = log
        self._profiles: dict[str, Profile] = {}
        self._kept: dict[tuple[str, datetime], dict[str, Counts]] = {}
        self._earlier: dict[str, list[DriftReport]] = {}

    def run(self, version: str, at: datetime) -> DriftReport:
        """The report for the window that ended at `at`; written as JSON and as a page."""
        every = self._settings.every
        window = TimeWindow(at - every, at)
        profile = self._profile(version)
        counts = self._counts(version, profile, window)
        starts = [window.start - every * place for place in range(1, self._settings.trailing // every + 1)]
        trailing = add_up([self._counts(version, profile, TimeWindow(start, start + every)) for start in starts])
        earlier = self._before(version, at)
        found = report(version, at, window, profile, counts, trailing, self._settings, earlier)
        hidden = tuple(name for name in profile.cells if name in self._unwatched)
        found = replace(found, unwatched=hidden)
        self._put(version, found)
        return found

    def _profile(self, version: str) -> Profile:
        if version not in self._profiles:
            self._profiles[version] = from_json(Profile, (self._registry.fetch(version) / PROFILE).read_bytes())
        return self._profiles[version]

    def _counts(self, version: str, profile: Profile, window: TimeWindow) -> dict[str, Counts]:
        key = (version, window.start)
        if key not in self._kept:
            names = [name for name in profile.cells if name != PREDICTION and name not in self._unwatched]
            columns = [*NEEDED, "version", "output", "flags", *(f"feature.{name}" for name in names)]
            rows = self._log.read(window, columns)
            self._kept[key] = _count(profile, rows, names, version)
        oldest = window.end - self._settings.trailing - 2 * self._settings.every
        for old in [one for one in self._kept if one[1] < oldest]:
            del self._kept[old]
        return self._kept[key]

    def _before(self, version: str, at: datetime) -> list[DriftReport]:
        if version not in self._earlier:
            folder = self._folder / version
            paths = sorted(folder.glob("drift-*.json"))[-self._settings.persistence - 1 :] if folder.is_dir() else []
            self._earlier[version] = [from_json(DriftReport, path.read_bytes()) for path in paths]
        return [one for one in self._earlier[version] if one.at < at]

    def _put(self, version: str, found: DriftReport) -> None:
        folder = self._folder / version
        folder.mkdir(parents=True, exist_ok=True)
        raw = to_json(found)
        _replace(folder / f"{found.id}.html", page(found).encode())
        _replace(folder / f"{found.id}.json", raw)
        _replace(self._folder / LATEST, raw)
        keep = self._settings.persistence + 1
        self._earlier[version] = [*self._before(version, found.at), found][-keep:]


def latest(folder: Path) -> DriftReport | None:
    """The newest report, None before the first."""
    path = folder / LATEST
    return from_json(DriftReport, path.read_bytes()) if path.exists() else None


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


def _count(profile: Profile, rows: pa.Table, names: list[str], version: str) -> dict[str, Counts]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = asked_once(rows, prefer=version)
    columns: dict[str, Any] = {name: rows.column(f"feature.{name}") for name in names}
    for name, places in _defaulted(rows.column("flags")).items():
        if name in columns:
            # What stood in was not observed: many defaults would make a cell of their own that no data has.
            there = np.ones(rows.num_rows, np.bool_)
            there[places] = False
            columns[name] = pc.if_else(pa.array(there), columns[name], None)
    # Predictions of another version are not this one's; features are the same whoever answered.
    own = rows.filter(pc.equal(rows.column("version"), version)).column("output").to_pylist()
    columns[PREDICTION] = pa.chunked_array([pa.array([max(one) for one in own], pa.float64())])
    return count_window(profile, columns)


def _defaulted(flags: pa.ChunkedArray) -> dict[str, Places]:
    """Of each feature the rows in which a default stood in for it."""
    import pyarrow.compute as pc

    texts, rows = pc.list_flatten(flags), pc.list_parent_indices(flags)
    found = {}
    for text in texts.unique().to_pylist():
        kind, _, name = text.partition(":")
        if kind == "defaulted":
            found[name] = rows.filter(pc.equal(texts, text)).to_numpy()
    return found


def _replace(path: Path, raw: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(raw)
    part.replace(path)
