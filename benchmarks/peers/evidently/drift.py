"""KS and PSI of every column, as Evidently's documentation has it. `drift.py REFERENCE CURRENT REPETITIONS` prints seconds as JSON.

Both tables are read and compared in what is timed: there is nothing to fit.
"""

import json
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift


def compare(reference_path: str, current_path: str) -> dict:
    """The report's numbers."""
    reference, current = pd.read_parquet(reference_path), pd.read_parquet(current_path)
    columns = list(reference.columns)
    definition = DataDefinition(numerical_columns=columns)
    metrics = [ValueDrift(column=name, method=method) for name in columns for method in ("ks", "psi")]
    snapshot = Report(metrics).run(
        Dataset.from_pandas(current, data_definition=definition),
        Dataset.from_pandas(reference, data_definition=definition),
    )
    return snapshot.dict()


if __name__ == "__main__":
    seconds = []
    for _ in range(int(sys.argv[3])):
        start = time.perf_counter()
        found = compare(sys.argv[1], sys.argv[2])
        seconds.append(time.perf_counter() - start)
    if len(found["metrics"]) % 2 or not found["metrics"]:
        raise SystemExit("not every column has two numbers")
    print(json.dumps(seconds))
