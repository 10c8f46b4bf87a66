"""One suite for every online store: a predictor's reader finds what Feast's own `get_online_features` finds."""

import math
import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from tests.postgres import PASSWORD as PG_PASSWORD
from tests.postgres import cluster
from tests.redis_server import Server

from mainspring.adapters.feast.reader import FeastReader
from mainspring.adapters.feast.store import FeastFeatureStore
from mainspring.adapters.feast.types import known_type
from mainspring.serving.online import open_online
from mainspring.serving.redis_store import RedisOnlineFeatures
from mainspring.serving.sqlite_store import SqliteOnlineFeatures

# Feast's PostgreSQL store has no way to close its connections.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
EVENT = pa.timestamp("us", "UTC")
READERS = {
    "sqlite": SqliteOnlineFeatures, "redis": RedisOnlineFeatures, "custom": FeastReader, "postgres": FeastReader
}  # fmt: skip
SCALARS: dict[str, tuple[Any, list[Any]]] = {
    "i32": (Int32, [0, -1, 2**31 - 1, -(2**31)]),
    # Feast writes integers with nulls beside them through floats: beyond 2**53 they would not come back.
    "i64": (Int64, [0, -1, 2**53, -(2**53), 300]),
    "f32": (Float32, [0.0, -1.5, 3.4e38, math.inf]),
    "f64": (Float64, [0.0, -0.0, 1e300, 0.1, -math.inf]),
    "flag": (Bool, [True, False]),
    "word": (String, ["", "Ulm", "Zürich 東京", "x" * 300]),
    "raw": (Bytes, [b"", b"\x00\xff", b"y" * 200]),
    "seen": (UnixTimestamp, [DAY, DAY - timedelta(days=20_000)]),
    "floats": (Array(Float64), [[1.5], [0.0, -2.0, 1e9]]),
    "small": (Array(Float32), [[0.5, 1.5]]),
    "ints": (Array(Int64), [[1, -1, 2**40]]),
    "words": (Array(String), [["a", "", "ü"]]),
    "flags": (Array(Bool), [[True, False, True]]),
}
SHOPS = [f"shop {place}" for place in range(12)] + ["", "ü"]


def view(name: str, entities: list[Entity], fields: dict[str, Any], ttl: timedelta | None = None) -> FeatureView:
    kinds = {"shop": String, "day": Int64, "till": Int32}
    keys = [Field(name=key, dtype=kinds[key]) for entity in entities for key in [entity.join_key]]
    schema = [*keys, *(Field(name=one, dtype=dtype) for one, dtype in fields.items())]
    source = FileSource(name=name, path=name, timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=entities, ttl=ttl, schema=schema, source=source)


def definitions() -> dict[str, Any]:
    """Text, integer, composite, renamed and no keys."""
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
    day = Entity(name="day_of", join_keys=["day"], value_type=ValueType.INT64)
    till = Entity(name="till", join_keys=["till"], value_type=ValueType.INT32)
    views = [
        view("scalars", [shop], {name: kind for name, (kind, _) in SCALARS.items()}, timedelta(days=2)),
        view("daily", [shop, day], {"daily_x": Float64}),
        view("tills", [till], {"tills_x": Float64, "tills_n": Int64}),
        view("world", [], {"world_x": Float64}),
        view("homes", [shop], {"homes_x": Float64}),
    ]
    projections = [*views[:4], views[4].with_join_key_map({"shop": "home"})]
    return {"views": views, "entities": [shop, day, till], "all": FeatureService(name="all", features=projections)}


