"""The feature store on real Feast: what is appended, joined, materialised and answered, against Feast's own results."""

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

import mainspring.adapters.feast.store as store_module
from mainspring.adapters.feast.store import FeastFeatureStore
from mainspring.domain.errors import ConfigError, DataError, NotFound

DAY = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
UTC_TIME = pa.timestamp("us", "UTC")
KEYS = ["a", "b", "c"]


def definitions(plain_ttl: timedelta | None = timedelta(days=2), **more: Any) -> dict[str, Any]:
    """Views of `shop`: known at once, after a delay, by a column, with a created time, and one without an entity."""
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)

    def view(name: str, entities: list[Entity], ttl: timedelta | None = None, created: str = "", **tags: str) -> Any:
        keys = [Field(name="shop", dtype=String)] if entities else []
        features = [Field(name=f"{name}_x", dtype=Float64), Field(name=f"{name}_n", dtype=Int64)]
        source = FileSource(
            name=name, path=name, timestamp_field="event_timestamp", created_timestamp_column=created or None
        )
        tags = {f"mainspring.{key}": value for key, value in tags.items()}
        return FeatureView(name=name, entities=entities, ttl=ttl, schema=[*keys, *features], source=source, tags=tags)

    views = {
        "plain": view("plain", [shop], plain_ttl),
        "delayed": view("delayed", [shop], delay_seconds="5400"),
        "late": view("late", [shop], available_at="seen_at"),
        "late_ttl": view("late_ttl", [shop], timedelta(hours=30), available_at="seen_at"),
        "made": view("made", [shop], created="made_at"),
        "versioned": view("versioned", [], created="made_at"),
    }
    return {"shop": shop, **views, "all": FeatureService(name="all", features=list(views.values())), **more}


def opened(folder: Path, objects: dict[str, Any] | None = None, service: str | None = "all") -> FeastFeatureStore:
    return FeastFeatureStore("test-shop", folder, objects or definitions(), service)


def rows(view: str, values: list[dict[str, Any]]) -> pa.Table:
    """Rows of a view from `at`, `shop`, `x` and the instants that the view has."""
    columns: dict[str, Any] = {"event_timestamp": pa.array([one["at"] for one in values], UTC_TIME)}
    if view != "versioned":
        columns["shop"] = pa.array([one.get("shop", "a") for one in values], pa.string())
    columns[f"{view}_x"] = pa.array([one["x"] for one in values], pa.float64())
    columns[f"{view}_n"] = pa.array([None if one["x"] is None else int(one["x"]) for one in values], pa.int64())
    if view.startswith("late"):
        columns["seen_at"] = pa.array([one.get("seen", one["at"]) for one in values], UTC_TIME)
    if view in {"versioned", "made"}:
        columns["made_at"] = pa.array([one.get("made", one["at"]) for one in values], UTC_TIME)
    return pa.table(columns)


def online(store: FeastFeatureStore) -> dict[str, list[tuple[Any, Any]]]:
    """What Feast's online store holds: values and event times by view, for every key."""
    return feast_online(store._open())


def feast_online(feast: FeatureStore) -> dict[str, list[tuple[Any, Any]]]:
    found = {}
    for view in feast.list_feature_views():
        answer = feast.get_online_features(
            features=[f"{view.name}:{view.name}_x", f"{view.name}:{view.name}_n"],
            entity_rows=[{"shop": key} for key in KEYS],
        )
        values = answer.to_dict(include_event_timestamps=True)
        found[view.name] = list(
            zip(values[f"{view.name}_x"], values[f"{view.name}_n"], values[f"{view.name}_x__ts"], strict=True)
        )
    return found


def some_rows(view: str, seed: int, count: int = 40) -> list[dict[str, Any]]:
    """Rows over three days, each key and event time (and created time) once, some late, some null."""
    random_ = random.Random(f"{view}{seed}")
    made: dict[Any, dict[str, Any]] = {}
    for _ in range(count):
        at = DAY + random_.randrange(72) * HOUR
        row = {
            "at": at,
            "shop": random_.choice(KEYS),
            "x": random_.choice([None, *map(float, range(50))]),
            "seen": random_.choice([None, *(at + hours * HOUR for hours in (-2, 0, 0, 1, 5, 30))]),
            "made": at + random_.randrange(3) * HOUR,
        }
        keys = {"versioned": ["made"], "made": ["shop", "made"]}.get(view, ["shop"])
        made[at, *(row[key] for key in keys)] = row
    return list(made.values())


