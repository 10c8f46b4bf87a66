"""How many of the newest predictions have met their labels, and how late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.time import TimeWindow, duration_in_words
from mainspring.features.questions import questions
from mainspring.labels.known import KnownLabels, Questions, Unlabelled, completed, met
from mainspring.labels.statements import contradicted
from mainspring.platforms.labelling import LaptopLabels, labels_of
from mainspring.prediction_log.requests import NEEDED, asked_once
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of what was asked in the last `window`, how much has a label that is known, and how many of these came `late`.

    `contradicting`: of how many requests more than one label was said beside the target's source, ever.
    """

    predictions: int
    labelled: int
    window: timedelta
    late: int = 0
    contradicting: int = 0

    def in_words(self) -> str:
        """As a line for a person."""
        span = duration_in_words(self.window)
        if not self.predictions:
            return f"no prediction in the last {span}"
        text = f"{self.labelled:,} of {self.predictions:,} predictions of the last {span} have their label"
        text += f", {self.late:,} of them late" if self.late else ""
        return text + (f"; {self.contradicting:,} were contradicted" if self.contradicting else "")


def coverage(loaded: LoadedProject, now: datetime, labels: LaptopLabels | None = None) -> Coverage | None:
    """Counted now; None where predictions cannot meet labels, because neither questions nor labels have their id.

    `labels` are the project's, where somebody has opened them already.
    """
    span = loaded.settings.retrain.ask_window
    labels = labels or labels_of(loaded)
    if loaded.settings.target.id is None and not labels.expected:
        return None
    rows = predictions(loaded, TimeWindow(now - span, now + timedelta(seconds=1)))
    contradicting = contradicted(labels.statements(), now)
    if not rows.num_rows:
        return Coverage(0, 0, span, 0, contradicting)
    try:
        labelled = with_labels(rows, known_labels(loaded, now, labels))
    except Unlabelled:
        return None
    late = late_among(labelled, loaded.settings.labels.late_after)
    return Coverage(rows.num_rows, labelled.num_rows, span, late, contradicting)


def known_labels(loaded: LoadedProject, now: datetime, labels: LaptopLabels | None = None) -> pa.Table:
    """Labels known by now: of the target's source and beside it. No feature view has to be opened for them."""
    labels = labels or labels_of(loaded)
    return KnownLabels(_asked(loaded, labels), labels.beside).labels(now)


def overruled(loaded: LoadedProject, now: datetime, labels: LaptopLabels) -> int:
    """In place of how many labels of the target's source another one counts, that came beside it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    beside = labels.beside(now)
    if loaded.settings.target.id is None or not beside.num_rows:
        return 0
    asked = _asked(loaded, labels)(now, None)
    own, used = asked.column("label"), completed(asked, beside).column("label")
    return pc.sum(pc.not_equal(own.cast(pa.string()), used.cast(pa.string()))).as_py() or 0


def _asked(loaded: LoadedProject, labels: LaptopLabels) -> Questions:
    settings = loaded.settings
    source = labels.sources[settings.target.source]
    return lambda known_at, window: questions(settings, source, [], known_at=known_at, window=window)


def predictions(loaded: LoadedProject, window: TimeWindow | None) -> pa.Table:
    """What was asked in the window, once each: `request_id`, `event_at`, `version`, `role`, `outcome`."""
    log = ParquetPredictionLog(loaded.paths)
    return asked_once(log.read(window, [*NEEDED, "event_at", "version"]))


def with_labels(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Predictions that have their label, with it and `known_at`."""
    return met(met(rows, known, "label"), known, "known_at")


def late_among(labelled: pa.Table, late_after: timedelta) -> int:
    """How many of these labels became known more than `late_after` after their prediction."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.timestamp("us", "UTC")
    since = pc.add(labelled.column("event_at").cast(kind), pa.scalar(late_after, pa.duration("us")))
    return pc.sum(pc.greater(labelled.column("known_at").cast(kind), since)).as_py() or 0
