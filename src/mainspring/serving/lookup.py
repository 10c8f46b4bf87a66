"""From checked columns to the rows that the model takes: features of the request, features of the online store, flags.

Missing is never zero: a value that is not there, or older than its view's time to live, is NaN (text: None) with a flag,
or the request is refused, as the project says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.domain.model_version import Signature
from mainspring.serving.columns import Columns, is_text
from mainspring.serving.config import MissingPolicy, OnlineView
from mainspring.serving.errors import RequestError, Unanswerable
from mainspring.serving.online import OnlineFeatures

_NAN = float("nan")


@dataclass(slots=True)
class Looked:
    """Rows in the signature's order with, for each, its flags, the ages of its views and its entity keys."""

    rows: list[list[Any]]
    flags: list[list[str]]
    ages: list[tuple[float | None, ...]]
    entities: list[tuple[Any, ...]]


class Lookup:
    """Fills rows. `missing_counts` and `stale_counts` say how often, by position of the feature."""

    def __init__(
        self,
        signature: Signature,
        views: Sequence[OnlineView],
        online: OnlineFeatures | None,
        policy: MissingPolicy,
        entities: Sequence[str],
    ) -> None:
        self._features = signature.features
        self._views = views
        self._online = online
        self._reject = policy == "reject"
        self._entities = tuple(entities)
        self._blank = [None if is_text(one) else _NAN for one in signature.features]
        self._text = [is_text(one) for one in signature.features]
        position = {one.name: place for place, one in enumerate(signature.features)}
        self._of_view = [
            [(place, position[name]) for place, name in enumerate(view.features) if name in position] for view in views
        ]
        self._keys = [tuple(view.columns.get(key, key) for key in view.entities) for view in views]
        self.missing_counts = [0] * len(self._features)
        self.stale_counts = [0] * len(self._features)

    def fill(self, count: int, columns: Columns, event_at: int) -> Looked:
        """Rows for `count` questions asked at `event_at` (microseconds since 1970 UTC).

        Errors: `RequestError` when a column that training always saw is not sent, `Unanswerable` when a looked-up value
        is missing and the policy is `reject`.
        """
        if self._online is not None:
            self._online.refresh()
        given = [columns.get(feature.name) for feature in self._features]
        for feature, column in zip(self._features, given, strict=True):
            if column is None and feature.source == "request" and not feature.nullable:
                raise RequestError("this column is not there", where=feature.name)
        found = Looked([], [], [], [])
        for row in range(count):
            values = [
                blank if column is None else column[row] for column, blank in zip(given, self._blank, strict=True)
            ]
            stale: set[int] = set()
            ages = tuple(
                self._view(place, row, columns, given, values, stale, event_at) for place in range(len(self._views))
            )
            found.rows.append(values)
            found.flags.append(self._flags(values, stale))
            found.ages.append(ages)
            found.entities.append(tuple(_at(columns, name, row) for name in self._entities))
        return found

    def _view(
        self,
        place: int,
        row: int,
        columns: Columns,
        given: list[list[Any] | None],
        values: list[Any],
        stale: set[int],
        event_at: int,
    ) -> float | None:
        wanted = [(source, target) for source, target in self._of_view[place] if given[target] is None]
        if not wanted or self._online is None:
            return None
        keys = tuple(_at(columns, name, row) for name in self._keys[place])
        if None in keys:
            return None
        stored = self._online.row(place, keys)
        if stored is None:
            return None
        age = (event_at - stored.event_at) / 1e6
        ttl = self._views[place].ttl_seconds
        if ttl and age > ttl:
            stale.update(target for _, target in wanted)
            return age
        for source, target in wanted:
            value = stored.values[source]
            if value is not None:
                values[target] = value if self._text[target] else float(value)
        return age

    def _flags(self, values: list[Any], stale: set[int]) -> list[str]:
        flags = []
        for place, value in enumerate(values):
            if value is not None and value == value:  # noqa: PLR0124  # NaN is the one value that is not itself
                continue
            feature = self._features[place]
            kind, counts = ("stale", self.stale_counts) if place in stale else ("missing", self.missing_counts)
            counts[place] += 1
            if self._reject and not feature.nullable:
                raise Unanswerable(f"its value is {kind}", where=feature.name, valid="features.missing: serve_and_flag")
            flags.append(f"{kind}:{feature.name}")
        return flags


def _at(columns: Columns, name: str, row: int) -> Any:
    column = columns.get(name)
    return None if column is None else column[row]
