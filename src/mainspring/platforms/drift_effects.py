"""What drifted features do to the predictions of a version, from rows of the prediction log and the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import from_json
from mainspring.domain.drift_report import Effect
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.effect import Numbers, categories_as_before, change_of, numbers_as_before
from mainspring.pipeline.insight import Importance
from mainspring.platforms.steps import replay
from mainspring.platforms.steps.call import IMPORTANCE
from mainspring.ports import PredictionLog
from mainspring.prediction_log.requests import NEEDED, asked_once
from mainspring.serving.runtime import load_card

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 1000
"""Rows that are asked again: the error of a mean change is then a thirtieth of its spread."""
_SEED = 7


def importance_of(folder: Path) -> dict[str, float]:
    """What shuffling each feature costs the version's metric; empty for a version that does not say."""
    path = folder / IMPORTANCE
    found = from_json(list[Importance], path.read_bytes()) if path.exists() else []
    return {one.feature: one.loss for one in found}


def effects_of(
    folder: Path,
    log: PredictionLog,
    window: TimeWindow,
    names: Sequence[str],
    cells: Mapping[str, Cells],
    reference: Mapping[str, Counts],
) -> dict[str, Effect]:
    """Of each of the features `names` what its change since the reference does to the model's answers.

    What cannot be asked again has no effect: a model whose other features are
    kept out of the log, text that is only known by its hash, a feature that came as another type.
    """
    import numpy as np
    import pyarrow as pa

    card = load_card(folder)
    features = card.signature.features
    logged = [f"feature.{one.name}" for one in features]
    rows = asked_once(log.read(window, [*NEEDED, "version", *logged]))
    if not rows.num_rows or any(pa.types.is_null(rows.schema.field(name).type) for name in logged):
        return {}
    rows = rows.take(np.unique(np.linspace(0, rows.num_rows - 1, MOST_ROWS).astype(int)))
    try:
        columns = {one.name: _values(one, rows.column(f"feature.{one.name}")) for one in features}
    except (ValueError, TypeError):
        return {}
    now, found = _answers(folder, card, columns), {}
    kinds = {one.name: one for one in features}
    for name in names:
        if name not in kinds or cells[name].kind == "hashed" or not reference[name].rows:
            continue
        moved = {**columns, name: _as_before(columns[name], cells[name], reference[name])}
        absolute, mean = change_of(_answers(folder, card, moved), now)
        found[name] = Effect(absolute, mean, rows.num_rows)
    return found


def _values(feature: Feature, column: pa.ChunkedArray) -> list[Any]:
    """As a runtime takes them: numbers with NaN, text with None where it is missing."""
    import pyarrow as pa

    if feature.type in ("str", "category"):
        return [value or None for value in column.cast(pa.string()).to_pylist()]
    numbers: list[float] = column.cast(pa.float64()).to_numpy(zero_copy_only=False).tolist()
    return numbers


def _as_before(values: list[Any], cells: Cells, counts: Counts) -> list[Any]:
    import numpy as np

    if cells.ordered:
        reference = Numbers(cells.edges, counts.cells.astype(np.float64), float(counts.missing))
        moved: list[Any] = numbers_as_before(np.array(values, np.float64), reference, seed=_SEED).tolist()
        return moved
    shares: dict[str | None, float] = dict(zip(cells.categories, counts.cells.tolist(), strict=False))
    shares[None] = float(counts.missing)
    if cells.kind == "boolean":
        truths = {1.0: "true", 0.0: "false"}
        known = categories_as_before([truths.get(one) for one in values], shares, seed=_SEED)
        back = {"true": 1.0, "false": 0.0, None: float("nan")}
        return [back[one] for one in known]
    return list(categories_as_before(values, shares, seed=_SEED))


def _answers(folder: Path, card: ModelCard, columns: Mapping[str, list[Any]]) -> Any:
    return replay(folder, card, list(zip(*columns.values(), strict=True)))
