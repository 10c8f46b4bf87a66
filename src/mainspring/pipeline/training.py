"""Calling a project's `train`, and what comes of it.

`data` has what an estimator needs; `params` are the project's, with a seed. What is returned has to be something that
can be carried without pickle, and is refused by name otherwise.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import TrainingError
from mainspring.domain.model_version import Signature
from mainspring.settings.code import import_file

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

TRAINING_FILE = "training.py"


@dataclass(frozen=True)
class Part:
    """Rows for early stopping: `X`, `y` and `weights` as in `TrainingData`; no rows when no share is set aside."""

    X: pd.DataFrame
    y: NDArray[Any]
    weights: NDArray[Any] | None = None


@dataclass(frozen=True)
class TrainingData:
    """What `train(data, params)` gets.

    `X` [rows, features] in column order: numbers as float64 with NaN, text as strings with "" for missing. `y` [rows] is
    0/1, class positions, or values. `weights` [rows] are `target.weight`'s, all 1 without one. `columns` are X's in order,
    each in `categoricals` or `numerics`; `dtypes` says for each what its source holds: int, float, bool, str or category.
    `classes` are the labels by position in `y`.
    """

    X: pd.DataFrame
    y: NDArray[Any]
    weights: NDArray[Any]
    validation: Part
    columns: list[str]
    categoricals: list[str]
    numerics: list[str]
    dtypes: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def training_data(X: pd.DataFrame, y: Any, signature: Signature, validation: Part, weights: Any = None) -> TrainingData:
    """`X`, `y`, `weights` (None: all 1) and the signature as `train` gets them."""
    import numpy as np

    text = [one.name for one in signature.features if one.type in ("str", "category")]
    if validation.weights is None:
        validation = replace(validation, weights=np.ones(len(validation.y)))
    return TrainingData(
        X=X,
        y=y,
        weights=np.ones(len(y)) if weights is None else weights,
        validation=validation,
        columns=[one.name for one in signature.features],
        categoricals=text,
        numerics=[one.name for one in signature.features if one.name not in text],
        dtypes={one.name: one.type for one in signature.features},
        classes=signature.classes,
    )


@dataclass(frozen=True)
class Recipe:
    """A project's `training.py`: `train`, and where it has them `evaluate`, `save`, `load` and `predict`."""

    path: Path
    module: ModuleType

    def __post_init__(self) -> None:
        if not callable(getattr(self.module, "train", None)):
            raise TrainingError(
                "there is no function `train`",
                where=str(self.path),
                valid="def train(data, params): ... returning a fitted estimator",
            )
        own = {name for name in ("save", "load", "predict") if callable(getattr(self.module, name, None))}
        if own and own != {"save", "load", "predict"}:
            raise TrainingError(
                f"`{'`, `'.join(sorted(own))}` without `{'`, `'.join(sorted({'save', 'load', 'predict'} - own))}`",
                where=str(self.path),
                valid="all three of save(model, folder), load(folder) and predict(model, X), or none",
            )

    @property
    def carries_itself(self) -> bool:
        """Whether the project saves, loads and predicts by itself."""
        return callable(getattr(self.module, "save", None))

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function of the module, None when it has none of that name."""
        found = getattr(self.module, name, None)
        return found if callable(found) else None


def load_recipe(root: Path) -> Recipe:
    """Import `training.py`; a `TrainingError` says where it fails."""
    path = root / TRAINING_FILE
    if not path.is_file():
        raise TrainingError(
            f"the project has no {TRAINING_FILE}", where=str(path), valid="a file with def train(data, params)"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        module = import_file(path, "mainspring_project_training")
    except Exception as error:
        raise TrainingError(f"{TRAINING_FILE} cannot be imported: {error!r}", where=_line(error, path)) from error
    return Recipe(path, module)


def fit(recipe: Recipe, data: TrainingData, params: Mapping[str, Any], *, seed: int) -> Any:
    """Call `train`; its own exception becomes a `TrainingError` that names the line."""
    import numpy as np

    np.random.seed(seed)  # for projects that use a global generator
    random.seed(seed)
    try:
        model = recipe.module.train(data, {"seed": seed, **params})
    except Exception as error:
        raise TrainingError(
            f"train failed: {type(error).__name__}: {error}",
            where=_line(error, recipe.path),
            next_step="mainspring train, which runs in this process so that a debugger works",
        ) from error
    if model is None:
        raise TrainingError("train returned nothing", where=str(recipe.path), valid="a fitted estimator")
    return model


def answers(model: Any, X: pd.DataFrame, signature: Signature, recipe: Recipe) -> Any:
    """The trained model's own answers: [rows] or, of several classes, [rows, classes]."""
    import numpy as np

    own = recipe.function("predict") if recipe.carries_itself else None
    if own is not None:
        numbers = own(model, X)
    elif signature.task == "regression":
        numbers = model.predict(X)
    elif not callable(getattr(model, "predict_proba", None)):
        raise TrainingError(
            f"a {type(model).__name__} gives no probabilities",
            where=str(recipe.path),
            valid="a classifier with predict_proba, or the project's own save, load and predict",
        )
    else:
        numbers = model.predict_proba(X)
    found = np.asarray(numbers, np.float64)
    return found[:, -1] if signature.task == "binary" and found.ndim == 2 else found


def own_numbers(recipe: Recipe, model: Any, data: TrainingData) -> dict[str, float]:
    """What the project's own `evaluate(model, data)` finds, {} without one.

    Errors: `TrainingError` when it fails, or gives something else than named, finite numbers.
    """
    evaluate = recipe.function("evaluate")
    if evaluate is None:
        return {}
    try:
        found = evaluate(model, data)
    except Exception as error:
        raise TrainingError(
            f"evaluate failed: {type(error).__name__}: {error}", where=_line(error, recipe.path)
        ) from error
    valid = 'named, finite numbers, such as {"cost": 12.5}'
    if not isinstance(found, Mapping):
        raise TrainingError(f"evaluate returned a {type(found).__name__}", where=str(recipe.path), valid=valid)
    numbers: dict[str, float] = {}
    for name, value in found.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"evaluate: {name} is {value!r}", where=str(recipe.path), valid=valid) from error
        if not math.isfinite(numbers[str(name)]):
            raise TrainingError(f"evaluate: {name} is {value}", where=str(recipe.path), valid=valid)
    return numbers


def _line(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        line = error.lineno
    return f"{path}:{line}" if line else str(path)
