"""What a model folder holds answers as the estimator did, in the best format that can carry it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder
from xgboost import XGBClassifier

from mainspring.domain.errors import TrainingError
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature, Signature
from mainspring.registry.export import TOLERANCE, Trained, export
from mainspring.serving.runtime import load_runtime

GENERATOR = np.random.default_rng(5)
X = pd.DataFrame(
    {
        "town": GENERATOR.choice(["Ulm", "Bonn", "Kiel", ""], 600),
        "temp": np.where(GENERATOR.uniform(size=600) < 0.1, np.nan, GENERATOR.normal(10, 8, 600)),
        "wind": GENERATOR.normal(5, 2, 600),
    }
).astype({"town": object})
Y = ((X.town == "Ulm") * 2 + X.wind + GENERATOR.normal(0, 1, 600) > 6).astype(int).to_numpy()
TOWN = Feature("town", "category", nullable=True, categories=("Bonn", "Kiel", "Ulm"))
NUMBERS = (Feature("temp", "float", nullable=True), Feature("wind", "float"))


def replay(folder, card, rows):
    found = np.array(load_runtime(folder, card).predict(rows))
    return found if card.task == "multiclass" else found[:, 0]


def carry(model, features, folder, y=Y, task="binary", **more):
    data = X[[one.name for one in features]]
    model = model.fit(data, y)
    answers = model.predict(data) if task == "regression" else model.predict_proba(data)
    answers = answers[:, -1] if task == "binary" else answers
    classes = () if task == "regression" else tuple(str(one) for one in np.unique(y))
    card = ModelCard("m", task, "onnx", Signature(task, tuple(features), classes=classes))
    return export(Trained(model, data.to_numpy(object).tolist(), answers, **more), card, folder / "model", replay)


def trees(**more):
    return XGBClassifier(n_estimators=20, max_depth=4, random_state=1, n_jobs=1, **more)


def coded(last):
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(make_column_transformer((encode, ["town"]), remainder="passthrough"), last)


def test_boosted_trees_behind_an_encoder_become_onnx(tmp_path):
    done = carry(coded(trees()), (TOWN, *NUMBERS), tmp_path)
    assert done.card.format == "onnx"
    assert done.card.parity["probability"] <= TOLERANCE
    assert done.passed_over == {}


def test_numbers_alone_become_one_matrix(tmp_path):
    assert carry(trees(), NUMBERS, tmp_path).card.format == "onnx"


def test_columns_of_any_name_become_inputs_of_that_name(tmp_path):
    named = {"town": "the town's name", "temp": "temp (°C)", "wind": "1. wind"}
    features = tuple(replace(one, name=named[one.name]) for one in (TOWN, *NUMBERS))
    data = X.rename(columns=named)
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encode, [named["town"]]), remainder="passthrough")
    model = make_pipeline(columns, trees()).fit(data, Y)
    card = ModelCard("m", "binary", "onnx", Signature("binary", features, classes=("0", "1")))
    trained = Trained(model, data.to_numpy(object).tolist(), model.predict_proba(data)[:, 1])
    done = export(trained, card, tmp_path / "model", replay)
    assert (done.card.format, done.passed_over) == ("onnx", {})


def test_several_classes_and_values_are_carried(tmp_path):
    three = np.digitize(X.wind, [4, 6])
    assert carry(coded(trees()), (TOWN, *NUMBERS), tmp_path, three, "multiclass").card.format == "onnx"
    values = RandomForestRegressor(n_estimators=10, random_state=1)
    wind = (NUMBERS[1],)
    assert carry(values, wind, tmp_path, X.wind.to_numpy() * 3, "regression").card.format in ("onnx", "skops")


def test_a_linear_model_behind_one_hot_columns_is_carried(tmp_path):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), ("passthrough", ["wind"]))
    done = carry(make_pipeline(columns, LogisticRegression()), (TOWN, NUMBERS[1]), tmp_path)
    assert done.card.format == "onnx"


def test_where_the_export_answers_otherwise_the_native_format_is_served(tmp_path, monkeypatch):
    import mainspring.registry.export as module

    other = trees().fit(X[["temp", "wind"]], 1 - Y)
    write = module.write_onnx
    monkeypatch.setattr(module, "write_onnx", lambda model, signature, path: write(other, signature, path))
    done = carry(trees(), NUMBERS, tmp_path)
    assert done.card.format == "xgboost_ubj"
    assert "differ" in done.passed_over["onnx"]


def test_what_onnx_cannot_take_is_served_by_skops(tmp_path):
    text = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((text, ["town"]), (FunctionTransformer(np.log1p), ["wind"]))
    X["wind"] = X.wind.clip(lower=0)
    done = carry(make_pipeline(columns, HistGradientBoostingClassifier(max_iter=5)), (TOWN, NUMBERS[1]), tmp_path)
    assert done.card.format == "skops"
    assert "onnx" in done.passed_over


class Mine:
    """An estimator of a project, which nothing of ours can carry."""

    def fit(self, data, y):
        return self

    def predict_proba(self, data):
        return np.tile([0.25, 0.75], (len(data), 1))


def test_what_nothing_can_carry_is_refused_by_name_with_each_reason(tmp_path):
    with pytest.raises(
        TrainingError, match=r"Mine cannot be served without pickle: onnx: .*; skops: it holds"
    ) as error:
        carry(Mine(), NUMBERS, tmp_path)
    assert "save(model, folder)" in error.value.next_step
    assert not (tmp_path / "model").exists()


def test_a_project_carries_itself(tmp_path):
    code = tmp_path / "training.py"
    code.write_text(
        "import numpy as np\n"
        "def load(folder):\n    return float((folder / 'share.txt').read_text())\n"
        "def predict(model, X):\n    return np.full(len(X), model)\n"
    )

    def save(model, folder):
        (folder / "share.txt").write_text("0.75")

    done = carry(Mine(), NUMBERS, tmp_path, save=save, project_files=[code])
    assert done.card.format == "project"
