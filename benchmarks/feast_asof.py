"""Point-in-time joins: 327,346 flights x 2 feature views, our store beside Feast's DuckDB store and the bare ASOF JOIN.

`python benchmarks/feast_asof.py [--json] [--repetitions 5]`
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from report import Row, report

warnings.simplefilter("ignore")

FEATURES = {
    "weather": ["temp", "humid", "wind_speed", "precip", "pressure", "visib"],
    "carrier_days": ["delay", "flights"],
}
KEYS = {"weather": "origin", "carrier_days": "carrier"}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        ours, feasts, raw = jobs(Path(folder))
        ours(), raw()  # Files are in the cache and modules imported before anything is timed.
        product = median(ours, arguments.repetitions)
        bare = median(raw, arguments.repetitions)
        peer = median(feasts, max(1, arguments.repetitions // 2))
    rows = [
        Row("Feast's DuckDB store / ours", product, peer, 30.0),
        Row("ours / bare DuckDB ASOF JOIN", product, bare, 2.0, at_most=True),
    ]
    report(rows, as_json=arguments.json)


def jobs(folder: Path) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    """Three ways to the same table: our store, Feast's, and the bare join."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
    from feast.repo_config import RepoConfig
    from feast.types import Float64, String

    from mainspring.adapters.feast.asof_store import AsofOfflineStore
    from mainspring.demo.data import write_flights

    write_flights(folder)
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            f"COPY (SELECT origin, observed_at::TIMESTAMPTZ AS at, * EXCLUDE (origin, observed_at) "
            f"FROM '{folder}/weather.parquet') TO '{folder}/weather_view.parquet'"
        )
        db.execute(
            f"COPY (SELECT carrier, (date_trunc('day', departed_at) + INTERVAL 1 DAY)::TIMESTAMPTZ AS at, "
            f"avg(delay_minutes) AS delay, count(*)::DOUBLE AS flights FROM '{folder}/departures.parquet' "
            f"GROUP BY ALL) TO '{folder}/carrier_days_view.parquet'"
        )
        entities = db.sql(
            f"SELECT flight_id, origin, carrier, asked_at::TIMESTAMPTZ AS event_timestamp "
            f"FROM '{folder}/flights.parquet' WHERE late IS NOT NULL"
        ).df()

    def config(store: str) -> Any:
        return RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.pb"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": store},
            repo_path=folder,
            entity_key_serialization_version=3,
        )

    def view(name: str) -> Any:
        key = KEYS[name]
        return FeatureView(
            name=name,
            entities=[Entity(name=key, join_keys=[key], value_type=ValueType.STRING)],
            ttl=timedelta(days=2),
            schema=[Field(name=key, dtype=String), *(Field(name=one, dtype=Float64) for one in FEATURES[name])],
            source=FileSource(name=name, path=str(folder / f"{name}_view.parquet"), timestamp_field="at"),
        )

    views = [view(name) for name in KEYS]
    refs = [f"{name}:{one}" for name in KEYS for one in FEATURES[name]]
    our_config, feast_config = config("mainspring.adapters.feast.asof_store.AsofOfflineStore"), config("duckdb")
    registry = FeatureStore(config=our_config).registry

    def through(store: Any, of: Any) -> Callable[[], Any]:
        return lambda: store.get_historical_features(of, views, refs, entities.copy(), registry, "bench").to_arrow()

    def raw() -> Any:
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            db.register("entities", entities)
            columns = ", ".join(f"{name}.{one}" for name in KEYS for one in FEATURES[name])
            joins = " ".join(
                f"ASOF LEFT JOIN '{folder}/{name}_view.parquet' {name} "
                f"ON e.{key} = {name}.{key} AND e.event_timestamp >= {name}.at"
                for name, key in KEYS.items()
            )
            return db.sql(f"SELECT e.*, {columns} FROM entities e {joins}").to_arrow_table()

    return through(AsofOfflineStore, our_config), through(DuckDBOfflineStore, feast_config), raw


def median(job: Callable[[], Any], repetitions: int) -> float:
    """The median of the seconds that a job takes."""
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - began)
        print(f"  {seconds[-1]:.3f} s", file=sys.stderr)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
