"""The reference file of an adoption: rows with the model's inputs, and where it has them predictions and labels."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.metric import METRICS
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Signature, label_name
from mainspring.domain.scoring import score
from mainspring.settings.project import SourceSettings
from mainspring.sources.open import open_source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mainspring.platforms.adopt import AdoptionWish

PREDICTION = "prediction"
"""The column that is taken for what the model answered, where nobody names another."""
_LEAST_ROWS = 20


def read_reference(wish: AdoptionWish) -> pa.Table:
    """The file's rows, read as a project reads its sources. Errors: `DataError`, `NotFound`, `ConfigError`."""
    path = wish.reference.resolve()
    columns = {wish.time: "time"} if wish.time else {}
    settings = SourceSettings.model_validate({"path": str(path), "columns": columns})
    rows = open_source("reference", settings, path.parent).read(known_at=datetime.max)
    roles = (("label", wish.label), ("time", wish.time), ("id", wish.id), ("prediction", wish.prediction))
    for role, name in roles:
        if name and name not in rows.column_names:
            raise ConfigError(
                f"the reference has no column {name!r}", where=f"--{role}", valid=", ".join(rows.column_names)
            )
    if rows.num_rows < _LEAST_ROWS:
        raise DataError(
            f"the reference has {rows.num_rows} rows",
            where=str(wish.reference),
            valid=f"at least {_LEAST_ROWS}; some thousands, as they are served, make a good reference for drift",
        )
    return rows


def rows_of(rows: pa.Table, signature: Signature) -> tuple[pd.DataFrame, list[list[Any]]]:
    """Rows as the original takes them, and as a predictor does: numbers with NaN, text with None where it is missing."""
    import pandas as pd
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for feature in signature.features:
        column = rows.column(feature.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if feature.type == "str":
            columns[feature.name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            columns[feature.name] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    frame = pd.DataFrame(columns)
    plain: list[list[Any]] = frame.to_numpy(object).tolist()
    return frame, plain


def compared(wish: AdoptionWish, rows: pa.Table, served: Any, card: ModelCard) -> tuple[int, dict[str, float]]:
    """How many rows were held against the file's own predictions, and the metrics against its labels.

    Errors: `DataError` when what is served is not what the file says that the model answered.
    """
    name = wish.prediction or (PREDICTION if PREDICTION in rows.column_names else "")
    if name in {one.name for one in card.signature.features}:
        name = ""
    matched = _against_predictions(rows.column(name), served, card, f"{wish.reference}: {name}") if name else 0
    return matched, _metrics(wish, rows, served, card) if wish.label else {}


def _against_predictions(column: pa.ChunkedArray, served: Any, card: ModelCard, where: str) -> int:
    import numpy as np

    from mainspring.registry.export import TOLERANCE

    said = column.to_pylist()
    known = [place for place, value in enumerate(said) if value is not None and value == value]  # noqa: PLR0124
    if not known:
        return 0
    classes = card.signature.classes
    names = [label_name(said[place]) for place in known]
    ours = np.asarray(served)[known]
    if classes and all(one in classes for one in names):
        decided = ours.argmax(axis=1) if ours.ndim == 2 else (ours >= 0.5).astype(int)
        differ = [place for place, one, name in zip(known, decided, names, strict=True) if classes[int(one)] != name]
        largest = "another class"
    elif ours.ndim == 2 or not all(isinstance(said[place], int | float) for place in known):
        strange = next(one for one in names if one not in classes)
        raise DataError(
            f"{strange!r} is no prediction of this model", where=where, valid=", ".join(classes) or "numbers"
        )
    else:
        given = np.array([said[place] for place in known], np.float64)
        size = 1.0 if classes else max(float(np.std(given)), 1e-12)
        apart = np.abs(ours - given) / size
        differ = [place for place, one in zip(known, apart, strict=True) if not one <= TOLERANCE]
        largest = f"up to {float(np.max(apart)):.2g}, {TOLERANCE:g} is allowed"
    if differ:
        raise DataError(
            f"the model answers {len(differ):,} of {len(known):,} rows otherwise than the reference says ({largest})",
            where=f"{where}, first in row {differ[0] + 1}",
            valid="what this version answered to these rows; of two classes the chance of the later one, or the class",
            next_step="leave the column out, or name another: --prediction COLUMN",
        )
    return len(known)


def _metrics(wish: AdoptionWish, rows: pa.Table, served: Any, card: ModelCard) -> dict[str, float]:
    """The task's metrics on the rows that have a label. The model may have been trained on them."""
    import math

    import numpy as np
    import pyarrow.compute as pc

    from mainspring.pipeline.signature import truth

    has = pc.is_valid(rows.column(wish.label))
    labels = rows.column(wish.label).filter(has)
    if not len(labels):
        return {}
    known, answered = truth(labels, card.signature), np.asarray(served)[has.to_numpy(zero_copy_only=False)]
    found = {one.name: score(one.name, known, answered) for one in METRICS.values() if card.task in one.tasks}
    return {name: value for name, value in found.items() if not math.isnan(value)}
