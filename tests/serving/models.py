"""A small real model for serving tests: weather and a town, half from the request and half from the online store."""

import json

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature, ModelVersion, Signature
from mainspring.registry.export import Trained, export
from mainspring.serving.runtime import load_runtime

FEATURES = (
    Feature("town", "category", categories=("Bonn", "Ulm")),
    Feature("wind", "float"),
    Feature("temp", "float", "weather", nullable=True),
)
SIGNATURE = Signature("binary", FEATURES, ("town",), ("0", "1"), "rain")


def write_model(folder):
    generator = np.random.default_rng(6)
    X = pd.DataFrame(
        {
            "town": generator.choice(["Bonn", "Ulm"], 300).astype(object),
            "wind": generator.normal(5, 2, 300),
            "temp": np.where(generator.uniform(size=300) < 0.2, np.nan, generator.normal(10, 5, 300)),
        }
    )
    y = (X.wind + (X.town == "Ulm") > 5).astype(int)
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough")
    model = make_pipeline(columns, XGBClassifier(n_estimators=10, max_depth=3, random_state=1, n_jobs=1)).fit(X, y)
    card = ModelCard("rain", "binary", "onnx", SIGNATURE)
    rows = X.to_numpy(object).tolist()
    replay = lambda at, card, rows: np.array(load_runtime(at, card).predict(rows))[:, 0]  # noqa: E731
    return export(Trained(model, rows, model.predict_proba(X)[:, 1]), card, folder, replay).card


def version(number="1", signature=SIGNATURE):
    return ModelVersion("rain", number, f"run-{number}", "d", "", True, "policy:auto", "onnx", signature)


def tensor(name, datatype, *values):
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": list(values)}


def infer(*tensors, id=""):
    return json.dumps({"inputs": list(tensors), "id": id}).encode()


RAIN = infer(tensor("town", "BYTES", "Ulm"), tensor("wind", "FP64", 7.5))
