"""How labelled rows are divided: the newest window for the gate, the newest of the rest for early stopping.

Rows come in order of their event time. Without event times parts are chosen by a hash of the row, so that the same row
always falls into the same part.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mainspring.domain.errors import DataError
from mainspring.domain.model_version import Signature
from mainspring.domain.time import duration_in_words
from mainspring.settings.project import SplitSettings

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN, VALIDATION, HOLDOUT = "train", "validation", "holdout"
PART = "_mainspring_part"
"""The column that says a row's part; a name that no column of a source has."""


@dataclass(frozen=True, slots=True)
class Split:
    """Part of every row, and where the held-out window begins (None without times)."""

    parts: tuple[str, ...]
    holdout_from: datetime | None


def divide(
    rows: pa.Table,
    settings: SplitSettings,
    *,
    time: str | None,
    known_at: datetime | None,
    train_from: datetime | None = None,
) -> Split:
    """Divide labelled rows; `time` names the column with event times, None without.

    The held-out window ends at the newest row, not at `known_at`: labels that are late shorten nothing. With `window`
    rows older than that are in no part (an empty name), and with `train_from` those before it. Errors: `DataError` when a part that has to have rows has none.
    """
    parts = _by_hash(rows, settings) if time is None else None
    start = None
    if parts is None:
        assert time is not None
        parts, start = _by_time(rows, time, settings, known_at, train_from)
    empty = [name for name in (TRAIN, HOLDOUT) if name not in parts]
    if empty:
        raise DataError(
            f"no row is left for {' and '.join(empty)} out of {rows.num_rows:,} labelled rows",
            where="mainspring.yaml: split",
            valid=f"labelled rows that reach further back than the held-out {duration_in_words(settings.holdout)}",
            next_step="shorten split.holdout, or bring older rows",
        )
    return Split(tuple(parts), start)


def require_classes(labels: pa.ChunkedArray, parts: Sequence[str], signature: Signature) -> None:
    """Refuse a split whose training part lacks a class: no model could learn it, and most estimators fail on it."""
    from mainspring.pipeline.signature import truth

    if signature.task == "regression":
        return
    trained_on = {int(place) for place, part in zip(truth(labels, signature), parts, strict=True) if part == TRAIN}
    never = [name for place, name in enumerate(signature.classes) if place not in trained_on]
    if never:
        raise DataError(
            f"no row that is trained on has the label {', '.join(never)}: it is only among those held out",
            where="mainspring.yaml: split",
            valid="every label in the rows before the held-out window",
            next_step="shorten split.holdout, or bring older rows; then mainspring check",
        )


def _by_time(
    rows: pa.Table, time: str, settings: SplitSettings, known_at: datetime | None, train_from: datetime | None
) -> tuple[list[str], datetime | None]:
    times = rows.column(time).to_pylist()
    if not times:
        return [], None
    newest = max(times)
    start = newest - settings.holdout
    bounds = [train_from, None if settings.window is None else (known_at or newest) - settings.window]
    oldest = max((at for at in bounds if at is not None), default=None)
    before = sorted(at for at in times if at <= start and (oldest is None or at >= oldest))
    kept = len(before) - round(len(before) * settings.validation_share)
    # Whole instants: rows of one instant are never torn apart, and the oldest stay for training.
    cut = before[kept] if kept < len(before) and before[kept] > before[0] else None
    parts = []
    for at in times:
        if at > start:
            parts.append(HOLDOUT)
        elif oldest is not None and at < oldest:
            parts.append("")
        else:
            parts.append(VALIDATION if cut is not None and at >= cut else TRAIN)
    return parts, start


def _by_hash(rows: pa.Table, settings: SplitSettings) -> list[str]:
    columns = [rows.column(name).to_pylist() for name in rows.column_names]
    parts = []
    for row in zip(*columns, strict=True):
        place = zlib.crc32(repr(row).encode()) / 2**32
        if place < settings.holdout_share:
            parts.append(HOLDOUT)
        elif place < settings.holdout_share + (1 - settings.holdout_share) * settings.validation_share:
            parts.append(VALIDATION)
        else:
            parts.append(TRAIN)
    return parts
