"""Estimators of scikit-learn, XGBoost and LightGBM as ONNX."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

from mainspring.domain.errors import TrainingError
from mainspring.domain.model_version import Signature

MATRIX = "X"
"""Name of the single input of a model that takes only numbers."""


def write_onnx(model: Any, signature: Signature, path: Path) -> None:
    """Convert and write; any error of the converters is the caller's to read as 'not this format'."""
    from skl2onnx import to_onnx

    _register()
    text = any(feature.type in ("str", "category") for feature in signature.features)
    if text and not _takes_columns(model):
        raise TrainingError("it has no column transformer to tell text from numbers")
    types = _columns(signature) if _takes_columns(model) else _matrix(signature)
    classifier = signature.task != "regression"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _nameless(model)
        converted = to_onnx(
            model,
            initial_types=types,
            options={id(_last(model)): {"zipmap": False}} if classifier else None,
            target_opset={"": 18, "ai.onnx.ml": 3},
        )
    if _takes_columns(model):
        _name_inputs(converted.graph, [feature.name for feature in signature.features])
    path.write_bytes(converted.SerializeToString())


def _name_inputs(graph: Any, names: list[str]) -> None:
    """Inputs by the features' own names: the converter makes `petal_width__cm_` of `petal width (cm)`.

    Inputs keep the features' order. One that the converter left out makes them fewer; then names stay as they are.
    """
    if len(graph.input) != len(names):
        return
    given = {one.name: name for one, name in zip(graph.input, names, strict=True)}
    for one in graph.input:
        one.name = given[one.name]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = given.get(name, name)


def _nameless(model: Any) -> Any:
    """XGBoost fitted on a frame keeps the columns' names, which the converter does not understand."""
    if not type(model).__module__.startswith("xgboost.") or not model.get_booster().feature_names:
        return model
    model = copy.deepcopy(model)
    model.get_booster().feature_names = None
    return model


def _columns(signature: Signature) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    return [
        (one.name, StringTensorType([None, 1]) if one.type in ("str", "category") else FloatTensorType([None, 1]))
        for one in signature.features
    ]


def _matrix(signature: Signature) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType

    return [(MATRIX, FloatTensorType([None, len(signature.features)]))]


def _takes_columns(model: Any) -> bool:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    while isinstance(model, Pipeline):
        model = model.steps[0][1]
    return isinstance(model, ColumnTransformer)


def _last(model: Any) -> Any:
    from sklearn.pipeline import Pipeline

    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def _register() -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = {
        "Classifier": calculate_linear_classifier_output_shapes,
        "Regressor": calculate_linear_regressor_output_shapes,
    }
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    for prefix, library in (("XGB", "xgboost"), ("LGBM", "lightgbm")):
        converter = _converter(library)
        if converter is None:
            continue
        module = __import__(library)
        for kind, shape in shapes.items():
            update_registered_converter(
                getattr(module, f"{prefix}{kind}"),
                f"{prefix}{kind}",
                shape,
                converter,
                options=options if kind == "Classifier" else None,
                overwrite=True,
            )


def _converter(library: str) -> Any:
    try:
        if library == "xgboost":
            from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

            return convert_xgboost
        import lightgbm  # noqa: F401
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        return convert_lightgbm
    except ImportError:
        return None
