"""Where a project's own MLflow calls land: `mlflow.autolog()`, `log_metric` and the like inside `train`.

In the step that trains, in the pipeline run's MLflow run. In every other fit (a challenger, a share of the rows, a
trial), nowhere that lasts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.tracking import Tracking

_FLAVOURS = ("sklearn", "xgboost", "lightgbm")
_PLACES = ("set_tracking_uri", "set_registry_uri", "set_experiment")


@contextlib.contextmanager
def recording(tracking: Tracking, run: str) -> Iterator[None]:
    """MLflow's current run is `run`, whatever the block starts or ends; import the project's code inside.

    `start_run()` joins it, but for `nested=True`; where runs are kept is not the code's to say. Autologging logs no model:
    it would be a pickle, and what is served is exported beside it.
    """
    import mlflow

    mlflow.set_tracking_uri(tracking.uri)
    mlflow.set_registry_uri(tracking.uri)
    # Last of all, for MLflow ends the run with the block and there is more to do in it: what failed is closed elsewhere.
    with (
        contextlib.ExitStack() as replaced,
        _afterwards(lambda: tracking.client().update_run(run, status="RUNNING")),
        mlflow.start_run(run_id=run),
    ):
        replaced.enter_context(_replaced(mlflow, "start_run", functools.partial(_join, mlflow, mlflow.start_run)))
        for name in ("end_run", *_PLACES):
            replaced.enter_context(_replaced(mlflow, name, _nothing))
        for one in (mlflow, *(importlib.import_module(f"mlflow.{name}") for name in _FLAVOURS if name in sys.modules)):
            without_models = functools.partial(one.autolog, log_models=False)
            replaced.enter_context(_replaced(one, "autolog", functools.update_wrapper(without_models, one.autolog)))
        yield


@contextlib.contextmanager
def unrecorded(project: Path) -> Iterator[None]:
    """MLflow calls of the project's code go to a folder that is thrown away, and autologging does nothing.

    Where neither the project's files nor this process have anything of MLflow, nothing is imported or done.
    """
    if "mlflow" not in sys.modules and not any(b"mlflow" in path.read_bytes() for path in project.glob("*.py")):
        yield
        return
    import mlflow
    from mlflow.environment_variables import MLFLOW_ALLOW_FILE_STORE
    from mlflow.tracking import fluent
    from mlflow.utils.autologging_utils import disable_autologging

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    allowed = MLFLOW_ALLOW_FILE_STORE.get_raw()
    with tempfile.TemporaryDirectory() as folder:
        MLFLOW_ALLOW_FILE_STORE.set("true")
        mlflow.set_tracking_uri((Path(folder) / "runs").as_uri())
        try:
            with disable_autologging(), contextlib.ExitStack() as replaced:
                # An experiment that is chosen already, here or by MLFLOW_EXPERIMENT_ID, is not in that folder.
                nowhere = mlflow.create_experiment("unrecorded")
                replaced.enter_context(_replaced(fluent, "_active_experiment_id", nowhere))
                for name in _PLACES:
                    replaced.enter_context(_replaced(mlflow, name, _nothing))
                yield
        finally:
            while mlflow.active_run() is not None:
                mlflow.end_run()
            mlflow.set_tracking_uri(before)
            if allowed is None:
                MLFLOW_ALLOW_FILE_STORE.unset()
            else:
                MLFLOW_ALLOW_FILE_STORE.set(allowed)


@contextlib.contextmanager
def _afterwards(do: Callable[[], Any]) -> Iterator[None]:
    try:
        yield
    finally:
        do()


def _nothing(*_: Any, **__: Any) -> None:
    return None


class _Joined:
    """What `start_run()` gives when a run is already there: that run, which the end of a `with` does not end."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def __enter__(self) -> Any:
        return self._run

    def __exit__(self, *error: object) -> None:
        return None


def _join(mlflow: Any, start_run: Callable[..., Any], *given: Any, nested: bool = False, **more: Any) -> Any:
    if nested:
        return start_run(*given, nested=True, **more)
    if more.get("tags"):
        mlflow.set_tags(more["tags"])
    return _Joined(mlflow.active_run())


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
