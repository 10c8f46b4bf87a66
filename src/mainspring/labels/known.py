"""Labels as they come: of the questions asked, those whose answer was known by an instant; and predictions that meet them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

Questions = Callable[[datetime, TimeWindow | None], "pa.Table"]
"""Questions asked by an instant, with `request_id`, `label` (null: not known), `event_timestamp`, `label_known_at`."""


class KnownLabels:
    """`LabelSource` over the project's own questions."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def labels(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """Columns `request_id`, `label`, `event_at`, `known_at`: labels known at `known_at`, asked for in the window.

        Questions without times are in every window; their `event_at` is null. Errors: `ConfigError` when the project's questions have no id by which a prediction could meet its label.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = self._questions(known_at, window)
        if "request_id" not in asked.column_names:
            raise ConfigError(
                "predictions cannot meet their labels: the questions have no id",
                where="mainspring.yaml: target.id",
                valid="a column that callers send as the request's id",
            )
        if "event_timestamp" not in asked.column_names:
            asked = asked.append_column("event_timestamp", pa.nulls(asked.num_rows, pa.timestamp("us", "UTC")))
        known = asked.filter(pc.is_valid(asked.column("label")))
        return known.select(["request_id", "label", "event_timestamp", "label_known_at"]).rename_columns(
            ["request_id", "label", "event_at", "known_at"]
        )


def joined(predictions: pa.Table, labels: pa.Table) -> pa.Table:
    """Predictions with a column `label`, those that have one; met by `request_id`, each prediction at most once."""
    return met(predictions, labels, "label")


def met(rows: pa.Table, others: pa.Table, column: str) -> pa.Table:
    """The rows whose `request_id` is among `others`, with that one's `column`, in the rows' order."""
    import pyarrow.compute as pc

    place = pc.index_in(rows.column("request_id"), value_set=others.column("request_id"))
    here = pc.is_valid(place)
    return rows.filter(here).append_column(column, others.column(column).take(place.filter(here)))
