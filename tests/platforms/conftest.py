"""A small CSV project that trains in a second."""

import numpy as np
import pandas as pd
import pytest

SETTINGS = """
name: towns
task: binary
sources:
  days: {path: days.csv, time: at, columns: {at: time}}
target: {source: days, column: rain, time: at, id: day}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)
"""


@pytest.fixture
def project(tmp_path):
    generator = np.random.default_rng(2)
    count = 2000
    temp = generator.normal(10, 8, count)
    town = generator.choice(["Ulm", "Bonn", "Kiel"], count)
    rain = generator.uniform(size=count) < 1 / (1 + np.exp(0.2 * (temp - 10) - (town == "Kiel")))
    at = pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC")
    frame = pd.DataFrame({"day": [f"d{n}" for n in range(count)], "at": at, "temp": temp, "town": town, "rain": rain})
    frame.astype({"rain": int}).to_csv(tmp_path / "days.csv", index=False)
    (tmp_path / "mainspring.yaml").write_text(SETTINGS)
    (tmp_path / "training.py").write_text(TRAINING)
    return tmp_path
