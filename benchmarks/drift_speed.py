"""Drift of a window of 1M rows x 20 against a fitted reference of as many, from Parquet, beside Evidently and NannyML.

`python benchmarks/drift_speed.py [--json] [--rows 1000000] [--repetitions 7] [--memory-rows 10000000]`

All run one after the other on the same files. What is timed of the product: reading the window and all statistics of all
columns; of NannyML reading it and KS; of Evidently, which fits nothing, reading both tables, KS and PSI. The product is warm: its
kernel is compiled once on a machine, and how long a process of its own takes is printed below.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from mainspring.drift.profile import Profile
from mainspring.drift.scan import count_files, fit_files
from mainspring.drift.statistics import distances
from peers.environment import python_of
from report import Row, report

COLUMNS = 20
_PEERS = Path(__file__).parent / "peers"
_AT_ONCE = 1_000_000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--memory-rows", type=int, default=10_000_000)
    parser.add_argument(
        "--peak", nargs=2, metavar=("PROFILE", "FILE"), help="count one file and print the process's peak"
    )
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(Path(arguments.peak[0]), Path(arguments.peak[1]))
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        reference, current = folder / "reference.parquet", folder / "current.parquet"
        write_table(reference, arguments.rows, seed=1)
        write_table(current, arguments.rows, seed=2)
        rows = compared(reference, current, arguments.repetitions)
        rows.append(memory(folder, reference, current, arguments.memory_rows))
    report(rows, as_json=arguments.json)


def write_table(path: Path, rows: int, *, seed: int) -> None:
    """Twenty columns of four kinds: normal, skewed, 60 % zeros, and whole numbers."""
    import pyarrow.parquet as pq

    generator = np.random.default_rng(seed)
    writer = None
    for start in range(0, rows, _AT_ONCE):
        count = min(_AT_ONCE, rows - start)
        table = pl.DataFrame(
            {f"column_{place:02}": _column(generator, place, count) for place in range(COLUMNS)}
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _column(generator: np.random.Generator, place: int, rows: int) -> Any:
    if place % 4 == 0:
        return generator.normal(place, 1 + place, rows)
    if place % 4 == 1:
        return generator.lognormal(0, 1 + place / 20, rows)
    if place % 4 == 2:
        return np.where(generator.uniform(size=rows) < 0.6, 0.0, generator.exponential(10, rows))
    return np.floor(generator.gamma(2, 20, rows))


def compared(reference: Path, current: Path, repetitions: int) -> list[Row]:
    """The product beside its peers and beside a plain sum of the same table."""
    profile = fit_files([reference])
    found = drift(profile, current)
    assert len(found) == COLUMNS
    product = median(lambda: drift(profile, current), repetitions)
    fitted = median(lambda: drift(fit_files([reference]), current), max(3, repetitions // 2))
    scan = median(lambda: pl.scan_parquet(current).select(pl.all().sum()).collect(), repetitions)
    few = str(max(3, repetitions // 2))
    evidently = peer("evidently", reference, current, few)
    nannyml = peer("nannyml", reference, current, few)
    return [
        Row("Evidently KS+PSI / ours, all statistics", product, evidently, 150.0),
        Row("NannyML KS / ours, all statistics", product, nannyml, 20.0),
        Row("ours / Polars scan and sum", product, scan, 2.5, at_most=True),
        Row("Evidently KS+PSI / ours with the fit", fitted, evidently, 25.0),
    ]


def drift(profile: Profile, current: Path) -> dict[str, Any]:
    """All statistics of all columns."""
    counts = count_files(profile, [current])
    return {name: distances(profile.cells[name], profile.counts[name], counts[name]) for name in counts}


def memory(folder: Path, reference: Path, current: Path, rows: int) -> Row:
    """Peak memory of a process of its own that counts the window, and one that counts ten times as many rows."""
    from mainspring.drift.storage import write_profile

    profile = write_profile(fit_files([reference]), folder)
    large = folder / "large.parquet"
    write_table(large, rows, seed=3)
    peaks = {path: peak(profile.parent, path) for path in (current, large)}
    for found in peaks.values():
        print(
            f"{found['rows']:,} rows: {found['peak']:,.0f} MB, {found['seconds']:.2f} s in a process of its own",
            file=sys.stderr,
        )
    return Row(
        f"peak memory of {rows:,} rows / of the window",
        peaks[large]["peak"],
        peaks[current]["peak"],
        1.25,
        at_most=True,
        unit="MB",
    )


def peak(folder: Path, path: Path) -> dict[str, float]:
    """What a process of its own says that it took."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", str(folder), str(path)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def print_peak(folder: Path, path: Path) -> None:
    """Count one file; peak memory and seconds, imports included, as JSON."""
    from mainspring.drift.storage import read_profile

    start = time.perf_counter()
    found = count_files(read_profile(folder), [path])
    seconds = time.perf_counter() - start
    rows = max(one.rows for one in found.values())
    # Not ru_maxrss: that has the parent's peak in it.
    status = Path("/proc/self/status").read_text()
    peak_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    print(json.dumps({"peak": peak_kb / 1024, "rows": rows, "seconds": seconds}))


def peer(name: str, reference: Path, current: Path, repetitions: str) -> float:
    """A peer's median seconds, from its own environment."""
    command = [str(python_of(name)), str(_PEERS / name / "drift.py"), str(reference), str(current), repetitions]
    # Neither tells its makers about this run, which would be timed as well.
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
    return statistics.median(json.loads(done.stdout.strip().splitlines()[-1]))


def median(job: Callable[[], Any], repetitions: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
