"""The laptop's parts list: files, DuckDB, Feast on SQLite, everything in the project's state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from mainspring.adapters.feast.store import FeastFeatureStore
from mainspring.domain.errors import ConfigError
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import questions
from mainspring.features.transforms import TransformSession, load_module
from mainspring.settings.load import LoadedProject
from mainspring.sources.files import FileSource


class LaptopFeatures:
    """Keeps a project's views current: transforms by tick, offline rows, online store; and reads training sets.

    A view's newest computed tick is remembered after its rows were written, so that a process killed in between
    computes them again; rows that are there already are not doubled.
    """

    def __init__(self, loaded: LoadedProject) -> None:
        self._settings = loaded.settings
        self._paths = loaded.paths
        self.sources = open_sources(loaded)
        self.store = _store(loaded)
        self._session = TransformSession(loaded.settings, loaded.paths.root, self.sources)

    def advance(self, until: datetime) -> int:
        """Compute the rows that are due by `until` and bring the online store up to it; rows appended."""
        if self.store is None:
            return 0
        self.store.views()
        written = 0
        marks = self._marks()
        for view in self._session.views:
            after = datetime.fromisoformat(marks[view]) if view in marks else None
            ticks = self._session.due(view, after, until, start=self._start())
            if not ticks:
                continue
            written += self.store.append(view, self._session.compute(view, ticks))
            marks[view] = ticks[-1].isoformat()
        if written:
            _write_json(self._paths.features / "computed.json", marks)
        self.store.materialize(until)
        return written

    def questions(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """Questions asked by `known_at`, with the labels known by then."""
        entities = sorted({key for view in self.store.views() for key in view.entities}) if self.store else []
        source = self.sources[self._settings.target.source]
        return questions(self._settings, source, entities, known_at=known_at, window=window)

    def training_set(self, known_at: datetime) -> pa.Table:
        """Labelled questions with their features as they were known when each was asked."""
        import pyarrow.compute as pc

        spine = self.questions(known_at)
        spine = spine.filter(pc.is_valid(spine.column("label")))
        if self.store is None:
            return spine
        self.advance(known_at)
        return self.store.historical(spine)

    def _start(self) -> datetime:
        earliest = None
        time = self._settings.question_time
        if time is not None:
            rows = self.sources[self._settings.target.source].read(known_at=datetime.max)
            earliest = min(rows.column(time).to_pylist(), default=None)
        if earliest is None:
            raise ConfigError(
                "transforms need questions with a time", where="mainspring.yaml: target.time", valid="a time column"
            )
        # One schedule before the first question, so that the first question finds a row.
        longest = max(one.every for one in self._settings.features.transforms.values())
        start: datetime = earliest - max(longest, timedelta(days=1))
        return start

    def _marks(self) -> dict[str, str]:
        file = self._paths.features / "computed.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}


def open_sources(loaded: LoadedProject) -> dict[str, FileSource]:
    """The project's sources by name."""
    found = {}
    for name, settings in loaded.settings.sources.items():
        if settings.path is None:
            raise ConfigError(
                f"source {name!r} is a SQL table, which this version does not read yet",
                where=f"mainspring.yaml: sources.{name}.url",
                valid="`path` with a Parquet or CSV file",
            )
        found[name] = FileSource(name, settings, loaded.paths.root)
    return found


def _store(loaded: LoadedProject) -> FeastFeatureStore | None:
    definitions = loaded.paths.root / "features.py"
    if not definitions.is_file():
        return None
    module = load_module(definitions, "mainspring_project_features")
    settings = loaded.settings
    return FeastFeatureStore(settings.name, loaded.paths.features, vars(module), settings.features.service)


def _write_json(path: Path, value: Mapping[str, str]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value))
    part.replace(path)
