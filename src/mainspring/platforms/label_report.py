"""`mainspring labels`: how many predictions of each day have their label, and what became of labels that came beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from mainspring.domain.added_labels import AddedLabels
from mainspring.domain.time import TimeWindow
from mainspring.labels.statements import contradicted, in_force
from mainspring.platforms.adding_labels import unmatched
from mainspring.platforms.coverage import known_labels, late_among, overruled, predictions, with_labels
from mainspring.platforms.labelling import labels_of
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa


_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LabelDay:
    """What was asked on one day (of event time, UTC), how much of it has its label, and how many of these came late."""

    day: date
    predictions: int
    labelled: int
    late: int

    @property
    def share(self) -> float:
        """Of the day's predictions those with a label."""
        return self.labelled / self.predictions


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Labels as they were known at `as_of`: by day, and those beside the target's source altogether.

    `said`: requests, or entities and instants, of which a label was said. `contradicting` of them had more than one, and the
    newest counts; `overruled` labels of the target's source have another one in their place; `unmatched` meet no prediction and no question, and are kept. `doubles` and `refused` are rows of added files.
    """

    as_of: datetime
    days: tuple[LabelDay, ...]
    late_after: timedelta
    said: int
    contradicting: int
    overruled: int
    unmatched: int
    doubles: int
    refused: int
    added: tuple[AddedLabels, ...]


def label_report(loaded: LoadedProject, as_of: datetime, *, days: int) -> LabelReport:
    """The report on the newest `days` days that have predictions.

    Errors: `labels.known.Unlabelled` where predictions cannot meet labels.
    """
    labels = labels_of(loaded)
    known = known_labels(loaded, as_of, labels)
    rows = predictions(loaded, TimeWindow(_FIRST, as_of))
    said = labels.statements()
    force = in_force(said, as_of)
    added = tuple(one for one in labels.store.added() if one.at <= as_of)
    return LabelReport(
        as_of,
        _by_day(rows, known, loaded.settings.labels.late_after)[-days:],
        loaded.settings.labels.late_after,
        force.num_rows,
        contradicted(said, as_of),
        overruled(loaded, as_of, labels),
        unmatched(labels, force),
        sum(one.doubles for one in added),
        sum(one.refused for one in added),
        added,
    )


def in_words(report: LabelReport) -> list[str]:
    """What came beside the target's source, as lines for a person."""
    if not report.said:
        return ["beside the target's source no label was said: mainspring labels add FILE"]
    files = f"{len(report.added)} file{'s' if len(report.added) != 1 else ''}"
    lines = [f"{report.said:,} labels beside the target's source, {files} added"]
    told = {
        "said otherwise later: the newest known counts": report.contradicting,
        "count in place of another label of the target's source": report.overruled,
        "doubles in added files": report.doubles,
        "refused rows in added files": report.refused,
        "meet no prediction and no question yet, and are kept": report.unmatched,
    }
    return lines + [f"{count:,} {text}" for text, count in told.items() if count]


def _by_day(rows: pa.Table, known: pa.Table, late_after: timedelta) -> tuple[LabelDay, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    def days_of(table: pa.Table) -> pa.ChunkedArray:
        return table.column("event_at").cast(pa.timestamp("us")).cast(pa.date32())

    labelled = with_labels(rows, known)
    asked, answered = days_of(rows), days_of(labelled)
    found = []
    for one in pc.value_counts(asked).to_pylist():
        theirs = labelled.filter(pc.equal(answered, pa.scalar(one["values"], pa.date32())))
        found.append(LabelDay(one["values"], one["counts"], theirs.num_rows, late_among(theirs, late_after)))
    return tuple(sorted(found, key=lambda one: one.day))
