"""The step train: what `train` is given, what it may return, seeds, devices, importance and learning curve."""

import importlib.util
import json

import numpy as np
import pytest

from mainspring.domain.errors import DataError, TrainingError
from mainspring.drift.storage import read_profile
from mainspring.pipeline.device import visible_gpus
from mainspring.serving.runtime import load_card
from tests.platforms.towns import Walk, edit

pytestmark = pytest.mark.filterwarnings("ignore")
BOOSTED = """
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBClassifier

def train(data, params):
    encode = make_column_transformer((OrdinalEncoder(), data.categoricals), remainder="passthrough")
    trees = XGBClassifier(n_estimators=20, max_depth=3, subsample=0.7, random_state=params["seed"], device=params.get("device"))
    return make_pipeline(encode, trees).fit(data.X, data.y)
"""
BARE = """
from xgboost import XGBClassifier

def train(data, params):
    return XGBClassifier(n_estimators=20, subsample=0.7, random_state=params["seed"]).fit(data.X, data.y)
"""
OWN = """
import json
import numpy as np

class Mine:
    def __init__(self, share):
        self.share = share

def train(data, params):
    return Mine(float(data.X["temp"].gt(10).mean()))

def save(model, folder):
    (folder / "share.json").write_text(json.dumps(model.share))

def load(folder):
    return Mine(json.loads((folder / "share.json").read_text()))

def predict(model, X):
    return np.where(X["temp"] > 10, 1 - model.share, model.share)

def evaluate(model, data):
    return {"share": model.share}
"""
REFUSED = """
import numpy as np

class Mine:
    def predict_proba(self, X):
        return np.tile([0.3, 0.7], (len(X), 1))

CALLS = []

def train(data, params):
    from pathlib import Path
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write(f"{len(data.y)}\\n")
    return Mine()
"""


def write(project, code):
    (project / "training.py").write_text(code)
    return project


def test_data_has_everything_that_training_needs(project):
    text = (project / "days.csv").read_text().splitlines()
    lines = [f"{one},{'w' if place == 0 else place % 4}" for place, one in enumerate(text)]
    (project / "days.csv").write_text("\n".join(lines) + "\n")
    edit(project, "mainspring.yaml", "id: day", "id: day, weight: w")
    edit(project, "mainspring.yaml", "", "split: {validation_share: 0.1}\nparams: {depth: 3}\n")
    edit(
        project,
        "training.py",
        "def train(data, params):",
        """def train(data, params):
    assert data.columns == ["temp", "town"] == list(data.X.columns) == list(data.validation.X.columns)
    assert (data.categoricals, data.numerics) == (["town"], ["temp"])
    assert data.dtypes == {"temp": "float", "town": "category"} and data.classes == ("0", "1")
    assert str(data.X["temp"].dtype) == "float64" and set(data.y) == {0, 1}
    assert set(data.weights) == {0.0, 1.0, 2.0, 3.0} and len(data.weights) == len(data.X) == len(data.y)
    assert 0.09 < len(data.validation.y) / (len(data.validation.y) + len(data.y)) < 0.11
    assert len(data.validation.weights) == len(data.validation.X) == len(data.validation.y)
    assert params == {"depth": 3, "seed": 7}
""",
    )
    walk = Walk(project).until("register")
    assert walk.read("training_set", "signature.json")["features"][0]["name"] == "temp"  # a weight is no input


@pytest.mark.parametrize("weight", ["-1", "", "heavy"])
def test_a_weight_that_is_none_is_counted_and_refused(project, weight):
    text = (project / "days.csv").read_text().splitlines()
    lines = [f"{one},{'w' if place == 0 else weight if place == 5 else 1}" for place, one in enumerate(text)]
    (project / "days.csv").write_text("\n".join(lines) + "\n")
    edit(project, "mainspring.yaml", "id: day", "id: day, weight: w")
    with pytest.raises(DataError, match="weight"):
        Walk(project).until("ingest")


