"""`LaptopLabels`: labels that come beside the target's source, from a source of their own and from added files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring.adapters.parquet.labels import ParquetLabels
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.errors import DataError
from mainspring.domain.model_version import label_name
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import EVENT_TIME, instants
from mainspring.labels.columns import LabelColumns, label_columns
from mainspring.labels.known import completed
from mainspring.labels.reading import anything, label_reader
from mainspring.labels.statements import BY_ID, ENTITY, as_key, in_force, nearest, none, none_near, together
from mainspring.platforms.opened import opened_sources
from mainspring.platforms.sink import WholeLog
from mainspring.prediction_log.requests import NEEDED, asked_once
from mainspring.settings.load import LoadedProject
from mainspring.settings.log_key import concealment
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings
from mainspring.sources.check import AVAILABLE_AT, in_utc
from mainspring.sources.files import connect
from mainspring.sources.open import OpenedSource

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES = 5


def labels_of(loaded: LoadedProject) -> LaptopLabels:
    """The labels of a project whose sources nobody has opened yet."""
    sources = opened_sources(loaded)
    return LaptopLabels(loaded.settings, loaded.paths, sources)


class LaptopLabels:
    """What is said beside the target's source, at any instant. Sources and files are read again when they changed.

    `log` is where labels by keys and time meet their predictions, by default what is on this disk.
    """

    def __init__(
        self,
        settings: ProjectSettings,
        paths: ProjectPaths,
        sources: Mapping[str, OpenedSource],
        log: WholeLog | None = None,
    ) -> None:
        self._settings = settings
        self._paths = paths
        self.sources = sources
        self._log = log or ParquetPredictionLog(paths)
        self.store = ParquetLabels(paths.labels)
        self._of_source: tuple[object, pa.Table] | None = None
        self._classes: tuple[object, list[str]] | None = None

    def statements(self) -> pa.Table:
        """Everything that was said, the source's rows before those that were added."""
        return together([self._said_by_source(), self.store.statements()])

    @property
    def expected(self) -> bool:
        """Whether labels come beside the target's source at all."""
        return self._settings.labels.source is not None or bool(self.store.state())

    def beside(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """`labels.known.Beside`: one label for each request, those by entity for the predictions in the window."""
        said = self.statements()
        if not said.num_rows:
            return said.select(BY_ID)
        said = in_force(said, known_at)
        return _newest_each([self.by_entity(said, window).select(BY_ID), _with_id(said)])

    def by_entity(self, said: pa.Table, window: TimeWindow | None = None) -> pa.Table:
        """Labels by keys and time as the logged predictions in the window meet them, with `said`; hashed keys, too."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = self._settings.labels.entities
        if not keys or not pc.any(pc.is_null(said.column("request_id"))).as_py():
            return none_near()
        columns = [f"{where}.{name}" for name in keys for where in ("entity", "feature")]
        rows = asked_once(self._log.read(window, [*NEEDED, "event_at", *columns]))
        for name in keys:
            both = [as_key(rows.column(f"{where}.{name}")) for where in ("entity", "feature")]
            rows = rows.append_column(f"key.{name}", pc.coalesce(*both))
        own, tolerance = {name: f"key.{name}" for name in keys}, self._settings.labels.tolerance
        found = [nearest(rows, "event_at", said, own, tolerance)]
        hashed = {*self._settings.concealed[1]} & {*keys}
        if hashed:
            # Rows that were logged before the project hashed these keys have them in clear.
            found.append(nearest(rows, "event_at", self._as_logged(said, hashed), own, tolerance))
        return pa.concat_tables(found)

    def _as_logged(self, said: pa.Table, hashed: Collection[str]) -> pa.Table:
        """Statements with these keys as the prediction log has them."""
        import pyarrow as pa

        conceal = concealment(self._settings, self._paths)
        assert conceal is not None
        for column in hashed:
            name = f"{ENTITY}{column}"
            if name in said.column_names:
                keys = said.column(name).combine_chunks().dictionary_encode()
                texts = pa.array([conceal.hashed(column, one) for one in keys.dictionary.to_pylist()], pa.string())
                said = said.set_column(said.column_names.index(name), name, texts.take(keys.indices))
        return said

    def complete(self, asked: pa.Table, known_at: datetime) -> pa.Table:
        """Questions with the labels that came beside them by `known_at`: by their id, or by their own keys and time."""
        said = self.statements()
        if not said.num_rows or "request_id" not in asked.column_names:
            return asked
        said = in_force(said, known_at)
        found = [_with_id(said)]
        keys = {name: self._column(asked, name) for name in self._settings.labels.entities}
        if keys and EVENT_TIME in asked.column_names and all(keys.values()):
            columns = {name: str(column) for name, column in keys.items()}
            found = [nearest(asked, EVENT_TIME, said, columns, self._settings.labels.tolerance).select(BY_ID), *found]
        return completed(asked, _newest_each(found))

    def known_ids(self) -> pa.Array:
        """Every id that a label could have: of logged predictions, and of the target's questions."""
        import pyarrow as pa

        target = self._settings.target
        ids = [self._log.read(None, ["request_id"]).column("request_id")]
        if target.id is not None:
            ids.append(as_key(self.sources[target.source].read(known_at=datetime.max).column(target.id)))
        return pa.chunked_array([chunk for one in ids for chunk in one.chunks], pa.string()).unique()

    def state(self) -> list[str]:
        """Changes when something was added; what a source holds is looked at with the other sources."""
        return list(self.store.state())

    def known_label(self) -> Callable[[Any], str]:
        """What takes a label as text: a number, one of the classes, or anything where there are no classes yet."""
        if self._settings.task == "regression":
            return label_reader([])
        target = self._settings.target
        source = self.sources[target.source]
        state = source.state()
        if self._classes is None or self._classes[0] != state:
            rows = source.read(known_at=datetime.max)
            found = rows.column(target.column).unique().to_pylist() if target.column in rows.column_names else []
            self._classes = (state, sorted({label_name(one) for one in found if one is not None}))
        classes = self._classes[1]
        return label_reader(classes) if len(classes) > 1 else anything

    def _column(self, asked: pa.Table, name: str) -> str | None:
        """The questions' column with what callers send as `name`: under that name, or under its join key."""
        keys = [key for key, column in self._settings.features.entities.items() if column == name]
        return next((one for one in (name, *keys) if one in asked.column_names), None)

    def _said_by_source(self) -> pa.Table:
        name = self._settings.labels.source
        if name is None:
            return none()
        source = self.sources[name]
        state = source.state()
        if self._of_source is None or self._of_source[0] != state:
            self._of_source = (state, self._read_source(name, source))
        return self._of_source[1]

    def _read_source(self, name: str, source: OpenedSource) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        with connect() as db:
            rows = in_utc(db.sql(source.query(db)).to_arrow_table())
        where = f"sources.{name}: {source.uri}"
        declared = self._settings.sources[name]
        present = [one for one in rows.column_names if one != AVAILABLE_AT]
        columns = label_columns(self._settings, present, where=where, time=declared.time)
        known_at = AVAILABLE_AT if self._settings.labels.available_at is None else columns.known_at or AVAILABLE_AT
        # A row without its label is not a label yet; one that is not available is not known.
        rows = rows.filter(pc.and_(pc.is_valid(rows.column(columns.label)), pc.is_valid(rows.column(known_at))))
        _require(rows, columns, where)
        known = instants(rows, known_at, name, where)
        found = {
            "label": pa.array(_texts(rows.column(columns.label), self.known_label(), f"{where}: {columns.label}")),
            "known_at": known,
            "added_at": known,
            "file": pa.array([""] * rows.num_rows, pa.string()),
        }
        if columns.id is not None:
            found["request_id"] = as_key(rows.column(columns.id))
        if columns.time is not None:
            found["event_at"] = instants(rows, columns.time, name, where)
        found |= {f"{ENTITY}{one}": as_key(rows.column(column)) for one, column in columns.entities.items()}
        return pa.table(found)


def _with_id(said: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return said.filter(pc.is_valid(said.column("request_id"))).select(BY_ID)


def _newest_each(tables: Sequence[pa.Table]) -> pa.Table:
    """One label for each request, the newest, whatever it met it by."""
    return in_force(together(tables), datetime.max).select(BY_ID)


def _require(rows: pa.Table, columns: LabelColumns, where: str) -> None:
    """Refuse labels of which nobody can tell whose they are."""
    needed = [columns.id] if columns.id is not None else [columns.time, *columns.entities.values()]
    for name in needed:
        missing = rows.column(name).null_count
        if missing:
            raise DataError(
                f"{missing:,} labels have no `{name}`: whose they are cannot be told",
                where=where,
                next_step="remove or mend these rows",
            )


def _texts(labels: pa.ChunkedArray, known_label: Callable[[Any], str], where: str) -> list[str]:
    wrong: dict[str, int] = {}
    found = []
    for value in labels.to_pylist():
        try:
            found.append(known_label(label_name(value)))
        except ValueError as error:
            wrong[str(error)] = wrong.get(str(error), 0) + 1
    if wrong:
        said = "; ".join(f"{text} ({count:,} rows)" for text, count in list(wrong.items())[:_EXAMPLES])
        raise DataError(f"{sum(wrong.values()):,} rows are no labels: {said}", where=where, next_step="mend these rows")
    return found
