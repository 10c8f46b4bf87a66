"""Transforms on a small project: what they see, what is refused, when they run, and what is remembered of it."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.domain.errors import ConfigError, DataError
from mainspring.features.lookahead import assert_alone_as_together, assert_no_lookahead
from mainspring.features.schedule import first_tick, run_transforms
from mainspring.features.transforms import TransformSession
from mainspring.settings.load import load_project
from mainspring.sources.open import open_sources

DAY = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
YAML = """\
name: shop
task: regression
sources:
  orders: {path: orders.parquet, time: asked_at, available_at: booked_at}
  visits: {path: visits.parquet, time: at_, delay: 30m}
target: {source: orders, column: amount, id: id, available_at: paid_at}
features: {transforms: {traffic: {every: 1h, backfill: 2d}}}
"""
HONEST = """\
def traffic(db):
    return '''SELECT t.tick AS event_timestamp, v.shop, count(*) AS visits, avg(v.seconds) AS seconds
              FROM ticks t JOIN visits v ON v._available_at <= t.tick AND v._available_at > t.tick - INTERVAL 1 DAY
              GROUP BY ALL'''
"""


def at(values: list[datetime]) -> pa.Array:
    return pa.array(values, pa.timestamp("us", "UTC"))


def write_visits(folder: Path, hours: int = 96, seconds: Callable[[int], float] = float) -> None:
    places = range(hours * 2)
    columns = {
        "at_": at([DAY + place * HOUR / 2 for place in places]),
        "shop": ["a" if place % 3 else "b" for place in places],
        "seconds": [seconds(place) for place in places],
    }
    pq.write_table(pa.table(columns), folder / "visits.parquet")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mainspring.yaml").write_text(YAML)
    (tmp_path / "transforms.py").write_text(HONEST)
    write_visits(tmp_path)
    asked = [DAY + place * HOUR for place in range(48, 60)]
    columns = {
        "id": [str(place) for place in range(12)],
        "asked_at": at(asked),
        "booked_at": at([one - 2 * HOUR for one in asked]),
        "amount": [float(place) for place in range(12)],
        "paid_at": at([one + HOUR for one in asked]),
    }
    pq.write_table(pa.table(columns), tmp_path / "orders.parquet")
    return tmp_path


def session(folder: Path) -> TransformSession:
    settings = load_project(folder, {}).settings
    return TransformSession(settings, folder, open_sources(settings.sources, folder))


def visits(rows: pa.Table, tick: datetime) -> dict[str, int]:
    return {row["shop"]: row["visits"] for row in rows.to_pylist() if row["event_timestamp"] == tick}


def test_a_tick_counts_what_was_known_by_then(project: Path) -> None:
    rows = session(project).compute("traffic", [DAY + 2 * HOUR, DAY + 3 * HOUR])
    # Visits at 00:00, 00:30, 01:00 and 01:30 are known half an hour later.
    assert visits(rows, DAY + 2 * HOUR) == {"b": 2, "a": 2}
    assert visits(rows, DAY + 3 * HOUR) == {"b": 2, "a": 4}
    assert rows.schema.field("event_timestamp").type == pa.timestamp("us", "UTC")


def test_ticks_are_multiples_of_the_schedule_after_the_last_one(project: Path) -> None:
    one = session(project)
    assert one.due("traffic", None, DAY + 2.5 * HOUR, start=DAY + 0.5 * HOUR) == [DAY, DAY + HOUR, DAY + 2 * HOUR]
    assert one.due("traffic", DAY + HOUR, DAY + 2.5 * HOUR, start=DAY) == [DAY + 2 * HOUR]
    assert one.due("traffic", DAY + 2 * HOUR, DAY + 2.5 * HOUR, start=DAY) == []
    assert one.due("traffic", DAY + 5 * HOUR, DAY, start=DAY) == []


def test_a_session_sees_new_rows_of_a_changed_file(project: Path) -> None:
    one = session(project)
    assert visits(one.compute("traffic", [DAY + 99 * HOUR]), DAY + 99 * HOUR) == {"a": 28, "b": 14}
    write_visits(project, hours=98)
    assert visits(one.compute("traffic", [DAY + 99 * HOUR], refresh=False), DAY + 99 * HOUR) == {"a": 28, "b": 14}
    assert visits(one.compute("traffic", [DAY + 99 * HOUR]), DAY + 99 * HOUR) == {"a": 30, "b": 16}


def test_the_label_is_not_there_at_all(project: Path) -> None:
    (project / "transforms.py").write_text("def traffic(db):\n    return 'SELECT amount FROM orders'\n")
    with pytest.raises(DataError, match="amount"):
        session(project).compute("traffic", [DAY])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SELECT tick AS at_, 1 AS x FROM ticks", "gives no `event_timestamp`"),
        ("SELECT tick + INTERVAL 1 SECOND AS event_timestamp FROM ticks", "other instants"),
        ("SELECT * FROM nowhere", "transform 'traffic' failed"),
    ],
)
def test_what_is_no_answer_to_the_ticks_is_refused(project: Path, code: str, message: str) -> None:
    (project / "transforms.py").write_text(f"def traffic(db):\n    return {code!r}\n")
    with pytest.raises(DataError, match=message) as error:
        session(project).compute("traffic", [DAY])
    assert "transforms.py: traffic" in str(error.value)


def test_a_relation_and_an_arrow_table_are_answers_too(project: Path) -> None:
    for end in ("", ".to_arrow_table()"):
        code = f"def traffic(db):\n    return db.sql('SELECT tick AS event_timestamp, 1 AS x FROM ticks'){end}\n"
        (project / "transforms.py").write_text(code)
        assert session(project).compute("traffic", [DAY]).num_rows == 1


def test_a_function_that_is_missing_or_a_file_that_is_broken_says_so(project: Path) -> None:
    (project / "transforms.py").write_text("def trafic(db):\n    return ''\n")
    with pytest.raises(ConfigError, match="no function traffic"):
        session(project)
    (project / "transforms.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(ConfigError, match="cannot be imported: ModuleNotFoundError"):
        session(project)


CHEATS = {
    "the batch's newest rows": HONEST.replace("v._available_at <= t.tick", "TRUE"),
    "the hidden table": HONEST.replace("JOIN visits v", 'JOIN "_source_visits" v').replace(
        "v._available_at <= t.tick", "v._available_at <= t.tick + INTERVAL 3 HOUR"
    ),
    "event time in place of availability": HONEST.replace("v._available_at <= t.tick", "v.at_ <= t.tick").replace(
        "JOIN visits v", 'JOIN "_source_visits" v'
    ),
}


@pytest.mark.parametrize("cheat", list(CHEATS))
def test_a_transform_that_looks_ahead_is_found(project: Path, cheat: str) -> None:
    ticks = [DAY + place * HOUR for place in range(30, 50)]
    assert_no_lookahead(session(project), "traffic", ticks)
    (project / "transforms.py").write_text(CHEATS[cheat])
    with pytest.raises(DataError, match=r"'traffic' looks ahead: at 2013-01-02T06:00"):
        assert_no_lookahead(session(project), "traffic", ticks)


def test_the_cheap_check_finds_rows_of_the_batch(project: Path) -> None:
    ticks = [DAY + place * HOUR for place in range(30, 50)]
    one = session(project)
    assert_alone_as_together(one, "traffic", ticks, one.compute("traffic", ticks))
    (project / "transforms.py").write_text(CHEATS["the batch's newest rows"])
    one = session(project)
    with pytest.raises(DataError, match="looks ahead"):
        assert_alone_as_together(one, "traffic", ticks, one.compute("traffic", ticks))


def test_planted_future_values_change_nothing(project: Path) -> None:
    ticks = [DAY + place * HOUR for place in range(40, 45)]
    # A GROUP BY gives its rows in any order: they are compared by their whole key.
    key = [("event_timestamp", "ascending"), ("shop", "ascending")]
    before = session(project).compute("traffic", ticks).sort_by(key)
    known = 2 * 44 - 1
    write_visits(project, seconds=lambda place: float(place) if place <= known else 1e9)
    assert session(project).compute("traffic", ticks).sort_by(key).equals(before)
    write_visits(project, seconds=lambda place: float(place) if place < known else 1e9)
    assert not session(project).compute("traffic", ticks).sort_by(key).equals(before)


class Kept:
    """Rows as a feature store would keep them: each key and event time once."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.cleared = 0
        self.killed_after: int | None = None

    def append(self, view: str, rows: pa.Table) -> int:
        before = len(self.rows)
        self.rows |= {(row["event_timestamp"], row["shop"]): row for row in rows.to_pylist()}
        if self.killed_after is not None:
            self.killed_after -= 1
            if self.killed_after < 0:
                raise KeyboardInterrupt
        return len(self.rows) - before

    def clear(self, view: str) -> None:
        self.rows.clear()
        self.cleared += 1