def test_the_refit_stops_early_by_rows_that_it_does_not_train_on(project):
    edit(project, "mainspring.yaml", "", "split: {validation_share: 0.1}\n")
    edit(
        project,
        "training.py",
        "def train(data, params):",
        """def train(data, params):
    both = set(map(tuple, data.X.to_numpy())) & set(map(tuple, data.validation.X.to_numpy()))
    assert not both and len(data.validation.y) > 100
    print("rows", len(data.y) + len(data.validation.y))
""",
    )
    walk = Walk(project).until("register")
    assert walk.numbers["register"]["rows"] == 2000


def test_boosted_trees_learn_by_rounds_and_two_runs_give_the_same_files(project):
    write(project, BOOSTED)
    one = Walk(project, "run-1").until("register")
    two = Walk(project, "run-2").until("register")
    first, second = one.registry.versions()
    assert first.digest == second.digest
    curve = one.read("metrics", "learning_curve.json")
    assert (curve["by"], curve["points"][-1]["at"]) == ("rounds", 20)
    assert curve["points"][-1]["train"] > curve["points"][0]["train"]
    temp, town = one.read("metrics", "importance.json")
    assert (temp["feature"], town["feature"]) == ("temp", "town")
    assert temp["loss"] > 0.1
    assert two.read("metrics", "importance.json") == [temp, town]


def test_what_is_served_by_skops_or_ubj_has_the_same_files_twice(project, monkeypatch):
    import mainspring.registry.export as module

    def fail(*_):
        raise ValueError("no converter")

    monkeypatch.setattr(module, "write_onnx", fail)
    for code, kind in ((project / "training.py").read_text(), "skops"), (BARE, "xgboost_ubj"):
        write(project, code)
        if code == BARE:
            edit(project, "mainspring.yaml", "", "features: {request: [temp]}\n")
        walks = [Walk(project, f"{kind}-{place}").until("register") for place in (1, 2)]
        one, two = walks[0].registry.versions()[-2:]
        assert (one.format, two.format) == (kind, kind)
        assert one.digest == two.digest
        assert "not served as onnx: ValueError: no converter" in walks[0].record("train")["notes"]


def test_where_there_are_no_rounds_the_curve_is_over_rows(project):
    walk = Walk(project).until("train")
    curve = walk.read("metrics", "learning_curve.json")
    rows = int(walk.numbers["train"]["train_rows"])
    assert (curve["by"], [one["at"] for one in curve["points"]]) == (
        "rows",
        [round(rows * x) for x in (0.1, 0.25, 0.5, 1)],
    )


def test_a_project_that_saves_and_loads_by_itself_is_trained_evaluated_and_registered(project):
    walk = Walk(write(project, OWN)).until("register")
    assert load_card(walk.registry.fetch("1")).format == "project"
    assert walk.read("evaluation", "evaluation.json")["own"]["share"] == pytest.approx(0.5, abs=0.1)


def test_what_nothing_can_carry_is_refused_by_name_before_it_is_trained_on_everything(project):
    walk = Walk(write(project, REFUSED))
    with pytest.raises(TrainingError, match=r"training\.Mine cannot be served without pickle") as error:
        walk.until("register")
    assert "write save(model, folder)" in error.value.next_step
    assert (project / "calls.txt").read_text().split() == ["1000"]
    assert walk.registry.versions() == []
    assert not walk.path("model").exists()


def test_a_recipe_is_tried_once_and_again_when_it_changed(project):
    code = "import pathlib\n" + (project / "training.py").read_text()
    told = "    with (pathlib.Path(__file__).parent / 'calls.txt').open('a') as file: print(len(data.y), file=file)\n"
    write(project, code.replace("def train(data, params):\n", "def train(data, params):\n" + told))
    sizes = []
    for run in ("run-1", "run-2"):
        Walk(project, run).until("train")
        sizes.append((project / "calls.txt").read_text().split())
        (project / "calls.txt").unlink()
    assert sizes[0][0] == "1000"
    assert sizes[1] == sizes[0][1:]
    edit(project, "training.py", "500", "400")
    Walk(project, "run-3").until("train")
    assert (project / "calls.txt").read_text().split() == sizes[0]


