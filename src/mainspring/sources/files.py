"""Parquet and CSV files, folders and globs as a `Source`."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Protocol

import pyarrow as pa

from mainspring.domain.errors import DataError, NotFound
from mainspring.domain.time import TimeWindow, utc
from mainspring.settings.project import SourceSettings
from mainspring.sources.check import AVAILABLE_AT, FILE, ROW, declared_types, in_utc, quoted, require, typed
from mainspring.sources.line_ends import with_one_line_end
from mainspring.sources.unreadable import why_unreadable

KEPT_VALUES = 10_000_000
"""So many values at the most, some 100 MB, stay in memory as long as their files do not change."""
SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".gz": "csv"}


class RemoteFiles(Protocol):
    """Files that lie elsewhere, and copies of them here."""

    def state(self) -> object:
        """Equal to its last value only when no file changed."""
        ...

    def fetch(self) -> list[Path]:
        """Copies of the files as they are now."""
        ...


class FileSource:
    """Rows of files, as they were known at an instant.

    `path` is a file, a folder (all Parquet or CSV files in it) or a glob, relative to the project's folder `root`.
    """

    def __init__(self, name: str, settings: SourceSettings, root: Path, remote: RemoteFiles | None = None) -> None:
        self._remote = remote
        self.name = name
        self.settings = settings
        self._root = root
        self._kept: tuple[object, Any, str] | None = None
        self._reading = Lock()

    @property
    def uri(self) -> str:
        """Where the rows lie, as the project says it."""
        return str(self.settings.path)

    def read(self, *, known_at: datetime, window: TimeWindow | None = None, limit: int | None = None) -> pa.Table:
        """Rows available at `known_at`, in file order, without the bookkeeping columns."""
        with self._reading, self._loaded() as (db, query):
            return select(db, query, self.settings, known_at, window, limit)

    @contextmanager
    def _loaded(self) -> Iterator[tuple[Any, str]]:
        """The rows in a database, and SQL for them. Few rows that did not change are not read and checked again: a loop asks
        for the questions of other instants several times a tick.
        """
        # Asked for first: files that change while they are read are read again.
        state = self.state()
        if self._kept is None or self._kept[0] != state:
            self._kept = None
            with ExitStack() as unless_kept:
                db = unless_kept.enter_context(connect())
                query = self.query(db)
                rows: int = db.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
                if rows * len(db.execute(f"DESCRIBE {query}").fetchall()) > KEPT_VALUES:
                    yield db, query
                    return
                unless_kept.pop_all()
                self._kept = state, db, query
        yield self._kept[1:]

    def query(self, db: Any) -> str:
        """Load the rows into `db`, check them, and return SQL for them with `_available_at`."""
        files, kind = self._files()
        where = f"sources.{self.name}: {self.uri}"
        table = f"_rows_{self.name}"
        try:
            self._load(db, files, kind, where, table)
        except _database_errors() as error:
            with TemporaryDirectory() as folder:
                copies = with_one_line_end(files, Path(folder)) if kind == "csv" else None
                try:
                    if copies is None:
                        raise error
                    self._load(db, copies, kind, where, table)
                except _database_errors() as last:
                    what, mend = why_unreadable(files, kind, _delimiter(files[0]) if kind == "csv" else "", last)
                    raise DataError(
                        f"source {self.name!r} cannot be read: {what}", where=where, next_step=mend
                    ) from last
        return typed(db, self.name, self.settings, table=table, where=where)

    def _load(self, db: Any, files: list[Path], kind: str, where: str, table: str) -> None:
        drop = "" if len(files) > 1 else f" EXCLUDE ({FILE})"
        scan = self._scan(db, files, kind, where)
        db.execute(f'CREATE OR REPLACE TABLE "{table}" AS SELECT *{drop}, row_number() OVER () AS "{ROW}" FROM {scan}')

    def _scan(self, db: Any, files: list[Path], kind: str, where: str) -> str:
        listed = "[" + ", ".join(_text(file) for file in files) + "]"
        declared = declared_types(self.settings)
        if kind == "parquet":
            for file in files if len(files) > 1 else []:
                # A file without a declared column would give nulls that nobody put there.
                names = db.execute(f"SELECT name FROM parquet_schema({_text(file)}) WHERE type IS NOT NULL").fetchall()
                require(
                    self.name, declared, [*(name for (name,) in names), *_partitions(file)], f"{where}: {file.name}"
                )
            return f"read_parquet({listed}, union_by_name = true, filename = '{FILE}')"
        # What the first line says is meant. A guessed dialect makes one column of a file with one broken line, skips all
        # lines before a longer one, and takes lines that begin with # for comments: rows would be gone.
        dialect = (
            f"delim = '{_delimiter(files[0])}', quote = '\"', escape = '\"', comment = '', skip = 0, header = true, "
            f"filename = '{FILE}'"
        )
        if self.settings.nulls:
            dialect += f", nullstr = [{', '.join(_text(one) for one in ('', *self.settings.nulls))}]"
        described = db.execute(f"DESCRIBE SELECT * FROM read_csv({listed}, all_varchar = true, {dialect})").fetchall()
        require(self.name, declared, [row[0] for row in described if row[0] != FILE], where)
        # What is declared is read as text and then checked, so that 007 stays 007 where a `str` is declared.
        kinds = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in declared)
        types = f", types = {{{kinds}}}" if kinds else ""
        return f"read_csv({listed}, sample_size = -1, {dialect}{types})"

    def state(self) -> object:
        """Names, sizes and change times of the files (S3: ETags): unchanged means that nothing has to be read again."""
        if self._remote is not None:
            return self._remote.state()
        files, _ = self._files()
        return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)

    def _files(self) -> tuple[list[Path], str]:
        pattern = str(self.settings.path)
        path = self._root / pattern
        if self._remote is not None:
            files = self._remote.fetch()
        elif path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        elif path.is_file():
            files = [path]
        else:
            files = sorted(self._root.glob(pattern)) if not Path(pattern).is_absolute() else []
        if not files:
            raise NotFound(
                f"source {self.name!r}: there is no such file",
                where=str(path),
                valid="a .parquet or .csv file, a folder of them, or a glob, relative to the project's folder",
                next_step=f"correct `sources.{self.name}.path` in mainspring.yaml",
            )
        kinds = {SUFFIXES.get(file.suffix, "") for file in files}
        if len(kinds) != 1 or "" in kinds:
            raise DataError(
                f"source {self.name!r}: files of one kind are needed", where=str(path), valid=", ".join(SUFFIXES)
            )
        return files, kinds.pop()


def connect() -> Any:
    """A DuckDB connection in UTC."""
    import duckdb

    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    return db


def select(
    db: Any, query: str, settings: SourceSettings, known_at: datetime, window: TimeWindow | None, limit: int | None
) -> pa.Table:
    """Rows of `query` that were available at `known_at`, in the window."""
    conditions = [f"{AVAILABLE_AT} <= {literal(known_at)}"]
    if window is not None and settings.time is not None:
        time = quoted(settings.time)
        conditions.append(f"{time} >= {literal(window.start)} AND {time} < {literal(window.end)}")
    text = f"SELECT * EXCLUDE ({AVAILABLE_AT}) FROM ({query}) WHERE {' AND '.join(conditions)}"
    if limit is not None:
        text += f" LIMIT {limit}"
    return in_utc(db.sql(text).to_arrow_table())


def literal(at: datetime) -> str:
    """An instant as SQL."""
    return f"TIMESTAMP '{utc(at).replace(tzinfo=None).isoformat(sep=' ')}'"


def _database_errors() -> tuple[type[BaseException], ...]:
    import duckdb

    return (duckdb.Error,)


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _partitions(file: Path) -> list[str]:
    """The columns in a path such as `day=2013-01-01/part.parquet`."""
    return [part.split("=", 1)[0] for part in file.parts if "=" in part]


def _delimiter(file: Path) -> str:
    """What parts the names of the first line: a comma, semicolon, tab or bar."""
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        first = stream.readline(1 << 20)
    return max(",;\t|", key=lambda one: first.count(one.encode()))
