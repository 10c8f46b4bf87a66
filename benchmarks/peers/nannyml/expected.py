"""NannyML's estimates of performance on one of its own data sets: `expected.py DATASET ROWS_PER_CHUNK FOLDER`.

Writes `reference.parquet` and `analysis.parquet` (features, `outputs`, `truth`) for whoever estimates the same, and `nannyml.json`:
by metric each chunk's estimate with NannyML's confidence bounds, and the seconds that fitting and estimating took.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from nannyml import CBPE, DLE, datasets
from nannyml.chunk import SizeBasedChunker

DATASETS = {
    "binary": (datasets.load_synthetic_binary_classification_dataset, "work_home_actual", "id"),
    "employment": (datasets.load_us_census_ma_employment_data, "employed", "id"),
    "car_loan": (datasets.load_synthetic_car_loan_dataset, "repaid", "id"),
    "multiclass": (datasets.load_synthetic_multiclass_classification_dataset, "y_true", "id"),
    "car_price": (datasets.load_synthetic_car_price_dataset, "y_true", "id"),
}
NAMES = {
    "auc": "roc_auc",
    "accuracy": "accuracy",
    "average_precision": "average_precision",
    "mae": "mae",
    "rmse": "rmse",
}
NOT_FEATURES = {"id", "timestamp", "year", "period", "y_pred", "y_pred_proba"}


def main() -> None:
    """Load, estimate, write."""
    warnings.simplefilter("ignore")
    name, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    load, target, key = DATASETS[name]
    renamed = {"predicted_probability": "y_pred_proba", "prediction": "y_pred"}
    reference, analysis, targets = (table.rename(columns=renamed) for table in load())
    analysis = analysis.merge(targets, on=key) if key in targets else analysis.assign(**targets)
    chances = [one for one in reference if one.startswith("y_pred_proba_")]
    classes = [one.removeprefix("y_pred_proba_") for one in chances]
    for part, table in (("reference", reference), ("analysis", analysis)):
        write(table, target, chances, classes, name == "car_price", folder / f"{part}.parquet")
    chunker = SizeBasedChunker(chunk_size=rows)
    if name == "car_price":
        metrics = ["mae", "rmse"]
        features = [one for one in reference if one not in {*NOT_FEATURES, target}]
        estimator = DLE(features, y_pred="y_pred", y_true=target, metrics=metrics, chunker=chunker)
    else:
        metrics = ["accuracy"] if chances else ["auc", "accuracy", "average_precision"]
        estimator = CBPE(
            metrics=[NAMES[one] for one in metrics],
            y_pred="y_pred",
            y_true=target,
            y_pred_proba=dict(zip(classes, chances, strict=True)) if chances else "y_pred_proba",
            problem_type="classification_multiclass" if chances else "classification_binary",
            chunker=chunker,
        )
    began = time.perf_counter()
    estimator.fit(reference)
    fitted = time.perf_counter()
    result = estimator.estimate(analysis.drop(columns=target)).filter(period="analysis").to_df()
    seconds = {"fit": fitted - began, "estimate": time.perf_counter() - fitted}
    found = {one: bounds(result[NAMES[one]]) for one in metrics}
    (folder / "nannyml.json").write_text(json.dumps({"metrics": found, "seconds": seconds, "classes": classes}))


def bounds(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Of one metric each chunk's estimate and its confidence bounds."""
    columns = {"value": "value", "low": "lower_confidence_boundary", "high": "upper_confidence_boundary"}
    return {name: [float(one) for one in frame[column]] for name, column in columns.items()}


def write(table: pd.DataFrame, target: str, chances: list[str], classes: list[str], value: bool, path: Path) -> None:
    """Features, `outputs` (lists) and `truth` (positions of classes, or values)."""
    features = table[[one for one in table if one not in {*NOT_FEATURES, *chances, target}]].copy()
    for column in features:
        if not pd.api.types.is_numeric_dtype(features[column]) and not pd.api.types.is_bool_dtype(features[column]):
            features[column] = features[column].astype(str)
    if chances:
        outputs = list(table[chances].to_numpy(np.float64))
        truth = table[target].map({name: place for place, name in enumerate(classes)}).to_numpy(np.float64)
    else:
        outputs = list(table[["y_pred" if value else "y_pred_proba"]].to_numpy(np.float64))
        truth = table[target].to_numpy(np.float64)
    features.assign(outputs=outputs, truth=truth).to_parquet(path)


if __name__ == "__main__":
    main()
