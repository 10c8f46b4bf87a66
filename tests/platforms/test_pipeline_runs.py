"""Real runs of the six steps by `kfp.local`, on a small CSV project."""

import json

import numpy as np
import pandas as pd
import pytest

from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.platforms.step import ENTRY
from mainspring.settings.load import load_project

pytestmark = pytest.mark.filterwarnings("ignore")
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
EXPECTATIONS = """
import great_expectations.expectations as gxe
expectations = [gxe.ExpectColumnValuesToBeBetween(column="temp", min_value=-60, max_value=60, severity="critical")]
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


def run(project, name, champion="", known_at="2026-04-01"):
    loaded = load_project(project)
    runner = KfpLocalRunner(loaded.paths, ENTRY, lambda parameters: {})
    assert runner.status(name) is None
    parameters = {"known_at": f"{known_at}T00:00:00+00:00", "champion": champion}
    runner.start(name, "first", parameters)
    runner.start(name, "first", parameters)  # asked for twice, run once
    found = runner.wait(name, 150)
    assert found.ended, found
    return loaded, found


def test_six_steps_make_a_version_and_a_second_like_it_is_refused(project):
    with (project / "mainspring.yaml").open("a") as file:
        file.write("gate: {min_gain: 0.1}\n")
    loaded, first = run(project, "run-1", known_at="2026-03-01")
    assert (first.status, first.passed, first.version) == ("succeeded", True, "1"), first.reason
    assert [step.status for step in first.steps] == ["succeeded"] * 6
    registry = MlflowRegistry("towns", Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    registry.set_alias("champion", "1")
    loaded, second = run(project, "run-2", champion="1")
    assert (second.status, second.passed, second.version) == ("succeeded", False, "2"), second.reason
    accepted, refused = registry.versions()
    assert (accepted.verdict, refused.verdict) == ("accepted", "refused")
    assert "of version 1" in refused.reason
    assert accepted.metrics["auc"] > 0.7
    assert accepted.trained_until.strftime("%m-%d %H") == "02-28 23"  # the winner was refitted on everything
    output = (loaded.paths.runs / "run-1" / "output.log").read_text()
    assert "evaluate" in output


def test_a_critical_expectation_stops_the_run_before_training_and_says_why(project):
    (project / "expectations.py").write_text(EXPECTATIONS)
    text = (project / "days.csv").read_text().splitlines()
    text[7] = ",".join([*text[7].split(",")[:2], "999.0", *text[7].split(",")[3:]])
    (project / "days.csv").write_text("\n".join(text) + "\n")
    loaded, failed = run(project, "run-1")
    assert failed.status == "failed"
    assert "expect_column_values_to_be_between on temp: 1 rows (row 6: 999.0)" in failed.reason
    assert [step.status for step in failed.steps] == ["succeeded", "failed", "skipped", "skipped", "skipped", "skipped"]
    assert json.loads((loaded.paths.runs / "run-1" / "result.json").read_text())["succeeded"] is False
