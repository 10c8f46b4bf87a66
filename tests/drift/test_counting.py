"""Every way to count gives the same numbers, and every value is counted once."""

import errno
import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.errors import DataError
from mainspring.domain.model_version import Feature
from mainspring.domain.time import TimeWindow
from mainspring.drift import counting, kernel, placing, scan
from mainspring.drift.cells import (
    MINUS_INFINITY,
    MISTYPED,
    NAN,
    NULL,
    PLUS_INFINITY,
    Cells,
    Counts,
    total,
)
from mainspring.drift.counting import bucket_of, count
from mainspring.drift.fitting import edges_of, fit_cells
from mainspring.drift.profile import count_window, fit_profile
from mainspring.drift.scan import ParquetCounter, count_files, fit_files

FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1.0, 5e-324, 1e308, -1e308, float("inf"), float("nan")])


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


def by_kernel(cells, values):
    counts = Counts.none(cells)
    kernel.count_floats(np.array(values, np.float64), cells.edges, counts.vector, counts.tails)
    return counts


@settings(max_examples=200, deadline=None)
@given(st.lists(FLOATS, max_size=300), st.lists(FLOATS, max_size=300))
def test_the_kernel_counts_as_numpy_does(before, now):
    cells = Cells("number", edges_of(np.array(before, np.float64)))
    for values in (before, now):
        with np.errstate(all="ignore"):
            assert by_kernel(cells, values) == count(cells, column(values, pa.float64()))


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, n: g.normal(size=n),
        lambda g, n: g.lognormal(0, 4, n),
        lambda g, n: -g.lognormal(0, 4, n),
        lambda g, n: np.where(g.uniform(size=n) < 0.6, 0, g.exponential(size=n)),
        lambda g, n: np.append(g.normal(size=n - 2), [1e300, -1e300]),
        lambda g, n: 1e9 + g.integers(0, 5000, n) / 1024,
        lambda g, n: g.integers(0, 40, n).astype(float),
        lambda g, n: g.standard_cauchy(n),
        lambda g, n: np.array([-1.7e308, 1.7e308] * (n // 2)),
        lambda g, n: g.uniform(size=n) * 5e-320,
        lambda g, n: np.nan_to_num(np.frombuffer(g.bytes(8 * n), np.float64)),
        lambda g, n: 1 + g.integers(0, 200, n) * 2.0**-52,
    ],
)
def test_the_kernel_counts_as_numpy_does_whatever_its_table_looks_like(draw, monkeypatch):
    generator = np.random.default_rng(8)
    cells = Cells("number", edges_of(draw(generator, 60_000)))
    values = np.concatenate([draw(generator, 60_000), cells.edges, np.nextafter(cells.edges, np.inf), [np.nan, np.inf]])
    with np.errstate(all="ignore"):
        fast = count(cells, column(values))
        monkeypatch.setattr(counting, "LEAST_ROWS", 1 << 60)
        assert fast == count(cells, column(values))
    assert fast.rows == len(values)


