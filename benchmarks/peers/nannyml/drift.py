"""KS of every column against a fitted reference, as NannyML's documentation has it. `drift.py REFERENCE CURRENT REPETITIONS` prints
seconds as JSON. What is timed reads the current table and compares it, in one chunk.
"""

import json
import sys
import time
import warnings

import pandas as pd

warnings.simplefilter("ignore")
import nannyml  # noqa: E402

if __name__ == "__main__":
    reference = pd.read_parquet(sys.argv[1])
    columns = list(reference.columns)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=columns, continuous_methods=["kolmogorov_smirnov"], chunk_number=1
    ).fit(reference)
    seconds = []
    for _ in range(int(sys.argv[3])):
        start = time.perf_counter()
        found = calculator.calculate(pd.read_parquet(sys.argv[2])).to_df()
        seconds.append(time.perf_counter() - start)
    if len(found.columns.get_level_values(0).unique()) < len(columns):
        raise SystemExit("not every column was compared")
    print(json.dumps(seconds))
