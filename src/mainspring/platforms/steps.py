"""The six steps on real parts: what each reads, computes and writes. A step sees paths, never another step's objects.

dataset: `rows.parquet`, `dataset.json`. report: `results.json`, `page.html`. training_set: `rows.parquet` with `part`,
`dataset.json`, `signature.json`. model: the model folder. metrics: `metrics.json`. evaluation: `evaluation.json`.
version: `version.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.dataset import Dataset
from mainspring.domain.errors import ConfigError, DataError, ValidationFailed
from mainspring.domain.metric import METRICS
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import ModelVersion, Signature
from mainspring.domain.scoring import score
from mainspring.drift.profile import fit_profile
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.pipeline import split as parts
from mainspring.pipeline.gate import Evaluation, HeldOut, judge
from mainspring.pipeline.signature import frame, learn_signature, truth
from mainspring.pipeline.split import HOLDOUT, PART, TRAIN, VALIDATION
from mainspring.pipeline.training import Part, Recipe, answers, fit, load_recipe, training_data
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking

ROWS, DATASET, SIGNATURE, RESULTS = "rows.parquet", "dataset.json", "signature.json", "results.json"
METRICS_FILE, EVALUATION, VERSION, HELD_OUT = "metrics.json", "evaluation.json", "version.json", "held_out.json"
PROFILE = "profile.json"
_PARITY_ROWS = 2000


@dataclass(frozen=True)
class StepCall:
    """One step of one run: the project, the instant whose knowledge it may use, and its artifacts' folders."""

    loaded: LoadedProject
    run_id: str
    known_at: datetime
    champion: str
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]

    def tracking(self) -> Tracking:
        """MLflow as the project names it."""
        from mainspring.adapters.mlflow.tracking import Tracking

        return Tracking(self.loaded.settings, self.loaded.paths)

    def registry(self) -> MlflowRegistry:
        """The project's registry."""
        from mainspring.adapters.mlflow.registry import MlflowRegistry

        return MlflowRegistry(self.loaded.settings.name, self.tracking(), self.loaded.paths.models)


def ingest(call: StepCall) -> dict[str, float]:
    """Labelled questions as they were known."""
    from mainspring.features.questions import labelled
    from mainspring.platforms.laptop import LaptopFeatures

    asked = LaptopFeatures(call.loaded).questions(call.known_at)
    rows, counts = labelled(asked, call.known_at)
    _write_rows(call.outputs["dataset"], rows)
    return {"asked": counts.asked, "labelled": counts.labelled, "waiting": counts.waiting, "never": counts.never}


def validate(call: StepCall) -> dict[str, float]:
    """The project's expectations; a critical one that fails ends the run here."""
    from mainspring.adapters.great_expectations.validator import EXPECTATIONS_FILE, GreatExpectationsValidator

    rows = _read_rows(call.inputs["dataset"])
    target = call.loaded.settings.target
    named = rows.rename_columns([target.column if name == LABEL else name for name in rows.column_names])
    report = call.outputs["report"]
    page = report / "page.html"
    results = GreatExpectationsValidator(call.loaded.paths.root / EXPECTATIONS_FILE).validate(named, page)
    (report / RESULTS).write_bytes(to_json(list(results), indent=2))
    failed = [one for one in results if not one.success and one.severity == "critical"]
    if failed:
        texts = [
            f"{one.expectation} on {one.column or 'the table'}: {one.unexpected_count:,} rows"
            + (f" ({'; '.join(one.examples)})" if one.examples else "")
            for one in failed
        ]
        raise ValidationFailed(
            f"{len(failed)} critical expectation{'s' if len(failed) > 1 else ''} failed: " + "; ".join(texts),
            where=str(page),
            next_step="mend the source, or the expectation, then mainspring run",
        )
    return {"expectations": len(results), "warnings": sum(not one.success for one in results)}


def engineer(call: StepCall) -> dict[str, float]:
    """Features as they were known when each question was asked, and each row's part."""
    import pyarrow as pa

    from mainspring.platforms.challenger import with_features
    from mainspring.platforms.laptop import LaptopFeatures

    settings = call.loaded.settings
    rows = _read_rows(call.inputs["dataset"])
    features = LaptopFeatures(call.loaded)
    features.advance(call.known_at)
    rows, sources, entities = with_features(call.loaded, features, rows)
    time = EVENT_TIME if EVENT_TIME in rows.column_names else None
    divided = parts.divide(rows, settings.split, time=time, known_at=call.known_at)
    rows = rows.append_column(PART, pa.array(divided.parts))
    signature = learn_signature(
        rows,
        sources,
        task=settings.task,
        target=settings.target.column,
        label=LABEL,
        entities=entities,
        categorical=settings.features.categorical,
        positive=settings.target.positive,
    )
    folder = call.outputs["training_set"]
    _write_rows(folder, rows)
    (folder / SIGNATURE).write_bytes(to_json(signature, indent=2))
    return {"rows": rows.num_rows, "features": len(signature.features)}