def test_a_recipe_that_only_fails_on_few_rows_is_trained(project):
    edit(
        project,
        "training.py",
        "def train(data, params):\n",
        "def train(data, params):\n    assert len(data.y) > 1100\n",
    )
    walk = Walk(project).until("train")
    assert walk.numbers["train"]["train_rows"] > 1100
    assert "no learning curve: train failed" in " ".join(walk.record("train")["notes"])


def test_an_estimator_without_probabilities_is_refused_before_it_is_trained_on_everything(project):
    edit(project, "training.py", "LogisticRegression(max_iter=500)", "LinearSVC()")
    edit(
        project,
        "training.py",
        "import LogisticRegression",
        "import LogisticRegression\nfrom sklearn.svm import LinearSVC",
    )
    with pytest.raises(TrainingError, match="gives no probabilities"):
        Walk(project).until("train")


def test_a_gpu_that_is_asked_for_and_not_there_is_told_and_the_cpu_trains(project, monkeypatch):
    monkeypatch.setattr("mainspring.pipeline.device.visible_gpus", lambda: 0)
    edit(write(project, BOOSTED), "mainspring.yaml", "", "params: {device: cuda}\n")
    walk = Walk(project).until("register")
    note = "params.device asks for cuda, and no GPU is visible (nvidia-smi shows those there are): trained on the CPU"
    assert walk.record("train")["notes"] == [note]
    assert walk.record("register")["notes"] == [note]
    assert walk.mlflow_run().data.tags["mainspring.notes"] == note


def test_an_xgboost_without_cuda_is_told_where_a_gpu_is_there(project, monkeypatch):
    import xgboost

    monkeypatch.setattr("mainspring.pipeline.device.visible_gpus", lambda: 1)
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": False})
    edit(write(project, BOOSTED), "mainspring.yaml", "", "params: {device: cuda}\n")
    assert "built without CUDA" in Walk(project).until("train").record("train")["notes"][0]


def test_a_gpu_that_is_there_trains(project):
    import xgboost

    if not visible_gpus():
        pytest.skip("no GPU is visible here")
    if not xgboost.build_info().get("USE_CUDA"):
        pytest.skip("the XGBoost that is installed here was built without CUDA")
    edit(write(project, BOOSTED), "mainspring.yaml", "", "params: {device: cuda}\n")
    walk = Walk(project).until("register")
    assert walk.record("train")["notes"] == []
    assert walk.numbers["evaluate"]["gate_auc"] > 0.7


def test_lightgbm_is_carried(project):
    if importlib.util.find_spec("lightgbm") is None:
        pytest.skip("LightGBM is not installed here")
    write(project, BOOSTED.replace("from xgboost import XGBClassifier", "from lightgbm import LGBMClassifier"))
    old = 'XGBClassifier(n_estimators=20, max_depth=3, subsample=0.7, random_state=params["seed"], device=params.get("device"))'
    edit(project, "training.py", old, "LGBMClassifier(n_estimators=20, random_state=params['seed'])")
    walk = Walk(project).until("register")
    assert load_card(walk.registry.fetch("1")).format in ("onnx", "lightgbm_text", "skops")
    assert json.loads((walk.path("metrics") / "learning_curve.json").read_bytes())["by"] == "rounds"


def test_a_run_with_a_window_trains_on_its_rows_alone_and_its_version_says_so(project):
    start = "2026-02-10T00:00:00+00:00"
    walk = Walk(project, window="40d", train_from=start).until("register")
    (version,) = walk.registry.versions()
    assert version.tags["mainspring.window"] == "40d"
    assert version.tags["mainspring.train_from"] == start
    profile = read_profile(walk.registry.fetch(version.version))
    # 2,000 hours from the first of January on; the fortieth day of them is the tenth of February.
    assert profile.counts["temp"].rows == 2000 - 40 * 24
    assert min(one.starts.min() for one in profile.windows.values()) == np.datetime64("2026-02-10")
