"""What every engine does: the same counts, to the last one, as the engine in this process."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from tests.adapters.ibis_counts.hard_rows import FIRST, cells, rows
from tests.engines.tables import DuckDbTables, PostgresTables

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import BOOLEANS, MISTYPED, NULL, Cells
from mainspring.drift.window_counter import TableCounter

ROWS = rows()
CELLS = cells(ROWS)
WEEK = TimeWindow(FIRST + timedelta(days=5), FIRST + timedelta(days=12, microseconds=1))


@pytest.fixture(scope="module")
def table(engine):
    """The hard rows as a table of the engine."""
    return engine.put("hard", ROWS)


def differing(found, expected):
    """Counts are equal; so are tails, but for the order in which an engine adds up, and for what is smaller than 1e-200."""

    def same(one, other):
        close = np.allclose(one.tails, other.tails, rtol=1e-9, atol=1e-190)
        return np.array_equal(one.vector, other.vector) and close

    return {name: (found[name], one) for name, one in expected.items() if not same(found[name], one)}


@pytest.mark.parametrize(
    "window", [None, WEEK, TimeWindow(FIRST - timedelta(days=9), FIRST)], ids=["all", "week", "none"]
)
@pytest.mark.parametrize("time", ["happened", "local"])
def test_counts_are_equal_to_the_last_one(engine, table, window, time):
    counter = IbisCounter(engine.url, table, time=time, root=engine.root)
    found = counter.count(CELLS, window)
    expected = TableCounter(ROWS, time).count(CELLS, window)
    assert list(found) == list(CELLS)
    assert differing(found, expected) == {}
    assert all(one.rows == (ROWS.num_rows if window is None else found["x"].rows) for one in found.values())


def test_a_column_of_another_type_is_counted_as_such(engine, table):
    wrong = {
        "x": Cells("category", categories=("a",)),
        "kind": CELLS["x"],
        "happened": CELLS["x"],
        "local": Cells("hashed"),
        "skewed": CELLS["happened"],
        "flag": Cells("category", categories=BOOLEANS),
    }
    found = IbisCounter(engine.url, table, root=engine.root).count(wrong)
    assert differing(found, TableCounter(ROWS).count(wrong)) == {}
    assert found["kind"].apart(MISTYPED) + found["kind"].apart(NULL) == ROWS.num_rows


def test_truth_is_a_number_and_numbers_are_truths(engine, table):
    other = {"flag": Cells("number", np.array([-5e-324, 0.0, 1.0])), "whole": Cells("boolean", categories=BOOLEANS)}
    found = IbisCounter(engine.url, table, root=engine.root).count(other)
    assert differing(found, TableCounter(ROWS).count(other)) == {}


def test_thousands_of_edges_and_categories_make_no_query_that_is_refused(engine):
    generator = np.random.default_rng(11)
    features = 3 if "endpoint" in engine.url else 20  # The emulator pastes parameters into text.
    many = pa.table(
        {f"c{k}": generator.normal(size=300) for k in range(features)} | {"kind": [f"k{k * 7}" for k in range(300)]}
    )
    wide = {f"c{k}": Cells("number", np.unique(generator.normal(size=4096))) for k in range(features)}
    wide["kind"] = Cells("category", categories=tuple(f"k{k}" for k in range(1000)))
    found = IbisCounter(engine.url, engine.put("many", many), root=engine.root).count(wide)
    assert differing(found, TableCounter(many).count(wide)) == {}


@pytest.mark.parametrize("features", [260])
def test_hundreds_of_features(engine, features):
    if not isinstance(engine, DuckDbTables | PostgresTables):
        features = 40  # Planning takes these as long as counting.
    generator = np.random.default_rng(12)
    many = pa.table({f"c{k}": generator.normal(size=50) for k in range(features)})
    wide = {f"c{k}": Cells("number", np.unique(generator.normal(size=5))) for k in range(features)}
    found = IbisCounter(engine.url, engine.put("hundreds", many), root=engine.root).count(wide)
    assert differing(found, TableCounter(many).count(wide)) == {}


def test_a_table_without_rows_has_counts_of_nothing(engine):
    none = ROWS.slice(0, 0)
    found = IbisCounter(engine.url, engine.put("none", none), root=engine.root).count(CELLS)
    assert differing(found, TableCounter(none).count(CELLS)) == {}
    assert {one.rows for one in found.values()} == {0}
