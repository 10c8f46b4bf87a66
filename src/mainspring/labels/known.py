"""Labels as they come: of the questions asked and of statements beside them, those that were known by an instant; and
predictions that meet them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

Questions = Callable[[datetime, TimeWindow | None], "pa.Table"]
"""Questions asked by an instant, with `request_id`, `label` (null: not known), `event_timestamp`, `label_known_at`."""
Beside = Callable[[datetime, TimeWindow | None], "pa.Table"]
"""Labels that came beside the questions: `request_id`, `label` (text), `event_at` (null: not said), `known_at`, one a request."""


class Unlabelled(ConfigError):
    """Nothing says how a prediction of this project could meet a label."""


class KnownLabels:
    """`LabelSource` over the project's own questions, and over labels that came beside them."""

    def __init__(self, questions: Questions, beside: Beside | None = None) -> None:
        self._questions = questions
        self._beside = beside

    def labels(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """Columns `request_id`, `label`, `event_at`, `known_at`: labels known at `known_at`, asked for in the window.

        Labels without times are in every window; their `event_at` is null. A label beside the questions counts in place of a
        question's own when it became known no earlier. Errors: `Unlabelled` when the project's questions have no id by which
        a prediction could meet its label, and no label came beside them.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        beside = None if self._beside is None else self._beside(known_at, window)
        more = beside is not None and beside.num_rows > 0
        # With labels beside them, questions outside the window say which of two labels is the newer one.
        asked = self._questions(known_at, None if more else window)
        if "request_id" not in asked.column_names:
            if beside is None or not more:
                raise Unlabelled(
                    "predictions cannot meet their labels: the questions have no id",
                    where="mainspring.yaml: target.id",
                    valid="a column that callers send as the request's id; or labels of their own (mainspring labels add)",
                )
            asked = asked.slice(0, 0).append_column("request_id", pa.array([], pa.string()))
        if "event_timestamp" not in asked.column_names:
            asked = asked.append_column("event_timestamp", pa.nulls(asked.num_rows, pa.timestamp("us", "UTC")))
        if beside is not None and more:
            asked = completed(asked, beside)
        known = asked.filter(pc.is_valid(asked.column("label")))
        known = known.select(["request_id", "label", "event_timestamp", "label_known_at"]).rename_columns(
            ["request_id", "label", "event_at", "known_at"]
        )
        if beside is None or not more:
            return known
        others = beside.filter(pc.invert(pc.is_in(beside.column("request_id"), asked.column("request_id"))))
        others = others.set_column(1, "label", like(others.column("label"), known.column("label").type))
        return _within(
            pa.concat_tables([known, others.select(known.column_names)], promote_options="permissive"), window
        )


def completed(asked: pa.Table, beside: pa.Table) -> pa.Table:
    """Questions with the labels that came beside them: in place of none, or of one that became known earlier.

    >>> import pyarrow as pa
    >>> times = [datetime(2026, 1, one) for one in (1, 2, 3)]
    >>> asked = pa.table({"request_id": ["a", "b", "c"], "label": [0, None, 1], "label_known_at": [times[1]] * 3})
    >>> beside = pa.table({"request_id": ["a", "b", "c"], "label": ["1", "1", "0"], "known_at": [times[2], times[2], times[0]]})
    >>> completed(asked, beside).column("label").to_pylist()
    [1, 1, 1]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not beside.num_rows or "request_id" not in asked.column_names:
        return asked
    place = pc.index_in(asked.column("request_id"), value_set=beside.column("request_id"))
    own, own_known = asked.column("label"), asked.column("label_known_at")
    if pa.types.is_dictionary(own.type):
        own = own.cast(own.type.value_type)
    theirs = like(beside.column("label").take(place), own.type)
    own = own.cast(theirs.type)
    their_known = beside.column("known_at").take(place).cast(own_known.type)
    newer = pc.or_(pc.is_null(own), pc.fill_null(pc.greater_equal(their_known, own_known), True))
    use = pc.and_(pc.is_valid(place), newer)
    columns = {
        "label": pc.if_else(use, theirs, own),
        "label_known_at": pc.if_else(use, their_known, own_known),
    }
    for name, column in columns.items():
        asked = asked.set_column(asked.column_names.index(name), name, column)
    return asked


def like(labels: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Labels that are text in the type of the target's own column; numbers where that has whole numbers, and they are none.

    >>> import pyarrow as pa
    >>> [str(like(pa.chunked_array([[text]]), pa.int64()).type) for text in ("2", "2.5")]
    ['int64', 'double']
    """
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    said = None
    for one in [kind, pa.float64()] if pa.types.is_integer(kind) else [kind]:
        try:
            return labels.cast(one)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            said = error
    raise DataError(
        f"labels that came beside the target's source do not fit its own: {said}",
        where="labels",
        valid=f"labels of the target's type, {kind}",
    ) from said


def _within(labels: pa.Table, window: TimeWindow | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if window is None:
        return labels
    kind = pa.timestamp("us", "UTC")
    at = labels.column("event_at")
    inside = pc.and_(pc.greater_equal(at, pa.scalar(window.start, kind)), pc.less(at, pa.scalar(window.end, kind)))
    return labels.filter(pc.fill_null(inside, True))


def joined(predictions: pa.Table, labels: pa.Table) -> pa.Table:
    """Predictions with a column `label`, those that have one; met by `request_id`, each prediction at most once."""
    return met(predictions, labels, "label")


def met(rows: pa.Table, others: pa.Table, column: str) -> pa.Table:
    """The rows whose `request_id` is among `others`, with that one's `column`, in the rows' order."""
    import pyarrow.compute as pc

    place = pc.index_in(rows.column("request_id"), value_set=others.column("request_id"))
    here = pc.is_valid(place)
    return rows.filter(here).append_column(column, others.column(column).take(place.filter(here)))
