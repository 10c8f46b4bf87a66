"""Transforms: functions of the project that compute a view's rows, on a schedule, from what was known by then."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pyarrow as pa

from mainspring.domain.errors import ConfigError, DataError, MainspringError
from mainspring.domain.time import floor_to, utc
from mainspring.settings.project import ProjectSettings

EVENT_TIME = "event_timestamp"


class LoadableSource(Protocol):
    """A source that can put its checked rows, with `_available_at`, into a DuckDB connection."""

    def query(self, db: Any) -> str:
        """SQL for the rows, once they were loaded."""
        ...

    def state(self) -> object:
        """Changes when the rows may have changed."""
        ...


class TransformSession:
    """Sources loaded once into one DuckDB, and transforms run over it tick by tick.

    A transform sees a source only up to the newest tick that is being computed, and never the target's label: what is
    not known yet is not there.
    """

    def __init__(self, settings: ProjectSettings, root: Path, sources: Mapping[str, LoadableSource]) -> None:
        self._settings = settings
        self._sources = sources
        self._root = root
        self._states: dict[str, object] = {}
        self._functions = load_transforms(root, settings)
        self._db: Any = None

    @property
    def views(self) -> list[str]:
        """The views that have a transform."""
        return list(self._functions)

    def due(self, view: str, after: datetime | None, until: datetime, *, start: datetime) -> list[datetime]:
        """The instants of the view's schedule in (`after`, `until`]; from `start` on when nothing was computed yet."""
        every = self._settings.features.transforms[view].every
        first = floor_to(start, every) if after is None else floor_to(after, every) + every
        last = floor_to(until, every)
        return [first + place * every for place in range(max(0, int((last - first) / every) + 1))]

    def compute(self, view: str, ticks: list[datetime]) -> pa.Table:
        """The view's rows at `ticks`."""
        db = self._connection()
        newest = utc(ticks[-1]).replace(tzinfo=None)
        instants = pa.array([utc(tick) for tick in ticks], pa.timestamp("us", "UTC"))
        instants = instants.cast(pa.timestamp("us"))
        db.register("_ticks", pa.table({"tick": instants}))
        db.execute("CREATE OR REPLACE TEMP VIEW ticks AS SELECT tick FROM _ticks")
        db.execute(f"SET VARIABLE newest_tick = TIMESTAMP '{newest.isoformat(sep=' ')}'")
        try:
            result = self._functions[view](db)
            table = (db.sql(result) if isinstance(result, str) else result).to_arrow_table()
        except MainspringError:
            raise
        except Exception as error:
            raise DataError(
                f"transform {view!r} failed: {error}", where=f"transforms.py: {view}", next_step="mainspring check"
            ) from error
        finally:
            db.unregister("_ticks")
        return self._checked(view, table, instants)

    def _checked(self, view: str, table: pa.Table, ticks: pa.Array) -> pa.Table:
        import pyarrow.compute as pc

        if EVENT_TIME not in table.column_names:
            raise DataError(
                f"transform {view!r} gives no `{EVENT_TIME}`",
                where=f"transforms.py: {view}",
                valid="SELECT t.tick AS event_timestamp, <entity keys>, <features> FROM ticks t ...",
            )
        times = table.column(EVENT_TIME).cast(pa.timestamp("us"))
        if not pc.all(pc.is_in(times, ticks), min_count=0).as_py():
            raise DataError(
                f"transform {view!r} gives rows for other instants than it was asked for",
                where=f"transforms.py: {view}",
                valid="one row for each tick and entity, with the tick as event_timestamp",
            )
        place = table.column_names.index(EVENT_TIME)
        return table.set_column(place, EVENT_TIME, times.cast(pa.timestamp("us", "UTC")))

    def _connection(self) -> Any:
        if self._db is None:
            from mainspring.domain.errors import NotFound

            try:
                import duckdb
            except ImportError as error:
                raise NotFound("duckdb is not installed", next_step="make setup") from error
            self._db = duckdb.connect()
            self._db.execute("SET TimeZone = 'UTC'")
            self._db.execute("SET VARIABLE newest_tick = TIMESTAMP '1970-01-01'")
        for name, source in self._sources.items():
            state = source.state()
            if self._states.get(name) != state:
                self._load(name, source)
                self._states[name] = state
        return self._db

    def _load(self, name: str, source: LoadableSource) -> None:
        hidden = ""
        if name == self._settings.target.source:
            hidden = f' EXCLUDE ("{self._settings.target.column}")'
        query = source.query(self._db)
        self._db.execute(
            f'CREATE OR REPLACE TABLE "_source_{name}" AS SELECT *{hidden} FROM ({query}) ORDER BY _available_at'
        )
        self._db.execute(
            f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM "_source_{name}" '
            "WHERE _available_at <= getvariable('newest_tick')"
        )


def load_transforms(root: Path, settings: ProjectSettings) -> dict[str, Callable[[Any], Any]]:
    """The functions of the project's `transforms.py` that `features.transforms` names."""
    wanted = list(settings.features.transforms)
    if not wanted:
        return {}
    module = load_module(root / "transforms.py", "mainspring_project_transforms")
    functions = {name: one for name, one in vars(module).items() if inspect.isfunction(one)}
    missing = [name for name in wanted if name not in functions]
    if missing:
        raise ConfigError(
            f"transforms.py has no function {', '.join(missing)}",
            where=str(root / "transforms.py"),
            valid=", ".join(name for name in functions if not name.startswith("_")) or "none is there",
            next_step="write it, or remove it from `features.transforms`",
        )
    return {name: functions[name] for name in wanted}


def load_module(path: Path, name: str) -> ModuleType:
    """Import one of the project's files by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"there is no {path.name}", where=str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}", where=str(path)
        ) from error
    return module


def first_tick(earliest: datetime, backfill: timedelta) -> datetime:
    """The instant from which a view's rows are computed: not before there is data."""
    return earliest - min(backfill, timedelta(days=1))
