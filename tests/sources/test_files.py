"""Sources: what is read, what was known when, and what is refused with counts and rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.errors import DataError, NotFound
from mainspring.domain.time import TimeWindow
from mainspring.settings.project import SourceSettings
from mainspring.sources.digest import content_digest, describe
from mainspring.sources.files import FileSource

FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
CSV = "id,at,amount,plan\n1,2013-01-01T00:00:00,1.5,basic\n2,2013-01-02T00:00:00,2.5,pro\n3,2013-01-03T00:00:00,,pro\n"


def source(folder: Path, text: str, **settings: object) -> FileSource:
    (folder / "rows.csv").write_text(text)
    return FileSource("rows", SourceSettings.model_validate({"path": "rows.csv", **settings}), folder)


def test_csv_and_parquet_of_the_same_rows_are_the_same_table(tmp_path: Path) -> None:
    declared = {"time": "at", "columns": {"id": "int", "amount": "float"}}
    table = source(tmp_path, CSV, **declared).read(known_at=FOREVER)
    pq.write_table(table, tmp_path / "rows.parquet")
    again = FileSource("rows", SourceSettings.model_validate({"path": "rows.parquet", **declared}), tmp_path)
    assert content_digest(again.read(known_at=FOREVER)) == content_digest(table)
    found = describe(table, "rows.csv", time="at")
    assert [(one.name, one.type, one.nullable) for one in found.columns] == [
        ("id", "int", False),
        ("at", "time", False),
        ("amount", "float", True),
        ("plan", "str", False),
    ]
    assert found.window == TimeWindow(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC))


def test_a_row_is_not_there_before_it_was_known(tmp_path: Path) -> None:
    rows = source(tmp_path, CSV, time="at", delay="12h")
    at = datetime(2013, 1, 2, 11, 59, tzinfo=UTC)
    assert rows.read(known_at=at).column("id").to_pylist() == [1]
    assert rows.read(known_at=at + timedelta(minutes=1)).column("id").to_pylist() == [1, 2]
    window = TimeWindow(datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC))
    assert rows.read(known_at=FOREVER, window=window).column("id").to_pylist() == [2]


def test_all_values_that_do_not_fit_are_reported_with_their_rows(tmp_path: Path) -> None:
    text = CSV + "4,2013-01-04T00:00:00,many,pro\n5,soon,3,pro\n"
    with pytest.raises(DataError) as error:
        source(tmp_path, text, time="at", columns={"amount": "float"}).read(known_at=FOREVER)
    message = str(error.value)
    assert "`amount`: 1 of its values are not a float (row 4: 'many')" in message
    assert "`at`: 1 of its values are not a time (row 5: 'soon')" in message


def test_a_missing_event_time_and_a_rounded_integer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 rows have no event time \(rows 4\)"):
        source(tmp_path, CSV + "4,,1,pro\n", time="at").read(known_at=FOREVER)
    with pytest.raises(DataError, match="2 of its values are not an int"):
        source(tmp_path, CSV, columns={"amount": "int"}).read(known_at=FOREVER)


def test_a_missing_column_and_a_missing_file_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean `amount`"):
        source(tmp_path, CSV, columns={"amout": "float"}).read(known_at=FOREVER)
    with pytest.raises(NotFound, match="no such file"):
        FileSource("x", SourceSettings(path="nowhere.csv"), tmp_path).read(known_at=FOREVER)


values = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(-5, 5)), st.one_of(st.none(), st.text(max_size=3))), max_size=20
)


@given(values, values, st.integers(0, 20))
def test_the_digest_depends_on_every_value_and_not_on_the_layout(
    left: list[tuple[int | None, str | None]], right: list[tuple[int | None, str | None]], cut: int
) -> None:
    schema = pa.schema([("number", pa.int64()), ("text", pa.string())])

    def table(rows: list[tuple[int | None, str | None]]) -> pa.Table:
        return pa.table(
            [pa.array([r[0] for r in rows], pa.int64()), pa.array([r[1] for r in rows], pa.string())], schema=schema
        )

    whole = table(left)
    assert content_digest(pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])) == content_digest(whole)
    assert (content_digest(whole) == content_digest(table(right))) == (left == right)
