"""`AsofOfflineStore`: a Feast offline store over Parquet that joins by DuckDB's `ASOF JOIN`.

Named in `feature_store.yaml` as `offline_store: {type: mainspring.adapters.feast.asof_store.AsofOfflineStore}`. Where
Feast's own stores join on event time alone, this one also asks when a row became available: a feature view tagged
`mainspring.available_at: <column>` or `mainspring.delay_seconds: "<n>"` never shows a row before that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from mainspring.adapters.feast.asof_join import AVAILABLE_AT_TAG, DELAY_TAG, ViewRows, point_in_time
from mainspring.domain.errors import DataError, NotFound
from mainspring.sources.check import quoted
from mainspring.sources.files import connect, literal

_DUMMY_ENTITY = "__dummy_id"
ROW_AT, KNOWN_AT = "mainspring_row_at", "mainspring_known_at"
"""Of the row behind a question: its event time, and when it became known."""


class AsofOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Configuration: only the class path, and how many threads DuckDB may take (None: all cores)."""

    type: Literal["mainspring.adapters.feast.asof_store.AsofOfflineStore"] = (
        "mainspring.adapters.feast.asof_store.AsofOfflineStore"
    )
    threads: int | None = None


class AsofRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A result that is computed when it is first asked for and then kept."""

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        *,
        full_feature_names: bool = False,
        on_demand: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._compute = compute
        self._result: pa.Table | None = None
        self._full_feature_names = full_feature_names
        self._on_demand = on_demand or []
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """On-demand views that Feast applies to the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        if self._result is None:
            self._result = self._compute()
        return self._result

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal().to_pandas()
        return frame

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to one Parquet file."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise DataError("a saved dataset of this store is a file", valid="SavedDatasetFileStorage(path=...)")
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise DataError("there is already a saved dataset", where=str(path), next_step="pass allow_overwrite=True")
        write_parquet(self.to_arrow(), path)


class AsofOfflineStore(OfflineStore):  # type: ignore[misc]
    """Point-in-time joins that respect availability, over Parquet files and folders."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Join the views to `entity_df`; every column and the order of its rows are kept."""
        if isinstance(entity_df, str):
            raise DataError("entities as SQL are not supported by this store", valid="a DataFrame of entity rows")
        timestamp = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        views = [
            _view_rows(config, view, feature_refs, full_feature_names, filter_by_created_timestamp)
            for view in feature_views
        ]

        def compute() -> pa.Table:
            with _connect(config) as db:
                return point_in_time(db, _entity_table(entity_df, timestamp), timestamp, views)

        times = pd.to_datetime(entity_df[timestamp], utc=True)
        return AsofRetrievalJob(
            compute,
            full_feature_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entity_df.columns if name != timestamp],
                min_event_timestamp=None if times.empty else times.min().to_pydatetime(),
                max_event_timestamp=None if times.empty else times.max().to_pydatetime(),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key with an event time in [start_date, end_date]."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        created = f", {quoted(created_timestamp_column)} DESC NULLS LAST" if created_timestamp_column else ""
        partition = ", ".join(quoted(key) for key in join_key_columns if key != _DUMMY_ENTITY)
        sql = (
            f"SELECT {columns} FROM ({_scan(config, data_source)}) WHERE {_between(timestamp_field, start_date, end_date)} "
            f"QUALIFY row_number() OVER ({f'PARTITION BY {partition}' if partition else ''} "
            f"ORDER BY {quoted(timestamp_field)} DESC{created}) = 1"
        )
        return AsofRetrievalJob(lambda: _query(config, sql))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row with an event time in [start_date, end_date]."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        where = _between(timestamp_field, start_date, end_date)
        return AsofRetrievalJob(
            lambda: _query(config, f"SELECT {columns} FROM ({_scan(config, data_source)}) WHERE {where}")
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to the view's folder, by event date; rows that are there already are not doubled."""
        append_by_date(source_path(config, feature_view.batch_source), table, feature_view.batch_source.timestamp_field)
        if progress:
            progress(table.num_rows)


def append_by_date(folder: Path, table: pa.Table, timestamp: str) -> int:
    """Append rows to `folder/event_date=YYYY-MM-DD/rows.parquet`; returns how many were new.

    Each day's file is replaced in one rename, so a reader sees it before or after; a repeated write adds nothing.
    """
    import polars as pl

    rows = pl.DataFrame(table).with_columns(pl.col(timestamp).dt.cast_time_unit("us"))
    written = 0
    for (date,), part in rows.group_by(pl.col(timestamp).dt.date()):
        path = folder / f"event_date={date}" / "rows.parquet"
        before = pl.read_parquet(path, hive_partitioning=False) if path.exists() else None
        merged = part if before is None else pl.concat([before, part], how="diagonal_relaxed")
        merged = merged.unique(maintain_order=True)
        if before is not None and len(merged) == len(before):
            continue
        written += len(merged) - (0 if before is None else len(before))
        write_parquet(merged.to_arrow(compat_level=pl.CompatLevel.oldest()), path)
    return written


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a file in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    pq.write_table(table, part)
    part.replace(path)


def source_path(config: RepoConfig, source: DataSource) -> Path:
    """Where a file source's rows lie; relative paths are relative to the repository's folder."""
    if not isinstance(source, FileSource):
        raise DataError(f"{type(source).__name__} is not a file", valid="FileSource with Parquet files")
    path = Path(source.path)
    return path if path.is_absolute() or config.repo_path is None else Path(config.repo_path) / path


def _view_rows(config: RepoConfig, view: FeatureView, refs: list[str], full_names: bool, by_created: bool) -> ViewRows:
    source = view.batch_source
    wanted = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == view.projection.name_to_use()]
    prefix = view.projection.name_alias or view.name
    keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    tags = {**view.tags}
    return ViewRows(
        relation=_scan(config, source),
        keys={key: column for key, column in keys.items() if key != _DUMMY_ENTITY},
        features={name: f"{prefix}__{name}" if full_names else name for name in wanted},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl,
        available_at=tags.get(AVAILABLE_AT_TAG),
        delay=timedelta(seconds=float(tags.get(DELAY_TAG, "0"))),
        created_is_availability=by_created,
    )


