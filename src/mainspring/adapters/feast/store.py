"""`FeastFeatureStore`: plain Feast objects of a project behind the `FeatureStore` port."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.adapters.feast.asof_store import source_path
from mainspring.adapters.feast.marks import Marks
from mainspring.adapters.feast.online import Timing, appended, bring_up, described, entity_keys
from mainspring.adapters.feast.rows import locked, put_rows, remove_rows
from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.domain.time import utc
from mainspring.features.questions import EVENT_TIME
from mainspring.ports import FeatureViewInfo

ONLINE_FILE = "online.db"
_ROW = "mainspring_row"
_TYPES = {"Int32": "int", "Int64": "int", "Float32": "float", "Float64": "float", "Bool": "bool", "String": "str"}
_ARROW = {
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
    "String": pa.string(),
    "UnixTimestamp": pa.timestamp("us", "UTC"),
}
_REPO_FILE = """\
project: {project}
provider: local
registry:
  registry_type: file
  registry_store_type: mainspring.adapters.feast.registry_file.AtomicFileRegistryStore
  path: registry.pb
  cache_ttl_seconds: 0
offline_store: {{type: mainspring.adapters.feast.asof_store.AsofOfflineStore}}
online_store: {{type: sqlite, path: {online}}}
entity_key_serialization_version: 3
"""


class FeastFeatureStore:
    """The feature views of one feature service.

    `folder` gets a `feature_store.yaml`, the registry, the online store and the views' offline rows; `definitions` is
    the module with the project's Feast objects, which are applied when the store is first used. With `repo`, an
    existing Feast repository is used as it is: nothing is applied, and its own stores are read and written.
    `service` names the feature service; None: the only one there is.
    """

    def __init__(
        self,
        project: str,
        folder: Path,
        definitions: Mapping[str, Any],
        service: str | None,
        *,
        repo: Path | None = None,
    ) -> None:
        self._project = project.replace("-", "_")
        self._folder = folder
        self._objects = definitions
        self._service_name = service
        self._repo = repo
        self._opened: Any = None
        self._service: Any = None
        self._views: dict[str, Any] = {}
        self._on_demand: dict[str, Any] = {}
        self._marks: Marks | None = None

    def views(self) -> Sequence[FeatureViewInfo]:
        """The views of the service, after applying the definitions; on-demand views last."""
        self._open()
        return [*map(self._info, self._views.values()), *map(_on_demand_info, self._on_demand.values())]

    def append(self, view: str, rows: pa.Table) -> int:
        """Append rows to a view's files by event date; returns those that were new or other than before.

        Rows have the event time, the entity keys and every feature; a row with the same keys and event time as one
        that is there replaces it. `DataError` when a column is missing, a key is null or a row is there twice.
        """
        one, folder = self._writable(view)
        timing = Timing.of(one)
        rows = _checked(one, rows, timing)
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

    def historical(self, spine: pa.Table) -> pa.Table:
        """`spine` (`event_timestamp`, join keys, any further columns) with the service's features as known then."""
        store = self._open()
        keys = {key for view in self._views.values() for key in entity_keys(view)}
        asked = {field.name for view in self._on_demand.values() for field in _request_fields(view)}
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
        joined: pa.Table = store.get_historical_features(entity_df=entities, features=self._service).to_arrow()
        joined = joined.sort_by(_ROW)
        for name in joined.column_names:
            if name in needed or name == _ROW:
                continue
            if name in spine.column_names:
                raise ConfigError(
                    f"`{name}` is a feature and a column of the request",
                    where="features.py",
                    next_step="rename the feature, or leave the column out of `features.request` in mainspring.yaml",
                )
            spine = spine.append_column(name, joined.column(name))
        return spine

    def materialize(self, until: datetime) -> int:
        """Bring the online store up to what was known at `until`; returns rows written.

        What was written once is not undone: an `until` before an earlier one writes nothing.
        """
        store, written = self._open(), 0
        with locked(self._folder):
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

    @property
    def online_file(self) -> Path:
        """Feast's SQLite online store."""
        if self._repo is None:
            return self._folder / ONLINE_FILE
        online = self._open().config.online_store
        if not str(online.type).endswith(("sqlite", "SqliteOnlineStore")):
            raise ConfigError(
                f"the online store of this Feast repository is {online.type!r}",
                where=str(self._repo / "feature_store.yaml"),
                valid="sqlite: predictors read it directly",
            )
        return self._repo / str(online.path)

    @property
    def feast_project(self) -> str:
        """Feast's name of the project; part of the online tables' names."""
        return self._project if self._repo is None else str(self._open().project)

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
        from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
        from feast.errors import FeastError

        if self._repo is not None:
            store = FeatureStore(repo_path=str(self._repo))
            services = {one.name: one for one in store.list_feature_services()}
            named = {one.name: one for one in [*store.list_feature_views(), *store.list_on_demand_feature_views()]}
        else:
            store = self._own_store()
            objects = _feast_objects(self._objects)
            try:
                with warnings.catch_warnings():
                    # It calls on-demand views experimental, at every start.
                    warnings.simplefilter("ignore", RuntimeWarning)
                    store.apply(objects)
            except (FeastError, ValueError, TypeError) as error:
                raise ConfigError(f"Feast refuses the project's features: {error}", where="features.py") from error
            services = {one.name: one for one in objects if isinstance(one, FeatureService)}
            named = {one.name: one for one in objects if isinstance(one, FeatureView | OnDemandFeatureView)}
        self._service = _choose(services, self._service_name)
        chosen = [named[one.name] for one in self._service.feature_view_projections]
        self._views = {one.name: one for one in chosen if isinstance(one, FeatureView)}
        self._on_demand = {one.name: one for one in chosen if isinstance(one, OnDemandFeatureView)}
        self._opened = store
        return store

    def _own_store(self) -> Any:
        from feast import FeatureStore

        self._folder.mkdir(parents=True, exist_ok=True)
        text = _REPO_FILE.format(project=self._project, online=ONLINE_FILE)
        repo_file = self._folder / "feature_store.yaml"
        if not repo_file.exists() or repo_file.read_text() != text:
            part = repo_file.with_name(f".{repo_file.name}.{os.getpid()}.part")
            part.write_text(text)
            part.replace(repo_file)
        return FeatureStore(repo_path=str(self._folder))

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
        return FeatureViewInfo(
            name=view.name,
            entities=tuple(entity_keys(view)),
            features=tuple((field.name, _TYPES.get(str(field.dtype), "str")) for field in view.features),
            ttl_seconds=view.ttl.total_seconds() if view.ttl else None,
            path=_file_path(self._opened, view),
        )


