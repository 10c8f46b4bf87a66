"""Real runs of the six steps by `kfp.local`, on a small CSV project."""

import json

import pytest

from mainspring.adapters.kfp.worker import ask, warm_worker
from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.platforms.runs import runner as project_runner
from mainspring.settings.load import load_project

pytestmark = pytest.mark.filterwarnings("ignore")
MODULES = ["sklearn.linear_model", "skl2onnx", "onnxruntime", "mlflow", "kfp.local", "mainspring.platforms.steps"]
EXPECTATIONS = """
import great_expectations.expectations as gxe
expectations = [gxe.ExpectColumnValuesToBeBetween(column="temp", min_value=-60, max_value=60, severity="critical")]
"""


def run(project, name, champion="", known_at="2026-04-01"):
    loaded = load_project(project)
    runner = project_runner(loaded)
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
    with warm_worker(project / ".mainspring", MODULES) as wait:
        assert wait(60)
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
        assert accepted.trained_until.strftime("%m-%d %H") == "03-01 00"  # the winner was refitted on everything
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


def test_unchanged_work_is_taken_from_the_cache_and_a_warm_worker_does_the_rest(project):
    with warm_worker(project / ".mainspring", MODULES) as wait:
        assert wait(60)
        _, first = run(project, "run-1")
        assert (first.status, first.version) == ("succeeded", "1"), first.reason
        _, again = run(project, "run-2", known_at="2027-01-01")
        assert [step.status for step in again.steps] == ["cached"] * 6
        assert (again.passed, again.version) == (True, "1")
        (project / "training.py").write_text((project / "training.py").read_text().replace("500", "400"))
        _, edited = run(project, "run-3")
        assert [step.status for step in edited.steps] == ["cached"] * 3 + ["succeeded"] * 3
        assert edited.version == "2"
        answer = ask(
            project / ".mainspring", "mainspring.platforms.step:run_here", ["train", "nowhere", "r", "{}", {}, {}]
        )
        assert answer["kind"] == "ConfigError"
    assert ask(project / ".mainspring", "builtins:len", ["four"]) is None
