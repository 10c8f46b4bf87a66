"""Transforms: functions of the project that compute a view's rows, on a schedule, from what was known by then."""

from __future__ import annotations

import ast
import copy
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pyarrow as pa

from mainspring.domain.errors import ConfigError, DataError, MainspringError
from mainspring.domain.time import floor_to, utc
from mainspring.features.questions import EVENT_TIME
from mainspring.settings.code import import_file
from mainspring.settings.project import ProjectSettings


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

    A transform is a function `view(db)` that returns SQL, or a DuckDB relation or Arrow table, with `event_timestamp`
    (one of the ticks), the entity keys and the features. On `db` it finds the table `ticks(tick)` and every source
    with `_available_at`, the instant at which a row became known. It sees a source only up to the newest tick that is
    being computed, and never the target's label: what is not known yet is not there.
    """

    def __init__(self, settings: ProjectSettings, root: Path, sources: Mapping[str, LoadableSource]) -> None:
        self._settings = settings
        self._sources = sources
        self._root = root
        self._states: dict[str, object] = {}
        self._functions = load_transforms(root, settings)
        self._definitions = {view: _definition(view, settings, root) for view in self._functions}
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
        return [first + place * every for place in range(max(0, (last - first) // every + 1))]

    def refresh(self) -> None:
        """Load the sources whose rows may have changed since they were loaded."""
        if self._db is None:
            self._db = _connect()
        for name, source in self._sources.items():
            state = source.state()
            if name not in self._states or self._states[name] != state:
                self._load(name, source)
                self._states[name] = state

    def compute(self, view: str, ticks: Sequence[datetime], *, refresh: bool = True) -> pa.Table:
        """The view's rows at `ticks`, oldest first; `refresh` False: of the sources as they were loaded."""
        if refresh or self._db is None:
            self.refresh()
        db = self._db
        newest = utc(ticks[-1]).replace(tzinfo=None)
        instants = pa.array([utc(tick) for tick in ticks], pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
        db.register("ticks", pa.table({"tick": instants}))
        db.execute(f"SET VARIABLE newest_tick = TIMESTAMP '{newest.isoformat(sep=' ')}'")
        try:
            return self._checked(view, _table(db, self._functions[view](db)), instants)
        except MainspringError:
            raise
        except Exception as error:
            raise DataError(
                f"transform {view!r} failed: {error}",
                where=f"transforms.py: {view}",
                next_step="correct the function, then mainspring data --out training.parquet",
            ) from error
        finally:
            db.unregister("ticks")

    def as_of(self, tick: datetime) -> TransformSession:
        """A session of its own that was given only what was known at `tick`: there is nothing else to be seen."""
        self.refresh()
        literal = f"TIMESTAMP '{utc(tick).replace(tzinfo=None).isoformat(sep=' ')}'"
        known = {
            name: _Known(
                self._db.sql(f'SELECT * FROM "_source_{name}" WHERE _available_at <= {literal}').to_arrow_table()
            )
            for name in self._sources
        }
        session = copy.copy(self)
        session._sources, session._states, session._db = known, {}, None
        return session

    def earliest(self) -> datetime | None:
        """The instant at which the first row became known, of any source with times; None without one.

        The target's source counts only where there is no other: its questions may be known long before they are asked.
        """
        self.refresh()
        timed = {name for name in self._sources if self._settings.sources[name].time is not None}
        others = timed - {self._settings.target.source}
        sql = 'SELECT min(_available_at) FROM "_source_{}"'
        found = [self._db.execute(sql.format(name)).fetchall()[0][0] for name in sorted(others or timed)]
        return min((utc(one) for one in found if one is not None), default=None)

    def definition(self, view: str) -> str:
        """A digest of everything that the view's rows are computed by; comments and layout do not count."""
        return self._definitions[view]

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

    def _load(self, name: str, source: LoadableSource) -> None:
        query = source.query(self._db)
        label = self._settings.target.column if name == self._settings.target.source else None
        kept = [row[0] for row in self._db.execute(f"DESCRIBE {query}").fetchall() if row[0] != label]
        columns = ", ".join('"' + one.replace('"', '""') + '"' for one in kept)
        # In the order of availability, so that a filter on it skips whole blocks.
        self._db.execute(
            f'CREATE OR REPLACE TABLE "_source_{name}" AS SELECT {columns} FROM ({query}) ORDER BY _available_at'
        )
        self._db.execute(
            f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM "_source_{name}" '
            "WHERE _available_at <= getvariable('newest_tick')"
        )
        self._db.execute(f'DROP TABLE IF EXISTS "_rows_{name}"')


class _Known:
    """Rows that are there already, as a source."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def query(self, db: Any) -> str:
        db.register("_known", self._rows)
        return "SELECT * FROM _known"

    def state(self) -> object:
        return None


def _definition(view: str, settings: ProjectSettings, root: Path) -> str:
    code = ast.dump(ast.parse((root / "transforms.py").read_text(encoding="utf-8")))
    sources = {name: one.model_dump_json() for name, one in settings.sources.items()}
    described = json.dumps([view, settings.features.transforms[view].model_dump_json(), sources, code])
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()


def _connect() -> Any:
    import duckdb

    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute("SET VARIABLE newest_tick = TIMESTAMP '1970-01-01'")
    return db


def _table(db: Any, result: Any) -> pa.Table:
    if isinstance(result, pa.Table):
        return result
    return (db.sql(result) if isinstance(result, str) else result).to_arrow_table()


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
    """Import one of the project's files by its path, as it is now; nothing is written beside it."""
    if not path.is_file():
        raise ConfigError(f"there is no {path.name}", where=str(path))
    try:
        return import_file(path, name)
    except Exception as error:
        raise ConfigError(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}", where=str(path)
        ) from error