def test_where_nothing_may_be_written_the_kernel_is_compiled_in_memory(monkeypatch):
    import numba

    real = numba.njit

    def refusing(*args, **options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", refusing)
    kernel._compiled.cache_clear()
    try:
        cells = Cells("number", np.array([0.0, 1.0]))
        assert by_kernel(cells, [-1.0, 0.5, 2.0]).cells.tolist() == [1, 1, 1]
    finally:
        kernel._compiled.cache_clear()


def test_where_the_disk_is_full_the_kernel_is_compiled_in_memory(monkeypatch):
    from numba.core.caching import IndexDataCacheFile

    def full(self, *args):
        raise OSError(errno.ENOSPC, "No space left on device")

    kernel._compiled.cache_clear()
    monkeypatch.setattr(IndexDataCacheFile, "load", lambda self, key: None)
    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    try:
        assert by_kernel(Cells("number", np.array([0.0, 1.0])), [-1.0, 0.5, 2.0]).cells.tolist() == [1, 1, 1]
    finally:
        kernel._compiled.cache_clear()


def test_what_is_no_number_is_counted_apart():
    counts = count(
        Cells("number", np.array([0.0, 1.0])), column([None, float("nan"), float("inf"), float("-inf"), 1.0])
    )
    assert [counts.apart(what) for what in (NULL, NAN, PLUS_INFINITY, MINUS_INFINITY, MISTYPED)] == [1, 1, 1, 1, 0]
    assert counts.cells.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", column([1, 2, None], pa.int8())),
        ("number", column([1, 2, None], pa.uint64())),
        ("number", column([Decimal("1.5"), None, Decimal(2)])),
        ("number", column([True, False, None])),
        ("time", column([datetime(2020, 1, 1), None, datetime(2021, 1, 1)])),
        ("time", column([date(2020, 1, 1), None, date(2021, 1, 1)])),
        ("time", column([datetime(2020, 1, 1), None, datetime(2021, 1, 1)], pa.timestamp("ns", "UTC"))),
        ("boolean", column([True, None, False])),
        ("boolean", column([1.0, None, 0.0])),
        ("category", column(["a", None, "b"])),
        ("category", column(["a", "", "b"]).dictionary_encode()),
        ("category", column(["a", None, "b"], pa.large_string())),
        ("hashed", column(["a", None, "b"], pa.string_view())),
    ],
)
def test_every_type_of_a_kind_is_counted(kind, values):
    cells = Cells("hashed") if kind == "hashed" else fit_cells(values, kind)
    counts = count(cells, values)
    assert (counts.known, counts.apart(NULL), counts.apart(MISTYPED)) == (2, 1, 0)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", ["1", "2"]),
        ("number", [datetime(2020, 1, 1)] * 2),
        ("time", [1.0, 2.0]),
        ("boolean", ["true", "false"]),
        ("category", [1, 2]),
        ("hashed", [True, False]),
    ],
)
def test_a_column_of_another_type_is_mistyped(kind, values):
    counts = count(Cells(kind), column([*values, None]))
    assert (counts.apart(MISTYPED), counts.apart(NULL), counts.known) == (2, 1, 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_many_windows_at_once_are_counted_as_each_by_itself(data):
    kind, values = data.draw(
        st.sampled_from(
            [
                ("number", st.lists(FLOATS | st.none(), min_size=1, max_size=60)),
                ("boolean", st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan"), None]), min_size=1, max_size=60)),
                ("category", st.lists(st.sampled_from(["a", "b", "c", "", None]), min_size=1, max_size=60)),
                ("hashed", st.lists(st.text(max_size=3) | st.none(), min_size=1, max_size=60)),
                ("time", st.lists(st.datetimes() | st.none(), min_size=1, max_size=60)),
            ]
        )
    )
    arrow = {"number": pa.float64(), "boolean": pa.float64(), "time": pa.timestamp("us")}.get(kind, pa.string())
    rows = column(data.draw(values), arrow)
    cells = Cells("hashed") if kind == "hashed" else fit_cells(rows.slice(0, max(1, len(rows) // 2)), kind)
    window = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))), np.int64)
    other = (data.draw(st.booleans()) and Cells("category", categories=("a",))) or cells
    with np.errstate(all="ignore"):
        found = placing.windowed(other, rows, window, 4)
        for one in range(4):
            counts = Counts(np.zeros(other.width, np.int64), found.tails[one])
            counts.vector[found.places[found.windows == one]] = found.rows[found.windows == one]
            assert counts.vector.tolist() == count(other, rows.filter(pa.array(window == one))).vector.tolist()
            expected = count(other, rows.filter(pa.array(window == one)))
            assert counts.tails[[1, 2, 4, 5]].tolist() == expected.tails[[1, 2, 4, 5]].tolist()


def test_truth_is_false_true_and_anything_else():
    cells = fit_cells(column([True]))
    assert count(cells, column([0.0, 1.0, 1.0, 2.0, float("nan"), None])).vector.tolist() == [1, 2, 1, 1, 1, 0, 0, 0]
    assert [cells.label(cell) for cell in range(3)] == ["false", "true", "other"]


def test_text_with_many_values_is_hashed_as_sql_engines_do():
    values = [f"user {number}" for number in range(2000)]
    cells = fit_cells(column(values))
    assert cells.kind == "hashed"
    assert bucket_of("straße") == int(hashlib.md5("straße".encode()).hexdigest()[:2], 16)
    counts = count(cells, column([*values, "", None]))
    assert (counts.known, counts.apart(NULL)) == (2000, 2)
    assert counts.cells[bucket_of("user 7")] > 0


def test_times_have_labels_that_read_as_dates():
    cells = fit_cells(column([datetime(2020, 1, 1), datetime(2020, 6, 1, 12, 30)]))
    assert [cells.label(cell) for cell in range(cells.size)] == [
        "< 2020-01-01",
        "2020-01-01",
        "2020-01-01 to 2020-06-01 12:30",
        "2020-06-01 12:30",
        "> 2020-06-01 12:30",
    ]
    year = count(cells, column([date(1970, 1, 1), date(2020, 1, 1), date(9999, 1, 1)]))
    assert year.cells.tolist() == [1, 1, 0, 0, 1]


@given(st.lists(st.lists(FLOATS, max_size=30), min_size=1, max_size=6))
def test_counts_add_up_in_any_order(parts):
    cells = Cells("number", np.array([-1.0, 0.0, 1.0]))
    with np.errstate(all="ignore"):
        counted = [count(cells, column(part, pa.float64())) for part in parts]
        whole = count(cells, column([value for part in parts for value in part], pa.float64()))
        assert total(counted, cells).vector.tolist() == whole.vector.tolist()
        assert total(counted[::-1], cells).tails[[1, 2, 4, 5]].tolist() == whole.tails[[1, 2, 4, 5]].tolist()


def test_counts_over_other_cells_do_not_add_up():
    with pytest.raises(ValueError, match="do not add up"):
        Counts(np.zeros(7, np.int64)) + Counts(np.zeros(8, np.int64))


def test_files_are_counted_in_pieces_as_tables_are(tmp_path, monkeypatch):
    generator = np.random.default_rng(9)
    files, tables = [], []
    for place in range(3):
        rows = 1000 + place
        frame = pl.DataFrame(
            {
                "x": generator.normal(size=rows),
                "n": generator.integers(0, 9, rows),
                "maybe": [None if value < 0 else value for value in generator.normal(size=rows)],
                "town": generator.choice(["Ulm", "Bonn"], rows),
                "rain": generator.uniform(size=rows) < 0.5,
                "at": pl.Series(generator.integers(0, 10**15, rows)).cast(pl.Datetime("us")),
                "unknown": [None] * rows,
            }
        )
        frame = frame.drop("maybe") if place == 2 else frame
        files.append(tmp_path / f"{place}.parquet")
        frame.write_parquet(files[-1], row_group_size=300)
        tables.append({name: pa.chunked_array([frame[name].to_arrow()]) for name in frame.columns})
    profile = fit_profile(tables[0], [Feature("town", "category")])
    assert fit_files(files[:1]) == profile
    expected = [count_window(profile, table) for table in tables]
    for values in (100, 999, 2500, 1 << 30):
        monkeypatch.setattr(scan, "BATCH_VALUES", values)
        found = count_files(profile, files)
        assert found == {
            name: total([one[name] for one in expected if name in one], cells) for name, cells in profile.cells.items()
        }


def test_a_window_of_files_is_counted_by_their_event_time(tmp_path, monkeypatch):
    hours = pl.datetime_range(datetime(2020, 1, 1), datetime(2020, 1, 11), "1h", closed="left", eager=True)
    frame = pl.DataFrame({"at": hours, "degrees": range(240), "grade": [n % 3 for n in range(240)]})
    window = TimeWindow(datetime(2020, 1, 3, tzinfo=UTC), datetime(2020, 1, 4, tzinfo=UTC))
    cells = {"temp": Cells("number", np.array([40.0, 60.0])), "grade": Cells("category", categories=("0", "1"))}
    monkeypatch.setattr(scan, "BATCH_VALUES", 50)
    for name, at in (
        ("naive", pl.col("at")),
        ("utc", pl.col("at").dt.replace_time_zone("UTC")),
        ("ns", pl.col("at").cast(pl.Datetime("ns"))),
        ("zone", pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")),
        ("date", pl.col("at").dt.date()),
    ):
        frame.with_columns(at).write_parquet(tmp_path / f"{name}.parquet")
        counter = ParquetCounter([tmp_path / f"{name}.parquet"], "at", {"temp": "degrees"}, {"grade"})
        found = counter.count(cells, window)
        assert found["temp"].cells.tolist() == [0, 13, 11]
        assert found["grade"].cells.tolist() == [8, 8, 8]
        assert counter.count(cells)["temp"].rows == 240
        assert counter.count(cells, TimeWindow(window.start, window.start))["temp"].rows == 0
        assert counter.columns() == ("at", "degrees", "grade")


def test_files_that_cannot_be_counted_are_named(tmp_path):
    pl.DataFrame({"x": [1.0], "at": ["2020"]}).write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "none.parquet").write_bytes(b"nothing")
    cells = {"x": Cells("number", np.array([0.0]))}
    window = TimeWindow(datetime(2020, 1, 3, tzinfo=UTC), datetime(2020, 1, 4, tzinfo=UTC))
    with pytest.raises(DataError, match="no Parquet file that can be read"):
        ParquetCounter([tmp_path / "none.parquet"]).count(cells)
    with pytest.raises(DataError, match="no column y"):
        ParquetCounter([tmp_path / "rows.parquet"]).count({"y": cells["x"]})
    with pytest.raises(DataError, match="no column the event time"):
        ParquetCounter([tmp_path / "rows.parquet"]).count(cells, window)
    with pytest.raises(DataError, match="at is String"):
        ParquetCounter([tmp_path / "rows.parquet"], "at").count(cells, window)