def newest_rows(
    config: RepoConfig,
    view: FeatureView,
    keys: Mapping[str, str],
    features: Sequence[str],
    spine: pa.Table,
    timestamp: str,
) -> pa.Table:
    """`spine` with `features`, `ROW_AT` and, where the view says it, `KNOWN_AT` of the newest row by event time alone, whatever was
    known of it then.

    `keys` maps a join key of the rows to a column of the spine. A row became known at its `available_at`, else its created time.
    """
    source = view.batch_source
    known = {**view.tags}.get(AVAILABLE_AT_TAG) or source.created_timestamp_column or ""
    wanted = {name: name for name in features} | {source.timestamp_field: ROW_AT} | ({known: KNOWN_AT} if known else {})
    created = source.created_timestamp_column or None
    rows = ViewRows(_scan(config, source), dict(keys), wanted, source.timestamp_field, created)
    with _connect(config) as db:
        return point_in_time(db, spine, timestamp, [rows])


def _scan(config: RepoConfig, source: DataSource) -> str:
    path = source_path(config, source)
    if path.is_dir():
        files = f"{path}/**/*.parquet"
        if next(path.rglob("*.parquet"), None) is None:
            raise NotFound(
                "a feature view has no rows yet",
                where=str(path),
                next_step="mainspring data --out training.parquet, which computes them",
            )
    elif path.is_file():
        files = str(path)
    else:
        raise NotFound(
            "a feature view has no rows yet",
            where=str(path),
            next_step="mainspring data --out training.parquet, which computes them",
        )
    text = files.replace("'", "''")
    scan = f"SELECT * FROM read_parquet('{text}', union_by_name = true, hive_partitioning = false)"
    if not source.field_mapping:
        return scan
    renames = ", ".join(f"{quoted(old)} AS {quoted(new)}" for old, new in source.field_mapping.items())
    return f"SELECT * RENAME ({renames}) FROM ({scan})"


def _entity_table(entities: pd.DataFrame, timestamp: str) -> pa.Table:
    if not pd.api.types.is_datetime64_any_dtype(entities[timestamp]):
        entities = entities.assign(**{timestamp: pd.to_datetime(entities[timestamp], utc=True)})
    elif entities[timestamp].dt.tz is None:
        entities = entities.assign(**{timestamp: entities[timestamp].dt.tz_localize("UTC")})
    table = pa.Table.from_pandas(entities, preserve_index=False)
    place = table.column_names.index(timestamp)
    times = table.column(timestamp).cast(pa.timestamp("us", "UTC"), safe=False)
    return table.set_column(place, timestamp, times)


def _columns(keys: list[str], features: list[str], timestamp: str, created: str | None) -> str:
    names = [key for key in keys if key != _DUMMY_ENTITY] + features + [timestamp] + ([created] if created else [])
    text = ", ".join(quoted(name) for name in dict.fromkeys(names))
    return f"{text}, '' AS {_DUMMY_ENTITY}" if _DUMMY_ENTITY in keys else text


def _between(timestamp: str, start: datetime | None, end: datetime | None) -> str:
    conditions = ["TRUE"]
    if start is not None:
        conditions.append(f"CAST({quoted(timestamp)} AS TIMESTAMP) >= {literal(start)}")
    if end is not None:
        conditions.append(f"CAST({quoted(timestamp)} AS TIMESTAMP) <= {literal(end)}")
    return " AND ".join(conditions)


def _connect(config: RepoConfig) -> Any:
    db = connect()
    if config.offline_store.threads:
        db.execute(f"SET threads = {config.offline_store.threads}")
    return db


def _query(config: RepoConfig, sql: str) -> pa.Table:
    with _connect(config) as db:
        return db.sql(sql).to_arrow_table()