def test_rows_are_kept_once_by_day_and_a_corrected_row_replaces(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = rows("plain", [{"at": DAY, "x": 1.0}, {"at": DAY + 30 * HOUR, "x": None, "shop": "b"}])
    assert store.append("plain", first) == 2
    assert store.append("plain", first) == 0
    folders = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert folders == ["event_date=2013-01-01", "event_date=2013-01-02"]
    assert store.append("plain", rows("plain", [{"at": DAY, "x": 7.0}, {"at": DAY + HOUR, "x": 2.0}])) == 2
    day = pq.read_table(tmp_path / "plain" / "event_date=2013-01-01" / "rows.parquet", partitioning=None)
    assert day.column("plain_x").to_pylist() == [7.0, 2.0]
    store.clear("plain")
    assert not (tmp_path / "plain").exists()
    assert store.append("plain", first) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("plain_n"), "no column plain_n"),
        (lambda table: table.set_column(1, "shop", pa.array(["a", None])), "1 rows of view 'plain' have no `shop`"),
        (lambda table: pa.concat_tables([table, table]), "2 rows of view 'plain' are there more than once"),
        (
            lambda table: table.set_column(2, "plain_x", pa.array(["a", "b"])),
            "`plain_x` of view 'plain' is not a double",
        ),
    ],
)
def test_rows_that_are_not_the_views_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    table = rows("plain", [{"at": DAY, "x": 1.0}, {"at": DAY + HOUR, "x": 2.0}])
    with pytest.raises(DataError, match=message):
        opened(tmp_path).append("plain", change(table))
    with pytest.raises(NotFound, match="did you mean 'plain'"):
        opened(tmp_path).append("plein", table)


def test_what_is_online_is_what_feast_itself_would_materialise(tmp_path: Path) -> None:
    store = opened(tmp_path / "ours")
    for view in ("plain", "made"):
        table = rows(view, some_rows(view, seed=1, count=150))
        for place in range(0, table.num_rows, 7):
            store.append(view, table.slice(place, 7))
            store.materialize(DAY + place * HOUR / 3)
    until = DAY + 60 * HOUR
    store.materialize(until)
    theirs = opened(tmp_path / "theirs")
    for view in ("plain", "made"):
        theirs.append(view, rows(view, some_rows(view, seed=1, count=150)))
    feast = theirs._open()
    feast.materialize(DAY - HOUR, until, feature_views=["plain", "made"])
    expected = feast_online(feast)
    assert all(value[2] for view in ("plain", "made") for value in expected[view])
    assert {view: online(store)[view] for view in expected} == expected


