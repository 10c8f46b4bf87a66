"""From checked columns to the rows that the model takes: features of the request, of the online store, of views that
compute them; flags, ages and counts.

Missing is never zero: a value that is not there, is older than its view's time to live, or could not be asked for
follows the policy of its feature, and is flagged.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mainspring.domain.errors import DataError, MainspringError, TemporaryError
from mainspring.domain.model_version import Signature
from mainspring.serving.columns import Columns, is_text
from mainspring.serving.config import OnlineView
from mainspring.serving.errors import RequestError, StoreAway, Unanswerable
from mainspring.serving.missing import Missing
from mainspring.serving.on_demand import OnDemand, ViewFailed
from mainspring.serving.online import Keys, OnlineFeatures, OnlineRow
from mainspring.telemetry.logs import Log

Reason = Literal["missing", "stale", "unavailable", "defaulted"]
"""Why a feature is not what was looked up: no row or no value, too old, store away; and that a default stands in."""
_NAN = float("nan")
_NOTHING: frozenset[int] = frozenset()


@dataclass(slots=True)
class Looked:
    """Rows in the signature's order with, for each, its flags, the ages of its views and its entity keys.

    `failure` says that an on-demand view failed: then the rows are not whole, and nothing can be answered.
    """

    rows: list[list[Any]]
    flags: list[list[str]]
    ages: list[tuple[float | None, ...]]
    entities: list[tuple[Any, ...]]
    failure: str = ""


class _View:
    """A view for the inner loop: where its keys come from and where its values go."""

    def __init__(self, view: OnlineView, position: dict[str, int], text: Sequence[bool]) -> None:
        self.ttl = view.ttl_seconds
        self.keys = tuple(view.columns.get(key, key) for key in view.entities)
        self.targets = [
            (place, position[name], text[position[name]])
            for place, name in enumerate(view.features)
            if name in position
        ]


class Asking(Protocol):
    """A request that wants features: so many rows, in columns, asked at an instant (microseconds since 1970 UTC)."""

    count: int
    columns: Columns
    event_at: int


@dataclass(slots=True)
class Asked:
    """`Asking`, and nothing else."""

    count: int
    columns: Columns
    event_at: int


class Counts(Protocol):
    """Where a lookup counts."""

    def feature(self, reason: Reason, place: int) -> None:
        """A feature, by position in the signature's features and inputs, was not there, or a default stood in."""
        ...

    def store_failed(self) -> None:
        """The online store did not answer."""
        ...


