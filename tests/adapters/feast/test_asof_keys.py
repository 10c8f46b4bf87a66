"""Keys of the point-in-time join: several, of other types, missing; and questions and views without rows."""

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from mainspring.adapters.feast.asof_join import ViewRows, point_in_time

NOON = datetime(2024, 1, 1, 12)


def joined(entities: pa.Table, rows: pa.Table, keys: dict[str, str], ttl: timedelta | None = None) -> list:
    """The value found for each question."""
    with duckdb.connect() as db:
        db.register("rows_", rows)
        view = ViewRows("SELECT * FROM rows_", keys, {"value": "found"}, "at", ttl=ttl)
        result = point_in_time(db, entities, "asked", [view])
    assert result.column_names == [*entities.column_names, "found"]
    assert result.column("found").type == rows.column("value").type
    return result.column("found").to_pylist()


def questions(**keys: pa.Array) -> pa.Table:
    size = len(next(iter(keys.values())))
    return pa.table({**keys, "asked": pa.array([NOON] * size, pa.timestamp("us"))})


def view_rows(at: list[datetime | None], value: list, **keys: pa.Array) -> pa.Table:
    return pa.table({**keys, "at": pa.array(at, pa.timestamp("us")), "value": pa.array(value)})


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (pa.array([1, 2], pa.int64()), pa.array([2, 3], pa.int32())),
        (pa.array([1, 2], pa.int64()), pa.array([2.0, 3.5])),
        (pa.array(["1", "2"]), pa.array([2, 3], pa.int64())),
        (pa.array(["x", "002"]), pa.array([2, 3], pa.int32())),
        (pa.array([float("nan"), 2.0]), pa.array(["2", "3"])),
        (pa.array([None, 2.5]), pa.array(["2.5", "2"])),
        (pa.array(["x", "2.50"]), pa.array([2.5, 2])),
        (pa.array(["1", "2"]).dictionary_encode(), pa.array(["2", "3"])),
        (pa.array(["1", "2"]), pa.array(["2", "3"], pa.large_string()).dictionary_encode()),
    ],
)
def test_a_key_meets_its_like_of_another_type(asked: pa.Array, there: pa.Array) -> None:
    rows = view_rows([NOON, NOON], [20, 30], k=there)
    assert joined(questions(e=asked), rows, {"k": "e"}) == [None, 20]


def test_text_is_text_however_much_it_looks_like_a_number() -> None:
    rows = view_rows([NOON, NOON], [7, 70], k=pa.array(["7", "7.0"]))
    assert joined(questions(e=pa.array(["7.0", "007", "7"])), rows, {"k": "e"}) == [70, None, 7]
    assert joined(questions(e=pa.array([7, 70], pa.int64())), rows, {"k": "e"}) == [7, None]


def test_all_keys_have_to_agree_and_a_missing_one_meets_nothing() -> None:
    asked = questions(a=pa.array(["x", "x", None, "y"]), b=pa.array([1, 2, 1, None], pa.int64()))
    there = view_rows(
        [NOON] * 4, [1, 2, 3, 4], a=pa.array(["x", "x", None, "y"]), b=pa.array([1, 3, 1, None], pa.int64())
    )
    assert joined(asked, there, {"a": "a", "b": "b"}) == [1, None, None, None]


def test_without_keys_the_newest_row_answers_every_question_in_its_own_order() -> None:
    later = NOON + timedelta(hours=1)
    asked = pa.table({"asked": pa.array([later, NOON, None], pa.timestamp("us"))})
    there = view_rows([NOON, later, None], ["old", "new", "never"])
    assert joined(asked, there, {}) == ["new", "old", None]


def test_nothing_there_and_nothing_asked() -> None:
    none = view_rows([], pa.array([], pa.float64()), k=pa.array([], pa.string()))
    assert joined(questions(e=pa.array(["x"])), none, {"k": "e"}, timedelta(hours=1)) == [None]
    some = view_rows([NOON], [1.5], k=pa.array(["x"]))
    assert joined(questions(e=pa.array([], pa.string())), some, {"k": "e"}, timedelta(hours=1)) == []


def test_a_row_lives_exactly_as_long_as_its_ttl() -> None:
    asked = questions(e=pa.array(["x", "y"]))
    at = [NOON - timedelta(hours=1), NOON - timedelta(hours=1, microseconds=1)]
    assert joined(asked, view_rows(at, [1, 2], k=pa.array(["x", "y"])), {"k": "e"}, timedelta(hours=1)) == [1, None]
