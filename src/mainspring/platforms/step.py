"""`run_step`: what a pipeline task calls. It keeps the step's record beside the run, whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.execute import REQUEST, kept_file
from mainspring.adapters.kfp.worker import ask
from mainspring.adapters.processes.locks import locked
from mainspring.domain.errors import MainspringError
from mainspring.domain.run import Step
from mainspring.settings.paths import ProjectPaths

ENTRY = "mainspring.platforms.step:run_step"
HERE = "mainspring.platforms.step:run_here"
ON_FAILURE = "mainspring.platforms.step:run_failed"
WARM = [
    "great_expectations",
    "great_expectations.expectations",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.artifacts",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "duckdb",
    "pandas",
    "xgboost",
    "sklearn.compose",
    "sklearn.linear_model",
    "onnxruntime",
    "skl2onnx",
    "onnxmltools.convert.xgboost.operator_converters.XGBoost",
    "kfp.local",
    "mainspring.adapters.feast.asof_store",
    "feast.infra.online_stores.sqlite",
    "mainspring.adapters.kfp.components",
    "mainspring.platforms.steps",
    "mainspring.platforms.laptop",
    "mainspring.adapters.mlflow.registry",
]
"""What a warm worker imports before it is asked."""


def run_step(
    name: str, project: str, run_id: str, parameters: str, inputs: dict[str, str], outputs: dict[str, str]
) -> dict[str, float]:
    """Run one step, in the project's warm worker where there is one; returns its numbers.

    `parameters` is JSON with `known_at` (ISO 8601) and `champion`. Errors: whatever the step raises, after its reason was
    written to the run's folder.
    """
    call: list[Any] = [name, project, run_id, parameters, inputs, outputs]
    answer = ask(ProjectPaths(Path(project)).state, HERE, call)
    if answer is None:
        return run_here(name, project, run_id, parameters, inputs, outputs)
    if "error" in answer:
        # The step wrote its reason down; where it could not, whoever runs the pipeline does.
        raise MainspringError(f"{answer['kind']}: {answer['error']}")
    numbers: dict[str, float] = answer["value"]
    return numbers


def run_here(
    name: str, project: str, run_id: str, parameters: str, inputs: dict[str, str], outputs: dict[str, str]
) -> dict[str, float]:
    """Run one step in this process."""
    from mainspring.platforms.steps import STEPS, StepCall
    from mainspring.settings.load import load_project

    loaded = load_project(Path(project))
    record = StepRecord(loaded.paths.runs / run_id, "register" if name == "refuse" else name)
    given: dict[str, Any] = json.loads(parameters)
    call = StepCall(
        loaded,
        run_id,
        datetime.fromisoformat(given["known_at"]),
        given.get("champion", ""),
        {key: Path(path) for key, path in inputs.items()},
        {key: Path(path) for key, path in outputs.items()},
    )
    with _alone(loaded.paths.runs / run_id):
        record.put("running")
        try:
            numbers = STEPS[name](call)
        except MainspringError as error:
            record.put("failed", str(error))
            raise
        except Exception as error:
            record.put("failed", f"{type(error).__name__}: {error}")
            raise
        _keep(loaded.paths, run_id, name, {"numbers": numbers, "notes": call.notes})
        record.put("succeeded", numbers=numbers, notes=call.notes)
    return numbers


def run_failed(project: str, run_id: str, reason: str) -> None:
    """Close the MLflow run of a pipeline run that failed, with its reason."""
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.settings.load import load_project

    loaded = load_project(Path(project))
    Tracking(loaded.settings, loaded.paths).end(run_id, failed=True, reason=reason)


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[None]:
    """One step of a run at a time: a run that was interrupted and goes on waits for the step that outlived it."""
    with locked(run / "step.lock"):
        yield


def _keep(paths: ProjectPaths, run_id: str, name: str, found: dict[str, Any]) -> None:
    """Numbers and notes by cache key, for a later run that takes this step from the cache."""
    request = paths.runs / run_id / REQUEST
    key = json.loads(request.read_bytes())["cache_keys"].get(name, "") if request.exists() else ""
    if key:
        path = kept_file(paths.steps, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{run_id}.part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(path)


class StepRecord:
    """A step's record, `<step>.json` in the run's folder: written whole or not at all."""

    def __init__(self, run: Path, name: str) -> None:
        self._path = run / f"{name}.json"
        self._name = name
        self._began = time.monotonic()

    def put(
        self, status: Any, reason: str = "", numbers: dict[str, float] | None = None, notes: Sequence[str] = ()
    ) -> None:
        """Write the status as it is now."""
        from mainspring.domain.codec import to_json

        self._path.parent.mkdir(parents=True, exist_ok=True)
        step = Step(self._name, status, round(time.monotonic() - self._began, 3), reason, tuple(notes))
        part = self._path.with_suffix(".part")
        part.write_bytes(to_json({"step": step, "numbers": numbers or {}}, indent=2))
        part.replace(self._path)
