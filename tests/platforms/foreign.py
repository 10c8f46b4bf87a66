"""A real MLflow on SQLite with models that somebody logged with nothing but MLflow's own functions."""

import warnings

import mlflow
import numpy as np
import onnx
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
    import mlflow.pyfunc

    class Own(mlflow.pyfunc.PythonModel):
        """A model of somebody's own code."""

        def predict(self, context, model_input, params=None):
            return [0.5] * len(model_input)


GENERATOR = np.random.default_rng(4)
COUNT = 400
X = pd.DataFrame(
    {
        "temp": GENERATOR.normal(10, 8, COUNT),
        "wind": np.where(GENERATOR.uniform(size=COUNT) < 0.1, np.nan, GENERATOR.normal(5, 2, COUNT)),
        "town": GENERATOR.choice(["Bonn", "Kiel", "Ulm"], COUNT),
    }
)
NUMBERS = X[["temp", "wind"]]
FULL = X[["temp"]].assign(level=GENERATOR.normal(size=COUNT))
VIEWED = FULL.rename(columns={"level": "mean_temp"})
Y = (X.temp + GENERATOR.normal(0, 4, COUNT) + 3 * (X.town == "Kiel") > 11).astype(int)
THREE = pd.cut(X.temp, [-100, 5, 15, 100], labels=False).to_numpy()


def towns_model():
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), (_scaler(), ["temp"]))
    return make_pipeline(columns, LogisticRegression()).fit(X, Y)


def _scaler():
    from sklearn.preprocessing import StandardScaler

    return StandardScaler()


def trees(y=Y):
    return xgboost.XGBClassifier(n_estimators=15, max_depth=3, n_jobs=1).fit(NUMBERS, y)


def as_onnx(model, zipmap=False):
    return to_onnx(model, FULL.to_numpy()[:1].astype(np.float32), options={"zipmap": zipmap})


def double(values):
    return values * 2


def log_models(uri, artifacts):
    """Register each model once, as its owner would; what is compared with, by name."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("theirs", artifact_location=artifacts.as_uri())
    mlflow.set_experiment("theirs")
    sk, boosted, three = towns_model(), trees(), trees(THREE)
    plain = LogisticRegression().fit(FULL.to_numpy(), Y)
    line = LinearRegression().fit(FULL, X.wind.fillna(5))
    custom = make_pipeline(FunctionTransformer(double), LogisticRegression()).fit(FULL, Y)
    viewed = LogisticRegression().fit(VIEWED, Y)
    quick = {"pip_requirements": ["mlflow"]}
    try:
        with mlflow.start_run():
            for name, model, more in (
                ("towns", sk, {"signature": infer_signature(X, Y)}),
                ("pickled", sk, {"serialization_format": "cloudpickle"}),
                ("line", line, {"signature": infer_signature(FULL, Y.astype(float))}),
                ("matrix", plain, {"signature": infer_signature(FULL.to_numpy(), Y.to_numpy())}),
                ("viewed", viewed, {}),
                ("custom", custom, {"skops_trusted_types": [f"{__name__}.double"]}),
            ):
                mlflow.sklearn.log_model(model, name=name, registered_model_name=name, **more, **quick)
            for name, model, more in (
                ("boosted", boosted, {"signature": infer_signature(NUMBERS, Y)}),
                ("three", three, {}),
                ("booster", boosted.get_booster(), {"model_format": "json"}),
            ):
                mlflow.xgboost.log_model(model, name=name, registered_model_name=name, **more, **quick)
            for name, model in (("onnx", as_onnx(plain)), ("zipmap", as_onnx(plain, True))):
                mlflow.onnx.log_model(
                    model, name=name, registered_model_name=name,
                    signature=infer_signature(FULL.to_numpy().astype(np.float32)), **quick,
                )  # fmt: skip
            mlflow.pyfunc.log_model(name="own", python_model=Own(), registered_model_name="own", **quick)
        mlflow.MlflowClient(uri).set_registered_model_alias("boosted", "prod", "1")
    finally:
        mlflow.set_tracking_uri(before)
    assert isinstance(as_onnx(plain), onnx.ModelProto)
    return {"towns": sk, "boosted": boosted, "three": three, "matrix": plain, "line": line}