def never() -> datetime:
    raise AssertionError("the start is asked for only when nothing was computed yet")


def test_each_tick_is_computed_once_and_in_steps_as_at_once(project: Path, tmp_path: Path) -> None:
    at_once, in_steps, marks = Kept(), Kept(), tmp_path / "marks" / "transforms.json"
    one = session(project)
    run_transforms(one, at_once, tmp_path / "other.json", DAY + 60 * HOUR, start=lambda: DAY)
    written = run_transforms(one, in_steps, marks, DAY + 10.5 * HOUR, start=lambda: DAY)
    assert written == {"traffic": len(in_steps.rows)}
    assert written["traffic"] > 10
    for hours in range(11, 61):
        run_transforms(one, in_steps, marks, DAY + hours * HOUR, start=never)
    assert in_steps.rows == at_once.rows
    assert run_transforms(one, in_steps, marks, DAY + 60.5 * HOUR, start=never) == {"traffic": 0}


def test_what_was_killed_before_it_was_remembered_is_computed_again(project: Path, tmp_path: Path) -> None:
    kept, marks = Kept(), tmp_path / "transforms.json"
    run_transforms(session(project), kept, marks, DAY + 5 * HOUR, start=lambda: DAY)
    kept.killed_after = 0
    with pytest.raises(KeyboardInterrupt):
        run_transforms(session(project), kept, marks, DAY + 9 * HOUR, start=never)
    kept.killed_after = None
    assert run_transforms(session(project), kept, marks, DAY + 9 * HOUR, start=never) == {"traffic": 0}
    assert json.loads(marks.read_text())["traffic"]["until"] == (DAY + 9 * HOUR).isoformat()
    fresh = Kept()
    run_transforms(session(project), fresh, tmp_path / "other.json", DAY + 9 * HOUR, start=lambda: DAY)
    assert kept.rows == fresh.rows


