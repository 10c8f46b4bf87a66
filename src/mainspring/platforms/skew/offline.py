"""What the offline store and the target's source had for served requests, as of each one's event time, and what lies behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME, REQUEST_ID
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.ports import FeatureViewInfo
from mainspring.serving.batch import looked_up_values
from mainspring.serving.columns import Columns
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Behind:
    """Of a view, for each request: the offline row's event time and when it became known, in seconds; and, at the row that
    was served, the features."""

    row_at: Sequence[float | None]
    known_at: Sequence[float | None]
    before: Mapping[str, Sequence[Any]]
    served_at: Sequence[float | None]


class Offline:
    """The offline side of requests of one version: their `ids`, `at` which instants; `not_compared` says of what there is none,
    and why."""

    def __init__(self, loaded: LoadedProject, signature: Signature, rows: pa.Table) -> None:
        self._settings, self._signature, self._rows = loaded.settings, signature, rows
        self._laptop = LaptopFeatures(loaded)
        self.ids = [str(one) for one in rows.column("request_id").to_pylist()]
        self.at: list[datetime] = rows.column("event_at").to_pylist()
        self._dropped = {*loaded.settings.concealed[0]}
        self._hashed = {*loaded.settings.concealed[1]}
        self.views = [one for one in self._laptop.views() if not one.on_demand]
        self.not_compared: dict[str, str] = {}
        self._known_rows: dict[str, Behind | None] = {}
        self.looked_up = self._join()

    def concealed(self, name: str) -> str:
        """Why the log has not what was sent as a feature; "" where it has."""
        if name in self._dropped:
            return "log.drop keeps it out of the log"
        return "log.hash: the log has its hash alone" if name in self._hashed else ""

    def views_concealed(self) -> list[str]:
        """Views whose keys the log has not."""
        return [view.name for view in self.views if self._blind(view)]

    def asked(self) -> dict[str, Any]:
        """Columns of the target's source for the same requests; `there` says which requests have a row."""
        wanted = {one.name: one for one in self._signature.features if one.source == "request"}
        if self._settings.target.id is None or not wanted:
            return {}
        table = self._laptop.questions(datetime.now(UTC))
        place_of = {str(one): place for place, one in enumerate(table.column(REQUEST_ID).to_pylist())}
        places = [place_of.get(one) for one in self.ids]
        if not any(one is not None for one in places):
            return {}
        found: dict[str, Any] = {"there": [one is not None for one in places]}
        for name, feature in wanted.items():
            if name in table.column_names:
                values = looked_up_values(table.column(name), feature)
                found[name] = [None if one is None else values[one] for one in places]
        return found

    def behind(self, view: FeatureViewInfo | None) -> Behind | None:
        """The rows behind a view's values, where they can be told."""
        import pyarrow as pa

        if view is None or self._laptop.store is None:
            return None
        if view.name not in self._known_rows:
            keys = {key: column for key, column in self._keys().items() if key in view.entities}
            at = {EVENT_TIME: pa.array(self.at, pa.timestamp("us", "UTC"))}
            now = self._laptop.store.newest(view.name, pa.table({**at, **keys}))
            found = None
            if now is not None:
                ages = f"age.{view.name}"
                logged = (
                    self._rows.column(ages).to_pylist() if ages in self._rows.column_names else [None] * len(self.at)
                )
                served_at = [
                    None if age is None else when.timestamp() - age for when, age in zip(self.at, logged, strict=True)
                ]
                # Where no row was served it is asked for long ago, and finds nothing.
                then = [0 if one is None else round(one * 1e6) for one in served_at]
                before = self._laptop.store.newest(
                    view.name, pa.table({EVENT_TIME: pa.array(then, pa.timestamp("us", "UTC")), **keys})
                )
                assert before is not None
                by_name = {one.name: one for one in self._signature.features}
                found = Behind(
                    _seconds(now, "mainspring_row_at"),
                    _seconds(now, "mainspring_known_at"),
                    {
                        name: looked_up_values(before.column(name), by_name[name])
                        for name, _ in view.features
                        if name in by_name
                    },
                    served_at,
                )
            self._known_rows[view.name] = found
        return self._known_rows[view.name]

    def _join(self) -> Columns:
        """Looked-up features as the offline store knew them at each request's event time."""
        import pyarrow as pa

        wanted = [*self._signature.features, *self._signature.inputs]
        if self._laptop.store is None or not self.views:
            return {}
        spine: dict[str, Any] = {EVENT_TIME: pa.array(self.at, pa.timestamp("us", "UTC"))}
        spine |= self._keys()
        of_views = {name for view in self.views for name, _ in (*view.features, *view.hidden)}
        # On-demand views are not computed here, and want to see their columns of the request all the same.
        asked = {name for view in self._laptop.views() if view.on_demand for name in view.inputs} - of_views
        spine |= {name: pa.nulls(self._rows.num_rows, pa.float64()) for name in asked if name not in spine}
        joined = self._laptop.store.historical(pa.table(spine), on_demand=False)
        blind = {view.name: self._blind(view) for view in self.views}
        found: Columns = {}
        for view in self.views:
            for name, _ in (*view.features, *view.hidden):
                if blind[view.name]:
                    self.not_compared[name] = blind[view.name]
        for one in wanted:
            if one.name in of_views and one.source != "request" and one.name not in self.not_compared:
                feature = one if one in self._signature.features else None
                found[one.name] = looked_up_values(joined.column(one.name), feature)
        return found

    def _keys(self) -> dict[str, Any]:
        """Entity keys by the names that the join asks for; those that the log has not are null."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        for view in self.views:
            for key in view.entities:
                logged = f"entity.{self._settings.features.entities.get(key, key)}"
                values = (
                    self._rows.column(logged).to_pylist()
                    if logged in self._rows.column_names
                    else [None] * self._rows.num_rows
                )
                columns[key] = pa.array(values, pa.string())
        return columns

    def _blind(self, view: FeatureViewInfo) -> str:
        """Why a view's features cannot be looked up again; "" where they can."""
        columns = [self._settings.features.entities.get(key, key) for key in view.entities]
        hidden = [one for one in columns if one in self._dropped | self._hashed]
        return f"its key is not in the log, by log.drop or log.hash: {', '.join(hidden)}" if hidden else ""


def _seconds(table: pa.Table, name: str) -> list[float | None]:
    import pyarrow as pa

    if name not in table.column_names:
        return [None] * table.num_rows
    found = table.column(name).cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    return [None if one is None else one / 1e6 for one in found]
