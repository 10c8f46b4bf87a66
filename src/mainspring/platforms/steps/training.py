"""Step train: fit on what is not held out, export, and see what the model looks at."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import to_json
from mainspring.domain.errors import MainspringError, TrainingError
from mainspring.domain.metric import METRICS
from mainspring.domain.model_version import Signature
from mainspring.domain.scoring import score
from mainspring.features.questions import LABEL
from mainspring.pipeline.device import placed
from mainspring.pipeline.insight import Importance, LearningCurve, Rows, importance, learning_curve
from mainspring.pipeline.signature import frame, truth
from mainspring.pipeline.split import HOLDOUT, TRAIN, VALIDATION
from mainspring.pipeline.training import Recipe, TrainingData, answers, fit, load_recipe
from mainspring.platforms.steps import record
from mainspring.platforms.steps.call import IMPORTANCE, StepCall, part_of, training_set
from mainspring.platforms.steps.fitting import data_of, export_model, share_of

if TYPE_CHECKING:
    import pyarrow as pa

TRIAL_ROWS = 1000
"""A recipe is tried on so many rows before it is trained on all: what cannot be carried is then refused in a second."""
_CARRIED = "carried.json"


def train(call: StepCall) -> dict[str, float]:
    """Fit, export, measure, and log to the run's MLflow run."""
    from mainspring.adapters.mlflow.recording import recording, unrecorded

    rows, signature, _ = training_set(call)
    fitted, validation = part_of(rows, TRAIN), part_of(rows, VALIDATION)
    settings, root = call.loaded.settings, call.loaded.paths.root
    with unrecorded(root):
        try_out(call, fitted, validation, signature)
    tracking = call.tracking()
    run = tracking.run(call.run_id)
    data = data_of(fitted, validation, signature)
    with recording(tracking, run):
        recipe = load_recipe(root)
        params, note = placed(settings.params, recipe.module)
        began = time.monotonic()
        model = fit(recipe, data, params, seed=settings.seed)
        seconds = time.monotonic() - began
    call.notes.extend(filter(None, [note]))
    ours = answers(model, data.X, signature, recipe)
    names = [metric.name for metric in METRICS.values() if settings.task in metric.tasks]
    measured = {f"train_{name}": score(name, data.y, ours) for name in names}
    measured |= {"train_rows": float(fitted.num_rows), "train_seconds": seconds}
    call.notes.extend(_passed_over(export_model(call.loaded, recipe, model, fitted, signature, call.outputs["model"])))
    folder = call.outputs["metrics"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / record.MEASURED).write_bytes(to_json(measured, indent=2))
    with unrecorded(root):
        looked_at, learnt = _insight(call, recipe, model, data, part_of(rows, HOLDOUT), signature, params, seconds)
    (folder / IMPORTANCE).write_bytes(to_json(looked_at, indent=2))
    (folder / record.CURVE).write_bytes(to_json(learnt, indent=2))
    record.trained(call, run, folder)
    return measured


def try_out(call: StepCall, fitted: pa.Table, validation: pa.Table, signature: Signature) -> None:
    """Train a new recipe on a few rows and carry the result, so that what cannot be carried is refused before training.

    Once for each recipe. That it fails on few rows in any other way says nothing: it may need more of them.
    """
    if fitted.num_rows <= TRIAL_ROWS:
        return
    settings, root = call.loaded.settings, call.loaded.paths.root
    texts = [path.read_text(encoding="utf-8") for path in sorted(root.glob("*.py"))]
    told = json.dumps([texts, settings.params, str(signature)], default=str)
    key, memo = hashlib.sha256(told.encode()).hexdigest(), call.loaded.paths.steps / _CARRIED
    if memo.exists() and json.loads(memo.read_bytes()) == key:
        return
    recipe = load_recipe(root)
    sample = fitted.take([round(place * (fitted.num_rows - 1) / (TRIAL_ROWS - 1)) for place in range(TRIAL_ROWS)])
    data = data_of(sample, validation, signature)
    try:
        model = fit(recipe, data, placed(settings.params, recipe.module)[0], seed=settings.seed)
        with TemporaryDirectory() as folder:
            export_model(call.loaded, recipe, model, sample, signature, Path(folder) / "model")
    except Exception as error:
        if isinstance(error, TrainingError) and error.__cause__ is None:
            raise  # nothing, no probabilities, or what cannot be carried: more rows change nothing
        return
    memo.parent.mkdir(parents=True, exist_ok=True)
    memo.write_text(json.dumps(key), encoding="utf-8")


def _passed_over(formats: Mapping[str, str]) -> list[str]:
    return [f"not served as {name}: {reason}" for name, reason in formats.items()]


def _insight(
    call: StepCall,
    recipe: Recipe,
    model: Any,
    data: TrainingData,
    held_out: pa.Table,
    signature: Signature,
    params: Mapping[str, Any],
    fit_seconds: float,
) -> tuple[list[Importance], LearningCurve]:
    """Importance and learning curve. An estimator that cannot be asked is no reason to fail: it says why."""
    settings = call.loaded.settings
    unseen = Rows(frame(held_out, signature), truth(held_out.column(LABEL), signature))

    def ask(one: Any, X: Any) -> Any:
        return answers(one, X, signature, recipe)

    def refit(share: float) -> Any:
        return fit(recipe, share_of(data, share), params, seed=settings.seed)

    looked_at: list[Importance] = _or_note(
        call, "importance", [], lambda: importance(model, unseen, ask, settings.metric, seed=settings.seed)
    )
    learnt = _or_note(
        call,
        "learning curve",
        LearningCurve(settings.metric.name, "rows", (), "it could not be taken"),
        lambda: learning_curve(
            model,
            Rows(data.X, data.y),
            unseen,
            ask,
            settings.metric,
            refit=refit,
            fit_seconds=fit_seconds,
            by_rounds=not recipe.carries_itself,
        ),
    )
    return looked_at, learnt


def _or_note(call: StepCall, what: str, otherwise: Any, take: Callable[[], Any]) -> Any:
    try:
        return take()
    except Exception as error:
        reason = error.what if isinstance(error, MainspringError) else f"{type(error).__name__}: {error}"
        call.notes.append(f"no {what}: {reason}")
        return otherwise
