"""`run_step`: what a pipeline task calls. It keeps the step's record beside the run, whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.kfp.execute import REQUEST, kept_file, record_cached
from mainspring.adapters.kfp.worker import ask
from mainspring.adapters.processes.locks import locked
from mainspring.domain.errors import ConflictError, MainspringError
from mainspring.domain.run import Step
from mainspring.settings.paths import ProjectPaths
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    from mainspring.settings.load import LoadedProject

ENTRY = "mainspring.platforms.step:run_step"
HERE = "mainspring.platforms.step:run_here"
_COMPONENTS = "mainspring.adapters.kfp.components"
FILES = "files"
"""Beside the cache keys of a run's tasks: what the project's files were when it was planned."""
ON_FAILURE = "mainspring.platforms.step:run_failed"
_MODELS = [
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.artifacts",
    "mlflow.sklearn",
    "mlflow.xgboost",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mainspring.adapters.mlflow.registry",
    "onnxruntime",
    "mainspring.platforms.step:prepare",
]
_FEAST = ["mainspring.adapters.feast.store", "feast.infra.online_stores.sqlite"]
_STEPS = ["mainspring.platforms.steps", "mainspring.platforms.laptop", "duckdb", "pandas"]
MODULES = {
    "ingest": _FEAST,
    "validate": ["great_expectations", "great_expectations.expectations"],
    "engineer": _FEAST,
    "train": [
        *_MODELS,
        "xgboost",
        "sklearn.compose",
        "sklearn.linear_model",
        "skl2onnx",
        "onnxmltools.convert.xgboost.operator_converters.XGBoost",
    ],
    "evaluate": _MODELS,
    "register": _MODELS,
}
"""What a step needs, and takes seconds to import."""

WARM = [*dict.fromkeys([*_STEPS, *(one for few in MODULES.values() for one in few)]), "kfp.local", _COMPONENTS]
"""What a warm worker imports before it is asked, and prepares."""


def modules(loaded: LoadedProject) -> dict[str, list[str]]:
    """What each step of this project needs: without views no Feast, without expectations no Great Expectations."""
    root, repo = loaded.paths.root, loaded.settings.features.repo
    without = {step for step in MODULES if step == "validate" and not (root / "expectations.py").is_file()}
    if repo is None and not (root / "features.py").is_file():
        without |= {"ingest", "engineer"}
    return {step: [*_STEPS, *([] if step in without else names)] for step, names in MODULES.items()}


def warm_modules(loaded: LoadedProject) -> list[str]:
    """What a warm worker of this project imports: what its steps need, and no more."""
    return [*dict.fromkeys(one for few in modules(loaded).values() for one in few), "kfp.local", _COMPONENTS]


def run_step(
    name: str, project: str, run_id: str, parameters: str, inputs: dict[str, str], outputs: dict[str, str]
) -> dict[str, float]:
    """Run one step, in the project's warm worker where there is one; returns its numbers.

    `parameters` is JSON with `known_at` (ISO 8601), `champion`, `by` where a person asked, and `window` with `train_from` where
    not all there is is trained on. Errors: whatever the step raises, after its reason was
    written to the run's folder.
    """
    call: list[Any] = [name, project, run_id, parameters, inputs, outputs]
    paths = ProjectPaths(Path(project))
    # The loop's worker, or the one that this run started for itself.
    answer = ask(paths.state, HERE, call) or ask(paths.runs / run_id, HERE, call)
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
    step = "register" if name == "refuse" else name
    record = StepRecord(loaded.paths.runs / run_id, step)
    given: dict[str, Any] = json.loads(parameters)
    call = StepCall(
        loaded,
        run_id,
        datetime.fromisoformat(given["known_at"]),
        given.get("champion", ""),
        {key: Path(path) for key, path in inputs.items()},
        {key: Path(path) for key, path in outputs.items()},
        given.get("by", ""),
        window=given.get("window", "all"),
        train_from=datetime.fromisoformat(given["train_from"]) if given.get("train_from") else None,
    )
    folder, log = loaded.paths.runs / run_id, Log(run_id=run_id, step=step)
    with _alone(folder):
        if (folder / REQUEST).exists():
            record_cached(folder, json.loads((folder / REQUEST).read_bytes()), before=step)
        record.put("running")
        log.info("step began", known_at=call.known_at, champion=call.champion)
        try:
            numbers = STEPS[name](call)
            _keep(loaded.paths, run_id, name, {"numbers": numbers, "notes": call.notes})
        except MainspringError as error:
            record.put("failed", str(error))
            log.error("step failed", reason=str(error))
            raise
        except Exception as error:
            record.put("failed", f"{type(error).__name__}: {error}")
            log.error("step failed", exc_info=True)
            raise
        record.put("succeeded", numbers=numbers, notes=call.notes)
        log.info("step ended", seconds=record.seconds, numbers=numbers)
    return numbers


def prepare(folder: str) -> None:
    """Make MLflow's tables and the experiment, which takes seconds in a new project, before a step needs them.

    `folder` lies in the project.
    """
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.settings.load import find_project, load_project

    loaded = load_project(find_project(Path(folder)))
    Tracking(loaded.settings, loaded.paths).experiment_id()


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
    """Numbers and notes by cache key, for a later run that takes this step from the cache.

    Errors: `ConflictError` when the project was edited meanwhile: the key was that of the files as they were.
    """
    # Not at the top: this module is imported by a process for every step, which only hands the step on.
    from mainspring.platforms.cache import files_digest

    request = paths.runs / run_id / REQUEST
    keys = json.loads(request.read_bytes())["cache_keys"] if request.exists() else {}
    if FILES in keys and keys[FILES] != files_digest(paths.root):
        raise ConflictError(
            "the project's files were edited while the run was going: what this step found fits neither state",
            where=str(paths.root),
            next_step=f"mainspring run --resume {run_id}",
        )
    if name in keys:
        path = kept_file(paths.steps, keys[name])
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

    @property
    def seconds(self) -> float:
        """How long the step takes so far, or took."""
        return round(time.monotonic() - self._began, 3)

    def put(
        self, status: Any, reason: str = "", numbers: dict[str, float] | None = None, notes: Sequence[str] = ()
    ) -> None:
        """Write the status as it is now."""
        from mainspring.domain.codec import to_json

        self._path.parent.mkdir(parents=True, exist_ok=True)
        step = Step(self._name, status, self.seconds, reason, tuple(notes))
        part = self._path.with_suffix(".part")
        part.write_bytes(to_json({"step": step, "numbers": numbers or {}}, indent=2))
        part.replace(self._path)
