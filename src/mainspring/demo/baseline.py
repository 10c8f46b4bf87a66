"""What the loop is compared with: a model retrained every calendar month on all history, on the same flights.

`python -m mainspring.demo.baseline PROJECT OUT FIRST LAST` works on a copy of the project, so that it takes nothing from
the loop and gives nothing to it; it runs beside the replay at the lowest priority.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME, LABEL, LABEL_KNOWN_AT, REQUEST_ID
from mainspring.pipeline.signature import frame, truth
from mainspring.pipeline.training import Part, answers, fit, load_recipe, training_data
from mainspring.platforms.challenger import signature_of, with_features
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import LoadedProject, load_project

if TYPE_CHECKING:
    import pyarrow as pa

_FILES = ("mainspring.yaml", "training.py", "features.py", "transforms.py")


def calendar(project: Path, out: Path, first: datetime, last: datetime) -> None:
    """Write `request_id`, `calendar` for every question asked in [first, last), each by the model of its month."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    copy = out.parent / "project"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in _FILES:
        shutil.copy2(project / name, copy / name)
    (copy / "data").symlink_to((project / "data").resolve())
    loaded = load_project(copy)
    features = LaptopFeatures(loaded)
    features.advance(last)
    # Each row's features are as they were known when it asked; its label counts once it was known.
    rows, sources, entities = with_features(loaded, features, features.questions(last + timedelta(days=30)))
    parts = []
    for start, end in months(first, last):
        known = pc.fill_null(pc.less_equal(rows.column(LABEL_KNOWN_AT), _instant(rows, start)), False)
        asked = pc.less(rows.column(EVENT_TIME), _instant(rows, start, EVENT_TIME))
        model = _Model(
            loaded, rows.filter(pc.and_(pc.and_(known, asked), pc.is_valid(rows.column(LABEL)))), sources, entities
        )
        at = rows.column(EVENT_TIME)
        month = rows.filter(
            pc.and_(
                pc.greater_equal(at, _instant(rows, start, EVENT_TIME)), pc.less(at, _instant(rows, end, EVENT_TIME))
            )
        )
        parts.append(pa.table({"request_id": month.column(REQUEST_ID), "calendar": pa.array(model.answers(month))}))
    part = out.with_suffix(".part")
    pq.write_table(pa.concat_tables(parts), part)
    part.replace(out)
    shutil.rmtree(copy)


class _Model:
    """The project's recipe, fitted on some rows."""

    def __init__(self, loaded: LoadedProject, rows: pa.Table, sources: dict[str, str], entities: list[str]) -> None:
        settings = loaded.settings
        self.signature: Signature = signature_of(settings, rows, sources, entities)
        self.recipe = load_recipe(loaded.paths.root)
        X, y = frame(rows, self.signature), truth(rows.column(LABEL), self.signature)
        data = training_data(X, y, self.signature, Part(X[:0], y[:0]))
        self.model = fit(self.recipe, data, settings.params, seed=settings.seed)

    def answers(self, rows: pa.Table) -> Any:
        return answers(self.model, frame(rows, self.signature), self.signature, self.recipe)


def months(first: datetime, last: datetime) -> list[tuple[datetime, datetime]]:
    """The calendar months that begin in [first, last), each with its end.

    >>> [start.month for start, _ in months(datetime(2013, 11, 1), datetime(2014, 1, 1))]
    [11, 12]
    """
    found = []
    start = first
    while start < last:
        end = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
        found.append((start, min(end, last)))
        start = end
    return found


def _instant(rows: pa.Table, at: datetime, column: str = LABEL_KNOWN_AT) -> Any:
    import pyarrow as pa

    return pa.scalar(at, rows.schema.field(column).type)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.nice(19)
    begins, ends = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in sys.argv[3:5])
    calendar(Path(sys.argv[1]), Path(sys.argv[2]), begins, ends)