class Lookup:
    """Fills rows, counts what was not there, and logs when the store goes away and comes back."""

    def __init__(
        self,
        signature: Signature,
        views: Sequence[OnlineView],
        online: OnlineFeatures | None,
        policies: Sequence[Missing],
        entities: Sequence[str],
        counts: Counts,
        on_demand: OnDemand | None = None,
        log: Log | None = None,
    ) -> None:
        known = (*signature.features, *signature.inputs)
        self._features = known
        self._names = [one.name for one in known]
        self._width = len(signature.features)
        self._online = online
        self._policies = policies
        self._entities = tuple(entities)
        self._text = [is_text(one) for one in known]
        self._blank = [None if text else _NAN for text in self._text]
        self._position = {name: place for place, name in enumerate(self._names)}
        self._no_ages = (None,) * len(views)
        self._views = [_View(view, self._position, self._text) for view in views]
        self._required = [one.name for one in signature.features if one.source == "request" and not one.nullable]
        self._on_demand = on_demand
        computed = {one.name for one in signature.on_demand} if on_demand is not None else set()
        self._computed = {
            view.name: (view.inputs, [place for place, one in enumerate(known) if one.source == view.name])
            for view in signature.on_demand
            if view.name in computed
        }
        self._stored = [place for place, one in enumerate(known) if one.source not in computed]
        self._counts = counts
        self._log = log or Log()
        self._away = False

    def fill(self, count: int, columns: Columns, event_at: int) -> Looked:
        """Rows for `count` questions asked at `event_at` (microseconds since 1970 UTC): `fill_all` of one request.

        Errors: `RequestError` when a column that training always saw is not sent, `Unanswerable` when a looked-up value
        is missing and its policy is `reject`, `StoreAway` when that is because the store did not answer, `DataError` when
        the store holds what is no feature.
        """
        found = self.fill_all([Asked(count, columns, event_at)])[0]
        if isinstance(found, MainspringError):
            raise found
        return found

    def fill_all(self, asked: Sequence[Asking]) -> list[Looked | MainspringError]:
        """What `fill` gives or raises for each of several requests, from one read of the store for all of them."""
        sent = [{self._position[name] for name in one.columns if name in self._position} for one in asked]
        try:
            stored, away = self._read(asked, sent)
        except DataError as error:
            if len(asked) > 1:
                return [found for one in asked for found in self.fill_all([one])]
            return [error]
        found: list[Looked | MainspringError] = []
        first = 0
        for one, own in zip(asked, sent, strict=True):
            try:
                found.append(self._fill(one, own, stored, first, away))
            except MainspringError as error:
                found.append(error)
            first += one.count
        return found

    def _fill(
        self, asked: Asking, sent: set[int], stored: list[list[OnlineRow | None]], first: int, away: bool
    ) -> Looked:
        columns = asked.columns
        for name in self._required:
            if name not in columns:
                raise RequestError("this column is not there", where=name)
        given = [(place, columns[self._names[place]]) for place in sent]
        looked = Looked([], [], [], [])
        for row in range(asked.count):
            values = self._blank.copy()
            for place, column in given:
                values[place] = column[row]
            ages, stale = self._place(first + row, stored, sent, values, asked.event_at)
            looked.rows.append(values)
            looked.ages.append(ages)
            looked.entities.append(tuple([_at(columns, name, row) for name in self._entities]))
            looked.flags.append(self._flags(values, self._stored, stale, away))
        if self._computed:
            self._compute(looked, columns, sent, asked.count)
        return looked

    def _read(self, asked: Sequence[Asking], sent: Sequence[set[int]]) -> tuple[list[list[OnlineRow | None]], bool]:
        """Each view's rows for all requests, one behind the other, and whether the store did not answer."""
        if self._online is None or not self._views:
            return [], False
        wanted: list[list[Keys | None]] = []
        all_sent = True
        for view in self._views:
            keys: list[Keys | None] = []
            for one, own in zip(asked, sent, strict=True):
                if own and all(target in own for _, target, _ in view.targets):
                    keys += [None] * one.count
                else:
                    keys += _keys(view.keys, one.columns, one.count)
                    all_sent = False
            wanted.append(keys)
        if all_sent:
            return [], False
        try:
            found = self._online.read(wanted)
        except TemporaryError as error:
            self._counts.store_failed()
            if not self._away:
                self._away = True
                self._log.warning("the online store is away", reason=error.what, where=error.where)
            return [], True
        if self._away:
            self._away = False
            self._log.info("the online store is back")
        return found, False

    def _place(
        self, row: int, stored: list[list[OnlineRow | None]], sent: set[int], values: list[Any], event_at: int
    ) -> tuple[tuple[float | None, ...], Set[int]]:
        """Put the views' values into the row; the views' ages, and what was too old."""
        if not stored:
            return self._no_ages, _NOTHING
        ages: list[float | None] = []
        stale: set[int] = set()
        for view, rows in zip(self._views, stored, strict=True):
            found = rows[row]
            if found is None:
                ages.append(None)
                continue
            age = (event_at - found.event_at) / 1e6
            ages.append(age)
            if view.ttl and age > view.ttl:
                stale.update(target for _, target, _ in view.targets if target not in sent)
                continue
            for source, target, text in view.targets:
                value = found.values[source]
                if value is None or target in sent:
                    continue
                kind = type(value)
                if kind is float and not text:
                    values[target] = value
                else:
                    values[target] = self._other(target, value, text)
        return tuple(ages), stale

    def _other(self, target: int, value: Any, text: bool) -> Any:
        """A value that is no plain float as the model takes it; an on-demand view's input stays what it is."""
        if target >= self._width:
            return value
        if text:
            return value if type(value) is str else _as_text(value)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"the online store has {str(value)[:40]!r}, which is no number", where=self._names[target]
            ) from None

    def _flags(self, values: list[Any], places: Sequence[int], stale: Set[int], away: bool) -> list[str]:
        """Flags of what is not there; defaults are put in."""
        flags: list[str] = []
        for place in places:
            value = values[place]
            if value is not None and value == value:  # noqa: PLR0124  # NaN is the one value that is not itself
                continue
            feature, policy = self._features[place], self._policies[place]
            looked_up = feature.source != "request"
            reason: Reason = "unavailable" if away and looked_up else "stale" if place in stale else "missing"
            self._counts.feature(reason, place)
            if policy.refuse:
                kind = StoreAway if reason == "unavailable" else Unanswerable
                raise kind(
                    f"its value is {reason}", where=feature.name, valid="features.missing: serve_and_flag, or default"
                )
            flags.append(f"{reason}:{feature.name}")
            if policy.default is not None:
                values[place] = policy.default
                self._counts.feature("defaulted", place)
                flags.append(f"defaulted:{feature.name}")
        return flags

    def _compute(self, looked: Looked, columns: Columns, sent: set[int], count: int) -> None:
        """Features of on-demand views, from rows that are whole otherwise."""
        assert self._on_demand is not None
        for view, (inputs, places) in self._computed.items():
            wanted = [place for place in places if place not in sent]
            if not wanted:
                continue
            taken: dict[str, Sequence[Any]] = {}
            for name in inputs:
                place = self._position.get(name)
                if place is not None:
                    taken[name] = [row[place] for row in looked.rows]
                else:
                    taken[name] = columns.get(name) or [None] * count
            try:
                found = self._on_demand.compute(view, taken, count)
            except ViewFailed as error:
                looked.failure = f"on-demand view {view}: {error.what}"
                break
            except DataError as error:
                if error.where in columns:
                    raise RequestError(error.what, where=error.where, valid=error.valid) from error
                raise
            for row in range(count):
                values = looked.rows[row]
                for place in wanted:
                    values[place] = self._computed_value(place, found[self._names[place]][row])
                looked.flags[row] += self._flags(values, wanted, _NOTHING, False)
        if self._width < len(self._names):
            for values in looked.rows:
                del values[self._width :]

    def _computed_value(self, place: int, value: Any) -> Any:
        return self._blank[place] if value is None else self._other(place, value, self._text[place])


def _keys(names: Sequence[str], columns: Columns, count: int) -> list[Keys | None]:
    """The keys of each row; None where one is not sent, or null."""
    if len(names) == 1:
        column = columns.get(names[0])
        if column is None:
            return [None] * count
        return [None if value is None or value != value else (value,) for value in column]  # noqa: PLR0124
    taken = [columns.get(name) for name in names]
    if None in taken:
        return [None] * count
    rows = zip(*[one for one in taken if one is not None], strict=True) if taken else [()] * count
    return [None if any(value is None or value != value for value in row) else row for row in rows]  # noqa: PLR0124


def _as_text(value: Any) -> str:
    """A stored value as training saw it in a column of categories.

    >>> _as_text(True), _as_text(7), _as_text(2.0)
    ('true', '7', '2')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _at(columns: Columns, name: str, row: int) -> Any:
    column = columns.get(name)
    return None if column is None else column[row]
