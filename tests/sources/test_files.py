"""Files as sources: what is read, when it is known, and what is refused in which words."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.domain.errors import DataError, NotFound
from mainspring.domain.time import TimeWindow
from mainspring.settings.project import SourceSettings
from mainspring.sources import files
from mainspring.sources.digest import content_digest
from mainspring.sources.files import FileSource
from mainspring.sources.open import open_sources

LATER = datetime(2030, 1, 1, tzinfo=UTC)
DAY = datetime(2013, 1, 1, tzinfo=UTC)


def source(folder: Path, path: str = "rows.csv", **declared: Any) -> FileSource:
    return FileSource("rows", SourceSettings(path=path, **declared), folder)


def write(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_a_csv_is_read_with_its_declared_types(tmp_path: Path) -> None:
    write(
        tmp_path,
        "at,code,n,x,ok,kind,day\n2013-01-01T02:00:00+02:00,007,3,1.5,true,a,2013-01-05\n2013-01-02,008,,,,,\n",
    )
    kinds = {"code": "str", "n": "int", "x": "float", "ok": "bool", "kind": "category", "day": "date"}
    rows = source(tmp_path, time="at", columns=kinds).read(known_at=LATER)
    assert rows.schema.types == [
        pa.timestamp("us", "UTC"), pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.date32(),
    ]  # fmt: skip
    assert rows.column("at").to_pylist() == [DAY, DAY + timedelta(days=1)]
    assert rows.column("code").to_pylist() == ["007", "008"]
    assert rows.column("n").to_pylist() == [3, None]


def test_times_are_microseconds_utc_whatever_the_file_has(tmp_path: Path) -> None:
    at = pd.to_datetime(["2013-01-01T00:00", "2013-01-02T00:00"])
    frame = pd.DataFrame(
        {"naive": at, "zoned": at.tz_localize("UTC"), "away": at.tz_localize("UTC").tz_convert("America/New_York")}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    rows = source(tmp_path, "rows.parquet", time="zoned", available_at="away").read(known_at=LATER)
    assert set(rows.schema.types) == {pa.timestamp("us", "UTC")}
    assert {tuple(column.to_pylist()) for column in rows.columns} == {(DAY, DAY + timedelta(days=1))}


def test_what_is_not_known_yet_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "at,seen\n2013-01-01,2013-01-03\n2013-01-02,2013-01-02\n2013-01-02,\n")
    by_column = source(tmp_path, time="at", available_at="seen")
    assert by_column.read(known_at=DAY + timedelta(days=1)).num_rows == 1
    assert by_column.read(known_at=LATER).num_rows == 2, "a row without an instant of availability is never known"
    by_delay = source(tmp_path, time="at", delay=timedelta(hours=1))
    assert by_delay.read(known_at=DAY + timedelta(minutes=59)).num_rows == 0
    assert by_delay.read(known_at=DAY + timedelta(hours=1)).num_rows == 1


def test_a_window_is_half_open_and_a_limit_counts_rows(tmp_path: Path) -> None:
    write(tmp_path, "at,n\n2013-01-01,1\n2013-01-02,2\n2013-01-03,3\n")
    rows = source(tmp_path, time="at")
    window = TimeWindow(DAY + timedelta(days=1), DAY + timedelta(days=2))
    assert rows.read(known_at=LATER, window=window).column("n").to_pylist() == [2]
    assert rows.read(known_at=LATER, limit=2).column("n").to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("declared", "values", "message"),
    [
        ("int", ["1", "x", "2.5"], "`v`: 2 of its values are not an int (row 2: 'x', row 3: '2.5')"),
        ("float", ["1", "NA", "2.5"], "`v`: 1 of its values are not a float (row 2: 'NA')"),
        ("bool", ["true", "maybe", "0"], "`v`: 1 of its values are not a bool (row 2: 'maybe')"),
        ("date", ["2013-01-01", "2013-01-01 05:00", "soon"], "`v`: 2 of its values are not a date"),
        (
            "time",
            ["2013-01-01", "01/13/2013", "2013-02-30"],
            "`v`: 2 of its values are not a time (row 2: '01/13/2013'",
        ),
    ],
)
def test_a_wrong_type_is_refused_with_count_and_rows(
    tmp_path: Path, declared: str, values: list[str], message: str
) -> None:
    write(tmp_path, "v,w\n" + "".join(f"{value},1\n" for value in values))
    with pytest.raises(DataError) as error:
        source(tmp_path, columns={"v": declared}).read(known_at=LATER)
    assert message in str(error.value)
    assert "sources.rows" in str(error.value)


@pytest.mark.parametrize(
    ("declared", "values", "bad"),
    [
        ("int", pa.array([1.0, 1.5]), "row 2: '1.5'"),
        ("bool", pa.array([0, 7]), "row 2: '7'"),
        ("time", pa.array([1356998400, 1357084800]), "row 1: '1356998400'"),
        ("date", pa.array([datetime(2013, 1, 1), datetime(2013, 1, 1, 5)]), "row 2"),
        ("float", pa.array([True, False]), None),
    ],
)
def test_a_parquet_column_of_another_type_fits_only_without_loss(
    tmp_path: Path, declared: str, values: pa.Array, bad: str | None
) -> None:
    pq.write_table(pa.table({"v": values}), tmp_path / "rows.parquet")
    rows = source(tmp_path, "rows.parquet", columns={"v": declared})
    if bad is None:
        assert rows.read(known_at=LATER).num_rows == 2
    else:
        with pytest.raises(DataError, match=bad):
            rows.read(known_at=LATER)


def test_several_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "at,v\n,x\n2013-01-01,1\n")
    with pytest.raises(DataError) as error:
        source(tmp_path, time="at", columns={"v": "int"}).read(known_at=LATER)
    assert "`v`: 1 of its values" in str(error.value)
    assert "`at`: 1 rows have no event time (row 1)" in str(error.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_missing_column_gets_a_suggestion(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"departed": ["2013-01-01"], "delay": [1]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"no column `departd` \(did you mean `departed`\?\)"):
        source(tmp_path, name, time="departd").read(known_at=LATER)


def test_a_folder_and_a_glob_are_all_their_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, "n\n1\n2\n", "part/a.csv")
    write(tmp_path, "n\n3\nx\n", "part/b.csv")
    for path in ("part", "part/*.csv"):
        rows = source(tmp_path, path, columns={"n": "str"})
        assert rows.read(known_at=LATER).column("n").to_pylist() == ["1", "2", "3", "x"]
    with pytest.raises(DataError, match=r"1 of its values are not an int \(row 2 of b.csv: 'x'\)"):
        source(tmp_path, "part", columns={"n": "int"}).read(known_at=LATER)


def test_a_file_that_lacks_a_declared_column_is_not_filled_with_nulls(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1], "m": [2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no column `m`") as error:
        source(tmp_path, "*.parquet", columns={"m": "int"}).read(known_at=LATER)
    assert "b.parquet" in str(error.value)


def test_what_is_no_table_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        source(tmp_path).read(known_at=LATER)
    (tmp_path / "rows.parquet").write_bytes(b"not a table")
    with pytest.raises(DataError, match="cannot be read"):
        source(tmp_path, "rows.parquet").read(known_at=LATER)
    write(tmp_path, "n,m\n1,2\n", "mixed/a.csv")
    (tmp_path / "mixed" / "b.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="one kind"):
        source(tmp_path, "mixed").read(known_at=LATER)


def test_a_broken_line_of_a_csv_is_not_dropped(tmp_path: Path) -> None:
    write(tmp_path, "n,m\n1,2\n3,4,5,6\n7,8\n")
    with pytest.raises(DataError, match=r"cannot be read|has no column"):
        source(tmp_path, columns={"n": "int", "m": "int"}).read(known_at=LATER)


def test_state_changes_with_the_files(tmp_path: Path) -> None:
    rows = source(write(tmp_path, "n\n1\n"))
    before = rows.state()
    assert rows.state() == before
    write(tmp_path, "n\n1\n2\n")
    assert rows.state() != before


@pytest.mark.parametrize("most", [0, 10_000_000], ids=["many rows", "few rows"])
def test_rows_that_did_not_change_are_read_once_and_those_that_did_again(
    tmp_path: Path, monkeypatch, most: int
) -> None:
    monkeypatch.setattr(files, "KEPT_VALUES", most)
    loads: list[str] = []
    load = FileSource._load
    monkeypatch.setattr(FileSource, "_load", lambda self, *words: (loads.append(self.name), load(self, *words))[1])
    write(tmp_path, "at,x\n2013-01-01,1\n2013-01-03,3\n")
    one = source(tmp_path, time="at")
    assert [one.read(known_at=DAY + timedelta(days=n)).num_rows for n in (0, 1, 2)] == [1, 1, 2]
    assert one.read(known_at=LATER, limit=1).column("x").to_pylist() == [1]
    assert len(loads) == (1 if most else 4)
    write(tmp_path, "at,x\n2013-01-01,1\n2013-01-03,3\n2013-01-04,4\n")
    assert one.read(known_at=LATER).column("x").to_pylist() == [1, 3, 4]
    # A file that cannot be read any more is said to be so, and is none of what was kept.
    write(tmp_path, "at,x\nsoon,1\n")
    with pytest.raises(DataError, match="not a time"):
        one.read(known_at=LATER)
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(NotFound):
        one.read(known_at=LATER)


def test_a_url_without_an_adapter_is_refused_when_opened(tmp_path: Path) -> None:
    settings = {"a": SourceSettings(path="a.csv"), "b": SourceSettings(url="sqlite:///b.db", table="b")}
    with pytest.raises(Exception, match="no SQL adapter"):
        open_sources(settings, tmp_path)
    assert open_sources({"a": settings["a"]}, tmp_path)["a"].uri == "a.csv"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_first_line_says_what_parts_the_columns(tmp_path: Path, mark: str) -> None:
    write(tmp_path, f'n{mark}text\n1{mark}"a{mark}b"\n2{mark}\n')
    rows = source(tmp_path).read(known_at=LATER)
    assert rows.to_pylist() == [{"n": 1, "text": f"a{mark}b"}, {"n": 2, "text": None}]


def test_a_gzipped_csv_and_one_column_read_the_same(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as stream:
        stream.write("n\n1\n2\n")
    assert source(tmp_path, "rows.csv.gz").read(known_at=LATER).column("n").to_pylist() == [1, 2]


def test_csv_and_parquet_of_the_same_rows_are_the_same_table(tmp_path: Path) -> None:
    write(tmp_path, "id,at,amount,plan\n1,2013-01-01T00:00:00,1.5,basic\n2,2013-01-02T00:00:00Z,,pro\n")
    declared: dict[str, Any] = {"time": "at", "columns": {"id": "int", "amount": "float"}}
    table = source(tmp_path, **declared).read(known_at=LATER)
    pq.write_table(table, tmp_path / "rows.parquet")
    again = source(tmp_path, "rows.parquet", **declared).read(known_at=LATER)
    assert content_digest(again) == content_digest(table)


def test_texts_that_stand_for_a_missing_value_are_nulls_only_where_they_are_declared(tmp_path: Path) -> None:
    write(tmp_path, "n,town\n1,Ulm\nNA,NA\n,?\n")
    rows = source(tmp_path, nulls=["NA", "?"], columns={"n": "int"}).read(known_at=LATER)
    assert rows.to_pydict() == {"n": [1, None, None], "town": ["Ulm", None, None]}
    with pytest.raises(DataError, match=r"`n`: 1 of its values are not an int \(row 2: 'NA'\)"):
        source(tmp_path, columns={"n": "int"}).read(known_at=LATER)


def test_a_column_may_be_called_filename(tmp_path: Path) -> None:
    write(tmp_path, "filename,n\na.png,1\n", "part/a.csv")
    write(tmp_path, "filename,n\nb.png,2\n", "part/b.csv")
    assert source(tmp_path, "part/a.csv").read(known_at=LATER).column_names == ["filename", "n"]
    rows = source(tmp_path, "part", columns={"n": "int"}).read(known_at=LATER)
    assert rows.column("filename").to_pylist() == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("content", "message", "mend"),
    [
        (b"a,b\n1,2\n3,4,5\n6\n", r"rows\.csv: 2 lines have another number of values .*line 3: 3, line 4: 1", "quotes"),
        (b"a,b\n1,M\xfcller\n", r"rows\.csv is not UTF-8 text: line 2", "iconv"),
    ],
)
def test_a_broken_csv_is_explained_by_its_lines(tmp_path: Path, content: bytes, message: str, mend: str) -> None:
    for name, raw in (("rows.csv", content), ("rows.csv.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(DataError, match=message.replace(r"rows\.csv", name.replace(".", r"\."))) as error:
            source(tmp_path, name).read(known_at=LATER)
        assert mend in error.value.next_step
        assert "null_padding" not in str(error.value)


def test_no_line_is_skipped_for_what_another_one_looks_like(tmp_path: Path) -> None:
    """The engine guesses that lines with # are comments, and skips everything before a line that is longer."""
    write(tmp_path, "a,b\n#1,2\n3,4\n#5,6\n")
    assert source(tmp_path).read(known_at=LATER).column("a").to_pylist() == ["#1", "3", "#5"]
    write(tmp_path, "a,b\n1,2\n3,4,5\n")
    with pytest.raises(DataError, match="1 line has another number of values"):
        source(tmp_path).read(known_at=LATER)


@pytest.mark.parametrize("text", ["a,b\n1,x\n2,y\r\n3,z\r\n", "a,b\r\n1,x\r\n2,y\n3,z\n"])
def test_a_file_that_another_program_appended_to_may_mix_line_ends(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_bytes(text.encode())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "rows.csv.gz").write_bytes(gzip.compress(text.replace("3,z", "three,z").encode()))
    assert source(tmp_path).read(known_at=LATER).to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    with pytest.raises(DataError, match=r"`a`: 1 of its values are not an int \(row 3: 'three'\)"):
        source(tmp_path, "more", columns={"a": "int"}).read(known_at=LATER)
