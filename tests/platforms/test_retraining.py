"""What is skipped and what runs again, by real runs: one project with Feast views, edited again and again."""

import os
import shutil
import time

import pytest

from tests.platforms.towns import edit, pipeline_run, ran, registry_of, write_project

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(400)]
ALL = ["ingest", "validate", "engineer", "train", "evaluate", "register"]


@pytest.fixture(scope="module")
def served(tmp_path_factory, empty_store, worker):
    """A project with views that was run once, and a warm worker."""
    project = write_project(tmp_path_factory.mktemp("served"), views=True)
    edit(project, "mainspring.yaml", "", "params: {C: 1.0}\n")
    edit(project, "training.py", "max_iter=500", "max_iter=500, C=params['C']")
    (project / "requirements.txt").write_text("scikit-learn==1.8.0\n")
    (project / ".mainspring").mkdir()
    shutil.copy(empty_store, project / ".mainspring" / "mlflow.db")
    (project / ".mainspring" / "worker.sock").symlink_to(worker / "worker.sock")
    run = pipeline_run(project, "run-0")
    assert (run.status, ran(run)) == ("succeeded", ALL), run.reason
    return project


def again(project):
    """One more run: the steps that ran, and its version."""
    runs = project / ".mainspring" / "runs"
    run = pipeline_run(project, f"run-{len(list(runs.iterdir()))}", known_at="2026-05-01")
    assert run.status == "succeeded", run.reason
    assert [step.status for step in run.steps] == ["cached"] * (6 - len(ran(run))) + ["succeeded"] * len(ran(run))
    return ran(run), int(run.version)


def touch(project):
    os.utime(project / "days.csv", (1, 1))
    (project / "notes.md").write_text("nothing that a step reads")
    edit(project, "mainspring.yaml", "", "serving: {port: 0}\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda project: None, []),
        (touch, []),
        (lambda project: edit(project, "training.py", "500", "400"), ALL[3:]),
        (lambda project: edit(project, "mainspring.yaml", "C: 1.0", "C: 0.5"), ALL[3:]),
        (lambda project: edit(project, "features.py", "hours=48", "hours=30"), ALL[2:]),
        (lambda project: edit(project, "transforms.py", "24 HOUR", "12 HOUR"), ALL[2:]),
        (lambda project: edit(project, "requirements.txt", "1.8.0", "1.8.1"), ALL),
        (lambda project: edit(project, "days.csv", ",Ulm,", ",Kiel,"), ALL),
        (lambda project: edit(project, "mainspring.yaml", "", "gate: {min_gain: 0.01}\n"), ALL[4:]),
    ],
    ids=["nothing", "touched", "training.py", "parameter", "features.py", "transforms.py", "lock", "one row", "gate"],
)
def test_an_edit_runs_the_steps_that_it_touches_again_and_no_other(served, change, expected):
    before = len(registry_of(served).versions())
    change(served)
    steps, version = again(served)
    assert steps == expected
    assert len(registry_of(served).versions()) == before + bool(expected)
    assert version == before + bool(expected)


def test_an_unchanged_run_takes_less_than_two_seconds(served):
    again(served)
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert again(served)[0] == []
        took.append(time.monotonic() - began)
    assert min(took) < 2, took


def test_the_feature_of_the_view_is_an_input_and_its_version_is_on_the_model(served):
    versions = registry_of(served).versions()
    assert {one.name: one.source for one in versions[-1].signature.features}["mean_temp"] == "town_rain"
    assert versions[-1].features.keys() == {"town_rain"}
    assert len({one.features["town_rain"] for one in versions}) == 3  # as it was, the view edited, the transform edited


def test_a_run_whose_training_came_from_the_cache_says_all_the_same_what_it_was_trained_with(served):
    edit(served, "mainspring.yaml", "", "tracking: {experiment: another}\n")
    steps, version = again(served)
    assert steps == ["register"]
    registry = registry_of(served)
    run = registry._tracking.client().get_run(registry.versions()[version - 1].evaluated_run)
    assert run.data.params == {"seed": "7", "C": "0.5"}
    assert run.data.metrics.keys() >= {"train_auc", "gate_auc"}
    assert run.data.tags["mainspring.features"].startswith("town_rain@")
