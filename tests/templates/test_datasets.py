"""scikit-learn's own data sets through `init --from`, check and train; one of them through a whole run."""

import pytest
from sklearn import datasets

from mainspring.adapters.kfp.worker import warm_worker
from mainspring.platforms.check import check_project
from mainspring.platforms.runs import run_pipeline
from mainspring.platforms.trial import try_training
from mainspring.settings.load import load_project
from mainspring.templates.roles import Wish
from mainspring.templates.write import write_from_file

pytestmark = pytest.mark.filterwarnings("ignore")
MODULES = ["sklearn.compose", "xgboost", "skl2onnx", "onnxruntime", "mlflow", "kfp.local", "mainspring.platforms.steps"]


def project(tmp_path, name):
    file = tmp_path / f"{name}.csv"
    getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(file, index=False)
    write_from_file(tmp_path / "new", file, Wish("target"))
    return tmp_path / "new"


@pytest.mark.parametrize(
    ("name", "task", "metric", "bound"),
    [
        ("diabetes", "regression", "rmse", 65),
        ("iris", "multiclass", "log_loss", 0.5),
        ("breast_cancer", "binary", "auc", 0.97),
    ],
)
def test_a_data_set_becomes_a_project_that_checks_and_trains(tmp_path, name, task, metric, bound):
    folder = project(tmp_path, name)
    done = {one.name: one for one in check_project(folder, lambda _: None, lambda _: None)}
    assert {one.status for one in done.values()} == {"passed"}, done
    assert "served as onnx" in done["export"].found
    trial = try_training(load_project(folder), "", lambda _: None)
    assert (trial.task, trial.scores[0].metric) == (task, metric)
    value = trial.scores[0].value
    assert value > bound if metric == "auc" else value < bound
    assert trial.passes_floors


@pytest.mark.slow
def test_columns_with_odd_names_go_through_a_whole_run(tmp_path):
    """`petal length (cm)`: in MLflow's metrics, in ONNX, in the model that is registered."""
    folder = project(tmp_path, "iris")
    with warm_worker(folder / ".mainspring", MODULES) as wait:
        assert wait(100)
        done = run_pipeline(load_project(folder), "", "", lambda _: None)
    assert (done.status, done.passed, done.version) == ("succeeded", True, "1"), done.reason
    cards = list((folder / ".mainspring").rglob("card.json"))
    assert cards
    assert all('"petal length (cm)"' in path.read_text() for path in cards)
    assert all('"format": "onnx"' in path.read_text() for path in cards)
