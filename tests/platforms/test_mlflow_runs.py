"""What MLflow knows of a run: the project's own calls, the facts of every run, refused models, and MLflow's own server."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from mainspring.adapters.mlflow.recording import unrecorded
from mainspring.adapters.mlflow.registry import answers_of
from mainspring.domain.errors import TrainingError
from mainspring.platforms.step import run_failed
from mainspring.serving.runtime import load_card, load_runtime
from tests.platforms.towns import Walk, edit

pytestmark = pytest.mark.filterwarnings("ignore")
BOOSTED = """
import mlflow
from xgboost import XGBClassifier

mlflow.xgboost.autolog()

def train(data, params):
    return XGBClassifier(n_estimators=5, max_depth=2).fit(data.X, data.y, eval_set=[(data.X, data.y)], verbose=False)
"""


@pytest.fixture(autouse=True)
def without_autologging():
    """What a project switches on stays on in its process; here all projects share one."""
    import mlflow

    yield
    for one in (mlflow, mlflow.sklearn, mlflow.xgboost):
        one.autolog(disable=True)


def autologging(project, more=""):
    edit(
        project,
        "training.py",
        "def train(data, params):\n",
        f"def train(data, params):\n    import mlflow\n    mlflow.autolog()\n{more}",
    )


def runs_of(walk):
    client, experiment = walk.tracking.client(), walk.tracking.experiment_id()
    return {one.info.run_name: one for one in client.search_runs([experiment])}


def files_of(walk, run, folder=""):
    found = []
    for one in walk.tracking.client().list_artifacts(run.info.run_id, folder or None):
        found += files_of(walk, run, one.path) if one.is_dir else [one.path]
    return found


def test_autolog_and_the_projects_own_calls_land_in_the_run_and_no_model_is_pickled(project):
    own = """    mlflow.set_experiment("elsewhere")
    with mlflow.start_run(tags={"mine": "yes"}) as run:
        mlflow.log_metric("rows_seen", len(data.y))
        mlflow.log_param("colour", "blue")
    mlflow.end_run()
    mlflow.log_metric("after", 1.0)