def _checked(view: Any, rows: pa.Table, timing: Timing) -> pa.Table:
    """The view's own columns in its own types."""
    kinds = {field.name: _ARROW.get(str(field.dtype)) for field in view.schema}
    instants = [name for name in (timing.timestamp, timing.created, timing.available_at) if name]
    kinds |= dict.fromkeys(instants, pa.timestamp("us", "UTC"))
    wanted = [*instants, *entity_keys(view), *(field.name for field in view.features)]
    where = f"features.py: {view.name}"
    missing = [name for name in wanted if name not in rows.column_names]
    if missing:
        raise DataError(
            f"the rows of view {view.name!r} have no column {', '.join(missing)}",
            where=where,
            valid=", ".join(wanted),
            next_step=f"let transforms.py: {view.name} give it, or take it out of the view",
        )
    columns = {}
    for name in dict.fromkeys(wanted):
        kind = kinds.get(name)
        try:
            columns[name] = rows.column(name) if kind is None else rows.column(name).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"`{name}` of view {view.name!r} is not a {kind}: {error}", where=where) from error
    table = pa.table(columns)
    for name in [timing.timestamp, *entity_keys(view)]:
        if table.column(name).null_count:
            raise DataError(
                f"{table.column(name).null_count:,} rows of view {view.name!r} have no `{name}`",
                where=where,
                next_step=f"leave them out in transforms.py: {view.name}",
            )
    identity = [timing.timestamp, *entity_keys(view), *([timing.created] if timing.created else [])]
    counts = table.group_by(identity, use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows != table.num_rows:
        doubled = counts.filter(pc.greater(counts.column("count_all"), 1)).drop_columns("count_all")
        raise DataError(
            f"{doubled.num_rows:,} rows of view {view.name!r} are there more than once, such as {doubled.to_pylist()[0]}",
            where=where,
            valid="one row for each event time and entity",
        )
    return table


def _file_path(store: Any, view: Any) -> Path | None:
    """Where a view's rows lie as files; None when another kind of source has them."""
    from feast import FileSource

    return source_path(store.config, view.batch_source) if isinstance(view.batch_source, FileSource) else None


def _on_demand_info(view: Any) -> FeatureViewInfo:
    features = tuple((field.name, _TYPES.get(str(field.dtype), "str")) for field in view.features)
    return FeatureViewInfo(view.name, (), features, None, None, on_demand=True)


def _request_fields(view: Any) -> list[Any]:
    return [field for source in view.source_request_sources.values() for field in source.schema]


def _feast_objects(definitions: Mapping[str, Any]) -> list[Any]:
    """Feast objects of a module: named there, in its lists, or used by its feature services."""
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView, RequestSource

    kinds = (Entity, FeatureView, OnDemandFeatureView, FeatureService, RequestSource)
    found: dict[tuple[str, str], Any] = {}
    for value in definitions.values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, kinds):
                found[type(one).__name__, one.name] = one
    return list(found.values())


def _choose(services: Mapping[str, Any], wanted: str | None) -> Any:
    if wanted is None and len(services) == 1:
        return next(iter(services.values()))
    if wanted is None or wanted not in services:
        near = difflib.get_close_matches(wanted or "", services, n=1)
        raise ConfigError(
            f"there is no feature service {wanted!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            if wanted
            else f"there are {len(services)} feature services, and no one is named",
            where="mainspring.yaml: features.service",
            valid=", ".join(services) or "none is there: add FeatureService(name=..., features=[...]) to features.py",
        )
    return services[wanted]
