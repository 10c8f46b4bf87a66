"""The rows of a file that is scored: which column is what, when each row is asked, and its features as known then."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.model_version import Signature
from mainspring.domain.time import instant, utc
from mainspring.features.questions import EVENT_TIME
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.serving.batch import looked_up_values, sent_values
from mainspring.serving.columns import REQUEST_ID, Columns
from mainspring.settings.project import ProjectSettings
from mainspring.sources.batches import Batch

if TYPE_CHECKING:
    import pyarrow as pa

TIMES = ("event_at", EVENT_TIME)
"""Usual names of the column that says when a row is asked; the project's own is one, too."""


@dataclass(frozen=True, slots=True)
class Division:
    """A file's columns by what they are: sent to the model, looked up by its keys, or carried into the output."""

    sent: tuple[str, ...]
    looked_up: tuple[str, ...]
    keys: dict[str, str]
    id: str | None
    time: str | None
    carried: tuple[str, ...]


class BatchRows:
    """Questions and features of a file's batches, as a predictor would have had them.

    `as_of`: nothing that became known later is looked at. Errors: `ConfigError` names each column that is missing, or that is
    no input.
    """

    def __init__(
        self,
        settings: ProjectSettings,
        features: LaptopFeatures,
        signature: Signature,
        names: Sequence[str],
        path: Path,
        as_of: datetime,
        *,
        keep_extra: bool,
    ) -> None:
        self._features = features
        self._signature = signature
        self._path = path
        self._as_of = utc(as_of)
        self._by_name = {one.name: one for one in signature.features}
        self.columns = self._divide(settings, names, keep_extra=keep_extra)
        if self.columns.looked_up:
            features.advance(self._as_of)

    @property
    def entities(self) -> list[str]:
        """Columns with entity keys, as callers name them."""
        return list(dict.fromkeys(self.columns.keys.values()))

    def instants(self, batch: Batch) -> list[datetime]:
        """When each row is asked; rows that do not say it are asked at `as_of`."""
        if self.columns.time is None:
            return [self._as_of] * batch.rows.num_rows
        found = []
        for place, value in enumerate(batch.rows.column(self.columns.time).to_pylist()):
            try:
                found.append(self._as_of if value is None else _instant(value))
            except ConfigError as error:
                raise DataError(
                    f"row {batch.first + place:,}: `{self.columns.time}` {error.what}",
                    where=str(self._path),
                    valid=error.valid,
                ) from error
        return found

    def sent(self, batch: Batch) -> Columns:
        """What a caller would send."""
        names = dict.fromkeys([*self.columns.sent, *self.columns.keys.values()])
        return {name: sent_values(batch.rows.column(name), self._by_name.get(name)) for name in names}

    def looked_up(self, batch: Batch, sent: Columns, instants: list[datetime]) -> Columns:
        """What the online store would have had for each row at its instant, or at `as_of` where that is earlier."""
        if not self.columns.looked_up:
            return {}
        import pyarrow as pa

        assert self._features.store is not None
        at = pa.array([min(one, self._as_of) for one in instants], pa.timestamp("us", "UTC"))
        views = {name for view in self._features.store.views() for name, _ in (*view.features, *view.hidden)}
        given = {name: values for name, values in sent.items() if name not in views}
        spine = {EVENT_TIME: at, **{name: _array(values) for name, values in given.items()}}
        spine |= {key: _array(sent[column]) for key, column in self.columns.keys.items()}
        joined = self._features.store.historical(pa.table(spine), on_demand=False)
        return {name: looked_up_values(joined.column(name), self._by_name.get(name)) for name in self.columns.looked_up}

    def _divide(self, settings: ProjectSettings, names: Sequence[str], *, keep_extra: bool) -> Division:
        target, source = settings.target, settings.sources[settings.target.source]
        store = self._features.store
        views = list(store.views()) if store is not None else []
        stored = {name for view in views if not view.on_demand for name, _ in (*view.features, *view.hidden)}
        of_view = stored - {one.name for one in self._signature.features if one.source == "request"}
        absent = [name for name in self._by_name if name not in names]
        # Those are computed from the others, with the version's own functions.
        computed = {one.name for one in self._signature.on_demand}
        to_compute = [name for name in absent if self._by_name[name].source in computed]
        absent = [name for name in absent if name not in to_compute]
        absent += [one.name for one in self._signature.inputs] if to_compute else []
        looked_up = [name for name in absent if name in of_view]
        mapping = settings.features.entities
        keys = {key: mapping.get(key, key) for view in views for key in view.entities}
        if not looked_up:
            # Views are joined all at once, and need all keys; without a join a key is only kept in the log.
            keys = {key: column for key, column in keys.items() if column in names}
        missing = [name for name in absent if name not in of_view]
        missing += [column for column in dict.fromkeys(keys.values()) if column not in names and column not in missing]
        if missing:
            raise self._missing(missing, names)
        ids = [one for one in (REQUEST_ID, target.id) if one in names]
        times = [one for one in (*TIMES, settings.question_time) if one in names and one not in self._by_name]
        roles = {*ids, *times, target.column, target.available_at, target.weight, source.available_at}
        sent = [name for name in self._by_name if name in names]
        others = [name for name in names if name not in {*sent, *keys.values(), *roles}]
        if others and not keep_extra:
            raise self._extra(others)
        return Division(
            tuple(sent),
            tuple(looked_up),
            keys,
            ids[0] if ids else None,
            times[0] if times else None,
            tuple(others),
        )

    def _missing(self, missing: list[str], names: Sequence[str]) -> ConfigError:
        said = []
        for name in missing:
            near = difflib.get_close_matches(name, names, n=1)
            said.append(f"`{name}`" + (f" (did you mean `{near[0]}`?)" if near else ""))
        return ConfigError(
            f"the file has no column {', '.join(said)}, which the model needs",
            where=str(self._path),
            valid=", ".join([*self._by_name]),
            next_step="add it, empty where it is not known",
        )

    def _extra(self, others: list[str]) -> ConfigError:
        said = []
        for name in others:
            near = difflib.get_close_matches(name, list(self._by_name), n=1)
            said.append(f"`{name}`" + (f" (did you mean `{near[0]}`?)" if near else ""))
        return ConfigError(
            f"the model has no input {', '.join(said)}",
            where=str(self._path),
            valid=", ".join(self._by_name),
            next_step="leave it out, or take it over into the output as it is: --keep-extra",
        )


def _array(values: list[Any]) -> pa.Array:
    """Checked or not: what cannot be one type is text, and refused with its row when it is checked."""
    import pyarrow as pa

    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if one is None else str(one) for one in values], pa.string())


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, date):
        return utc(datetime(value.year, value.month, value.day))
    return instant(str(value))
