"""What a file of a new user holds, column by column: types, distinct values, missing ones. Facts only, no decision.

The file is read as the project will read it, by `FileSource`, so that what is found here is what `mainspring run` finds.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import DataError, NotFound
from mainspring.settings.project import SourceSettings
from mainspring.sources.check import AVAILABLE_AT, quoted
from mainspring.sources.files import FileSource, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

CSV = (".csv", ".tsv", ".csv.gz")
PARQUET = (".parquet",)
_MARKS = ("NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "null", "None", "none", "?", "-", "--", ".", "#N/A")
"""Texts that often stand for a missing number."""
_KINDS = {
    "VARCHAR": "text",
    "BOOLEAN": "bool",
    "DOUBLE": "float",
    "FLOAT": "float",
    "DATE": "time",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "int"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "int"),
}
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(_\d+)?")
_REFUSED = "source 'data' cannot be read: "
_DECIMAL_COMMA = r"^\s*-?[0-9]+,[0-9]+\s*$"


@dataclass(frozen=True, slots=True)
class Facts:
    """One column. `kind` is text, bool, int, float, time, or other; `values` are its most frequent ones with their rows.

    `whole`: all its numbers are whole. `least` and `most` are the ends of numbers. `decimal_comma`: text that would be
    numbers with a point.
    """

    name: str
    kind: str
    type: str
    rows: int
    missing: int
    distinct: int
    values: tuple[tuple[Any, int], ...] = ()
    whole: bool = False
    least: float | None = None
    most: float | None = None
    decimal_comma: bool = False

    @property
    def known(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing


class Table:
    """A file in DuckDB, and the facts about its columns. `nulls` are the texts that stand for a missing value.

    Of a CSV the columns `as_text` (times, ids) are taken as they are written, as a project reads what it declares.
    """

    def __init__(self, file: Path, as_text: Sequence[str] = ()) -> None:
        self.file = file
        self.csv = _suffix(file) in CSV
        self._db = connect()
        self.nulls: tuple[str, ...] = ()
        self._load(())
        self._refuse_names()
        if self.csv:
            self.nulls = self._marks()
            texts = [*(name for name in as_text if name in self._kinds), *self._words()]
            if self.nulls or texts:
                self._load(texts)
        self.rows = int(self.one("SELECT count(*) FROM rows"))
        self.columns = {name: self._facts(name, kind) for name, kind in self._kinds.items()}

    def one(self, sql: str) -> Any:
        """The first value of a query; `rows` is the file, with its row numbers in `_row`."""
        return self._db.execute(sql).fetchone()[0]

    def all(self, sql: str) -> list[Any]:
        """All rows of a query."""
        found: list[Any] = self._db.execute(sql).fetchall()
        return found

    def require(self, name: str, option: str) -> Facts:
        """The facts of a column that an option names; `DataError` suggests the nearest one there is."""
        if name in self.columns:
            return self.columns[name]
        near = difflib.get_close_matches(name, self.columns, n=1)
        by_case = [one for one in self.columns if one.lower().strip() == name.lower().strip()]
        hint = f"; did you mean {(by_case or near)[0]!r}?" if by_case or near else ""
        if self.csv and not hint and sum(bool(_NUMBER.fullmatch(one)) for one in self.columns) > 1:
            raise DataError(
                f"there is no column {name!r}; the first line seems to be a row: {some(list(self.columns), 5)}",
                where=f"{self.file}: line 1",
                valid="one line of column names, then the rows",
                next_step="put a line of names first, then the same command again",
            )
        raise DataError(
            f"there is no column {name!r}{hint}",
            where=f"{self.file}: {option}",
            valid=", ".join(self.columns),
            next_step="the same command with the column's name as it stands in the file",
        )

    def _load(self, as_text: Sequence[str]) -> None:
        settings = SourceSettings(path=self.file.name, nulls=list(self.nulls), columns=dict.fromkeys(as_text, "str"))
        source = FileSource("data", settings, self.file.parent)
        try:
            query = source.query(self._db)
        except DataError as error:
            raise DataError(
                f"the file cannot be read: {error.what.removeprefix(_REFUSED)}",
                where=str(self.file),
                valid="a CSV in UTF-8 with one line of column names, or a Parquet file",
                next_step=error.next_step,
            ) from error
        self._db.execute(
            f"CREATE OR REPLACE TABLE rows AS SELECT *, row_number() OVER () AS _row FROM "
            f"(SELECT * EXCLUDE ({AVAILABLE_AT}) FROM ({query}))"
        )
        self._kinds = {row[0]: row[1] for row in self.all("DESCRIBE rows") if row[0] != "_row"}

    def _refuse_names(self) -> None:
        """Names that a project could not be written with."""
        names = list(self._kinds)
        padded = [name for name in names if name != name.strip()]
        if padded:
            raise DataError(
                f"names of columns begin or end with a space: {', '.join(map(repr, padded[:5]))}",
                where=str(self.file),
                valid="names without spaces around them",
                next_step="rename the columns, then the same command again",
            )
        if not self.one("SELECT count(*) FROM rows"):
            raise DataError("the file has no rows", where=str(self.file), valid="a line of column names, then the rows")

    def _marks(self) -> tuple[str, ...]:
        """Marks of a missing value in columns that without them are numbers."""
        listed = ", ".join(f"'{mark}'" for mark in _MARKS)
        found: set[str] = set()
        for name, kind in self._kinds.items():
            if kind != "VARCHAR":
                continue
            column = quoted(name)
            numbers, others = self._db.execute(
                f"SELECT count(*) FILTER (TRY_CAST({column} AS DOUBLE) IS NOT NULL AND {column} NOT IN ({listed})), "
                f"count(*) FILTER (TRY_CAST({column} AS DOUBLE) IS NULL AND {column} NOT IN ({listed})) FROM rows"
            ).fetchone()
            if numbers and not others:
                found |= {
                    row[0] for row in self.all(f"SELECT DISTINCT {column} FROM rows WHERE {column} IN ({listed})")
                }
        return tuple(mark for mark in _MARKS if mark in found)

    def _words(self) -> list[str]:
        """Columns of yes and no, or the like, that DuckDB takes for truth values: to a caller they are words."""
        booleans = [name for name, kind in self._kinds.items() if kind == "BOOLEAN"]
        if not booleans:
            return []
        self._load(booleans)
        said = [f"bool_and(lower({quoted(name)}) IN ('true', 'false'))" for name in booleans]
        plain = self.all(f"SELECT {', '.join(said)} FROM rows")[0]
        self._load([])
        return [name for name, one in zip(booleans, plain, strict=True) if not one]

    def _facts(self, name: str, type_: str) -> Facts:
        column = quoted(name)
        kind = _KINDS.get(type_, "time" if type_.startswith("TIMESTAMP") else "other")
        if type_.strip('"') == "NULL":
            return Facts(name, "text", type_, self.rows, self.rows, 0)
        if kind == "other":
            return Facts(name, kind, type_, self.rows, 0, 0)
        number = kind in ("int", "float")
        nan = f" OR isnan({column})" if kind == "float" else ""
        missing, distinct, least, most, whole, comma = self._db.execute(
            f"SELECT count(*) FILTER ({column} IS NULL{nan}), count(DISTINCT {column}) FILTER (NOT ({column} IS NULL{nan})), "
            + (f"min({column})::DOUBLE, max({column})::DOUBLE, " if number else "NULL, NULL, ")
            + (f"bool_and({column} = floor({column})) FILTER (NOT ({column} IS NULL{nan})), " if number else "false, ")
            + (f"bool_and(regexp_matches({column}, '{_DECIMAL_COMMA}'))" if kind == "text" else "false")
            + " FROM rows"
        ).fetchone()
        values = self.all(
            f"SELECT {column}, count(*) FROM rows WHERE NOT ({column} IS NULL{nan}) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 8"
        )
        return Facts(
            name, kind, type_, self.rows, missing, distinct, tuple(values), bool(whole), least, most, bool(comma)
        )


def readable(file: Path) -> Path:
    """The file, when it is there and of a kind that can be read; else `NotFound` or `DataError`."""
    if not file.exists():
        folder = file.parent if file.parent.is_dir() else Path()
        names = [one.name for one in folder.iterdir() if _suffix(one) in (*CSV, *PARQUET)]
        near = difflib.get_close_matches(file.name, names, n=1)
        raise NotFound(
            "there is no such file" + (f"; did you mean {folder / near[0]}?" if near else ""),
            where=str(file),
            valid=f"in {folder.resolve()}: {', '.join(sorted(names)[:8])}" if names else "a CSV or Parquet file",
            next_step="the same command with the file's name",
        )
    if not file.is_file() or _suffix(file) not in (*CSV, *PARQUET):
        raise DataError(
            "it is a folder" if file.is_dir() else f"a {_suffix(file) or 'nameless'} file is not read",
            where=str(file),
            valid=f"one file: {', '.join((*CSV, *PARQUET))}",
            next_step="save the table as CSV or Parquet (in pandas: frame.to_csv(name, index=False))",
        )
    if file.stat().st_size == 0:
        raise DataError("the file is empty", where=str(file), valid="one line of column names, then the rows")
    return file


def same_as(table: Table, one: str, other: str) -> bool:
    """Whether each value of a column goes with one value of the other, and the other way round."""
    left, right = quoted(one), quoted(other)
    pairs = table.one(
        f"SELECT count(DISTINCT ({left}, {right})) FROM rows WHERE {left} IS NOT NULL AND {right} IS NOT NULL"
    )
    distinct = {table.columns[one].distinct, table.columns[other].distinct}
    return distinct == {pairs} and pairs > 1


def some(values: Sequence[str], most: int = 8) -> str:
    """A few names in a line.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = len(values) - most
    return ", ".join(values[:most]) + (f" and {rest} more" if rest > 0 else "")


def _suffix(file: Path) -> str:
    return "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
