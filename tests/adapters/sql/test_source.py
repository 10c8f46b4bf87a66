"""SQL tables as sources, on the two engines that are files: what is read, pushed down and refused."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from mainspring.adapters.sql.source import SqlSource
from mainspring.domain.errors import ConfigError, DataError, NotFound, TemporaryError
from mainspring.domain.time import TimeWindow
from mainspring.settings.project import SourceSettings
from mainspring.sources.digest import content_digest

LATER = datetime(2030, 1, 1, tzinfo=UTC)
DAY = datetime(2013, 1, 1, tzinfo=UTC)
ROWS = [
    ("b", "2013-01-02 00:00:00", 2, 2.5),
    ("c", "2013-01-01 00:00:00", 1, None),
    ("a", "2013-01-03 00:00:00", None, 0.5),
]


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    engine = str(request.param)
    connect: Any = sqlite3.connect if engine == "sqlite" else duckdb.connect
    connection = connect(tmp_path / "x.db")
    connection.execute('CREATE TABLE rows (id TEXT, "at" TIMESTAMP, n INTEGER, x DOUBLE)')
    connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", ROWS)
    if engine == "sqlite":
        connection.commit()
    connection.close()
    return engine


def source(folder: Path, engine: str, **declared: Any) -> SqlSource:
    place = {} if "query" in declared else {"table": "rows"}
    return SqlSource("rows", SourceSettings(url=f"{engine}:///x.db", **place, **declared), folder)


def test_rows_come_typed_and_in_order_of_their_time(tmp_path: Path, engine: str) -> None:
    rows = source(tmp_path, engine, time="at", columns={"n": "int", "x": "float"}).read(known_at=LATER)
    assert rows.schema.types == [pa.string(), pa.timestamp("us", "UTC"), pa.int64(), pa.float64()]
    assert rows.column("id").to_pylist() == ["c", "b", "a"]
    assert rows.column("at")[0].as_py() == DAY
    assert rows.column("n").to_pylist() == [1, 2, None]


def test_the_digest_is_that_of_the_rows_whatever_order_the_table_has(tmp_path: Path, engine: str) -> None:
    first = content_digest(source(tmp_path, engine, time="at").read(known_at=LATER))
    shuffled = source(tmp_path, engine, time="at", query="SELECT * FROM rows ORDER BY x DESC")
    assert content_digest(shuffled.read(known_at=LATER)) == first


def test_what_is_not_known_yet_or_out_of_the_window_is_not_there(tmp_path: Path, engine: str) -> None:
    rows = source(tmp_path, engine, time="at", delay=timedelta(hours=1))
    assert rows.read(known_at=DAY + timedelta(hours=1)).column("id").to_pylist() == ["c"]
    assert rows.read(known_at=DAY + timedelta(minutes=59)).num_rows == 0
    window = TimeWindow(DAY + timedelta(days=1), DAY + timedelta(days=2))
    assert rows.read(known_at=LATER, window=window).column("id").to_pylist() == ["b"]
    assert rows.read(known_at=LATER, limit=2).column("id").to_pylist() == ["c", "b"]


def test_a_query_is_a_table(tmp_path: Path, engine: str) -> None:
    rows = source(tmp_path, engine, query='SELECT id, "at", n + 1 AS more FROM rows WHERE n IS NOT NULL', time="at")
    assert rows.read(known_at=LATER).column("more").to_pylist() == [2, 3]


def test_a_missing_event_time_is_refused_and_not_filtered_away(tmp_path: Path, engine: str) -> None:
    rows = source(
        tmp_path, engine, query='SELECT id, CASE WHEN n = 2 THEN NULL ELSE "at" END AS "at" FROM rows', time="at"
    )
    with pytest.raises(DataError, match="1 rows have no event time"):
        rows.read(known_at=DAY, window=TimeWindow(DAY, LATER))


def test_a_wrong_type_a_missing_column_and_a_missing_table(tmp_path: Path, engine: str) -> None:
    with pytest.raises(DataError, match=r"`id`: 3 of its values are not an int \(row 1: 'c'"):
        source(tmp_path, engine, time="at", columns={"id": "int"}).read(known_at=LATER)
    with pytest.raises(DataError, match=r"no column `idd` \(did you mean `id`\?\)"):
        source(tmp_path, engine, columns={"idd": "int"}).read(known_at=LATER)
    missing = SqlSource("rows", SourceSettings(url=f"{engine}:///x.db", table="row"), tmp_path)
    with pytest.raises(DataError, match="no table 'row'; did you mean 'rows'"):
        missing.read(known_at=LATER)
    with pytest.raises(DataError, match="cannot be read"):
        source(tmp_path, engine, query="SELECT nonsense FROM rows").read(known_at=LATER)


def test_reading_writes_nothing_and_makes_no_file(tmp_path: Path, engine: str) -> None:
    before = (tmp_path / "x.db").read_bytes()
    source(tmp_path, engine, time="at").read(known_at=LATER)
    assert (tmp_path / "x.db").read_bytes() == before
    nowhere = SqlSource("rows", SourceSettings(url=f"{engine}:///y.db", table="rows"), tmp_path)
    with pytest.raises(NotFound, match="there is no"):
        nowhere.read(known_at=LATER)
    assert not (tmp_path / "y.db").exists()


def test_sqlite_keeps_what_it_was_given_and_each_value_is_checked(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE rows (at TIMESTAMP, n INTEGER, ok BOOLEAN)")
        values = [("2013-01-01T02:00:00+02:00", 1, 1), ("2013-01-02", "many", 0), ("2013-01-03T00:00:00Z", 2.5, None)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", values)
    connection.close()
    with pytest.raises(DataError, match=r"`n`: 2 of its values are not an int \(row 2: 'many', row 3: '2.5'\)"):
        source(tmp_path, "sqlite", time="at", columns={"n": "int"}).read(known_at=LATER)
    rows = source(tmp_path, "sqlite", time="at", columns={"ok": "bool"}).read(known_at=LATER)
    assert rows.column("at").to_pylist() == [DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert rows.column("ok").to_pylist() == [True, False, None]


def test_an_unknown_engine_and_a_database_that_does_not_answer() -> None:
    unknown = SqlSource("rows", SourceSettings(url="nosql://me:hunter2@db/x", table="rows"), Path())
    with pytest.raises(ConfigError, match="no driver for 'nosql'") as error:
        unknown.read(known_at=LATER)
    assert "hunter2" not in str(error.value)
    silent = SqlSource("rows", SourceSettings(url="postgres://me:hunter2@127.0.0.1:1/x", table="rows"), Path())
    with pytest.raises(TemporaryError, match="did not answer") as late:
        silent.read(known_at=LATER)
    assert "hunter2" not in str(late.value)


def test_what_can_be_asked_of_the_engine_is_asked_there(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.db")) as connection:
        connection.execute(
            "CREATE TABLE rows AS SELECT TIMESTAMP '2013-01-01' + to_hours(i) AS \"at\", i FROM range(5000) t(i)"
        )
    rows = source(tmp_path, "duckdb", time="at", delay=timedelta(hours=1))
    assert rows._fetch(DAY + timedelta(hours=10), None, None).num_rows == 10
    window = TimeWindow(DAY + timedelta(hours=3), DAY + timedelta(hours=5))
    assert rows._fetch(LATER, window, None).num_rows == 2
    assert rows._fetch(LATER, None, 7).num_rows == 7
