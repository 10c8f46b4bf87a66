"""What is sent: queries that an engine accepts however many edges there are, and that send nothing but counts back."""

import re
from datetime import UTC, datetime

import ibis
import numpy as np
import pytest

from mainspring.adapters.ibis.bigquery import BigQuery
from mainspring.adapters.ibis.dialect import above, counts_of, listed
from mainspring.adapters.ibis.duckdb import DuckDb
from mainspring.adapters.ibis.postgres import Postgres
from mainspring.adapters.ibis.spark import Spark
from mainspring.adapters.ibis.values import values_of, window_of
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells

DAY = TimeWindow(datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC))
TABLE = ibis.table({"x": "float64", "n": "int64", "kind": "string", "at": "timestamp('UTC')"}, name="sales")
SMALL = {
    "x": Cells("number", np.array([0.5, 1.5])),
    "n": Cells("number", np.array([1.0, 3.0])),
    "kind": Cells("category", categories=("a", "it's")),
    "at": Cells("time", np.array([0.0])),
}
WIDE = ibis.table({f"c{k}": "float64" for k in range(20)}, name="wide")
EDGES = {f"c{k}": Cells("number", np.unique(np.random.default_rng(k).normal(size=4096))) for k in range(20)}


assert ibis.pyspark.name == "pyspark"  # Its options are there once it was asked for.


def asked(dialect, backend, table=TABLE, cells=SMALL, window=DAY):
    values = values_of(cells, table, {}, (), "here")

    def rows(some):
        return str(ibis.to_sql(window_of(some, table, {}, "at", window, "here"), dialect=backend))

    return dialect.queries(values, rows)


GOLDEN = {
    "duckdb": DuckDb(),
    "postgres": Postgres(),
    "pyspark": Spark(),
    "bigquery": BigQuery(),
}


@pytest.mark.parametrize("backend", GOLDEN)
def test_the_query_is_this_one(backend, golden):
    (query,) = asked(GOLDEN[backend], backend)
    golden(f"{backend}.sql", query.sql.replace(" UNION ALL ", "\nUNION ALL\n") + "\n")


def test_bigquery_has_its_edges_beside_the_text():
    (query,) = asked(BigQuery(), "bigquery", WIDE, EDGES, None)
    assert len(query.sql) < 10_000
    assert {len(one) for one in query.parameters.values()} == {4096}
    # The whole request, with 25 characters for each number and what JSON puts around it, is below its 10 MB.
    assert sum(map(len, query.parameters.values())) * 60 < 10_000_000


def test_more_than_a_request_may_carry_is_asked_in_several():
    cells = {f"c{k}": Cells("number", np.arange(4096.0)) for k in range(90)}
    table = ibis.table(dict.fromkeys(cells, "float64"), name="wide")
    for dialect, backend in ((BigQuery(), "bigquery"), (Postgres(), "postgres")):
        queries = asked(dialect, backend, table, cells, None)
        assert len(queries) == 3
        assert all(len(query.sql) < 5_000_000 for query in queries)


def test_the_window_is_asked_of_the_engine():
    for backend, dialect in GOLDEN.items():
        (query,) = asked(dialect, backend)
        assert re.search(r"2024-05-01|2024, 5, 1", query.sql)
        assert re.search(r"2024-05-02|2024, 5, 2", query.sql)


def test_upper_neighbours_are_the_same_bounds_from_the_other_side():
    cells = Cells("number", np.array([-1e308, -5e-324, -0.0, 5e-324, 1.0, 1e308]))
    values = np.array([-1e308, -5e-324, 0.0, 5e-324, 1e-323, 1.0, np.nextafter(1.0, 2), 1e308, 1.1e308])
    assert np.searchsorted(above(cells), values, side="right").tolist() == np.searchsorted(cells.edges, values).tolist()
    assert [float(one) for one in listed(cells.edges).split(",")] == cells.edges.tolist()


def test_answers_become_counts():
    values = values_of({"x": SMALL["x"]}, TABLE, {}, (), "here")
    rows = [
        (0, 0, 4, -(2.0**-64), -0.5, 0.5),
        (0, 2, 1, 2.0**-60, 16.0, 16.0),
        (0, 1, 3, None, None, None),
        (0, -2, 5, None, None, None),
    ]
    found = counts_of(values, rows)["x"]
    assert found.vector.tolist() == [4, 3, 1, 0, 5, 0, 0, 0]
    assert found.tails.tolist() == [-1.0, -0.5, 0.5, 16.0, 16.0, 16.0]