@pytest.mark.parametrize("seed", range(6))
def test_steps_and_late_writes_end_where_one_step_does(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    in_steps, at_once = opened(tmp_path / "steps"), opened(tmp_path / "once")
    names = [view.name for view in in_steps.views()]
    now = DAY
    pending = {view: some_rows(view, seed) for view in names}
    for view, values in pending.items():
        at_once.append(view, rows(view, values))
    while any(pending.values()):
        view = random_.choice([name for name in names if pending[name]])
        some, pending[view] = pending[view][:5], pending[view][5:]
        in_steps.append(view, rows(view, some))
        if random_.random() < 0.6:
            now += random_.randrange(6) * HOUR
            in_steps.materialize(now)
    now = max(now, DAY + random_.randrange(60, 110) * HOUR)
    in_steps.materialize(now)
    at_once.materialize(now)
    ours, expected = online(in_steps), online(at_once)
    # A row that became known when it was older than its TTL is worth nothing, and may be missing.
    for view in names:
        for mine, theirs in zip(ours[view], expected[view], strict=True):
            expired = view == "late_ttl" and theirs[2] < (now - 30 * HOUR).timestamp()
            assert mine == theirs or expired, f"{view} at {now}"


@pytest.mark.parametrize("seed", range(3))
def test_the_online_store_shows_what_the_join_shows(tmp_path: Path, seed: int) -> None:
    store = opened(tmp_path)
    names = [view.name for view in store.views()]
    for view in names:
        store.append(view, rows(view, some_rows(view, seed)))
    for hours in (20, 47, 71):
        now = DAY + hours * HOUR
        store.materialize(now)
        spine = pa.table({"event_timestamp": pa.array([now] * 3, UTC_TIME), "shop": KEYS})
        offline, found = store.historical(spine), online(store)
        for view, ttl in zip(names, [48, None, None, 30, None, None], strict=True):
            fresh = [
                value[0] if ttl is None or value[2] >= (now - ttl * HOUR).timestamp() else None for value in found[view]
            ]
            assert fresh == offline.column(f"{view}_x").to_pylist(), f"{view} at {now}"


def test_a_value_that_is_known_later_is_not_online_before(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append("late", rows("late", [{"at": DAY, "x": 1.0}, {"at": DAY + HOUR, "x": 99.0, "seen": DAY + 9 * HOUR}]))
    store.append("delayed", rows("delayed", [{"at": DAY, "x": 5.0}]))
    store.materialize(DAY + 80 * timedelta(minutes=1))
    assert online(store)["late"][0][0] == 1.0
    assert online(store)["delayed"][0][0] is None
    store.materialize(DAY + 90 * timedelta(minutes=1))
    assert online(store)["delayed"][0][0] == 5.0
    store.materialize(DAY + 9 * HOUR - timedelta(microseconds=1))
    assert online(store)["late"][0][0] == 1.0
    store.materialize(DAY + 9 * HOUR)
    assert online(store)["late"][0][0] == 99.0


def test_a_row_that_becomes_known_days_after_its_event_is_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append("late", rows("late", [{"at": DAY, "x": 1.0, "seen": DAY + 70 * HOUR}]))
    for hours, expected in ((1, None), (30, None), (69, None), (70, 1.0)):
        store.materialize(DAY + hours * HOUR)
        assert online(store)["late"][0][0] == expected


def test_nothing_new_commits_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append("plain", rows("plain", [{"at": DAY, "x": 1.0}]))
    for view in ("delayed", "late", "late_ttl", "made", "versioned"):
        store.append(view, rows(view, [{"at": DAY, "x": 1.0}]))
    assert store.materialize(DAY + 2 * HOUR) == 6
    with sqlite3.connect(store.online_store({}, 0.25).path) as reader:
        before = reader.execute("PRAGMA data_version").fetchone()
        for hours in range(3, 9):
            assert store.materialize(DAY + hours * HOUR) == 0
        assert reader.execute("PRAGMA data_version").fetchone() == before
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader.close()


@pytest.mark.parametrize("place", ["put_rows", "write_online", "marks"])
def test_killed_between_two_writes_the_next_call_makes_it_whole(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    first, second = ([{"at": DAY + hours * HOUR, "x": float(hours)}] for hours in (0, 1))
    store.append("plain", rows("plain", first))
    store.materialize(DAY)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if place == "put_rows":
            patch.setattr(store_module, "put_rows", killed)
        elif place == "write_online":
            patch.setattr("mainspring.adapters.feast.online.write_online", killed)
        else:
            patch.setattr(store._marking(), "put", lambda *_: None if not (tmp_path / "stop").exists() else killed())
            (tmp_path / "stop").touch()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - which of the two is killed is the parameter
            store.append("plain", rows("plain", second))
            store.materialize(DAY + HOUR)
    again = opened(tmp_path)
    again.append("plain", rows("plain", second))
    assert again.materialize(DAY + HOUR) == 1
    assert online(again)["plain"][0][0] == 1.0


def test_a_view_that_is_defined_anew_is_materialised_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append("plain", rows("plain", [{"at": DAY, "x": 1.0}]))
    store.materialize(DAY + HOUR)
    other = opened(tmp_path, definitions(timedelta(days=3)))
    assert other.materialize(DAY + HOUR) == 1
    assert other.materialize(DAY + HOUR) == 0
    assert other.version() != store.version()
    assert {name for name, one in store.feature_versions().items() if other.feature_versions()[name] != one} == {
        "plain"
    }
    assert opened(tmp_path, definitions()).version() == store.version()


def test_the_join_keeps_columns_types_and_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for view in store.views():
        store.append(view.name, rows(view.name, [{"at": DAY, "x": 3.0}]))
    spine = pa.table(
        {
            "event_timestamp": pa.array([DAY + 2 * HOUR, DAY - HOUR, DAY + HOUR], UTC_TIME),
            "shop": ["a", "a", "b"],
            "n": pa.array([1, None, 3], pa.int64()),
            "ok": pa.array([True, None, False]),
            "request_id": ["3", "1", "2"],
        }
    )
    joined = store.historical(spine)
    assert joined.select(spine.column_names).equals(spine)
    assert joined.column("plain_x").to_pylist() == [3.0, None, None]
    assert joined.column("plain_n").type == pa.int64()
    assert joined.column("versioned_n").to_pylist() == [3, None, 3]
    with pytest.raises(DataError, match="no column shop"):
        store.historical(spine.drop_columns("shop"))
    with pytest.raises(ConfigError, match="`plain_x` is a feature and a column of the request"):
        store.historical(spine.append_column("plain_x", pa.array([1, 2, 3])))


def test_an_on_demand_view_reads_the_request_and_other_views(tmp_path: Path) -> None:
    objects = definitions()
    asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Float64)])

    @on_demand_feature_view(
        sources=[asked, objects["plain"]], schema=[Field(name="share", dtype=Float64)], mode="python"
    )
    def shares(inputs: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["amount"], inputs["plain_x"], strict=True)
        return {"share": [None if x is None else amount / x for amount, x in pairs]}

    objects |= {
        "asked": asked,
        "shares": shares,
        "some": FeatureService(name="some", features=[objects["plain"], shares]),
    }
    store = opened(tmp_path, objects, "some")
    assert [(view.name, view.on_demand, view.features) for view in store.views()][1:] == [
        ("shares", True, (("share", "float"),))
    ]
    store.append("plain", rows("plain", [{"at": DAY, "x": 4.0}]))
    store.materialize(DAY)
    spine = pa.table({"event_timestamp": pa.array([DAY], UTC_TIME), "shop": ["a"], "amount": [2.0]})
    assert store.historical(spine).column("share").to_pylist() == [0.5]
    assert store.online([{"shop": "a", "amount": 2.0}]).column("share").to_pylist() == [0.5]