"""
    autologging(project, own)
    walk = Walk(project).until("register")
    runs = runs_of(walk)
    assert runs.keys() == {"run-1", "run-1-refit"}
    for run, rows in (runs["run-1"], walk.numbers["train"]["train_rows"]), (runs["run-1-refit"], 2000):
        data = run.data
        assert data.metrics["rows_seen"] == rows
        assert data.metrics["after"] == 1.0
        assert (data.params["colour"], data.tags["mine"]) == ("blue", "yes")
        assert data.params["logisticregression__max_iter"] == "500"
        assert data.metrics["training_accuracy_score"] > 0.6
        assert run.info.status == "FINISHED"
        assert not [name for name in files_of(walk, run) if name.endswith((".pkl", ".pickle", ".skops"))]
    assert walk.tracking.client().search_logged_models([walk.tracking.experiment_id()]) == []
    assert walk.tracking.client().get_experiment_by_name("elsewhere") is None or not walk.tracking.client().search_runs(
        [walk.tracking.client().get_experiment_by_name("elsewhere").experiment_id]
    )


def test_autolog_of_xgboost_at_import_lands_in_the_run_too(project):
    (project / "training.py").write_text(BOOSTED)
    edit(project, "mainspring.yaml", "", "features: {request: [temp]}\nparams: {max_depth: 2}\n")
    walk = Walk(project).until("register")
    runs = runs_of(walk)
    assert runs.keys() == {"run-1", "run-1-refit"}
    assert len(walk.tracking.client().get_metric_history(runs["run-1"].info.run_id, "validation_0-logloss")) == 5
    assert not [name for name in files_of(walk, runs["run-1"]) if name.endswith((".pkl", ".ubj"))]


def test_a_fit_that_is_not_the_runs_leaves_nothing_behind(project, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")  # of another server
    before = mlflow.get_tracking_uri()
    with unrecorded(project):
        mlflow.sklearn.autolog()
        mlflow.log_metric("nothing", 1.0)
        from sklearn.linear_model import LogisticRegression

        LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    assert not list(tmp_path.glob("mlruns*"))
    assert Walk(project).tracking.client().search_runs([Walk(project).tracking.experiment_id()]) == []


def test_every_run_says_where_it_came_from_and_what_came_of_it(project):
    git = ["git", "-c", "user.email=a@b.c", "-c", "user.name=a"]
    for command in (["init", "-q"], ["add", "mainspring.yaml", "training.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=project, check=True)
    edit(project, "mainspring.yaml", "", "params: {depth: 3}\n")
    walk = Walk(project).until("register")
    version = walk.registry.versions()[0]
    run, refit = runs_of(walk)["run-1"], runs_of(walk)["run-1-refit"]
    sha = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True
    ).stdout.strip()
    tags = run.data.tags
    assert (tags["mainspring.git_sha"], tags["mainspring.git_dirty"]) == (sha, "true")
    assert tags["mainspring.dataset_digest"] == version.dataset_digest
    assert (tags["mainspring.verdict"], tags["mainspring.approver"]) == ("accepted", "policy:auto")
    assert "is better than the base rate's" in tags["mainspring.reason"]
    assert run.data.params == {"seed": "7", "depth": "3"}
    for name in ("train_auc", "gate_auc", "gate_log_loss", "importance_temp", "learning_curve_held_out"):
        assert np.isfinite(run.data.metrics[name])
    assert (version.evaluated_run, version.shipped_run) == (run.info.run_id, refit.info.run_id)
    assert refit.data.metrics["train_rows"] == 2000 > run.data.metrics["train_rows"]
    assert [one.dataset.digest for one in run.inputs.dataset_inputs] == [version.dataset_digest]
    assert {"evaluation.html", "evaluation.json", "validation.html", "importance.json", "learning_curve.json"} <= set(
        files_of(walk, run)
    )
    history = walk.tracking.client().get_metric_history(run.info.run_id, "learning_curve_held_out")
    assert [one.step for one in history] == sorted(one.step for one in history)
    assert len(history) == 4


def test_the_model_that_was_evaluated_and_the_refit_that_ships_are_both_loaded_by_mlflow(project):
    import mlflow

    walk = Walk(project).until("register")
    walk.registry.set_alias("champion", "1")
    version = walk.registry.versions()[0]
    mlflow.set_tracking_uri(walk.tracking.uri)
    shipped = mlflow.pyfunc.load_model("models:/towns@champion")
    evaluated = mlflow.pyfunc.load_model(f"runs:/{version.evaluated_run}/model")
    import pandas as pd

    X = pd.DataFrame({"temp": [1.5, -3.0, 25.0], "town": ["Ulm", "Kiel", "Bonn"]})
    folder = walk.registry.fetch("1")
    card = load_card(folder)
    expected = answers_of(load_runtime(folder, card).predict(X.to_numpy(object).tolist()))
    assert np.array_equal(shipped.predict(X), expected)
    assert not np.array_equal(evaluated.predict(X), shipped.predict(X))
    held = walk.registry.evaluated("1", project / "copy")
    assert load_card(held).trained_until < card.trained_until


@pytest.mark.slow
def test_a_refused_model_is_registered_with_its_reason_and_mlflows_server_shows_it(project):
    edit(project, "mainspring.yaml", "", "gate: {floor: 0.999}\n")
    walk = Walk(project).until("register")
    version = walk.registry.versions()[0]
    assert (version.verdict, version.shipped_run) == ("refused", "")
    assert version.evaluated_run == walk.mlflow_run().info.run_id
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", walk.tracking.uri, "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        shown = asked(port, "model-versions/search?filter=name%3D%27towns%27")["model_versions"]
        tags = {one["key"]: one["value"] for one in shown[0]["tags"]}
        assert (tags["mainspring.verdict"], tags["mainspring.approver"]) == ("refused", "policy:auto")
        assert tags["mainspring.reason"].endswith("is not better than gate.floor 0.9990")
        assert shown[0]["description"] == f"refused: {tags['mainspring.reason']}"
        run = asked(port, f"runs/get?run_id={shown[0]['run_id']}")["run"]
        assert run["info"]["status"] == "FINISHED"
        assert {"key": "mainspring.verdict", "value": "refused"} in run["data"]["tags"]
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def asked(port, path):
    """An answer of MLflow's REST API, once it is up."""
    until = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/2.0/mlflow/{path}", timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


def test_a_failed_train_marks_the_run_and_keeps_what_was_logged(project):
    edit(
        project,
        "training.py",
        "def train(data, params):\n",
        "def train(data, params):\n    import mlflow\n    mlflow.log_metric('seen', 1)\n    1 / 0\n",
    )
    walk = Walk(project)
    with pytest.raises(TrainingError, match="ZeroDivisionError") as error:
        walk.until("register")
    run_failed(str(project), "run-1", str(error.value))
    (run,) = runs_of(walk).values()
    assert (run.info.status, run.data.metrics) == ("FAILED", {"seen": 1.0})
    assert run.data.tags["mainspring.reason"].startswith("train failed: ZeroDivisionError")
