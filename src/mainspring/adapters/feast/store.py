"""`FeastFeatureStore`: plain Feast objects of a project behind the `FeatureStore` port."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from mainspring.adapters.feast import READER
from mainspring.adapters.feast.asof_store import AsofOfflineStore, newest_rows, source_path
from mainspring.adapters.feast.declared import as_declared
from mainspring.adapters.feast.emptied import begin_anew
from mainspring.adapters.feast.marks import Marks
from mainspring.adapters.feast.on_demand import (
    input_types,
    keep_described,
    keep_module,
    request_fields,
    require_by_row,
    require_served,
    transformed,
)
from mainspring.adapters.feast.online import Timing, appended, bring_up, described, entity_keys
from mainspring.adapters.feast.repo import (
    ONLINE_FILE,
    choose_service,
    feast_objects,
    online_place,
    open_repo,
    write_repo,
)
from mainspring.adapters.feast.rows import locked, put_rows, remove_rows
from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.domain.time import utc
from mainspring.features.questions import EVENT_TIME
from mainspring.ports import FeatureViewInfo
from mainspring.serving.config import KeyType, OnlineStoreConfig, OnlineView
from mainspring.serving.on_demand import ViewFailed

_ROW = "mainspring_row"
_TYPES = {"Int32": "int", "Int64": "int", "Float32": "float", "Float64": "float", "Bool": "bool", "String": "str"}


class FeastFeatureStore:
    """The feature views of one feature service.

    `folder` gets a `feature_store.yaml`, the registry, the online store and the views' offline rows; `definitions` is
    the module with the project's Feast objects, which are applied when the store is first used. With `repo`, an
    existing Feast repository is used as it is: nothing is applied, and its own stores are read and written. `online` is
    the online store in Feast's own words, None for SQLite in `folder`. `service` names the feature service; None: the only one there is.
    """

    def __init__(
        self,
        project: str,
        folder: Path,
        definitions: Mapping[str, Any],
        service: str | None,
        *,
        repo: Path | None = None,
        online: Mapping[str, Any] | None = None,
    ) -> None:
        self._project = project.replace("-", "_")
        self._folder = folder
        self._objects = definitions
        self._service_name = service
        self._repo = repo
        self._online = online
        file = definitions.get("__file__")
        self._definitions = None if repo is not None or file is None else Path(file)
        self._opened: Any = None
        self._service: Any = None
        self._views: dict[str, Any] = {}
        self._on_demand: dict[str, Any] = {}
        self._projections: dict[str, Any] = {}
        self._sources: dict[str, list[Any]] = {}
        self._marks: Marks | None = None

    def views(self) -> Sequence[FeatureViewInfo]:
        """The views of the service, after applying the definitions; on-demand views last."""
        self._open()
        return [*map(self._info, self._views.values()), *map(self._on_demand_info, self._on_demand.values())]

    def append(self, view: str, rows: pa.Table) -> int:
        """Append rows to a view's files by event date; returns those that were new or other than before.

        Rows have the event time, the entity keys and every feature; a row with the same keys and event time as one
        that is there replaces it. `DataError` when a column is missing, a key is null or a row is there twice.
        """
        one, folder = self._writable(view)
        timing = Timing.of(one)
        rows = as_declared(one, rows, timing)
        if not rows.num_rows:
            return 0
        identity = [timing.timestamp, *entity_keys(one), *([timing.created] if timing.created else [])]
        with locked(self._folder):
            marks, definition = self._marking(), described(one)
            before = marks.get(view, definition)
            # First that something changes, then the change: killed in between, the next call only looks in vain.
            marks.put(view, definition, appended(rows, before, timing))
            return put_rows(folder, rows, timing.timestamp, identity)

    def clear(self, view: str) -> None:
        """Remove a view's offline rows, before they are computed anew."""
        _, folder = self._writable(view)
        with locked(self._folder):
            remove_rows(folder)

    def historical(self, spine: pa.Table, *, on_demand: bool = True) -> pa.Table:
        """`spine` (`event_timestamp`, join keys, any further columns) with the service's features as known then.

        Behind them come the features that only on-demand views look at; without `on_demand` those views are left out, for
        whoever computes them as a version was trained with them. Errors: `DataError` for questions that lack a
        column, `ConfigError` for a name that is taken or a function of an on-demand view that fails.
        """
        store = self._open()
        keys = {key for view in self._views.values() for key in self._asked(view)}
        asked = {name for view in self._on_demand.values() for name in request_fields(view)}
        missing = sorted((keys | asked | {EVENT_TIME}) - set(spine.column_names))
        if missing:
            raise DataError(
                f"the questions have no column {', '.join(missing)}",
                valid=", ".join(spine.column_names),
                where="mainspring.yaml: features.entities",
            )
        # Only what the join needs goes through pandas; everything else keeps its type.
        needed = [name for name in spine.column_names if name in keys | asked | {EVENT_TIME}]
        entities = spine.select(needed).append_column(_ROW, pa.array(range(spine.num_rows), pa.int64())).to_pandas()
        job = store.get_historical_features(entity_df=entities, features=self._service)
        # Without Feast's own call of the on-demand views: it makes their functions anew from the registry, where the
        # names around them are not known, and gives them columns that a request has not.
        joined: pa.Table = job._to_arrow_internal()
        joined = joined.sort_by(_ROW)
        # In the views' order: Feast adds what only on-demand views look at in any.
        for info in map(self._info, self._views.values()):
            for name, _ in (*info.features, *info.hidden):
                spine = _with(spine, name, joined.column(name))
        for view in self._on_demand.values() if on_demand else ():
            found = self._computed(view, spine)
            for name in found.column_names:
                spine = _with(spine, name, found.column(name))
        return spine

    def newest(self, view: str, spine: pa.Table) -> pa.Table | None:
        """`spine` with the newest row of a view at each instant by event time alone: see `asof_store.newest_rows`.

        None where the rows are not in files, or the store is another one: then nobody knows what is behind a value.
        """
        store = self._open()
        one = self._views[view]
        if _file_path(store, one) is None or not isinstance(store._get_provider().offline_store, AsofOfflineStore):
            return None
        info = self._info(one)
        keys = dict(zip(info.join_keys, info.entities, strict=True))
        names = [name for name, _ in (*info.features, *info.hidden)]
        return newest_rows(store.config, one, keys, names, spine, EVENT_TIME)

    def materialize(self, until: datetime) -> int:
        """Bring the online store up to what was known at `until`; returns rows written.

        What was written once is not undone: an `until` before an earlier one writes nothing. Errors: `TemporaryError`
        when the online store does not take the rows; the next call writes them.
        """
        store, written = self._open(), 0
        with locked(self._folder):
            begin_anew(store, self._repo or self._folder, self._marking())
            for view in self._views.values():
                if not view.online:
                    continue
                path = _file_path(store, view)
                if path is None:
                    store.materialize_incremental(end_date=utc(until), feature_views=[view.name])
                    continue
                ours = path.is_relative_to(self._folder)
                written += bring_up(store, view, path, self._marking(), utc(until), ours=ours)
        return written

    def online(self, keys: Sequence[Mapping[str, Any]]) -> pa.Table:
        """The online store's features for each row of join keys, by Feast itself."""
        table: pa.Table = self._open().get_online_features(features=self._service, entity_rows=list(keys)).to_arrow()
        return table

    def online_store(self, columns: Mapping[str, str], timeout_seconds: float) -> OnlineStoreConfig:
        """What a predictor needs to read the online store; `columns` are columns of the request by entity key."""
        store = self._open()
        place = online_place(store, self._repo or self._folder)
        views = tuple(
            OnlineView(
                info.name,
                info.join_keys,
                tuple(name for name, _ in (*info.features, *info.hidden)),
                info.ttl_seconds,
                {
                    key: columns.get(asked, asked)
                    for key, asked in zip(info.join_keys, info.entities, strict=True)
                    if columns.get(asked, asked) != key
                },
                _key_types(self._views[info.name]),
            )
            for info in map(self._info, self._views.values())
            if self._views[info.name].online
        )
        reader = READER if place.kind == "feast" else ""
        path = str(place.path.resolve())
        return OnlineStoreConfig(path, str(store.project), views, place.kind, reader, timeout_seconds)

    def keep_on_demand(self, folder: Path) -> None:
        """Write the service's on-demand views to a model's folder, so that a predictor computes them as they are now."""
        if self._definitions is not None:
            keep_module(self._definitions, folder)
            return
        self._open()
        keep_described(self._on_demand.values(), folder)

    def feature_versions(self) -> dict[str, str]:
        """A digest of each view's definition by name: names, types, keys, times, TTL, tags; code of on-demand views."""
        self._open()
        found = {name: described(view) for name, view in self._views.items()}
        for name, view in self._on_demand.items():
            text = view.feature_transformation.to_proto().SerializeToString(deterministic=True)
            found[name] = hashlib.blake2b(text, digest_size=8).hexdigest()
        return found

    def version(self) -> str:
        """One digest of all views' definitions."""
        text = json.dumps(sorted(self.feature_versions().items()))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _open(self) -> Any:
        if self._opened is not None:
            return self._opened
        from feast import FeatureService, FeatureView, OnDemandFeatureView

        if self._repo is not None:
            store = open_repo(self._repo)
            services = {one.name: one for one in store.list_feature_services()}
            named = {one.name: one for one in [*store.list_feature_views(), *store.list_on_demand_feature_views()]}
        else:
            write_repo(self._folder, self._project, self._online)
            store = open_repo(self._folder)
            objects = feast_objects(self._objects)
            try:
                with warnings.catch_warnings():
                    # It calls on-demand views experimental, at every start.
                    warnings.simplefilter("ignore", RuntimeWarning)
                    store.apply(objects)
            except (
                Exception,
                SystemExit,
            ) as error:  # Feast calls on-demand functions with samples; they may raise anything
                text = _names_only(str(error)) or type(error).__name__
                raise ConfigError(f"Feast refuses the project's features: {text}", where="features.py") from error
            services = {one.name: one for one in objects if isinstance(one, FeatureService)}
            named = {one.name: one for one in objects if isinstance(one, FeatureView | OnDemandFeatureView)}
        self._service = choose_service(services, self._service_name)
        self._take(named)
        self._opened = store
        return store

    def _take(self, named: Mapping[str, Any]) -> None:
        """The service's views, and those that its on-demand views look at."""
        from feast import OnDemandFeatureView

        self._projections = {one.name: one for one in self._service.feature_view_projections}
        if len(self._projections) < len(self._service.feature_view_projections):
            raise ConfigError(
                f"feature service {self._service.name!r} has a view twice",
                where="features.py",
                valid="each view once; a second view of the same source for a second entity",
            )
        chosen = [named[name] for name in self._projections]
        self._on_demand = {one.name: one for one in chosen if isinstance(one, OnDemandFeatureView)}
        self._views = {one.name: one for one in chosen if not isinstance(one, OnDemandFeatureView)}
        for view in self._on_demand.values():
            require_served(view)
            for projection in view.source_feature_view_projections.values():
                self._views.setdefault(projection.name, named[projection.name])
                self._sources.setdefault(projection.name, []).append(projection)

    def _asked(self, view: Any) -> list[str]:
        """A view's entity keys under the names that questions have."""
        projections = [self._projections.get(view.name), *self._sources.get(view.name, ())]
        renamed = next(one for one in projections if one is not None).join_key_map
        return [renamed.get(key, key) for key in entity_keys(view)]

    def _computed(self, view: Any, rows: pa.Table) -> pa.Table:
        inputs = rows.select(list(input_types(view)))
        try:
            found = transformed(view, inputs)
            require_by_row(view, inputs, found)
            return found
        except ViewFailed as error:
            raise ConfigError(
                f"the function of on-demand view {view.name!r} failed: {error.what}",
                where=error.where,
                valid="a function of each row's sources alone, which takes nulls",
            ) from error

    def _marking(self) -> Marks:
        if self._marks is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._marks = Marks(self._folder / ONLINE_FILE)
        return self._marks

    def _writable(self, view: str) -> tuple[Any, Path]:
        """The view and the folder of its rows."""
        store = self._open()
        if view not in self._views:
            near = difflib.get_close_matches(view, self._views, n=1)
            raise NotFound(
                f"there is no feature view {view!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                where="features.py",
                valid=", ".join(self._views),
            )
        path = _file_path(store, self._views[view])
        if path is None or path.suffix == ".parquet" or not path.is_relative_to(self._folder):
            raise ConfigError(
                f"rows cannot be appended to {view!r}: its source is not a folder of this project's features",
                where=f"features.py: {view}",
                valid=f'FileSource(path="{view}", timestamp_field="event_timestamp")',
            )
        return self._views[view], path

    def _info(self, view: Any) -> FeatureViewInfo:
        projection = self._projections.get(view.name)
        own = {} if projection is None else {field.name: field for field in projection.features}
        hidden = {
            field.name: field
            for source in self._sources.get(view.name, ())
            for field in source.features
            if field.name not in own
        }
        return FeatureViewInfo(
            name=view.name,
            entities=tuple(self._asked(view)),
            features=_named_types(own.values()),
            ttl_seconds=view.ttl.total_seconds() if view.ttl else None,
            path=_file_path(self._opened, view),
            join_keys=tuple(entity_keys(view)),
            hidden=_named_types(hidden.values()),
        )

    def _on_demand_info(self, view: Any) -> FeatureViewInfo:
        own = {field.name for field in self._projections[view.name].features}
        features = [field for field in view.features if field.name in own]
        inputs = tuple(input_types(view))
        return FeatureViewInfo(view.name, (), _named_types(features), None, None, on_demand=True, inputs=inputs)


def _file_path(store: Any, view: Any) -> Path | None:
    """Where a view's rows lie as files; None when another kind of source has them."""
    from feast import FileSource

    return source_path(store.config, view.batch_source) if isinstance(view.batch_source, FileSource) else None


def _with(rows: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    if name in rows.column_names:
        raise ConfigError(
            f"`{name}` is a feature and a column of the request",
            where="features.py",
            next_step="rename the feature, or leave the column out of `features.request` in mainspring.yaml",
        )
    return rows.append_column(name, column)


def _names_only(text: str) -> str:
    """Feast's message with the names of fields, where it has eight lines for each."""
    return re.sub(r"Field\(\s*name='([^']*)'.*?\n\)", r"\1", text, flags=re.DOTALL)


def _named_types(fields: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, _TYPES.get(str(field.dtype), "str")) for field in fields)


def _key_types(view: Any) -> tuple[KeyType, ...]:
    types = {column.name: column.dtype.to_value_type().name for column in view.entity_columns}
    return tuple(types[key] for key in entity_keys(view))
