"""The digest of a table: the same for the same rows however they are stored, another for any other value."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.time import TimeWindow
from mainspring.sources.digest import content_digest, describe

VALUES = {
    "int": st.integers(-(2**62), 2**62),
    "float": st.floats(allow_nan=True),
    "str": st.text(max_size=4),
    "bool": st.booleans(),
    "time": st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
    "date": st.dates(date(1990, 1, 1), date(2040, 1, 1)),
}
ARROW = {
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us"),
    "date": pa.date32(),
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[str, list[object]]:
    kind = draw(st.sampled_from(list(VALUES)))
    return kind, draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=12))


@given(columns(), st.data())
@settings(max_examples=150, deadline=None)
def test_chunks_leave_no_trace_and_any_change_does(column: tuple[str, list[object]], data: st.DataObject) -> None:
    kind, values = column
    table = pa.table({"v": pa.array(values, ARROW[kind])})
    cut = data.draw(st.integers(0, len(values)))
    chunked = pa.table({"v": pa.chunked_array([table.column("v").chunk(0)[:cut], table.column("v").chunk(0)[cut:]])})
    assert content_digest(chunked) == content_digest(table)
    place = data.draw(st.integers(0, len(values) - 1))
    other = data.draw(st.none() | VALUES[kind])
    changed = [*values[:place], other, *values[place + 1 :]]
    same = repr(pa.array(changed, ARROW[kind]).to_pylist()).replace("-0.0", "0.0") == repr(
        pa.array(values, ARROW[kind]).to_pylist()
    ).replace("-0.0", "0.0")
    assert (content_digest(pa.table({"v": pa.array(changed, ARROW[kind])})) == content_digest(table)) == same


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"a": [1, 2], "b": ["x", "y"]}).slice(0, 1),
        pa.table({"a": [2, 1], "b": ["y", "x"]}),
        pa.table({"a": [1, 2], "c": ["x", "y"]}),
        pa.table({"a": [1, 2]}),
        pa.table({"a": [1, 2], "b": ["xy", ""]}),
        pa.table({"a": [1, 2], "b": ["x", None]}),
        pa.table({"a": ["1", "2"], "b": ["x", "y"]}),
    ],
)
def test_rows_order_names_and_borders_count(other: pa.Table) -> None:
    assert content_digest(other) != content_digest(pa.table({"a": [1, 2], "b": ["x", "y"]}))


def test_widths_units_and_dictionaries_do_not_count() -> None:
    table = pa.table({"n": [1, 2], "x": [0.5, None], "s": ["a", "b"], "t": [datetime(2013, 1, 1), None]})
    kinds = [pa.int8(), pa.float32(), pa.dictionary(pa.int32(), pa.string()), pa.timestamp("ns", "Europe/Berlin")]
    stored = pa.table(
        {name: table.column(name).cast(kind) for name, kind in zip(table.column_names, kinds, strict=True)}
    )
    assert content_digest(stored) == content_digest(table)
    assert content_digest(table.set_column(2, "s", table.column("s").cast(pa.large_string()))) == content_digest(table)


def test_what_lies_under_a_null_does_not_count() -> None:
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([1, 99]).tobytes())])
    assert content_digest(pa.table({"a": hidden})) == content_digest(pa.table({"a": [1, None]}))


def test_a_file_and_memory_have_the_same_digest(tmp_path: object) -> None:
    table = pa.table({"a": range(5000), "b": [str(n) for n in range(5000)]})
    pq.write_table(table, f"{tmp_path}/a.parquet", row_group_size=700, compression="zstd")
    assert content_digest(pq.read_table(f"{tmp_path}/a.parquet")) == content_digest(table)


def test_a_dataset_says_what_a_table_looks_like() -> None:
    times = pa.array([datetime(2013, 1, 2), datetime(2013, 1, 1)], pa.timestamp("us", "UTC"))
    dataset = describe(pa.table({"t": times, "n": [1, None], "day": [date(2013, 1, 1)] * 2}), "x.csv", time="t")
    assert [(column.name, column.type, column.nullable) for column in dataset.columns] == [
        ("t", "time", False),
        ("n", "int", True),
        ("day", "date", False),
    ]
    assert dataset.window == TimeWindow(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, 0, 0, 0, 1, tzinfo=UTC))
    assert dataset.rows == 2