def test_views_say_what_they_are(tmp_path: Path) -> None:
    views = {view.name: view for view in opened(tmp_path).views()}
    assert views["plain"].entities == ("shop",)
    assert views["versioned"].entities == ()
    assert views["plain"].features == (("plain_x", "float"), ("plain_n", "int"))
    assert (views["plain"].ttl_seconds, views["late"].ttl_seconds) == (172800.0, None)
    assert views["plain"].path == tmp_path / "plain"


def test_the_service_is_the_only_one_or_the_one_that_is_named(tmp_path: Path) -> None:
    objects = definitions(few=FeatureService(name="few", features=[definitions()["plain"]]))
    assert len(opened(tmp_path, definitions(), None).views()) == 6
    assert [view.name for view in opened(tmp_path, objects, "few").views()] == ["plain"]
    with pytest.raises(ConfigError, match="2 feature services"):
        opened(tmp_path, objects, None).views()
    with pytest.raises(ConfigError, match="no feature service 'fev'; did you mean 'few'"):
        opened(tmp_path, objects, "fev").views()


def test_a_file_that_others_write_is_read_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.parquet"
    pq.write_table(rows("plain", [{"at": DAY, "x": 1.0}]), file)
    objects = definitions()
    source = FileSource(name="plain", path=str(file), timestamp_field="event_timestamp")
    view = FeatureView(name="plain", entities=[objects["shop"]], schema=objects["plain"].schema, source=source)
    store = opened(
        tmp_path / "ours", {"shop": objects["shop"], "plain": view, "all": FeatureService(name="all", features=[view])}
    )
    assert store.materialize(DAY + HOUR) == 1
    assert store.materialize(DAY + HOUR) == 0
    values = [{"at": DAY, "x": 2.0}, {"at": DAY - 300 * HOUR, "shop": "b", "x": 3.0}, {"at": DAY + 9 * HOUR, "x": 9.0}]
    pq.write_table(rows("plain", values), file)
    assert store.materialize(DAY + HOUR) == 2
    assert [value[0] for value in online(store)["plain"]] == [2.0, 3.0, None]
    with pytest.raises(ConfigError, match="not a folder of this project"):
        store.append("plain", rows("plain", values))


def test_an_existing_repository_is_used_as_it_is(tmp_path: Path) -> None:
    repo, file = tmp_path / "repo", tmp_path / "repo" / "plain.parquet"
    repo.mkdir()
    pq.write_table(rows("plain", [{"at": DAY, "x": 1.0}]), file)
    (repo / "feature_store.yaml").write_text(
        "project: theirs\nprovider: local\nregistry: r.db\nonline_store: {type: sqlite, path: o.db}\n"
        "offline_store: {type: mainspring.adapters.feast.asof_store.AsofOfflineStore}\n"
        "entity_key_serialization_version: 3\n"
    )
    objects = definitions()
    source = FileSource(name="plain", path="plain.parquet", timestamp_field="event_timestamp")
    view = FeatureView(name="plain", entities=[objects["shop"]], schema=objects["plain"].schema, source=source)
    FeatureStore(repo_path=str(repo)).apply([objects["shop"], view, FeatureService(name="served", features=[view])])
    store = FeastFeatureStore("ours", tmp_path / "ours", {}, None, repo=repo)
    assert [one.name for one in store.views()] == ["plain"]
    assert store.materialize(DAY + HOUR) == 1
    assert store.online([{"shop": "a"}]).column("plain_x").to_pylist() == [1.0]
    found = store.online_store({}, 0.25)
    assert (found.kind, found.path, found.project) == ("sqlite", str(repo / "o.db"), "theirs")
    spine = pa.table({"event_timestamp": pa.array([DAY + HOUR], UTC_TIME), "shop": ["a"]})
    assert store.historical(spine).column("plain_n").to_pylist() == [1]


def test_a_registry_whose_writer_was_killed_half_way_is_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(self: Path, target: Path) -> None:
        raise Killed

    opened(tmp_path).views()
    before = (tmp_path / "registry.pb").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(Killed):
            opened(tmp_path).views()
    assert (tmp_path / "registry.pb").read_bytes() == before
    assert opened(tmp_path).views()
