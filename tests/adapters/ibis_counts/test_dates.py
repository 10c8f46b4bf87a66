"""A table whose event time is a DATE: whole days are what they are by timestamps at midnight, and parts of a day are refused."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from tests.engines.tables import PostgresTables, SparkTables
from tests.postgres import PASSWORD

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.domain.errors import DataError
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells
from mainspring.drift.window_counter import TableCounter

FIRST = date(2026, 3, 1)
PLACES = np.random.default_rng(4).integers(0, 20, 600)
MIDNIGHTS = [datetime(2026, 3, 1) + timedelta(days=int(one)) for one in PLACES]
# Every fifteenth has no date.
DAYS = [None if k % 15 == 0 else at.date() for k, at in enumerate(MIDNIGHTS)]
ROWS = pa.table(
    {
        "day": pa.array(DAYS, pa.date32()),
        "at": pa.array([None if day is None else at for day, at in zip(DAYS, MIDNIGHTS, strict=True)], pa.timestamp("us")),
        "instant": pa.array(
            [None if day is None else at for day, at in zip(DAYS, MIDNIGHTS, strict=True)], pa.timestamp("us", "UTC")
        ),
        "x": np.random.default_rng(5).normal(size=len(PLACES)),
    }
)  # fmt: skip
CELLS = {"x": Cells("number", np.array([-1.0, 0.0, 1.0]))}


def window(first, last):
    return TimeWindow(*(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=one) for one in (first, last)))


@pytest.fixture(scope="module")
def table(engine):
    return engine.put("dated", ROWS)


def counted(engine, table, time, of):
    return IbisCounter(engine.url, table, time=time, root=engine.root).count(CELLS, of)["x"].vector.tolist()


@pytest.mark.parametrize(("first", "last"), [(3, 4), (3, 10), (-5, 1), (19, 30), (25, 30)])
def test_whole_days_count_as_timestamps_at_midnight_do(engine, table, first, last):
    of = window(first, last)
    inside = sum(day is not None and first <= (day - FIRST).days < last for day in DAYS)
    for time in ("day", "at", "instant"):
        found = counted(engine, table, time, of)
        assert sum(found) == inside, time
        assert found == TableCounter(ROWS, time).count(CELLS, of)["x"].vector.tolist(), time


def test_a_session_in_another_zone_moves_no_day(engine, table):
    if not isinstance(engine, PostgresTables):
        pytest.skip("zones of sessions are PostgreSQL's")
    import psycopg

    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE away LOGIN PASSWORD 'away'; ALTER ROLE away SET timezone = 'America/New_York'")
        connection.execute("GRANT SELECT ON dated TO away")
    url = engine.url.replace(f"owner:{quote(PASSWORD, safe='')}", "away:away")
    for time in ("day", "at", "instant"):
        found = IbisCounter(url, table, time=time).count(CELLS, window(3, 10))["x"].vector.tolist()
        assert found == TableCounter(ROWS, "day").count(CELLS, window(3, 10))["x"].vector.tolist(), time


@pytest.mark.parametrize("of", [window(3, 3 + 1 / 24), window(3.25, 3.5), window(3.5, 5), window(3, 5 - 1 / 24)])
def test_hours_of_a_date_are_refused(engine, table, of):
    with pytest.raises(DataError, match="`day` is a date and has no hour") as told:
        counted(engine, table, "day", of)
    assert "from midnight to midnight" in told.value.valid
    assert told.value.next_step.startswith(f"--since 2026-03-04 --until 2026-03-{'05' if of.end.day == 4 else '06'}")
    # By a timestamp they can be told apart.
    assert sum(counted(engine, table, "at", of)) == sum(
        day is not None and of.start <= datetime(day.year, day.month, day.day, tzinfo=UTC) < of.end for day in DAYS
    )


def test_no_query_takes_threads_that_the_end_of_another_session_waits_for(engine, table, monkeypatch):
    if not isinstance(engine, SparkTables):
        pytest.skip("such threads are Spark Connect's")
    from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator

    def taken(self, *words):
        raise AssertionError("the pool of all sessions was asked for")

    monkeypatch.setattr(ExecutePlanResponseReattachableIterator, "__init__", taken)
    assert sum(counted(engine, table, "at", window(3, 10))) > 0


def test_counts_at_the_same_time_do_not_end_each_others_connections(engine, table):
    expected = counted(engine, table, "at", window(3, 10))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: counted(engine, table, "at", window(3, 10)), range(12)))
    assert found == [expected] * 12


def test_whether_the_time_is_a_date_is_the_engines_word(engine, table):
    found = {
        time: IbisCounter(engine.url, table, time=time, root=engine.root).dated()
        for time in ("day", "at", "instant", "x", "")
    }
    assert found == {"day": True, "at": False, "instant": False, "x": False, "": False}
