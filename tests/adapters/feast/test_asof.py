"""The ASOF offline store against Feast's own result, and against a plain loop where availability counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
KEYS = ["a", "b"]
# Feast's own store goes through Ibis 12, which still calls what DuckDB 2 has renamed.
IBIS = "ignore:fetch_arrow_table:DeprecationWarning"


def hours(count: int | None) -> datetime | None:
    return None if count is None else EPOCH + timedelta(hours=count)


rows_with_created = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 30), st.integers(0, 5), st.one_of(st.none(), st.floats(-9, 9))),
    min_size=1,
    max_size=15,
    unique_by=lambda row: row[:3],
)
rows_without = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 30), st.one_of(st.none(), st.integers(-9, 9))),
    min_size=1,
    max_size=15,
    unique_by=lambda row: row[:2],
)
questions = st.lists(st.tuples(st.sampled_from([*KEYS, "c"]), st.integers(0, 40)), min_size=1, max_size=12)


@dataclass
class Bench:
    """Both stores' configuration over one folder, with a registry that is empty."""

    folder: Path
    ours: Any
    feasts: Any
    registry: Any


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    folder = tmp_path_factory.mktemp("asof")

    def config(store: str) -> Any:
        return RepoConfig(
            project="made",
            provider="local",
            registry=str(folder / "registry.pb"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": store},
            repo_path=folder,
            entity_key_serialization_version=3,
        )

    ours = config("mainspring.adapters.feast.asof_store.AsofOfflineStore")
    return Bench(folder, ours, config("duckdb"), FeatureStore(config=ours).registry)


def view(
    bench: Bench, name: str, table: pa.Table, *, created: bool = False, ttl: int = 0, tags: dict[str, str] | None = None
) -> Any:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    path = bench.folder / f"{name}.parquet"
    pq.write_table(table, path)
    source = FileSource(
        name=name, path=str(path), timestamp_field="at", created_timestamp_column="made" if created else ""
    )
    return FeatureView(
        name=name,
        entities=[Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)],
        ttl=timedelta(hours=ttl),
        schema=[Field(name="key", dtype=String), Field(name="value", dtype=Float64)],
        source=source,
        tags=tags or {},
    )


def frame(rows: list[tuple[str, int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [key for key, _ in rows],
            "event_timestamp": pd.to_datetime([hours(at) for _, at in rows], utc=True),
            "place": range(len(rows)),
        }
    )


def ask(store: Any, config: Any, bench: Bench, views: list[Any], entities: pd.DataFrame) -> pd.DataFrame:
    refs = [f"{one.name}:value" for one in views]
    job = store.get_historical_features(config, views, refs, entities.copy(), bench.registry, "made", True)
    return job.to_df().sort_values("place").reset_index(drop=True)


def compare(bench: Bench, first: list[Any], second: list[Any], ttl: int, rows: list[tuple[str, int]]) -> None:
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    from mainspring.adapters.feast.asof_store import AsofOfflineStore

    stamp = pa.timestamp("us", "UTC")
    one = pa.table(
        {
            "key": [row[0] for row in first],
            "at": pa.array([hours(row[1]) for row in first], stamp),
            "made": pa.array([hours(row[2]) for row in first], stamp),
            "value": pa.array([row[3] for row in first], pa.float64()),
        }
    )
    two = pa.table(
        {
            "key": [row[0] for row in second],
            "at": pa.array([hours(row[1]) for row in second], stamp),
            "value": pa.array([row[2] for row in second], pa.float64()),
        }
    )
    views = [view(bench, "one", one, created=True, ttl=ttl), view(bench, "two", two)]
    entities = frame(rows)
    ours = ask(AsofOfflineStore, bench.ours, bench, views, entities)
    theirs = ask(DuckDBOfflineStore, bench.feasts, bench, views, entities)
    assert set(ours.columns) == set(theirs.columns)
    pd.testing.assert_frame_equal(ours, theirs[ours.columns.tolist()], check_dtype=False)


@pytest.mark.filterwarnings(IBIS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_with_created, rows_without, st.integers(0, 20), questions)
def test_the_join_equals_feasts_own(
    bench: Bench, first: list[Any], second: list[Any], ttl: int, rows: list[tuple[str, int]]
) -> None:
    compare(bench, first, second, ttl, rows)


@pytest.mark.slow
@pytest.mark.filterwarnings(IBIS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_with_created, rows_without, st.integers(0, 20), questions)
def test_the_join_equals_feasts_own_in_depth(
    bench: Bench, first: list[Any], second: list[Any], ttl: int, rows: list[tuple[str, int]]
) -> None:
    compare(bench, first, second, ttl, rows)


late_rows = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 30), st.one_of(st.none(), st.integers(0, 40)), st.integers(-9, 9)),
    min_size=1,
    max_size=15,
    unique_by=lambda row: row[:2],
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(late_rows, st.integers(0, 20), questions)
def test_a_row_counts_only_once_it_was_available(
    bench: Bench, rows: list[Any], ttl: int, asked: list[tuple[str, int]]
) -> None:
    from mainspring.adapters.feast.asof_store import AsofOfflineStore

    stamp = pa.timestamp("us", "UTC")
    table = pa.table(
        {
            "key": [row[0] for row in rows],
            "at": pa.array([hours(row[1]) for row in rows], stamp),
            "known": pa.array([hours(row[2]) for row in rows], stamp),
            "value": pa.array([row[3] for row in rows], pa.float64()),
        }
    )
    late = view(bench, "late", table, ttl=ttl, tags={"mainspring.available_at": "known"})
    found = ask(AsofOfflineStore, bench.ours, bench, [late], frame(asked))["late__value"]
    for (key, now), value in zip(asked, found, strict=True):
        known = [row for row in rows if row[0] == key and row[2] is not None and max(row[1], row[2]) <= now]
        newest = max(known, key=lambda row: row[1], default=None)
        expected = None if newest is None or (ttl and newest[1] < now - ttl) else newest[3]
        assert (None if pd.isna(value) else value) == expected


def test_a_stated_delay_hides_a_row_until_it_has_passed(bench: Bench) -> None:
    from mainspring.adapters.feast.asof_store import AsofOfflineStore

    table = pa.table({"key": ["a"], "at": pa.array([hours(1)], pa.timestamp("us", "UTC")), "value": [1.0]})
    delayed = view(bench, "delayed", table, tags={"mainspring.delay_seconds": "3600"})
    found = ask(AsofOfflineStore, bench.ours, bench, [delayed], frame([("a", 1), ("a", 2)]))["delayed__value"]
    assert found.isna().tolist() == [True, False]


def test_rows_are_appended_by_date_and_never_doubled(tmp_path: Path) -> None:
    from mainspring.adapters.feast.asof_store import append_by_date

    table = pa.table(
        {"key": ["a", "b"], "at": pa.array([hours(1), hours(30)], pa.timestamp("us", "UTC")), "value": [1.0, 2.0]}
    )
    assert append_by_date(tmp_path, table, "at") == 2
    assert append_by_date(tmp_path, table, "at") == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("*.parquet")) == [
        "event_date=2013-01-01",
        "event_date=2013-01-02",
    ]
