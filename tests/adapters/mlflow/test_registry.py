"""The registry on a real MLflow: versions, aliases, digests, and MLflow's own way to load them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mainspring.adapters.mlflow.registry import MlflowRegistry, answers_of
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.domain.errors import MainspringError, NotFound
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature, ModelVersion, Signature
from mainspring.registry.export import Trained, export
from mainspring.serving.runtime import load_runtime
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

pytestmark = pytest.mark.filterwarnings("ignore")
SIGNATURE = Signature("binary", (Feature("temp", "float"), Feature("wind", "float")), classes=("0", "1"))
X = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 2)), columns=["temp", "wind"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = LogisticRegression().fit(X, X.temp > 0)
    place = tmp_path_factory.mktemp("model") / "model"
    card = ModelCard("flights", "binary", "onnx", SIGNATURE)
    trained = Trained(model, X.to_numpy().tolist(), model.predict_proba(X)[:, 1])
    export(trained, card, place, lambda at, card, rows: answers_of(load_runtime(at, card).predict(rows)))
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return ProjectPaths(tmp_path_factory.mktemp("project"))


def tracking_settings():
    return ProjectSettings.model_validate(
        {
            "name": "flights",
            "task": "binary",
            "sources": {"s": {"path": "s.csv"}},
            "target": {"source": "s", "column": "y"},
        }
    )


@pytest.fixture(scope="module")
def tracking(place):
    return Tracking(tracking_settings(), place)


@pytest.fixture(scope="module")
def registry(place, tracking):
    return MlflowRegistry("flights", tracking, place.models)


def draft(run, verdict="accepted"):
    return ModelVersion(
        "flights",
        "",
        run,
        "d1",
        "abc",
        True,
        "policy:auto",
        "onnx",
        SIGNATURE,
        verdict=verdict,
        reason=f"auc of {run}",
        metrics={"auc": 0.7},
        trained_until=datetime(2013, 3, 1, tzinfo=UTC),
    )


def test_a_run_makes_one_version_however_often_it_registers(registry, folder):
    assert registry.versions() == []
    first = registry.register(draft("r1"), folder)
    assert registry.register(draft("r1"), folder) == first
    second = registry.register(draft("r2", "refused"), folder)
    assert [one.version for one in registry.versions()] == ["1", "2"]
    assert (first.verdict, second.verdict, second.reason) == ("accepted", "refused", "auc of r2")
    assert first.trained_until == datetime(2013, 3, 1, tzinfo=UTC)
    assert first.signature == SIGNATURE
    assert first.tags["mainspring.git_dirty"] == "true"


def test_aliases_move_and_go_and_another_process_sees_them(registry, folder, place, tracking):
    registry.register(draft("r1"), folder)
    registry.register(draft("r2", "refused"), folder)
    registry.set_alias("champion", "1")
    registry.set_alias("challenger", "2")
    other = MlflowRegistry("flights", tracking, place.models)
    assert [one.aliases for one in other.versions()] == [("champion",), ("challenger",)]
    other.set_alias("challenger", "")
    other.annotate("2", {"mainspring.rolled_back": "errors"})
    assert [one.aliases for one in registry.versions()] == [("champion",), ()]
    assert registry.versions()[1].tags["mainspring.rolled_back"] == "errors"


def test_mlflows_own_loader_answers_as_the_predictor_does(registry, folder, tracking):
    import mlflow

    registry.register(draft("r1"), folder)
    registry.set_alias("champion", "1")
    mlflow.set_tracking_uri(tracking.uri)
    loaded = mlflow.pyfunc.load_model("models:/flights@champion")
    card = ModelCard("flights", "binary", "onnx", SIGNATURE)
    expected = answers_of(load_runtime(folder, card).predict(X.to_numpy().tolist()))
    assert np.allclose(loaded.predict(X), expected)


def test_fetched_files_are_those_that_were_registered(registry, folder, place, tracking):
    registry.register(draft("r1"), folder)
    fetched = registry.fetch("1")
    assert sorted(path.name for path in fetched.iterdir()) == ["card.json", "model.onnx"]
    assert registry.fetch("1") == fetched
    source = tracking.client().get_model_version("flights", "1").source
    from pathlib import Path

    stored = Path(source.removeprefix("file://")) / "model" / "model.onnx"
    kept = stored.read_bytes()
    stored.write_bytes(kept + b"x")
    with pytest.raises(MainspringError, match="not those that were registered"):
        MlflowRegistry("flights", tracking, place.models.with_name("other")).fetch("1")
    stored.write_bytes(kept)
    with pytest.raises(NotFound, match="no version '9'"):
        registry.fetch("9")


def test_a_run_is_logged_once_with_what_it_measured(tracking):
    run = tracking.run("r7")
    for _ in range(2):
        tracking.log(run, params={"trees": 20}, metrics={"auc": 0.7, "r2": float("nan")}, tags={"git": "abc"})
    tracking.log_curve(run, "curve", [(1, 0.6), (2, 0.7)])
    tracking.log_curve(run, "curve", [(1, 0.6), (2, 0.7)])
    assert tracking.run("r7") == run
    client = tracking.client()
    data = client.get_run(run).data
    assert (data.params, data.metrics) == ({"trees": "20"}, {"auc": 0.7, "curve": 0.7})
    assert len(client.get_metric_history(run, "auc")) == 1
    assert [one.step for one in client.get_metric_history(run, "curve")] == [1, 2]
    tracking.end("r7")
    assert client.get_run(run).info.status == "FINISHED"
    assert tracking.run("r7") == run


def test_the_refit_has_a_run_of_its_own_below_and_a_failed_run_is_not_gone_on_with(tracking):
    client = tracking.client()
    run, refit = tracking.run("r8"), tracking.refit("r8")
    assert (refit != run, tracking.refit("r8")) == (True, refit)
    assert client.get_run(refit).data.tags["mlflow.parentRunId"] == run
    tracking.end("r8", failed=True, reason="train failed: KeyError")
    for one in (run, refit):
        assert client.get_run(one).info.status == "FAILED"
    assert client.get_run(run).data.tags["mainspring.reason"] == "train failed: KeyError"
    again = tracking.run("r8")
    assert again != run
    assert client.get_run(tracking.refit("r8")).data.tags["mlflow.parentRunId"] == again


def test_a_database_whose_making_was_killed_half_way_is_made_anew(tmp_path, tracking, monkeypatch):
    class Killed(BaseException):
        pass

    def die(engine):
        raise Killed

    paths = ProjectPaths(tmp_path)
    other = Tracking(tracking_settings(), paths)
    monkeypatch.setattr("mlflow.store.db.utils._upgrade_db", die)
    with pytest.raises(Killed):
        other.client()
    assert not paths.tracking_db.exists()
    monkeypatch.undo()
    assert Tracking(tracking_settings(), paths).run("run-1")
    assert [path.name for path in paths.state.iterdir() if path.suffix == ".part"] == []
