"""How many of the newest predictions have met their labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.source import SqlSource
from mainspring.domain.time import TimeWindow, duration_in_words
from mainspring.features.questions import questions
from mainspring.labels.known import KnownLabels, joined
from mainspring.settings.load import LoadedProject
from mainspring.sources.open import open_source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the primary answers of the last `window`, how many have a label that is known."""

    predictions: int
    labelled: int
    window: timedelta

    def in_words(self) -> str:
        """As a line for a person."""
        span = duration_in_words(self.window)
        if not self.predictions:
            return f"no prediction in the last {span}"
        return f"{self.labelled:,} of {self.predictions:,} predictions of the last {span} have their label"


def coverage(loaded: LoadedProject, now: datetime) -> Coverage | None:
    """Counted now; None where predictions cannot meet labels, because the questions have no id."""
    import pyarrow.compute as pc

    settings = loaded.settings
    if settings.target.id is None:
        return None
    span = settings.retrain.ask_window
    rows = ParquetPredictionLog(loaded.paths).read(
        TimeWindow(now - span, now + timedelta(seconds=1)), ["request_id", "role", "outcome"]
    )
    primary = pc.and_(pc.equal(rows.column("role"), "primary"), pc.equal(rows.column("outcome"), "answered"))
    rows = rows.filter(primary)
    if not rows.num_rows:
        return Coverage(0, 0, span)
    return Coverage(rows.num_rows, joined(rows, known_labels(loaded, now)).num_rows, span)


def known_labels(loaded: LoadedProject, now: datetime) -> pa.Table:
    """Labels known by now, of the target's source alone: no feature view has to be opened for them."""
    settings = loaded.settings
    name = settings.target.source
    source = open_source(name, settings.sources[name], loaded.paths.root, SqlSource)

    def asked(known_at: datetime, window: TimeWindow | None) -> pa.Table:
        return questions(settings, source, [], known_at=known_at, window=window)

    return KnownLabels(asked).labels(now)