def train(call: StepCall) -> dict[str, float]:
    """Fit on what is not held out, export, and log to MLflow."""
    rows, signature = _training_set(call)
    recipe = load_recipe(call.loaded.paths.root)
    fitted = _of(rows, TRAIN)
    model, data = _fit(call, recipe, fitted, _of(rows, VALIDATION), signature)
    ours = answers(model, data.X, signature, recipe)
    names = [metric.name for metric in METRICS.values() if call.loaded.settings.task in metric.tasks]
    measured = {f"train_{name}": score(name, data.y, ours) for name in names}
    measured["train_rows"] = float(fitted.num_rows)
    _export(call, recipe, model, fitted, signature, call.outputs["model"])
    metrics = call.outputs["metrics"]
    metrics.mkdir(parents=True, exist_ok=True)
    (metrics / METRICS_FILE).write_bytes(to_json(measured, indent=2))
    call.tracking().log(
        call.run_id, params={**call.loaded.settings.params, "seed": call.loaded.settings.seed}, metrics=measured
    )
    return measured


def evaluate(call: StepCall) -> dict[str, float]:
    """Candidate and champion on the held-out window; beside them the metrics of training."""
    from mainspring.serving.runtime import load_card

    settings = call.loaded.settings
    rows, signature = _training_set(call)
    held = _of(rows, HOLDOUT)
    champion = None
    if call.champion:
        folder = call.registry().fetch(call.champion)
        card = load_card(folder)
        held = _unseen(held, card.trained_until, call.champion)
        champion = replay(folder, card, plain(held, card.signature))
    known = truth(held.column(LABEL), signature)
    candidate = replay(call.inputs["model"], load_card(call.inputs["model"]), plain(held, signature))
    measured = from_json(dict[str, float], (call.inputs["metrics"] / METRICS_FILE).read_bytes())
    columns = {name: [str(value) for value in held.column(name).to_pylist()] for name in settings.gate.slices}
    verdict = judge(
        HeldOut(known, candidate, _days(held), champion, columns),
        settings,
        champion_version=call.champion,
        training=measured,
    )
    folder = call.outputs["evaluation"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HELD_OUT).write_bytes(to_json([float(one) for one in _first(candidate)]))
    (folder / EVALUATION).write_bytes(to_json(verdict, indent=2))
    numbers = {f"gate_{name}": one.value for name, one in verdict.candidate.items()}
    call.tracking().log(
        call.run_id, metrics=numbers, tags={"mainspring.verdict": verdict.reason, "mainspring.champion": call.champion}
    )
    return {"passed": int(verdict.passed), **numbers}


def register(call: StepCall) -> dict[str, float]:
    """Refit the winner's recipe on everything, and register that."""
    rows, signature = _training_set(call)
    recipe = load_recipe(call.loaded.paths.root)
    everything = rows.filter(_used(rows))
    later = int(everything.num_rows * call.loaded.settings.split.validation_share)
    cut = everything.num_rows - later
    model, _ = _fit(call, recipe, everything, everything.slice(cut), signature)
    folder = call.outputs["version"] / "model"
    _export(call, recipe, model, everything, signature, folder)
    held_out = from_json(list[float], (call.inputs["evaluation"] / HELD_OUT).read_bytes())
    profile = fit_profile(everything, signature.features, held_out)
    (folder / PROFILE).write_bytes(to_json(profile))
    return _register(call, folder, everything, "accepted")


def refuse(call: StepCall) -> dict[str, float]:
    """Register the model as refused, with its reason."""
    rows, _ = _training_set(call)
    return _register(call, call.inputs["model"], _of(rows, TRAIN), "refused")


STEPS: dict[str, Callable[[StepCall], dict[str, float]]] = {
    "ingest": ingest,
    "validate": validate,
    "engineer": engineer,
    "train": train,
    "evaluate": evaluate,
    "register": register,
    "refuse": refuse,
}


def replay(folder: Path, card: ModelCard, rows: Any) -> Any:
    """A model folder's answers, as a predictor gives them: [rows], or of several classes [rows, classes]."""
    from mainspring.adapters.mlflow.registry import answers_of
    from mainspring.serving.runtime import load_runtime

    return answers_of(load_runtime(folder, card).predict(rows))


