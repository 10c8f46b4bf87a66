"""A run that fails says why, is marked in MLflow, and goes on behind the steps that it finished."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from mainspring.domain.errors import ConflictError, NotFound
from mainspring.platforms.runs import run_pipeline
from mainspring.platforms.runs import runner as project_runner
from mainspring.settings.load import load_project
from tests.platforms.towns import edit, pipeline_run, ran, registry_of

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
CRITICAL = """
import great_expectations.expectations as gxe
expectations = [
    gxe.ExpectColumnValuesToBeBetween(column="temp", min_value=-60, max_value=60, severity="critical"),
    gxe.ExpectColumnMeanToBeBetween(column="rain", max_value=0.1, severity="warning"),
]
"""
HANG = "def train(data, params):\n    import pathlib, time\n    pathlib.Path(__file__).with_name('here').touch()\n    time.sleep(100)\n"


def resumed(project, name="run-1"):
    run = run_pipeline(load_project(project), "", name, lambda step: None)
    assert run.status == "succeeded", run.reason
    return run


def mlflow_runs(project):
    tracking = registry_of(project)._tracking
    found = tracking.client().search_runs([tracking.experiment_id()], order_by=["attributes.start_time"])
    return [one for one in found if "mainspring.run_id" in one.data.tags]


@pytest.mark.usefixtures("warm")
def test_a_step_that_raises(project):
    edit(
        project,
        "training.py",
        "def train(data, params):\n",
        "def train(data, params):\n    raise ValueError('no idea')\n",
    )
    failed = pipeline_run(project, "run-1")
    assert failed.status == "failed"
    assert failed.reason.startswith("train failed: ValueError: no idea\n  where: ")
    assert f"{project / 'training.py'}:9" in failed.reason
    assert [step.status for step in failed.steps] == ["succeeded"] * 3 + ["failed"] + ["skipped"] * 2
    (run,) = mlflow_runs(project)
    assert (run.info.status, run.data.tags["mainspring.reason"]) == ("FAILED", failed.reason)
    edit(project, "training.py", "    raise ValueError('no idea')\n", "")
    done = resumed(project)
    assert (ran(done), done.version) == (["ingest", "validate", "engineer", "train", "evaluate", "register"], "1")
    output = (load_project(project).paths.runs / "run-1" / "output.log").read_text()
    assert len(re.findall(r"Executing task .*ingest", output)) == 1  # what was finished was not done again
    old, new = mlflow_runs(project)
    assert (old.info.status, new.info.status) == ("FAILED", "FINISHED")
    assert new.data.metrics.keys() >= {"train_auc", "gate_auc"}
    with pytest.raises(ConflictError, match="has succeeded"):
        project_runner(load_project(project)).resume("run-1")
    with pytest.raises(NotFound, match="no run 'run-9'"):
        project_runner(load_project(project)).resume("run-9")


@pytest.mark.usefixtures("warm")
def test_a_critical_expectation_names_the_rows_before_anything_is_trained(project):
    (project / "expectations.py").write_text(CRITICAL)
    text = (project / "days.csv").read_text()
    lines = text.splitlines()
    lines[7] = ",".join([*lines[7].split(",")[:2], "999.0", *lines[7].split(",")[3:]])
    (project / "days.csv").write_text("\n".join(lines) + "\n")
    failed = pipeline_run(project, "run-1")
    assert failed.status == "failed"
    assert (
        "expect_column_values_to_be_between on temp (min_value -60, max_value 60): 1 row (row 6, day d6: 999.0)"
        in failed.reason
    )
    assert [step.status for step in failed.steps] == ["succeeded", "failed"] + ["skipped"] * 4
    (run,) = mlflow_runs(project)
    assert run.info.status == "FAILED"
    assert "1 row (row 6" in run.data.tags["mainspring.reason"]
    client = registry_of(project)._tracking.client()
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["validation.html"]
    assert registry_of(project).versions() == []
    (project / "days.csv").write_text(text)
    done = resumed(project)
    warning = "warning: expect_column_mean_to_be_between on rain (max_value 0.1): observed 0.5"
    assert done.steps[1].notes[0].startswith(warning)
    tags = mlflow_runs(project)[-1].data.tags
    assert tags["mainspring.validation"].startswith(warning)
    again = pipeline_run(project, "run-2")
    assert ran(again) == []
    assert again.steps[1].notes == done.steps[1].notes


def killed_and_resumed(project):
    code = (project / "training.py").read_text()
    edit(project, "training.py", "def train(data, params):\n", HANG)
    runner = project_runner(load_project(project))
    runner.start("run-1", "first", {"known_at": "2026-04-01T00:00:00+00:00", "champion": ""})
    kill_step(project)
    interrupted = runner.wait("run-1", 60)
    assert interrupted.status == "requested"  # what was killed did not fail
    assert [step.status for step in interrupted.steps] == ["succeeded"] * 3 + ["running"] + ["pending"] * 2
    (project / "training.py").write_text(code)
    assert resumed(project).version == "1"
    assert mlflow_runs(project)[-1].info.status == "FINISHED"


@pytest.mark.usefixtures("warm")
def test_a_step_that_is_killed_in_the_warm_worker(project):
    killed_and_resumed(project)


@pytest.mark.slow
def test_a_step_that_is_killed_in_a_run_of_its_own(project):
    killed_and_resumed(project)


def kill_step(project):
    """kill -9 to the process that trains: the one that has the project's mark open is found by its lock."""
    until = time.monotonic() + 90
    while not (project / "here").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    lock = os.stat(project / ".mainspring" / "runs" / "run-1" / "step.lock").st_ino
    holders = [line.split() for line in Path("/proc/locks").read_text().splitlines() if f":{lock} " in line]
    os.kill(int(holders[0][4]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_a_run_whose_own_process_is_killed_goes_on_and_is_not_done_twice(project):
    edit(project, "training.py", "def train(data, params):\n", HANG.replace("sleep(100)", "sleep(3)"))
    runner = project_runner(load_project(project))
    runner.start("run-1", "first", {"known_at": "2026-04-01T00:00:00+00:00", "champion": ""})
    while not (project / "here").exists():
        time.sleep(0.05)
    os.kill(int((project / ".mainspring" / "runs" / "run-1" / "run.lock").read_text()), signal.SIGKILL)
    time.sleep(0.1)
    assert runner.status("run-1").status == "requested"
    assert resumed(project).version == "1"
    assert len(registry_of(project).versions()) == 1


@pytest.mark.usefixtures("warm")
def test_a_project_that_is_edited_while_it_runs_poisons_no_cache(project):
    code = (project / "training.py").read_text()
    edit(project, "training.py", "def train(data, params):\n", HANG.replace("sleep(100)", "sleep(2)"))
    slow = (project / "training.py").read_text()
    runner = project_runner(load_project(project))
    runner.start("run-1", "first", {"known_at": "2026-04-01T00:00:00+00:00", "champion": ""})
    while not (project / "here").exists():
        time.sleep(0.05)
    (project / "training.py").write_text(code)
    failed = runner.wait("run-1", 60)
    assert "were edited while the run was going" in failed.reason
    (project / "training.py").write_text(slow)
    assert ran(pipeline_run(project, "run-2"))[0] == "train"


@pytest.mark.usefixtures("warm")
def test_a_cancelled_run_leaves_no_step_behind_and_can_be_gone_on_with(project):
    code = (project / "training.py").read_text()
    edit(project, "training.py", "def train(data, params):\n", HANG.replace("sleep(100)", "sleep(4)"))
    runner = project_runner(load_project(project))
    runner.start("run-1", "first", {"known_at": "2026-04-01T00:00:00+00:00", "champion": ""})
    while not (project / "here").exists():
        time.sleep(0.05)
    runner.cancel("run-1")
    assert runner.wait("run-1", 5).status == "cancelled"
    time.sleep(5)
    assert registry_of(project).versions() == []
    (project / "training.py").write_text(code)
    assert resumed(project).version == "1"
