"""Step register: the winner's recipe refitted on everything, or the refused model with its reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.dataset import Dataset
from mainspring.domain.model_version import ModelVersion, Signature, Verdict
from mainspring.drift.storage import write_profile
from mainspring.features.questions import EVENT_TIME
from mainspring.pipeline.device import placed
from mainspring.pipeline.split import HOLDOUT, PART, TRAIN, VALIDATION
from mainspring.pipeline.training import answers, fit, load_recipe
from mainspring.platforms.champion import champion
from mainspring.platforms.drift_reference import outputs_of, reference_profile
from mainspring.platforms.git import head
from mainspring.platforms.performance_reference import write_reference
from mainspring.platforms.steps import record
from mainspring.platforms.steps.call import DATASET, IMPORTANCE, StepCall, part_of, training_set
from mainspring.platforms.steps.evaluation import HELD_OUT
from mainspring.platforms.steps.fitting import data_of, export_model

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "version.json"


def register(call: StepCall) -> dict[str, float]:
    """Refit the winner's recipe on everything in an MLflow run below the evaluated one, and register that."""
    import pyarrow.parquet as pq

    from mainspring.adapters.mlflow.recording import recording

    rows, signature, _ = training_set(call)
    settings, root = call.loaded.settings, call.loaded.paths.root
    everything, validation = _divided(rows, settings.split.validation_share)
    tracking = call.tracking()
    refit = tracking.refit(call.run_id)
    data = data_of(everything, validation, signature)
    with recording(tracking, refit):
        recipe = load_recipe(root)
        params, note = placed(settings.params, recipe.module)
        model = fit(recipe, data, params, seed=settings.seed)
    call.notes.extend(filter(None, [note]))
    folder = call.outputs["version"] / "model"
    export_model(call.loaded, recipe, model, rows.filter(_used(rows)), signature, folder)
    # The evaluated model's: the refit has seen every row that it could be measured on.
    shutil.copyfile(call.inputs["metrics"] / IMPORTANCE, folder / IMPORTANCE)
    held_out = pq.read_table(call.inputs["evaluation"] / HELD_OUT)
    write_profile(reference_profile(rows.filter(_used(rows)), held_out, signature, settings.drift.every), folder)
    _keep_performance(call, part_of(rows, HOLDOUT), held_out, signature, folder)
    ours = answers(model, data.X, signature, recipe)
    record.refitted(call, refit, data.y, ours)
    return _register(call, folder, rows.filter(_used(rows)), "accepted", refit)


def _keep_performance(
    call: StepCall, held_out: pa.Table, answered: pa.Table, signature: Signature, folder: Path
) -> None:
    """What the evaluated model did on rows that it was not trained on goes with the one that ships, which has seen them.

    `answered` are its answers, a row for each. A version without it can be served and measured all the same: that it could not
    be fitted is told, and ends no run.
    """
    try:
        outputs = outputs_of(answered.column("output"))
        outputs = outputs if signature.task == "multiclass" else outputs[:, 0]
        found = write_reference(folder, held_out, outputs, signature, call.loaded.settings)
    except Exception as error:
        call.notes.append(f"no reference for performance: {type(error).__name__}: {error}")
        return
    call.notes.extend(f"performance: {finding}" for finding in found.findings)


def refuse(call: StepCall) -> dict[str, float]:
    """Register the model as refused, with its reason."""
    rows, _, _ = training_set(call)
    return _register(call, call.inputs["model"], part_of(rows, TRAIN), "refused", "")


def _register(call: StepCall, model: Path, rows: pa.Table, verdict: Verdict, shipped: str) -> dict[str, float]:
    from mainspring.serving.runtime import load_card

    _, _, facts = training_set(call)
    dataset = from_json(Dataset, (call.inputs["training_set"] / DATASET).read_bytes())
    tracking, registry = call.tracking(), call.registry()
    run = tracking.run(call.run_id)
    record.trained(call, run, call.inputs["metrics"])
    evaluation = record.evaluated(call, run, call.inputs["evaluation"], call.inputs["page"])
    tracking.keep(run, call.inputs["validation"], "validation.html")
    card = load_card(model)
    tree = head(call.loaded.paths.root)
    draft = ModelVersion(
        call.loaded.settings.name,
        "",
        call.run_id,
        dataset.digest,
        tree.sha,
        tree.dirty,
        record.APPROVER,
        card.format,
        card.signature,
        verdict=verdict,
        reason=evaluation.reason,
        metrics={name: one.value for name, one in evaluation.candidate.items()},
        trained_until=card.trained_until,
        evaluated_run=run,
        shipped_run=shipped,
        features=facts.features,
        trained_by=call.by,
    )
    if shipped:
        registry.keep(draft, call.inputs["model"], run)
    version = registry.register(draft, model)
    registry.annotate(version.version, _trained_on(call))
    tracking.end(call.run_id)
    champion(call.loaded)  # the database changed, the champion did not: the next run need not look
    folder = call.outputs["version"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERSION).write_bytes(to_json(version, indent=2))
    return {"version": float(version.version), "rows": float(rows.num_rows)}


def _trained_on(call: StepCall) -> dict[str, str]:
    """The window that was trained on, as the version's tags."""
    start = call.train_from.isoformat() if call.train_from is not None else ""
    return {"mainspring.window": call.window, "mainspring.train_from": start}


def _divided(rows: pa.Table, share: float) -> tuple[pa.Table, pa.Table]:
    """Everything, and of it what is set aside for a `train` that stops early: the newest, or what was so before.

    A recipe that stops early has to stop by rows that it does not train on, in the refit as when it was evaluated.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    everything = rows.filter(_used(rows))
    if EVENT_TIME not in rows.column_names:
        aside = pc.equal(everything.column(PART), VALIDATION)
        return everything.filter(pc.invert(aside)), everything.filter(aside)
    at = everything.column(EVENT_TIME)
    kept = everything.num_rows - round(everything.num_rows * share)
    if kept in (0, everything.num_rows):
        return everything, everything.slice(0, 0)
    cut = pc.sort_indices(at)[kept]
    # Whole instants, as in the split.
    aside = pc.greater_equal(at, pa.scalar(at[cut.as_py()].as_py(), at.type))
    return everything.filter(pc.invert(aside)), everything.filter(aside)


def _used(rows: pa.Table) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.not_equal(rows.column(PART), "")
