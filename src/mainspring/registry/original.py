"""A model that came from elsewhere, asked in its own way: its task, its classes, the columns it knows, its answers.

Nothing of ours is in between: what is served is compared with these answers.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError
from mainspring.domain.metric import Task
from mainspring.domain.model_version import label_name

if TYPE_CHECKING:
    import pandas as pd

_BOOSTERS: dict[str, Task] = {
    "binary:logistic": "binary",
    "multi:softprob": "multiclass",
    "binary": "binary",
    "multiclass": "multiclass",
    "multiclassova": "multiclass",
    "regression": "regression",
    "regression_l1": "regression",
    "huber": "regression",
    "poisson": "regression",
    "tweedie": "regression",
    "gamma": "regression",
}
"""What a booster's objective answers; XGBoost's `reg:` and `count:` are regressions, too."""


@dataclass(frozen=True)
class Original:
    """`task` is None, and `classes` are empty, where the model does not say; `names` are empty where it was fitted on
    arrays. `width` is the number of its inputs, None where it does not say."""

    model: Any
    task: Task | None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    width: int | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX model, which is served as it is."""
        return type(self.model).__module__.startswith("onnx.")


def look(model: Any) -> Original:
    """What a loaded model says of itself. Errors: `ConfigError` for one whose answers are not those of a task."""
    module = type(model).__module__
    if module.startswith("onnx."):
        return _onnx(model)
    if module.startswith("xgboost.core"):
        return _xgboost(model)
    if module.startswith("lightgbm.basic"):
        return _lightgbm(model)
    return _estimator(model)


def answers(original: Original, frame: pd.DataFrame, task: Task) -> Any:
    """The model's own answers to rows: [rows], or of several classes [rows, classes]. Not for ONNX."""
    import numpy as np

    model, module = original.model, type(original.model).__module__
    given: Any = frame if original.names else frame.to_numpy()
    with warnings.catch_warnings():
        # What a library has to say to those who fitted the model is no news to those who serve it.
        warnings.simplefilter("ignore")
        if module.startswith("xgboost.core"):
            import xgboost

            found = model.predict(xgboost.DMatrix(given))
        elif module.startswith("lightgbm.basic"):
            found = model.predict(frame.to_numpy())
        elif task == "regression":
            found = model.predict(given)
        else:
            found = model.predict_proba(given)
    numbers = np.asarray(found, np.float64)
    if task == "regression" and numbers.ndim == 2 and numbers.shape[1] == 1:
        return numbers[:, 0]
    return numbers[:, -1] if task == "binary" and numbers.ndim == 2 else numbers


def _estimator(model: Any) -> Original:
    from sklearn.base import is_classifier, is_regressor

    name, width = type(model).__name__, getattr(model, "n_features_in_", None)
    names = tuple(str(one) for one in getattr(model, "feature_names_in_", ()))
    if is_regressor(model):
        return Original(model, "regression", (), names, width)
    if not is_classifier(model):
        raise ConfigError(
            f"a {name} is neither a classifier nor a regressor", valid="what predicts a class or a number"
        )
    if not callable(getattr(model, "predict_proba", None)):
        raise ConfigError(
            f"a {name} gives no probabilities",
            valid="a classifier with predict_proba",
            next_step="wrap it where it was trained: CalibratedClassifierCV(model); then log it again",
        )
    classes = model.classes_
    if isinstance(classes, list):
        raise ConfigError(f"a {name} with {len(classes)} outputs", valid="one output")
    labels = tuple(label_name(one) for one in classes.tolist())
    return Original(model, "binary" if len(labels) == 2 else "multiclass", labels, names, width)


def _xgboost(booster: Any) -> Original:
    learner = json.loads(booster.save_config())["learner"]
    objective = str(learner["objective"]["name"])
    task = "regression" if objective.startswith(("reg:", "count:")) else _BOOSTERS.get(objective)
    count = int(learner["learner_model_param"].get("num_class", "0") or 0)
    return _booster(booster, objective, task, count, tuple(booster.feature_names or ()), booster.num_features())


def _lightgbm(booster: Any) -> Original:
    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
    names = tuple(booster.feature_name())
    return _booster(
        booster, objective, _BOOSTERS.get(objective), booster.num_model_per_iteration(), names, booster.num_feature()
    )


def _booster(
    booster: Any, objective: str, task: Task | None, count: int, names: tuple[str, ...], width: int
) -> Original:
    if task is None:
        raise ConfigError(
            f"a booster with the objective {objective!r} answers neither chances nor values",
            valid="binary:logistic, multi:softprob, reg:...; of LightGBM binary, multiclass, regression",
        )
    size = {"binary": 2, "multiclass": count, "regression": 0}[task]
    return Original(booster, task, tuple(str(place) for place in range(size)), names, width)


def _onnx(model: Any) -> Original:
    made = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in made]
    if len(inputs) > 1:
        return Original(model, None, (), tuple(one.name for one in inputs), len(inputs))
    shape = list(inputs[0].type.tensor_type.shape.dim) if inputs else []
    width = int(shape[1].dim_value) if len(shape) == 2 else 0
    return Original(model, None, (), (), width or None)
