"""From somebody's MLflow to a service, by the commands that a person types."""

import json
import signal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tests.cli.running import Up, mainspring

pytestmark = pytest.mark.filterwarnings("ignore")


def log_model(uri, artifacts, model, frame):
    import mlflow
    from mlflow.models import infer_signature

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.create_experiment("theirs", artifact_location=artifacts.as_uri())
        mlflow.set_experiment("theirs")
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model, name="churn", registered_model_name="churn", signature=infer_signature(frame),
                pip_requirements=["mlflow"],
            )  # fmt: skip
    finally:
        mlflow.set_tracking_uri(before)


def test_a_model_without_a_project_is_adopted_served_and_watched(tmp_path):
    generator = np.random.default_rng(6)
    frame = pd.DataFrame({"age": generator.normal(40, 9, 300), "calls": generator.poisson(3, 300).astype(float)})
    model = LogisticRegression().fit(frame, frame.calls > 3)
    uri, project = f"sqlite:///{tmp_path}/theirs.db", tmp_path / "churn"
    log_model(uri, tmp_path / "artifacts", model, frame)
    reference = tmp_path / "reference.csv"
    frame.assign(prediction=model.predict_proba(frame)[:, 1]).to_csv(reference, index=False)
    words = ["adopt", "models:/churn/1", "--reference", str(reference), "--into", str(project), "--tracking-uri", uri]
    code, out, errors = mainspring(tmp_path, *words)
    assert code == 0, errors
    assert "is version 1 of churn" in out
    assert "300 predictions of the reference are what it answers" in out
    with (project / "mainspring.yaml").open("a") as settings:
        settings.write("serving: {port: 0, metrics_port: 0}\n")
    code, out, errors = mainspring(project, "check")
    assert code == 0, out + errors
    assert "there is no training.py: what was adopted is served" in out
    up = Up(project)
    try:
        up.wait("serving", "version 1 answers")
        code, out, errors = mainspring(project, "predict", "--data", json.dumps({"age": 50, "calls": 2}), "--json")
        assert code == 0, errors
        wanted = model.predict_proba(pd.DataFrame({"age": [50.0], "calls": [2.0]}))[0, 1]
        assert json.loads(out)["outputs"]["probability"] == pytest.approx(wanted, abs=1e-4)
    finally:
        assert up.end(signal.SIGTERM) == 0
    kinds = [one["kind"] for one in json.loads(mainspring(project, "ledger", "--json")[1])]
    assert kinds == ["adopted", "rollout_started", "promoted"]
    code, out, _ = mainspring(project, "drift", "--now")
    assert code == 0
    assert "version 1" in out
