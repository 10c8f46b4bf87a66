"""Models in memory: from a model folder, by its card's format, to rows in and numbers out.

Every runtime takes rows in the order of the signature's features, numbers as floats (NaN when missing) and text as
strings (None when missing), and gives one tuple a row: the probability of the positive class, the probabilities of all
classes, or the value. No format that can run code on loading is read, but a project's own, which is the project's code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mainspring.domain.codec import from_json
from mainspring.domain.errors import ConfigError, NotFound
from mainspring.domain.model_card import CARD_FILE, ModelCard
from mainspring.domain.model_version import ServedFormat
from mainspring.serving.checks import FLOAT32_LARGEST, FLOAT64_LARGEST

Row = Sequence[Any]
Output = tuple[float, ...]


class Runtime(Protocol):
    """A loaded model. `largest` is the size of the largest number that its arithmetic holds."""

    largest: float

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """One output for each row."""
        ...


def load_card(folder: Path) -> ModelCard:
    """The model folder's card."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise NotFound("the model folder has no card", where=str(path))
    return from_json(ModelCard, path.read_bytes())


def load_runtime(folder: Path, card: ModelCard) -> Runtime:
    """Load the folder's model; a `NotFound` or `ConfigError` names the file and what is wrong with it."""
    path = folder / card.file
    if not path.exists():
        raise NotFound(f"the model folder has no {card.file}, which its card promises", where=str(path))
    return _LOADERS[card.format](path, card)


def outputs(numbers: Any, card: ModelCard) -> list[Output]:
    """Raw probabilities ([rows] or [rows, classes]) or values ([rows] or [rows, 1]) as one tuple a row.

    >>> import numpy as np
    >>> card = ModelCard("m", "binary", "onnx", __import__("mainspring.domain.model_version", fromlist=["Signature"])
    ...     .Signature("binary", ()))
    >>> outputs(np.array([[0.75, 0.25]]), card)
    [(0.25,)]
    """
    if numbers.ndim == 2 and card.task == "binary":
        return [(value,) for value in numbers[:, -1].tolist()]
    if numbers.ndim == 2:
        return [tuple(values) for values in numbers.tolist()]
    return [(value,) for value in numbers.tolist()]


class _OnnxMatrix:
    """ONNX with a single [rows, features] input of numbers."""

    def __init__(self, session: Any, card: ModelCard) -> None:
        import numpy as np

        self._array = np.array
        self._type = _onnx_number(session.get_inputs()[0].type, np)
        self._input = session.get_inputs()[0].name
        self.largest = _largest([self._type], np)
        self._run = session.run
        self._outputs = [_onnx_output(session, card)]
        self._card = card

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """One run for all rows."""
        array = self._array(rows, self._type)
        return outputs(self._run(self._outputs, {self._input: array})[0], self._card)


class _OnnxColumns:
    """ONNX with one [rows, 1] input for each feature."""

    def __init__(self, session: Any, card: ModelCard) -> None:
        import numpy as np

        self._array = np.array
        by_name = {given.name: given for given in session.get_inputs()}
        self._inputs: list[tuple[int, str, Any]] = []
        for position, feature in enumerate(card.signature.features):
            given = by_name.get(feature.name)
            if given is None:
                continue  # the export dropped an input that the model never looks at
            self._inputs.append((position, feature.name, _onnx_column(given.type, np)))
        extra = sorted(by_name.keys() - {name for _, name, _ in self._inputs})
        if extra:
            raise ConfigError(
                f"the ONNX model wants inputs that its signature does not name: {', '.join(extra)}",
                valid="one input for each feature, or a single matrix of numbers",
            )
        self.largest = _largest([kind for _, _, kind in self._inputs if kind is not None], np)
        self._run = session.run
        self._outputs = [_onnx_output(session, card)]
        self._card = card

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """One run for all rows."""
        if not rows:
            return []
        feed = {}
        columns = list(zip(*rows, strict=True))
        for position, name, kind in self._inputs:
            if kind is None:
                column = ["" if value is None else value for value in columns[position]]
                feed[name] = self._array(column, object)[:, None]
            else:
                feed[name] = self._array(columns[position], kind)[:, None]
        return outputs(self._run(self._outputs, feed)[0], self._card)


def _load_onnx(path: Path, card: ModelCard) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own for every kind of damage
        raise ConfigError(f"ONNX Runtime cannot load the model: {error}", where=str(path)) from error
    inputs = session.get_inputs()
    names = {feature.name for feature in card.signature.features}
    if len(inputs) == 1 and inputs[0].name not in names:
        return _OnnxMatrix(session, card)
    return _OnnxColumns(session, card)


def _onnx_column(kind: str, np: Any) -> Any:
    return None if kind == "tensor(string)" else _onnx_number(kind, np)


