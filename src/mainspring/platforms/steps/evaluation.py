"""Step evaluate: candidate and champion on the newest window that neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.pipeline.evaluation_page import evaluation_page
from mainspring.pipeline.gate import Beside, HeldOut, judge
from mainspring.pipeline.insight import Importance, LearningCurve
from mainspring.pipeline.signature import aligned, truth
from mainspring.pipeline.split import HOLDOUT
from mainspring.pipeline.training import Recipe, load_recipe, own_numbers
from mainspring.platforms.steps import record
from mainspring.platforms.steps.call import IMPORTANCE, StepCall, part_of, training_set
from mainspring.platforms.steps.fitting import data_of, plain, replay, to_evaluate

if TYPE_CHECKING:
    import pyarrow as pa

HELD_OUT = "held_out.parquet"
"""What the candidate answered to rows that it was not trained on: `output` (a list, of several classes their chances), `label`
as scores take it, and `event_timestamp` where rows have times."""


@dataclass(frozen=True)
class _Champion:
    """The version in service, and which of its models is compared: the one that ships, or the one that was evaluated."""

    version: str
    build: str
    folder: Path
    card: ModelCard


def evaluate(call: StepCall) -> dict[str, float]:
    """The verdict with every number it was taken from, as JSON and as a page."""
    from mainspring.adapters.mlflow.recording import unrecorded
    from mainspring.serving.runtime import load_card

    settings = call.loaded.settings
    rows, signature, _ = training_set(call)
    folder = call.outputs["evaluation"]
    folder.mkdir(parents=True, exist_ok=True)
    champion, held = _champion(call, part_of(rows, HOLDOUT), folder)
    card = load_card(call.inputs["model"])
    candidate = replay(call.inputs["model"], card, plain(held, signature))
    theirs = None
    if champion is not None:
        seen = champion.card.signature
        theirs = aligned(replay(champion.folder, champion.card, plain(held, seen)), seen, signature)
    with unrecorded(call.loaded.paths.root):
        recipe = load_recipe(call.loaded.paths.root)
        own = _own(recipe, call.inputs["model"], card, held)
        their_own = {} if champion is None else _own(recipe, champion.folder, champion.card, held)
    measured = from_json(dict[str, float | None], (call.inputs["metrics"] / record.MEASURED).read_bytes())
    beside = Beside(
        call.champion,
        "" if champion is None else champion.build,
        {name.removeprefix("train_"): value for name, value in measured.items() if value is not None},
        own,
        their_own,
    )
    columns = {name: [str(value) for value in held.column(name).to_pylist()] for name in settings.gate.slices}
    known = truth(held.column(LABEL), signature)
    verdict = judge(HeldOut(known, candidate, blocks_of(held), theirs, columns), settings, beside)
    _keep_held_out(call, part_of(rows, HOLDOUT), signature, card, folder / HELD_OUT)
    (folder / record.EVALUATION).write_bytes(to_json(verdict, indent=2))
    looked_at = from_json(list[Importance], (call.inputs["metrics"] / IMPORTANCE).read_bytes())
    curve = from_json(LearningCurve, (call.inputs["metrics"] / record.CURVE).read_bytes())
    page = call.outputs["page"]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(evaluation_page(verdict, settings, looked_at, curve), encoding="utf-8")
    record.evaluated(call, call.tracking().run(call.run_id), folder, page)
    return {"passed": int(verdict.passed), **{f"gate_{name}": one.value for name, one in verdict.candidate.items()}}


def _champion(call: StepCall, held: pa.Table, folder: Path) -> tuple[_Champion | None, pa.Table]:
    """The champion, and the held-out rows that it was not trained on either.

    What ships was refitted on everything that was known then. Where that leaves no row (the recipe was edited, and no
    label has come since; or rows have no times), the champion is compared as it was evaluated: recipe with recipe.
    """
    from mainspring.serving.runtime import load_card

    if not call.champion:
        return None, held
    registry = call.registry()
    shipped = registry.fetch(call.champion)
    card = load_card(shipped)
    _comparable(card, held, call.champion)
    timed = EVENT_TIME in held.column_names
    later = _after(held, card.trained_until) if timed else held.slice(0, 0)
    if later.num_rows:
        return _Champion(call.champion, "shipped", shipped, card), later
    evaluated = registry.evaluated(call.champion, folder / "champion")
    if evaluated is not None:
        card = load_card(evaluated)
        later = _after(held, card.trained_until) if timed else held
        if later.num_rows:
            return _Champion(call.champion, "evaluated", evaluated, card), later
    raise DataError(
        f"there is no labelled row that version {call.champion} was not trained on"
        + (f" (up to {card.trained_until:%Y-%m-%d %H:%M})" if card.trained_until else ""),
        next_step="wait for new labels; mainspring run then",
    )


def _comparable(card: ModelCard, held: pa.Table, version: str) -> None:
    gone = [f"{one.name} ({one.source})" for one in card.signature.features if one.name not in held.column_names]
    if gone:
        raise ConfigError(
            f"version {version} takes {', '.join(gone)}, which the project no longer has: it cannot be compared with",
            where="features.py, or mainspring.yaml: features",
            next_step="bring them back for one run, or mainspring run --without-champion, which judges by the floors alone",
        )


def _after(held: pa.Table, trained_until: datetime | None) -> pa.Table:
    """Rows the champion was not trained on: on its own training rows it would win by memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if trained_until is None:
        return held
    at = held.column(EVENT_TIME)
    return held.filter(pc.greater(at, pa.scalar(trained_until, at.type)))


def _own(recipe: Recipe, folder: Path, card: ModelCard, held: pa.Table) -> Mapping[str, float]:
    """The project's own numbers of one model; a model of another signature gets its own columns."""
    if recipe.function("evaluate") is None:
        return {}
    data = data_of(held, held.slice(0, 0), card.signature)
    return own_numbers(recipe, to_evaluate(folder, card, recipe), data)


def _keep_held_out(call: StepCall, held: pa.Table, signature: Signature, card: ModelCard, path: Path) -> None:
    """All rows that the candidate was not trained on, those included that the champion was."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    outputs = replay(call.inputs["model"], card, plain(held, signature))
    lists = outputs.reshape(len(outputs), -1).tolist()
    columns: dict[str, Any] = {
        "output": pa.array(lists, pa.list_(pa.float64())),
        "label": pa.array(truth(held.column(LABEL), signature), pa.float64()),
    }
    if EVENT_TIME in held.column_names:
        columns[EVENT_TIME] = held.column(EVENT_TIME)
    pq.write_table(pa.table(columns), path)


def blocks_of(rows: pa.Table) -> Any:
    """The block of each row, for intervals: its day, or without times its place in groups of fifty."""
    import numpy as np

    if EVENT_TIME not in rows.column_names:
        return np.arange(rows.num_rows) // 50
    return rows.column(EVENT_TIME).to_numpy().astype("datetime64[D]")
