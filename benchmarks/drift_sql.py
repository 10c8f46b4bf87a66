"""Counts of a window by engine: rows x columns each second, beside the engine in this process.

Every engine counts the same rows over the same 4,096 edges a feature, and is held to the same counts. Each starts from where
its rows lie: Parquet for the engine in this process, DuckDB and Spark, a table for PostgreSQL. Engines share this machine's
cores; the first query of each is not timed. `python benchmarks/drift_sql.py [--json] [--rows 1000000] [--columns 20]
[--engines duckdb,postgres,spark] [--repetitions 3]`
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from report import Row, report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.engines.servers import spark
from tests.engines.tables import PostgresTables, SparkTables
from tests.postgres import PASSWORD, cluster

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.fitting import fit_cells
from mainspring.drift.window_counter import TableCounter

Job = Callable[[], Mapping[str, Counts]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--engines", default="duckdb,postgres,spark")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    values = arguments.rows * arguments.columns
    with TemporaryDirectory(prefix="mainspring-drift-sql-") as name:
        folder = Path(name)
        rows = table(arguments.rows, arguments.columns)
        pq.write_table(rows, folder / "rows.parquet")
        cells = {one: fit_cells(rows.column(one).slice(0, 200_000)) for one in rows.column_names}

        def here() -> Mapping[str, Counts]:
            return TableCounter(pq.read_table(folder / "rows.parquet")).count(cells)

        expected = here()
        own = values / median(here, arguments.repetitions) / 1e6
        found = []
        for engine in arguments.engines.split(","):
            with ENGINES[engine](folder, rows, cells) as job:
                differing = [
                    name for name, one in job().items() if not np.array_equal(one.vector, expected[name].vector)
                ]
                assert not differing, f"{engine} counts otherwise: {differing}"
                speed = values / median(job, arguments.repetitions) / 1e6
            found.append(Row(f"{engine}, million values each second", speed, own, 0.0, rate=True, unit="M"))
            print(f"{engine}: {speed / (os.cpu_count() or 1):.2f} million values each second and core", file=sys.stderr)
    report(found, as_json=arguments.json)


def table(rows: int, columns: int) -> pa.Table:
    """Numbers as they come: continuous, whole, skewed with many zeros, rounded."""
    generator = np.random.default_rng(5)
    shapes = (
        lambda: generator.normal(size=rows),
        lambda: generator.poisson(30, rows).astype(np.float64),
        lambda: generator.exponential(size=rows) * (generator.uniform(size=rows) > 0.6),
        lambda: generator.normal(50, 20, rows).round(1),
    )
    return pa.table({f"c{place}": shapes[place % len(shapes)]() for place in range(columns)})


@contextmanager
def _duckdb(folder: Path, rows: pa.Table, cells: Mapping[str, Cells]) -> Iterator[Job]:
    del rows
    counter = IbisCounter("duckdb://", str(folder / "rows.parquet"))
    yield lambda: counter.count(cells)


@contextmanager
def _postgres(folder: Path, rows: pa.Table, cells: Mapping[str, Cells]) -> Iterator[Job]:
    del folder
    with cluster() as port:
        url = f"postgresql://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        PostgresTables(url).put("rows", rows)
        counter = IbisCounter(url, "rows")
        yield lambda: counter.count(cells)


@contextmanager
def _spark(folder: Path, rows: pa.Table, cells: Mapping[str, Cells]) -> Iterator[Job]:
    with spark(folder, os.cpu_count() or 1) as url:
        SparkTables(url, folder).put("spark_rows", rows)
        counter = IbisCounter(url, "spark_rows")
        yield lambda: counter.count(cells)


ENGINES: Mapping[str, Callable[[Path, pa.Table, Mapping[str, Cells]], Any]] = {
    "duckdb": _duckdb,
    "postgres": _postgres,
    "spark": _spark,
}


def median(job: Callable[[], Any], repetitions: int) -> float:
    """The median of the seconds that a job takes."""
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - began)
        print(f"  {seconds[-1]:.3f} s", file=sys.stderr)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