def _onnx_number(kind: str, np: Any) -> Any:
    known = {
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
    }
    if kind not in known:
        raise ConfigError(f"an ONNX input of type {kind}", valid=", ".join([*known, "tensor(string)"]))
    return known[kind]


def _largest(kinds: Sequence[Any], np: Any) -> float:
    """The size that all inputs of these number types hold."""
    return FLOAT32_LARGEST if np.float32 in kinds else FLOAT64_LARGEST


def _onnx_output(session: Any, card: ModelCard) -> str:
    found = [output.name for output in session.get_outputs() if output.type in ("tensor(float)", "tensor(double)")]
    if not found:
        raise ConfigError(
            "the ONNX model has no output of numbers",
            valid="export classifiers with zipmap=False, so that probabilities are a tensor",
        )
    likely = [name for name in found if "prob" in name.lower()] if card.output == "probability" else []
    return str((likely or found)[0])


class _Coded:
    """Rows as a float matrix, categories as their positions in the signature; for boosters."""

    largest = FLOAT32_LARGEST

    def __init__(self, card: ModelCard, predict: Callable[[Any], Any]) -> None:
        import numpy as np

        self._array = np.array
        self._type = np.float32
        self._card = card
        self._predict = predict
        self._codes = [
            (position, {category: float(code) for code, category in enumerate(feature.categories)})
            for position, feature in enumerate(card.signature.features)
            if feature.type in ("str", "category")
        ]

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """A category that training never saw is a missing value."""
        if self._codes:
            coded = [list(row) for row in rows]
            for position, codes in self._codes:
                for row in coded:
                    row[position] = codes.get(row[position], float("nan"))
            rows = coded
        return outputs(self._predict(self._array(rows, self._type)), self._card)


def _load_xgboost(path: Path, card: ModelCard) -> Runtime:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(str(path))
    except xgboost.core.XGBoostError as error:
        raise ConfigError(f"XGBoost cannot load the model: {error}", where=str(path)) from error
    best = booster.attributes().get("best_iteration")
    rounds = (0, int(best) + 1) if best is not None else (0, 0)

    def predict(matrix: Any) -> Any:
        return booster.inplace_predict(matrix, iteration_range=rounds, validate_features=False)

    return _Coded(card, predict)


def _load_lightgbm(path: Path, card: ModelCard) -> Runtime:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            "LightGBM is not installed here", where=str(path), next_step="pip install lightgbm"
        ) from error

    booster = lightgbm.Booster(model_file=str(path))

    def predict(matrix: Any) -> Any:
        return booster.predict(matrix, num_threads=1)

    return _Coded(card, predict)


class _Frames:
    """Rows as a pandas frame with the signature's names and types; for estimators and projects."""

    def __init__(self, card: ModelCard, predict: Callable[[Any], Any], largest: float) -> None:
        self.largest = largest
        self._card = card
        self._predict = predict

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        """One call for all rows."""
        import numpy as np
        import pandas as pd

        columns: dict[str, Any] = {}
        for position, feature in enumerate(self._card.signature.features):
            values = [row[position] for row in rows]
            if feature.type == "category":
                columns[feature.name] = pd.Categorical(values, categories=list(feature.categories) or None)
            elif feature.type == "str":
                columns[feature.name] = pd.Series(values, dtype=object)
            else:
                columns[feature.name] = np.array(values, np.float64)
        return outputs(np.asarray(self._predict(pd.DataFrame(columns)), np.float64), self._card)


_TRUSTED_PACKAGES = ("sklearn.", "numpy.", "scipy.", "xgboost.", "lightgbm.")


def _load_skops(path: Path, card: ModelCard) -> Runtime:
    from skops.io import get_untrusted_types, load

    found = get_untrusted_types(file=path)
    refused = [name for name in found if name not in card.trusted_types or not name.startswith(_TRUSTED_PACKAGES)]
    if refused:
        raise ConfigError(
            f"the skops file holds types that are not trusted: {', '.join(sorted(refused))}",
            where=str(path),
            valid="types of sklearn, numpy, scipy, xgboost or lightgbm that the model's card lists",
        )
    model = load(path, trusted=list(found))
    # Trees of scikit-learn compute in 32 bits.
    return _Frames(card, model.predict if card.task == "regression" else model.predict_proba, FLOAT32_LARGEST)


def _load_project(path: Path, card: ModelCard) -> Runtime:
    from mainspring.serving.project_code import load_project

    return _Frames(card, load_project(path), FLOAT64_LARGEST)


_LOADERS: dict[ServedFormat, Callable[[Path, ModelCard], Runtime]] = {
    "onnx": _load_onnx,
    "xgboost_ubj": _load_xgboost,
    "lightgbm_text": _load_lightgbm,
    "skops": _load_skops,
    "project": _load_project,
}


def single_threaded() -> None:
    """Keep numeric libraries to one thread; call before any of them is imported: a predictor is one core."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