def table(objects: dict[str, Any], name: str, seed: int) -> pa.Table:
    """Rows of a view: for most keys one or two, with nulls."""
    random_ = random.Random(f"{name}{seed}")
    one = next(view for view in objects["views"] if view.name == name)
    keys = {
        "scalars": [{"shop": shop} for shop in SHOPS],
        "homes": [{"shop": shop} for shop in SHOPS],
        "daily": [{"shop": shop, "day": day} for shop in SHOPS for day in (0, -7, 2**40)],
        "tills": [{"till": till} for till in (0, 5, -(2**31), 2**31 - 1)],
        "world": [{}],
    }[name]
    rows = []
    for key in random_.sample(keys, max(1, len(keys) * 3 // 4)):
        for at in random_.sample(range(72), random_.randrange(1, 3)):
            values = {
                field.name: random_.choice([None, *SCALARS.get(field.name, (None, [1.5, -2.0, 7.0]))[1]])
                if str(field.dtype) != "Int64" or field.name in SCALARS
                else random_.randrange(9)
                for field in one.features
            }
            rows.append({"event_timestamp": DAY + timedelta(hours=at), **key, **values})
    types = {field.name: known_type(field.dtype) for field in one.schema} | {"event_timestamp": EVENT}
    return pa.table({key: pa.array([row[key] for row in rows], types[key]) for key in rows[0]})


def filled(kind: str, folder: Path, section: dict[str, Any] | None, seed: int = 1) -> FeastFeatureStore:
    objects = definitions()
    store = FeastFeatureStore(f"shops-{kind}-{seed}", folder, objects, "all", online=section)
    for info in store.views():
        store.append(info.name, table(objects, info.name, seed))
    assert store.materialize(DAY + timedelta(days=4)) > 20
    return store


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Each store's section of `feature_store.yaml`; servers are started when they are first asked for."""
    with ExitStack() as stack:
        known: dict[str, Any] = {}

        def section(kind: str) -> dict[str, Any] | None:
            if kind not in known:
                known[kind] = made(kind)
            return known[kind]

        def made(kind: str) -> dict[str, Any] | None:
            if kind == "redis":
                server = Server(tmp_path_factory.mktemp("redis"))
                stack.callback(server.stop)
                return {"type": "redis", "connection_string": server.address}
            if kind == "custom":
                return {"type": "tests.adapters.feast.custom_store.CustomOnlineStore", "path": "custom.db"}
            if kind == "postgres":
                port = stack.enter_context(cluster())
                access = {"user": "owner", "password": PG_PASSWORD, "database": "postgres", "sslmode": "disable"}
                return {"type": "postgres", "host": "127.0.0.1", "port": port, **access}
            return None

        yield section


def by_feast(store: FeastFeatureStore, asked: list[dict[str, Any]]) -> dict[str, Any]:
    answer = store._open().get_online_features(features=store._service, entity_rows=asked, full_feature_names=True)
    found: dict[str, Any] = answer.to_dict(include_event_timestamps=True)
    return found


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in value]
    return int(value.timestamp()) if isinstance(value, datetime) else value


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", READERS)
def test_a_reader_finds_what_feast_finds(kind: str, seed: int, tmp_path: Path, sections: Any) -> None:
    store = filled(kind, tmp_path, sections(kind), seed)
    config = store.online_store({}, 5.0)
    reader = open_online(config)
    assert type(reader) is READERS[kind]
    random_ = random.Random(seed)
    asked = [
        {
            "shop": random_.choice([*SHOPS, "nowhere"]),
            "day": random_.choice([0, -7, 2**40, 3]),
            "till": random_.choice([0, 5, 6, 2**31 - 1]),
            "home": random_.choice([*SHOPS, "nowhere"]),
        }
        for _ in range(60)
    ]
    columns = {one.name: [one.columns.get(key, key) for key in one.entities] for one in config.views}
    wanted = [[tuple(row[name] for name in columns[one.name]) for row in asked] for one in config.views]
    found, expected, rows = reader.read(wanted), by_feast(store, asked), 0
    for place, one in enumerate(config.views):
        for row in range(len(asked)):
            ours = found[place][row]
            theirs = [plain(expected[f"{one.name}__{name}"][row]) for name in one.features]
            events = {expected[f"{one.name}__{name}__ts"][row] for name in one.features}
            if ours is None:
                assert theirs == [None] * len(theirs), f"{one.name} {wanted[place][row]}"
                continue
            rows += 1
            assert list(ours.values) == theirs, f"{one.name} {wanted[place][row]}"
            assert [type(value) for value in ours.values] == [type(value) for value in theirs]
            assert events == {ours.event_at // 1_000_000}
    assert rows > 60
    # Single rows are read by another statement, and in other words.
    for row in range(0, 60, 7):
        single = reader.read([[keys[row]] for keys in wanted])
        assert [rows[0] for rows in single] == [rows[row] for rows in found]
    reader.close()


@pytest.mark.parametrize("kind", READERS)
def test_keys_that_are_not_sent_or_do_not_fit_are_entities_that_are_not_there(
    kind: str, tmp_path: Path, sections: Any
) -> None:
    store = filled(kind, tmp_path, sections(kind))
    config = store.online_store({}, 5.0)
    reader = open_online(config)
    names = [one.name for one in config.views]
    tills: list[Any] = [(5,), (5.0,), ("5",), None, (2**31,), ("five",), (5.5,), (2**70,)]
    wanted = [tills if name == "tills" else [None] * len(tills) for name in names]
    found = reader.read(wanted)[names.index("tills")]
    known = reader.read([[(5,)] if name == "tills" else [None] for name in names])[names.index("tills")][0]
    assert found == [known] * 3 + [None] * 5
    assert all(
        rows == [None] * len(tills) for name, rows in zip(names, reader.read(wanted), strict=True) if name != "tills"
    )
    reader.close()


def test_a_project_that_names_another_store_has_everything_written_there(tmp_path: Path, sections: Any) -> None:
    first = filled("sqlite", tmp_path, None)
    assert first.materialize(DAY + timedelta(days=4)) == 0
    for kind in ("custom", "redis", "sqlite"):
        other = FeastFeatureStore("shops-sqlite-1", tmp_path, definitions(), "all", online=sections(kind))
        assert other.materialize(DAY + timedelta(days=4)) > 20
        assert other.materialize(DAY + timedelta(days=4)) == 0


@pytest.mark.parametrize("kind", READERS)
def test_what_is_written_later_is_found_at_once(kind: str, tmp_path: Path, sections: Any) -> None:
    store = filled(kind, tmp_path, sections(kind), seed=7)
    config = store.online_store({}, 5.0)
    reader = open_online(config)
    place = [one.name for one in config.views].index("world")
    wanted: list[Any] = [[()] if at == place else [None] for at in range(len(config.views))]
    reader.read(wanted)
    for value in (3.0, 4.0, None):
        # The same event time each time: a correction.
        rows = {
            "event_timestamp": pa.array([DAY + timedelta(days=3)], EVENT),
            "world_x": pa.array([value], pa.float64()),
        }
        store.append("world", pa.table(rows))
        store.materialize(DAY + timedelta(days=5))
        (found,) = reader.read(wanted)[place]
        assert found is not None
        assert found.values == (value,)
        assert found.event_at == (DAY + timedelta(days=3)).timestamp() * 1e6
    reader.close()