def _register(call: StepCall, model: Path, rows: pa.Table, verdict: Any) -> dict[str, float]:
    from mainspring.platforms.git import head
    from mainspring.serving.runtime import load_card

    evaluation = from_json(Evaluation, (call.inputs["evaluation"] / EVALUATION).read_bytes())
    dataset = from_json(Dataset, (call.inputs["training_set"] / DATASET).read_bytes())
    card = load_card(model)
    tree = head(call.loaded.paths.root)
    tracking = call.tracking()
    draft = ModelVersion(
        call.loaded.settings.name,
        "",
        call.run_id,
        dataset.digest,
        tree.sha,
        tree.dirty,
        "policy:auto",
        card.format,
        card.signature,
        verdict=verdict,
        reason=evaluation.reason,
        metrics={name: one.value for name, one in evaluation.candidate.items()},
        trained_until=card.trained_until,
        evaluated_run=call.run_id,
    )
    tracking.log(
        call.run_id,
        tags={"git_sha": tree.sha, "git_dirty": str(tree.dirty).lower(), "dataset_digest": dataset.digest},
    )
    version = call.registry().register(draft, model)
    tracking.end(call.run_id)
    folder = call.outputs["version"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERSION).write_bytes(to_json(version, indent=2))
    return {"version": float(version.version), "rows": float(rows.num_rows)}


def _fit(call: StepCall, recipe: Recipe, rows: pa.Table, validation: pa.Table, signature: Signature) -> tuple[Any, Any]:
    settings = call.loaded.settings
    part = Part(frame(validation, signature), truth(validation.column(LABEL), signature))
    data = training_data(frame(rows, signature), truth(rows.column(LABEL), signature), signature, part)
    return fit(recipe, data, settings.params, seed=settings.seed), data


def _export(call: StepCall, recipe: Recipe, model: Any, rows: pa.Table, signature: Signature, folder: Path) -> None:
    from mainspring.registry.export import Trained, export

    sample = rows.slice(max(0, rows.num_rows - _PARITY_ROWS))
    card = ModelCard(
        call.loaded.settings.name,
        call.loaded.settings.task,
        "onnx",
        signature,
        created_at=datetime.now(UTC),
        trained_until=_newest(rows),
    )
    trained = Trained(
        model,
        plain(sample, signature),
        answers(model, frame(sample, signature), signature, recipe),
        save=recipe.function("save") if recipe.carries_itself else None,
        project_files=sorted(call.loaded.paths.root.glob("*.py")),
    )
    staged = folder.with_name(f"{folder.name}.part")
    staged.parent.mkdir(parents=True, exist_ok=True)
    export(trained, card, staged, replay)
    shutil.rmtree(folder, ignore_errors=True)
    staged.replace(folder)


def plain(rows: pa.Table, signature: Signature) -> Any:
    """Rows as a runtime takes them: lists in the signature's order."""
    return frame(rows, signature).to_numpy(object).tolist()


def _first(outputs: Any) -> Any:
    """What stands for the answer where one number has to: the chance or value, of several classes the largest chance."""
    return outputs.max(axis=1) if outputs.ndim == 2 else outputs


def _newest(rows: pa.Table) -> datetime | None:
    import pyarrow.compute as pc

    newest: datetime | None = pc.max(rows.column(EVENT_TIME)).as_py() if EVENT_TIME in rows.column_names else None
    return newest


def _days(rows: pa.Table) -> Any:
    """The block of each row: its day, or without times its place in groups of fifty."""
    import numpy as np

    if EVENT_TIME not in rows.column_names:
        return np.arange(rows.num_rows) // 50
    return rows.column(EVENT_TIME).to_numpy().astype("datetime64[D]")


def _training_set(call: StepCall) -> tuple[pa.Table, Signature]:
    folder = call.inputs["training_set"]
    return _read_rows(folder), from_json(Signature, (folder / SIGNATURE).read_bytes())


def _of(rows: pa.Table, part: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows.column(PART), part))


def _unseen(held: pa.Table, trained_until: datetime | None, champion: str) -> pa.Table:
    """Rows the champion was not trained on either: on its own training rows it would win by memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if trained_until is None or EVENT_TIME not in held.column_names:
        return held
    at = held.column(EVENT_TIME)
    later = held.filter(pc.greater(at, pa.scalar(trained_until, at.type)))
    if not later.num_rows:
        raise DataError(
            f"there is no labelled row that version {champion} was not trained on (up to {trained_until:%Y-%m-%d %H:%M})",
            next_step="wait for new labels; mainspring run then",
        )
    return later


def _used(rows: pa.Table) -> Any:
    import pyarrow.compute as pc

    return pc.not_equal(rows.column(PART), "")


def _write_rows(folder: Path, rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    from mainspring.sources.digest import describe

    if not rows.num_rows:
        raise ConfigError(
            "there is no labelled row yet", valid="rows whose label is known", next_step="mainspring data --out x.csv"
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / ROWS)
    time = EVENT_TIME if EVENT_TIME in rows.column_names else None
    (folder / DATASET).write_bytes(to_json(replace(describe(rows, str(folder / ROWS), time=time)), indent=2))


def _read_rows(folder: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(folder / ROWS)
