"""`mainspring adopt`: an existing MLflow model under care: proven on a reference file, then registered as a version.

Nothing is written before everything is proven: the model was read without running anything of it, what is served answers
as it does, the reference has its inputs. Adopting the same again gives the same version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast, get_args

from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError, TrainingError
from mainspring.domain.metric import Task
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import ModelVersion, Signature, label_name
from mainspring.domain.time import instant
from mainspring.platforms.adopted_inputs import classes_of, features_of, sourced
from mainspring.platforms.reference import compared, read_reference, rows_of

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.mlflow.foreign import ForeignModel
    from mainspring.registry.original import Original
    from mainspring.settings.load import LoadedProject

PARITY_ROWS = 10_000
"""Of a longer reference so many rows, evenly spread, are answered by both."""


@dataclass(frozen=True, slots=True)
class AdoptionWish:
    """What a person asks for. `uri` is `models:/NAME/VERSION` in the MLflow at `tracking_uri`; `reference` a file with the
    model's inputs. `label`, `time`, `id` and `prediction` name its other columns, empty where it has none. `trained_until`
    is the newest instant of the model's training rows, empty when nobody knows."""

    uri: str
    reference: Path
    tracking_uri: str
    task: str = ""
    label: str = ""
    time: str = ""
    id: str = ""
    prediction: str = ""
    trained_until: str = ""


@dataclass(frozen=True)
class Proof:
    """A model that may be registered: its folder, and what was found out about it."""

    wish: AdoptionWish
    folder: Path
    card: ModelCard
    origin: str
    key: str
    dataset_digest: str
    table: pa.Table
    rows: int
    compared_rows: int
    notes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Adopted:
    """The version that was registered, and how what is served compares with the original."""

    version: str
    project: str
    folder: str
    origin: str
    format: str
    task: Task
    inputs: tuple[str, ...]
    rows: int
    largest_difference: float
    compared_rows: int
    metrics: dict[str, float]
    notes: tuple[str, ...]


def prove(wish: AdoptionWish, folder: Path, loaded: LoadedProject | None, name: str) -> Proof:
    """Fetch the model, export it below `folder`, and hold its answers against the original's.

    Errors: `NotFound` for a model or version, `TemporaryError` for a server, `ConfigError` for a flavour or a task,
    `DataError` for the reference, `TrainingError` when what would be served answers otherwise.
    """
    from mainspring.adapters.mlflow.foreign import fetch_foreign
    from mainspring.registry.original import look

    table = read_reference(wish)
    wish = _with_roles(wish, table, loaded)
    with TemporaryDirectory(prefix="mainspring-adopt-") as scratch:
        foreign = fetch_foreign(wish.uri, wish.tracking_uri, Path(scratch))
        original = look(foreign.model)
        task = _task(wish, original, loaded, foreign.uri)
        features = features_of(foreign, original, table, wish)
        features, entities = sourced(features, loaded)
        classes = classes_of(original, table, wish, task)
        _same_positive(classes, loaded)
        signature = Signature(task, features, entities, classes, wish.label)
        until = instant(wish.trained_until) if wish.trained_until else None
        card = ModelCard(name, task, "onnx", signature, trained_until=until, extra={"origin": foreign.uri})
        notes = []
        if original.classes not in ((), classes):
            notes.append(f"its classes {', '.join(original.classes)} are taken for {', '.join(classes)}, in this order")
        return _exported(wish, foreign, original, card, table, folder, notes)


def register(proof: Proof, loaded: LoadedProject, *, by: str, why: str = "") -> Adopted:
    """Register what was proven, with a ledger row; the same proof again is the same version."""
    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.adapters.sql.ledger import SqliteLedger
    from mainspring.loop.state import POLICY
    from mainspring.platforms.git import head

    settings, paths = loaded.settings, loaded.paths
    tracking = Tracking(settings, paths)
    registry = MlflowRegistry(settings.name, tracking, paths.models)
    run_id, tree = f"adopt-{proof.key}", head(paths.root)
    reason = f"adopted from {proof.origin}; it answers {proof.rows:,} reference rows as the original does"
    draft = ModelVersion(
        settings.name,
        "",
        run_id,
        proof.dataset_digest,
        tree.sha,
        tree.dirty,
        POLICY,
        proof.card.format,
        proof.card.signature,
        verdict="accepted",
        reason=reason,
        metrics=proof.metrics,
        trained_until=proof.card.trained_until,
        evaluated_run=tracking.run(run_id),
        trained_by=by,
        origin=proof.origin,
    )
    found = registry.register(draft, proof.folder)
    tracking.log(tracking.run(run_id), metrics=proof.metrics, tags={"mainspring.origin": proof.origin})
    tracking.end(run_id, reason=reason)
    SqliteLedger(paths.ledger).append(
        Decision(
            f"adopted:{run_id}",
            "adopted",
            f"{proof.origin} is version {found.version}",
            why or reason,
            by,
            datetime.now(UTC),
            found.version,
            run_id,
            {"parity": proof.card.parity, "rows": proof.rows, "compared": proof.compared_rows},
        )
    )
    return Adopted(
        found.version,
        settings.name,
        str(paths.root),
        proof.origin,
        proof.card.format,
        proof.card.task,
        tuple(one.name for one in proof.card.signature.features),
        proof.rows,
        max(proof.card.parity.values(), default=0.0),
        proof.compared_rows,
        proof.metrics,
        proof.notes,
    )


