"""A project's own model: `load(folder)` and `predict(model, frame)` of its `training.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainspring.domain.errors import ConfigError

TRAINING_FILE = "training.py"


def load_project(folder: Path) -> Callable[[Any], Any]:
    """Import the folder's `training.py`, load the model that its `save` wrote there, and return frame -> numbers.

    The folder goes on the import path, so that what lies beside `training.py` can be imported. Errors: `ConfigError`
    when a function is missing or `load` fails.
    """
    path = folder / TRAINING_FILE
    spec = importlib.util.spec_from_file_location("mainspring_served_training", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"no {TRAINING_FILE} beside the project's model", where=str(path))
    sys.path.insert(0, str(folder))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    load, predict = getattr(module, "load", None), getattr(module, "predict", None)
    if not callable(load) or not callable(predict):
        raise ConfigError(
            f"{TRAINING_FILE} has no `load` and `predict`",
            where=str(path),
            valid="def load(folder): ... and def predict(model, X): ...",
        )
    model = load(folder)
    return lambda frame: predict(model, frame)
