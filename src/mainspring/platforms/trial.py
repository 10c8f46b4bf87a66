"""`mainspring train`: the pipeline's rows, recipe and scores in this process, where a debugger works; registers nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mainspring.adapters.mlflow.recording import unrecorded
from mainspring.domain.codec import to_json
from mainspring.domain.metric import METRICS, Task
from mainspring.domain.scoring import score
from mainspring.domain.time import instant
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.pipeline.device import placed
from mainspring.pipeline.gate import Beside, Evaluation, HeldOut, judge
from mainspring.pipeline.signature import frame, truth
from mainspring.pipeline.split import HOLDOUT, TRAIN, VALIDATION
from mainspring.pipeline.training import answers, fit, load_recipe, own_numbers
from mainspring.platforms.steps import STEPS
from mainspring.platforms.steps.call import RESULTS, StepCall, part_of, training_set
from mainspring.platforms.steps.evaluation import blocks_of
from mainspring.platforms.steps.fitting import data_of
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.domain.model_version import Signature


@dataclass(frozen=True, slots=True)
class Score:
    """One metric on the held-out rows with its interval; beside it on the training rows, and of the best constant answer."""

    metric: str
    higher_is_better: bool
    decides: bool
    value: float
    low: float | None
    high: float | None
    training: float | None
    constant: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. `held_out_from` and `held_out_until` are None for rows without times; `registered` is never true."""

    project: str
    task: Task
    known_at: datetime
    estimator: str
    trained_rows: int
    inputs: int
    held_out_rows: int
    held_out_from: datetime | None
    held_out_until: datetime | None
    seconds: float
    scores: tuple[Score, ...]
    own: dict[str, float] = field(default_factory=dict)
    passes_floors: bool = False
    reason: str = ""
    note: str = ""
    registered: bool = False


def try_training(loaded: LoadedProject, as_of: str, begin: Callable[[str], None]) -> Trial:
    """Train on what was known at `as_of` (ISO 8601; empty: now) and score on the held-out rows.

    `begin` hears what is being done. Views are computed and kept, as by every command that reads features; nothing else is
    written. Errors: those of the steps, with the line of `training.py` where it is the cause.
    """
    settings, root = loaded.settings, loaded.paths.root
    known_at = instant(as_of) if as_of else datetime.now(UTC)
    with TemporaryDirectory(prefix="mainspring-train-") as folder:
        begin("reading rows and features")
        rows, signature = _rows(loaded, known_at, Path(folder))
    fitted, held_out = part_of(rows, TRAIN), part_of(rows, HOLDOUT)
    data = data_of(fitted, part_of(rows, VALIDATION), signature)
    begin("training")
    with unrecorded(root):
        recipe = load_recipe(root)
        params, note = placed(settings.params, recipe.module)
        began = time.monotonic()
        model = fit(recipe, data, params, seed=settings.seed)
        seconds = time.monotonic() - began
        begin("scoring")
        ours = answers(model, data.X, signature, recipe)
        own = own_numbers(recipe, model, data_of(held_out, held_out.slice(0, 0), signature))
    names = [metric.name for metric in METRICS.values() if settings.task in metric.tasks]
    known = truth(held_out.column(LABEL), signature)
    columns = {name: [str(value) for value in held_out.column(name).to_pylist()] for name in settings.gate.slices}
    given = answers(model, frame(held_out, signature), signature, recipe)
    verdict = judge(
        HeldOut(known, given, blocks_of(held_out), columns=columns),
        settings,
        Beside(training={name: score(name, data.y, ours) for name in names}, own=own),
    )
    ends = _ends(held_out)
    return Trial(
        settings.name,
        settings.task,
        known_at,
        estimator_name(model),
        fitted.num_rows,
        len(signature.features),
        held_out.num_rows,
        *ends,
        round(seconds, 3),
        tuple(_scores(verdict)),
        own,
        verdict.passed,
        verdict.reason,
        note,
    )


def estimator_name(model: Any) -> str:
    """The class of an estimator, of a pipeline that of its last step.

    >>> estimator_name(3)
    'int'
    """
    steps = getattr(model, "steps", None)
    return estimator_name(steps[-1][1]) if steps else type(model).__name__


def _rows(loaded: LoadedProject, known_at: datetime, folder: Path) -> tuple[pa.Table, Signature]:
    """The training set by the pipeline's own steps, in a folder that is thrown away."""
    report = folder / "report"
    report.mkdir()
    (report / RESULTS).write_bytes(to_json([]))  # expectations are for check and run
    places = {"dataset": folder / "dataset", "training_set": folder / "training_set", "report": report}
    call = StepCall(loaded, "train", known_at, "", places, places)
    STEPS["ingest"](call)
    STEPS["engineer"](call)
    rows, signature, _ = training_set(call)
    return rows, signature


def _scores(verdict: Evaluation) -> list[Score]:
    found = []
    for name, one in verdict.candidate.items():
        if math.isfinite(one.value):
            training, constant = verdict.training.get(name), verdict.base_rate.get(name)
            higher, decides = METRICS[name].higher_is_better, name == verdict.metric
            found.append(Score(name, higher, decides, one.value, one.low, one.high, training, constant))
    return sorted(found, key=lambda one: not one.decides)


def _ends(rows: pa.Table) -> tuple[Any, Any]:
    import pyarrow.compute as pc

    if EVENT_TIME not in rows.column_names:
        return None, None
    ends = pc.min_max(rows.column(EVENT_TIME)).as_py()
    return ends["min"], ends["max"]
