"""Times without an end, which two engines have and Arrow has not: they are infinities."""

from urllib.parse import quote

import duckdb
import numpy as np
from tests.postgres import PASSWORD, cluster

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.drift.cells import Cells

ROWS = """
CREATE TABLE ever AS SELECT CAST(v AS {kind}) AS x
FROM (VALUES ('infinity'), ('-infinity'), ('1970-01-01 00:00:01'), ('1969-12-31'), (NULL)) AS t(v);
"""
CELLS = {"x": Cells("time", np.array([0.0, 1e6]))}
FOUND = [1, 1, 0, 1, 0, 1, 1, 0]


def test_duckdb(tmp_path):
    for kind in ("TIMESTAMP", "DATE"):
        with duckdb.connect(str(tmp_path / f"{kind}.duckdb")) as db:
            db.execute("SET TimeZone = 'UTC'")
            db.execute(ROWS.format(kind=kind))
        found = IbisCounter(f"duckdb:///{kind}.duckdb", "ever", root=tmp_path).count(CELLS)
        # A date is its midnight.
        assert found["x"].vector.tolist() == (FOUND if kind == "TIMESTAMP" else [2, 0, 0, 1, 0, 1, 1, 0])


def test_postgres():
    with cluster(ROWS.format(kind="TIMESTAMP")) as port:
        url = f"postgres://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        assert IbisCounter(url, "ever").count(CELLS)["x"].vector.tolist() == FOUND
