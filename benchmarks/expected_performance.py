"""Estimates of performance before labels come: NannyML's CBPE and DLE beside ours, on NannyML's own data sets, in one run.

Both fit on the reference part and estimate each chunk of the analysis part; its labels are looked at afterwards. Printed: the mean
absolute error against what was realised, the share of chunks whose realised value lies in the interval (ours states 90 %; NannyML's
band is three standard deviations of sampling) with the intervals' mean width, and the seconds that fitting and estimating took.
`binary` and `car_loan` are the same numbers in other words. `python benchmarks/expected_performance.py [--json] [--rows 5000]
[--only employment]`
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mainspring.domain.metric import Task
from mainspring.domain.model_version import Feature
from mainspring.domain.scoring import score
from mainspring.performance.blocks import expected
from mainspring.performance.booster import columns_of
from mainspring.performance.reference import HeldOutRows, estimate_rows, fit_reference
from peers.environment import python_of
from report import Row, report

TASKS: dict[str, Task] = {
    "binary": "binary",
    "car_loan": "binary",
    "employment": "binary",
    "multiclass": "multiclass",
    "car_price": "regression",
}
METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "accuracy", "average_precision", "log_loss", "brier", "calibration_error"),
    "multiclass": ("accuracy", "log_loss", "calibration_error"),
    "regression": ("mae", "rmse"),
}
_PEER = Path(__file__).parent / "peers" / "nannyml" / "expected.py"


@dataclass(frozen=True)
class Found:
    """One metric of one data set, one estimator: mean absolute error, share of chunks inside the interval, its mean width."""

    dataset: str
    metric: str
    by: str
    error: float
    inside: float
    width: float
    chunks: int


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=5000, help="rows of a chunk")
    parser.add_argument("--only", choices=TASKS, action="append")
    arguments = parser.parse_args()
    found: list[Found] = []
    rows: list[Row] = []
    for name in arguments.only or TASKS:
        print(f"  {name} ...", file=sys.stderr)
        with TemporaryDirectory() as folder:
            peer = run_peer(name, arguments.rows, Path(folder))
            new, seconds = compare(name, TASKS[name], arguments.rows, Path(folder), peer)
        found += new
        rows += [Row(f"{name}: seconds, fit and estimates", seconds, sum(peer["seconds"].values()), 1.0)]
        ours = {one.metric: one for one in new if one.by == "product"}
        theirs = {one.metric: one for one in new if one.by == "nannyml"}
        rows += [Row(f"{name}: error of {m}", ours[m].error, theirs[m].error, 1.0, unit="") for m in theirs]
    if arguments.json:
        print(json.dumps({"found": [asdict(one) for one in found]}, indent=2))
    else:
        print(f"{'data set':<12}{'metric':<19}{'by':<9}{'mean error':>11}{'inside':>8}{'width':>10}{'chunks':>8}")
        for one in found:
            print(
                f"{one.dataset:<12}{one.metric:<19}{one.by:<9}{one.error:>11.5f}{one.inside:>8.0%}{one.width:>10.4f}{one.chunks:>8}"
            )
    report(rows, as_json=arguments.json)


def run_peer(name: str, rows: int, folder: Path) -> Any:
    """NannyML's estimates and seconds; its data lies in the folder afterwards. It is told to send nothing about its use."""
    quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
    command = [str(python_of("nannyml")), str(_PEER), name, str(rows), str(folder)]
    subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
    return json.loads((folder / "nannyml.json").read_text())


def compare(name: str, task: Task, rows: int, folder: Path, peer: Any) -> tuple[list[Found], float]:
    """Ours and NannyML's against what was realised, and our seconds."""
    for library in ("xgboost", "sklearn.isotonic", "scipy.special"):
        importlib.import_module(library)  # both have imported what they need before their clocks start
    values, outputs, truth, features = read(folder / "reference.parquet")
    new_values, new_outputs, new_truth, _ = read(folder / "analysis.parquet")
    held_out = HeldOutRows(truth, outputs, np.arange(len(truth)) // rows, values=values)
    starts = np.arange(0, len(new_truth), rows)
    if len(starts) > len(peer["metrics"][next(iter(peer["metrics"]))]["value"]):
        starts = starts[:-1]  # NannyML takes an incomplete last chunk into the one before
    chunks = [np.arange(start, end) for start, end in zip(starts, [*starts[1:], len(new_truth)], strict=True)]
    began = time.perf_counter()
    reference = fit_reference(held_out, task, METRICS[task][0], columns_of(features))
    estimates = estimate_rows(reference, new_outputs, new_values)
    ours = [expected(reference, estimates, METRICS[task], chunk) for chunk in chunks]
    seconds = time.perf_counter() - began
    found = []
    for metric in METRICS[task]:
        real = np.array([score(metric, new_truth[chunk], new_outputs[chunk]) for chunk in chunks])
        bounds = {end: np.array([getattr(one[metric], end) for one in ours]) for end in ("value", "low", "high")}
        found.append(judged(name, metric, "product", real, bounds))
        if metric in peer["metrics"]:
            theirs = {end: np.array(numbers) for end, numbers in peer["metrics"][metric].items()}
            found.append(judged(name, metric, "nannyml", real, theirs))
    return found, seconds


def judged(name: str, metric: str, by: str, real: Any, bounds: Any) -> Found:
    """Estimates of chunks against what was realised."""
    inside = (bounds["low"] <= real) & (real <= bounds["high"])
    width = float((bounds["high"] - bounds["low"]).mean())
    return Found(name, metric, by, float(np.abs(bounds["value"] - real).mean()), float(inside.mean()), width, len(real))


def read(path: Path) -> tuple[dict[str, Any], Any, Any, tuple[Feature, ...]]:
    """Features by name, outputs, truth, and the features' kinds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    outputs = np.array(table.column("outputs").to_pylist(), np.float64)
    values, features = {}, []
    for name in table.column_names:
        if name in ("outputs", "truth"):
            continue
        column = table.column(name)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            values[name] = np.asarray(column.to_pylist(), object)
            features.append(Feature(name, "category", categories=tuple(sorted(set(values[name])))))
        else:
            values[name] = column.cast(pa.float64()).to_numpy()
            features.append(Feature(name, "float"))
    return (
        values,
        outputs[:, 0] if outputs.shape[1] == 1 else outputs,
        table.column("truth").to_numpy(),
        tuple(features),
    )


if __name__ == "__main__":
    main()
