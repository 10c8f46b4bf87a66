"""No look-ahead: what happens later changes nothing that was computed as of earlier, in any source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from mainspring.domain.errors import ConfigError, DataError
from mainspring.features.transforms import TransformSession
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import load_project
from mainspring.sources.digest import content_digest
from mainspring.templates.write import write_template

AS_OF = datetime(2013, 1, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights of the first two weeks."""
    folder = tmp_path_factory.mktemp("flights") / "project"
    write_template(folder, "flights")
    for name, time in (
        ("flights", "asked_at"),
        ("departures", "departed_at"),
        ("arrivals", "arrived_at"),
        ("weather", "observed_at"),
    ):
        rewrite(folder, name, f"SELECT * FROM rows WHERE {time} < '2013-01-15'")
    return folder


def rewrite(folder: Path, name: str, sql: str) -> None:
    path = folder / "data" / f"{name}.parquet"
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE rows AS SELECT * FROM '{path}'")
        db.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")


def as_of(folder: Path) -> pa.Table:
    table = LaptopFeatures(load_project(folder)).training_set(AS_OF)
    return table.select(sorted(table.column_names)).sort_by("request_id")


def test_the_training_set_has_fresh_features_and_only_settled_labels(project: Path) -> None:
    table = as_of(project)
    assert table.num_rows > 7_000
    assert max(table.column("label_known_at").to_pylist()) <= AS_OF
    assert table.column("origin_late_24h").null_count < table.num_rows * 0.15
    assert 0.1 < sum(table.column("label").to_pylist()) / table.num_rows < 0.4


def test_planted_future_values_are_seen_by_nothing(project: Path, tmp_path: Path) -> None:
    before = content_digest(as_of(project))
    import shutil

    planted = tmp_path / "planted"
    shutil.copytree(project, planted, ignore=shutil.ignore_patterns(".mainspring"))
    late = "'2013-01-10 00:00:01'"
    rewrite(
        planted,
        "departures",
        f"SELECT * REPLACE (if(departed_at + INTERVAL 5 MINUTE >= {late}, 9999.0, delay_minutes) AS delay_minutes) FROM rows",
    )
    rewrite(
        planted,
        "arrivals",
        f"SELECT * REPLACE (if(arrived_at + INTERVAL 15 MINUTE >= {late}, 1 - late, late)::INT AS late) FROM rows",
    )
    rewrite(
        planted,
        "weather",
        f"SELECT * REPLACE (if(observed_at + INTERVAL 1 HOUR >= {late}, -999.0, temp) AS temp) FROM rows",
    )
    rewrite(planted, "flights", f"SELECT * REPLACE (if(settled_at >= {late}, 1 - late, late)::INT AS late) FROM rows")
    assert content_digest(as_of(planted)) == before
    # The planting itself works: a day later everything is visible.
    later = LaptopFeatures(load_project(planted)).training_set(AS_OF + timedelta(days=1))
    assert max(later.column("origin_delay_24h").drop_null().to_pylist()) > 500
    assert min(later.column("temp").drop_null().to_pylist()) == -999.0


def test_rows_computed_tick_by_tick_equal_rows_computed_at_once(project: Path) -> None:
    features = LaptopFeatures(load_project(project))
    session = TransformSession(load_project(project).settings, project, features.sources)
    for view in session.views:
        ticks = session.due(view, AS_OF - timedelta(days=1), AS_OF, start=AS_OF)
        assert len(ticks) == 4
        at_once = session.compute(view, ticks)
        one_by_one = pa.concat_tables([session.compute(view, [tick]) for tick in ticks])
        order = [(name, "ascending") for name in at_once.column_names[:2]]
        assert one_by_one.sort_by(order).equals(at_once.sort_by(order))


def test_the_online_store_gives_what_the_training_join_gives(project: Path) -> None:
    features = LaptopFeatures(load_project(project))
    now = AS_OF + timedelta(hours=1)
    features.advance(now)
    assert features.store is not None
    online = features.store.online([{"origin": "JFK", "carrier": "B6", "dest": "BOS"}]).to_pylist()[0]
    spine = pa.table(
        {
            "event_timestamp": pa.array([now], pa.timestamp("us", "UTC")),
            "origin": ["JFK"],
            "carrier": ["B6"],
            "dest": ["BOS"],
        }
    )
    offline = features.store.historical(spine).to_pylist()[0]
    assert {name: online[name] for name in online} == {name: offline[name] for name in online}
    assert online["temp"] is not None


def test_a_transform_that_answers_for_other_instants_is_refused(project: Path, tmp_path: Path) -> None:
    loaded = load_project(project)
    features = LaptopFeatures(loaded)
    session = TransformSession(loaded.settings, project, features.sources)
    session._functions["origin_delays"] = lambda db: "SELECT tick + INTERVAL 1 HOUR AS event_timestamp FROM ticks"
    with pytest.raises(DataError, match="other instants"):
        session.compute("origin_delays", [AS_OF])
    session._functions["origin_delays"] = lambda db: "SELECT late FROM flights"
    with pytest.raises(DataError, match="late"):
        session.compute("origin_delays", [AS_OF])
    (tmp_path / "transforms.py").write_text("def other(db):\n    return ''\n")
    with pytest.raises(ConfigError, match="no function origin_weather"):
        TransformSession(loaded.settings, tmp_path, features.sources)
