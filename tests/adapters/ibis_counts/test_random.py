"""Any cells and any numbers: DuckDB and the engine in this process agree."""

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.drift.cells import Cells
from mainspring.drift.window_counter import TableCounter

NUMBERS = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 0), np.nextafter(1.0, 2)]),
)
EDGES = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40)
# DuckDB's text has no zero byte, and Arrow's no half of a pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(NUMBERS, max_size=60), EDGES, st.lists(TEXT, max_size=20), st.sets(TEXT, max_size=8))
def test_counts_agree(tmp_path_factory, numbers, edges, texts, categories):
    rows = max(len(numbers), len(texts))
    table = pa.table(
        {
            "x": pa.array(numbers + [None] * (rows - len(numbers)), pa.float64()),
            "kind": pa.array(texts + [None] * (rows - len(texts)), pa.string()),
            "name": pa.array(texts + [None] * (rows - len(texts)), pa.string()),
        }
    )
    cells = {
        "x": Cells("number", np.unique(np.array(edges, np.float64))),
        "kind": Cells("category", categories=tuple(sorted(categories - {""}))),
        "name": Cells("hashed"),
    }
    folder = tmp_path_factory.mktemp("random")
    with duckdb.connect(str(folder / "x.duckdb")) as db:
        db.register("_rows", table)
        db.execute("CREATE TABLE t AS SELECT * FROM _rows")
    found = IbisCounter("duckdb:///x.duckdb", "t", root=folder).count(cells)
    for name, expected in TableCounter(table).count(cells).items():
        assert found[name].vector.tolist() == expected.vector.tolist(), name
        # Whether a sum of the largest numbers is infinite depends on the order of adding up.
        assert found[name].tails[[1, 2, 4, 5]].tolist() == expected.tails[[1, 2, 4, 5]].tolist()
