"""A few of a project's questions with their features: enough to try everything on, and seconds to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.domain.errors import DataError
from mainspring.domain.model_version import Signature
from mainspring.domain.time import floor_to, utc
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 1000


def sample(rows: pa.Table, labels: Signature) -> pa.Table:
    """The newest rows; without times rows spread evenly. Of a class that they lack, its newest rows as well."""
    import numpy as np

    from mainspring.pipeline.signature import truth

    count = rows.num_rows
    if EVENT_TIME in rows.column_names:
        places = set(range(max(0, count - MOST_ROWS), count))
    else:
        places = {int(place) for place in np.linspace(0, count - 1, min(count, MOST_ROWS))}
    if labels.task != "regression":
        of_row = truth(rows.column(LABEL), labels)
        for one in range(len(labels.classes)):
            having = np.flatnonzero(of_row == one)
            if not places.intersection(having.tolist()):
                places.update(having[-20:].tolist())
    return rows.take(sorted(places))


def compute_views(loaded: LoadedProject, features: LaptopFeatures, rows: pa.Table) -> None:
    """The rows of every transform at the ticks that the sampled questions look at, and a look for look-ahead."""
    from mainspring.features.lookahead import assert_no_lookahead
    from mainspring.features.transforms import TransformSession

    assert features.store is not None
    settings, store = loaded.settings, features.store
    store.views()
    session = TransformSession(settings, loaded.paths.root, features.sources)
    asked = [utc(at) for at in rows.column(EVENT_TIME).to_pylist()]
    for view in session.views:
        every = settings.features.transforms[view].every
        ticks = sorted({floor_to(at, every) for at in asked} | {floor_to(min(asked), every) - every})
        store.append(view, session.compute(view, ticks))
        assert_no_lookahead(session, view, ticks, sample=1)


def refuse_empty(rows: pa.Table, sources: dict[str, str]) -> None:
    """A view without one value in all these rows is no feature: its keys or times meet nothing."""
    for view in sorted(set(sources.values()) - {"request"}):
        own = [name for name, source in sources.items() if source == view]
        if all(rows.column(name).null_count == rows.num_rows for name in own):
            raise DataError(
                f"view {view!r} has no value for any of {rows.num_rows:,} questions",
                where=f"features.py: {view}",
                valid="rows with the questions' entity keys, no older than the view's ttl",
                next_step=f"compare the keys of {view} with those of the target's source; then mainspring check",
            )
