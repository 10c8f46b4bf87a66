"""`mainspring labels add`: a file's labels become part of what is known, whole or not at all."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.added_labels import AddedLabels
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.labels.columns import label_columns
from mainspring.labels.reading import LabelRows, read_labels
from mainspring.labels.statements import new_among
from mainspring.platforms.labelling import LaptopLabels, labels_of
from mainspring.settings.load import LoadedProject
from mainspring.sources.digest import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 10


def add_labels(
    loaded: LoadedProject,
    path: Path,
    now: datetime,
    *,
    by: str = "",
    known_at: datetime | None = None,
    skip_bad: bool = False,
) -> tuple[AddedLabels, bool]:
    """Add a file's labels; its record, and whether anything was written: the same file again changes nothing.

    `known_at`: when labels became known whose file does not say it; None: `now`. Errors: `DataError` names each row that is no
    label, and nothing is added, unless `skip_bad` leaves them out.
    """
    if known_at is not None and known_at > now:
        raise ConfigError(
            "labels did not become known later than now", where="--known-at", valid=f"up to {now:%Y-%m-%dT%H:%MZ}"
        )
    labels, digest = labels_of(loaded), _digest(path)
    record = next((one for one in labels.store.added() if one.digest == digest), None)
    written = False
    if record is None:
        found = _read(loaded, labels, path, now, known_at or now, digest)
        if found.refused and not skip_bad:
            raise _refusal(found, path)
        if not found.statements.num_rows:
            raise DataError("there is no label in the file", where=str(path))

        def adding(recorded: pa.Table) -> tuple[pa.Table, AddedLabels]:
            fresh, doubles, corrections = new_among(found.statements, recorded, stated=found.stated)
            new, refused = found.statements.num_rows - doubles, len(found.refused)
            counts = (found.rows, new, doubles, corrections, refused, unmatched(labels, fresh))
            return fresh, AddedLabels(digest, path.name, by or getpass.getuser(), now, *counts)

        record, written = labels.store.add(digest, adding)
    # For a file that was added before, too: who was killed in between left it untold. Its id is the file's.
    SqliteLedger(loaded.paths.ledger).append(_decision(record))
    return record, written


def unmatched(labels: LaptopLabels, said: pa.Table) -> int:
    """How many statements meet no logged prediction and no question: too early, or with keys that nobody sent."""
    import pyarrow.compute as pc

    with_id = said.column("request_id").drop_null()
    missed = pc.sum(pc.invert(pc.is_in(with_id, value_set=labels.known_ids()))).as_py() or 0
    entities = pc.count_distinct(labels.by_entity(said).column("said")).as_py()
    return int(missed + said.num_rows - len(with_id) - entities)


def in_words(record: AddedLabels) -> str:
    """What became of a file's rows.

    >>> from datetime import UTC
    >>> in_words(AddedLabels("d", "a.csv", "eva", datetime(2026, 1, 1, tzinfo=UTC), 10, 7, 2, 3, 1, 4))
    '10 rows: 7 new, 2 doubles, 1 refused; 3 correct an earlier label; 4 meet no prediction yet, and are kept'
    """
    text = f"{record.rows:,} rows: {record.new:,} new"
    text += f", {record.doubles:,} doubles" if record.doubles else ""
    text += f", {record.refused:,} refused" if record.refused else ""
    text += f"; {record.corrections:,} correct an earlier label" if record.corrections else ""
    return text + (f"; {record.unmatched:,} meet no prediction yet, and are kept" if record.unmatched else "")


def _read(
    loaded: LoadedProject, labels: LaptopLabels, path: Path, now: datetime, known_at: datetime, digest: str
) -> LabelRows:
    return read_labels(
        path,
        lambda present: label_columns(loaded.settings, present, where=str(path)),
        labels.known_label(),
        now=now,
        known_at=known_at,
        file=digest,
    )


def _refusal(found: LabelRows, path: Path) -> DataError:
    lines = [f"line {one.line}: {one.reason}" for one in found.refused[:_SHOWN]]
    more = len(found.refused) - len(lines)
    lines += [f"and {more:,} more"] if more else []
    return DataError(
        f"{len(found.refused):,} of {found.rows:,} rows are no labels, and none was added:\n  - "
        + "\n  - ".join(lines),
        where=str(path),
        next_step=f"mend them; or add the others alone: mainspring labels add --skip-bad {path.name}",
    )


def _decision(record: AddedLabels) -> Decision:
    numbers = from_json(dict[str, Any], to_json(record))
    what = f"{record.new:,} labels of {record.name}"
    return Decision(
        f"labels:{record.digest[:32]}", "labels_added", what, in_words(record), record.by, record.at, numbers=numbers
    )


def _digest(path: Path) -> str:
    if not path.is_file():
        raise NotFound("there is no such file", where=str(path), valid="a .csv or .parquet file with labels")
    return file_digest(path)