def test_a_transform_that_was_edited_is_computed_anew_and_a_comment_is_no_edit(project: Path, tmp_path: Path) -> None:
    kept, marks = Kept(), tmp_path / "transforms.json"
    run_transforms(session(project), kept, marks, DAY + 30 * HOUR, start=lambda: DAY)
    (project / "transforms.py").write_text("# a comment\n" + HONEST)
    run_transforms(session(project), kept, marks, DAY + 31 * HOUR, start=never)
    assert kept.cleared == 0
    (project / "transforms.py").write_text(HONEST.replace("avg(", "2 * avg("))
    run_transforms(session(project), kept, marks, DAY + 31 * HOUR, start=lambda: DAY)
    assert kept.cleared == 1
    assert kept.rows[DAY + 30 * HOUR, "a"]["seconds"] > 30


def test_the_first_tick_lies_before_the_first_question_and_not_before_any_data(project: Path) -> None:
    one, settings = session(project), load_project(project, {}).settings
    assert one.earliest() == DAY + HOUR / 2
    assert first_tick(settings, one, DAY + 48 * HOUR) == DAY
    assert first_tick(settings, one, DAY + 480 * HOUR) == DAY + 432 * HOUR, "not further back than `backfill`"
    assert first_tick(settings, one, DAY) == DAY - HOUR


def test_an_edit_is_seen_even_within_a_second_and_nothing_is_written_beside_it(project: Path) -> None:
    file = project / "transforms.py"
    for value in (1, 2, 3):
        file.write_text(f"def traffic(db):\n    return 'SELECT tick AS event_timestamp, {value} AS x FROM ticks'\n")
        os.utime(file, (1e9, 1e9))
        assert session(project).compute("traffic", [DAY]).column("x").to_pylist() == [value]
    assert not (project / "__pycache__").exists()