def _exported(
    wish: AdoptionWish,
    foreign: ForeignModel,
    original: Original,
    card: ModelCard,
    table: pa.Table,
    folder: Path,
    notes: list[str],
) -> Proof:
    import numpy as np
    import pyarrow as pa

    from mainspring.drift.storage import write_profile
    from mainspring.platforms.drift_reference import reference_profile
    from mainspring.platforms.steps import replay
    from mainspring.registry.export import Trained, export
    from mainspring.registry.original import answers
    from mainspring.sources.digest import describe

    rows = table.take(_spread(table.num_rows))
    frame, plain = rows_of(rows, card.signature)
    # ONNX is served as it is: what it answers to the predictor's own way of asking is what it answers.
    onnx = original.is_onnx
    theirs = _onnx_answers(foreign, card, plain) if onnx else answers(original, frame, card.task)
    trained = Trained(foreign.model, plain, theirs)
    try:
        done = export(trained, card, folder, replay)
    except TrainingError as error:
        raise TrainingError(
            f"{foreign.uri} cannot be served: {error.what}",
            where=str(wish.reference),
            valid="a model that ONNX, UBJ, LightGBM text or skops can carry, with the same answers",
            next_step="export it to ONNX where it was trained, and log that with mlflow.onnx.log_model",
        ) from error
    served = replay(folder, done.card, plain)
    matched, metrics = compared(wish, rows, served, done.card)
    answered = pa.table({"output": pa.array(np.asarray(served, np.float64).reshape(rows.num_rows, -1).tolist())})
    write_profile(reference_profile(rows, answered, done.card.signature), folder)
    digest = describe(table, str(wish.reference), time=None).digest
    from mainspring.settings.load import masked_url

    origin = f"{foreign.uri} of {masked_url(wish.tracking_uri)}"
    told = [origin, foreign.digest, digest, card.name, str(card.signature), str(card.trained_until)]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    notes += [f"not served as {name}: {reason}" for name, reason in done.passed_over.items()]
    return Proof(wish, folder, done.card, origin, key, digest, table, rows.num_rows, matched, tuple(notes), metrics)


def _onnx_answers(foreign: ForeignModel, card: ModelCard, plain: Any) -> Any:
    import numpy as np

    from mainspring.platforms.steps import replay

    with TemporaryDirectory(prefix="mainspring-onnx-") as folder:
        (Path(folder) / card.file).write_bytes(foreign.model.SerializeToString())
        found = np.asarray(replay(Path(folder), card, plain), np.float64)
    width = len(card.signature.classes) if card.task == "multiclass" else 0
    if found.shape != ((len(plain), width) if width else (len(plain),)):
        raise ConfigError(
            f"{foreign.uri} answers in shape {found.shape} where a {card.task} task of these rows needs "
            f"{(len(plain), width) if width else (len(plain),)}",
            valid="chances of all classes as one tensor, or one value a row; of a classifier without zipmap",
            next_step="another --task, or another export: skl2onnx's options={'zipmap': False}",
        )
    return found


def _with_roles(wish: AdoptionWish, table: pa.Table, loaded: LoadedProject | None) -> AdoptionWish:
    """In a project, columns of the reference have the roles that they have in the target's source."""
    if loaded is None:
        return wish
    target = loaded.settings.target

    def role(given: str, own: str | None) -> str:
        return given or (own if own is not None and own in table.column_names else "")

    label, key = role(wish.label, target.column), role(wish.id, target.id)
    return replace(wish, label=label, id=key, time=role(wish.time, loaded.settings.question_time))


def _same_positive(classes: Sequence[str], loaded: LoadedProject | None) -> None:
    positive = loaded.settings.target.positive if loaded is not None else None
    if positive is not None and classes and label_name(positive) != classes[-1]:
        raise ConfigError(
            f"the model gives the chance of {classes[-1]!r}, and the project asks for that of {label_name(positive)!r}",
            where="mainspring.yaml: target.positive",
            valid=classes[-1],
        )


def _task(wish: AdoptionWish, original: Original, loaded: LoadedProject | None, uri: str) -> Task:
    own = loaded.settings.task if loaded else wish.task
    if wish.task and wish.task not in get_args(Task):
        raise ConfigError(f"{wish.task!r} is no task", where="--task", valid=", ".join(get_args(Task)))
    if original.task is not None and own and own != original.task:
        where = "mainspring.yaml: task" if loaded else "--task"
        raise ConfigError(f"{uri} is a {original.task} model", where=where, valid=original.task)
    task = original.task or own
    if not task:
        raise ConfigError(f"{uri} does not say what it answers", valid=f"--task {', --task '.join(get_args(Task))}")
    return cast(Task, task)


def _spread(rows: int) -> list[int]:
    if rows <= PARITY_ROWS:
        return list(range(rows))
    return [round(place * (rows - 1) / (PARITY_ROWS - 1)) for place in range(PARITY_ROWS)]


def numbers_in_words(numbers: Mapping[str, float]) -> str:
    """Metrics in one line.

    >>> numbers_in_words({"auc": 0.71234, "brier": 0.2})
    'auc 0.712, brier 0.2'
    """
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
