"""`FeastFeatureStore`: plain Feast objects of a project behind the `FeatureStore` port."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from mainspring.adapters.feast.asof_join import AVAILABLE_AT_TAG, DELAY_TAG
from mainspring.adapters.feast.asof_store import append_by_date, source_path
from mainspring.domain.errors import ConfigError
from mainspring.domain.time import utc
from mainspring.ports import FeatureViewInfo

EVENT_TIME = "event_timestamp"
ONLINE_FILE = "online.db"
_TYPES = {"Int32": "int", "Int64": "int", "Float32": "float", "Float64": "float", "Bool": "bool", "String": "str"}
_REPO_FILE = """\
project: {project}
provider: local
registry: {{registry_type: file, path: registry.pb, cache_ttl_seconds: 0}}
offline_store: {{type: mainspring.adapters.feast.asof_store.AsofOfflineStore}}
online_store: {{type: sqlite, path: {online}}}
entity_key_serialization_version: 3
"""


class FeastFeatureStore:
    """The feature views of one feature service.

    `folder` gets a `feature_store.yaml`, the registry, the online store and the views' offline rows; `definitions` is
    the module with the project's Feast objects. Applied when it is first used.
    """

    def __init__(self, project: str, folder: Path, definitions: Mapping[str, Any], service: str | None) -> None:
        self._project = project.replace("-", "_")
        self._folder = folder
        self._objects = definitions
        self._service_name = service
        self._opened: Any = None
        self._service: Any = None
        self._views: dict[str, Any] = {}

    def views(self) -> Sequence[FeatureViewInfo]:
        """The views of the service, after applying the definitions."""
        self._open()
        return [self._info(view) for view in self._views.values()]

    def append(self, view: str, rows: pa.Table) -> int:
        """Append rows to a view's files by event date; returns those that were new."""
        store = self._open()
        source = self._views[view].batch_source
        return append_by_date(source_path(store.config, source), rows, source.timestamp_field)

    def historical(self, spine: pa.Table) -> pa.Table:
        """`spine` (`event_timestamp`, join keys, any further columns) with the service's features as known then."""
        store = self._open()
        job = store.get_historical_features(entity_df=spine.to_pandas(), features=self._service)
        table: pa.Table = job.to_arrow()
        return table

    def materialize(self, until: datetime) -> int:
        """Bring the online store up to what was available at `until`; returns rows written."""
        store = self._open()
        marks_file = self._folder / "materialized.json"
        marks = json.loads(marks_file.read_text()) if marks_file.exists() else {}
        written = 0
        for name, view in self._views.items():
            after = datetime.fromisoformat(marks[name]) if name in marks else None
            rows = self._newly_known(view, after, until)
            if rows is not None and len(rows):
                written += len(rows)
                self._write_online(store, view, rows)
            marks[name] = utc(until).isoformat()
        part = marks_file.with_suffix(".part")
        part.write_text(json.dumps(marks))
        part.replace(marks_file)
        return written

    def online(self, keys: Sequence[Mapping[str, Any]]) -> pa.Table:
        """The online store's features for each row of join keys, by Feast itself."""
        table: pa.Table = self._open().get_online_features(features=self._service, entity_rows=list(keys)).to_arrow()
        return table

    @property
    def online_file(self) -> Path:
        """Feast's SQLite online store."""
        return self._folder / ONLINE_FILE

    @property
    def feast_project(self) -> str:
        """Feast's name of the project; part of the online tables' names."""
        return self._project

    def version(self) -> str:
        """A digest of the views' definitions: names, keys, types, TTLs and tags."""
        described = [
            (one.name, one.entities, one.features, one.ttl_seconds, sorted(self._views[one.name].tags.items()))
            for one in self.views()
        ]
        return hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()

    def _open(self) -> Any:
        if self._opened is not None:
            return self._opened
        from feast import Entity, FeatureService, FeatureStore, FeatureView, OnDemandFeatureView

        self._folder.mkdir(parents=True, exist_ok=True)
        text = _REPO_FILE.format(project=self._project, online=ONLINE_FILE)
        repo_file = self._folder / "feature_store.yaml"
        if not repo_file.exists() or repo_file.read_text() != text:
            repo_file.write_text(text)
        store = FeatureStore(repo_path=str(self._folder))
        kinds = (Entity, FeatureView, OnDemandFeatureView, FeatureService)
        objects = [one for one in self._objects.values() if isinstance(one, kinds)]
        services = {one.name: one for one in objects if isinstance(one, FeatureService)}
        self._service = _choose(services, self._service_name)
        store.apply(objects)
        views = {one.name: one for one in objects if isinstance(one, FeatureView)}
        self._views = {one.name: views[one.name] for one in self._service.feature_view_projections if one.name in views}
        connection = store._get_provider().online_store._get_conn(store.config)
        # Predictors read while the loop writes; and what is lost in a power cut is written again from the files.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        self._opened = store
        return store

    def _info(self, view: Any) -> FeatureViewInfo:
        return FeatureViewInfo(
            name=view.name,
            entities=tuple(column.name for column in view.entity_columns) or tuple(view.join_keys),
            features=tuple((field.name, _TYPES.get(str(field.dtype), "str")) for field in view.features),
            ttl_seconds=view.ttl.total_seconds() if view.ttl else None,
            path=source_path(self._opened.config, view.batch_source),
        )

    def _newly_known(self, view: Any, after: datetime | None, until: datetime) -> pl.DataFrame | None:
        """Of each key the newest row that was known at `until`, where that became known after `after`."""
        timestamp = view.batch_source.timestamp_field
        earliest = None
        if after is not None:
            earliest = after - (view.ttl or timedelta(days=28)) - timedelta(days=1)
        rows = self._rows(view, earliest, until)
        if rows is None:
            return None
        delay = timedelta(seconds=float(view.tags.get(DELAY_TAG, "0")))
        available_at = view.tags.get(AVAILABLE_AT_TAG)
        known_at = pl.max_horizontal(available_at, timestamp) if available_at else pl.col(timestamp) + delay
        # `max_horizontal` passes over nulls, and a row without the instant is not known yet.
        known = pl.when(pl.col(available_at).is_not_null()).then(known_at) if available_at else known_at
        kind = pl.Datetime("us", "UTC")
        rows = rows.with_columns(_known=known.cast(kind)).filter(pl.col("_known") <= pl.lit(utc(until)).cast(kind))
        order = [timestamp] + (
            [view.batch_source.created_timestamp_column] if view.batch_source.created_timestamp_column else []
        )
        keys = list(view.join_keys)
        newest = rows.sort(order).unique(keys, keep="last") if keys else rows.sort(order).tail(1)
        if after is not None:
            newest = newest.filter(pl.col("_known") > pl.lit(after).cast(kind))
        return newest.drop("_known")

    def _rows(self, view: Any, earliest: datetime | None, until: datetime) -> pl.DataFrame | None:
        path = source_path(self._opened.config, view.batch_source)
        first = "" if earliest is None else f"event_date={earliest.date()}"
        last = f"event_date={until.date()}"
        if path.is_file():
            files = [path]
        else:
            files = sorted(
                file
                for file in path.rglob("*.parquet")
                if not file.parent.name.startswith("event_date=") or first <= file.parent.name <= last
            )
        if not files:
            return None
        parts = [pl.read_parquet(file, hive_partitioning=False) for file in files]
        return pl.concat(parts, how="diagonal_relaxed")

    def _write_online(self, store: Any, view: Any, rows: pl.DataFrame) -> None:
        from feast.utils import _convert_arrow_to_proto

        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        keys = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
        protos = _convert_arrow_to_proto(table, view, keys)
        store._get_provider().online_write_batch(store.config, view, protos, None)


def _choose(services: Mapping[str, Any], wanted: str | None) -> Any:
    if wanted is None and len(services) == 1:
        return next(iter(services.values()))
    if wanted is None or wanted not in services:
        raise ConfigError(
            f"features.py has no feature service {wanted!r}" if wanted else "features.py has several feature services",
            where="mainspring.yaml: features.service",
            valid=", ".join(services) or "none is there: add FeatureService(name=..., features=[...])",
        )
    return services[wanted]
