"""Redis that goes away, hangs, comes back, or comes back empty."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.adapters.feast.test_online_stores import DAY, EVENT, definitions, filled
from tests.redis_server import PASSWORD, Server

from mainspring.adapters.feast.store import FeastFeatureStore
from mainspring.domain.errors import ConfigError, DataError, TemporaryError
from mainspring.serving import online as online_module
from mainspring.serving.feast_format import KeyEncoder
from mainspring.serving.online import open_online
from mainspring.serving.redis_store import RedisOnlineFeatures, feature_field


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path)
    yield one
    one.stop()


def section(server: Server) -> dict[str, Any]:
    return {"type": "redis", "connection_string": server.address}


def asked(store: FeastFeatureStore, name: str, keys: Any) -> tuple[list[Any], int]:
    names = [one.name for one in store.online_store({}, 1.0).views]
    return [[keys] if one == name else [None] for one in names], names.index(name)


def patient(reader: RedisOnlineFeatures) -> None:
    """Wait until the store is asked again."""
    reader._outage._until = 0.0


def test_all_views_and_rows_come_in_one_round_trip(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    reader = open_online(store.online_store({}, 1.0))
    keys = {"scalars": ("shop 1",), "daily": ("shop 1", 0), "tills": (5,), "world": (), "homes": ("shop 2",)}
    wanted = [[keys[one.name]] * 5 for one in store.online_store({}, 1.0).views]
    reader.read(wanted)
    client = server.client()
    before = client.info("stats")
    reader.read(wanted)
    after = client.info("stats")
    # `info` itself is one of them.
    assert after["total_reads_processed"] - before["total_reads_processed"] == 2
    assert after["total_commands_processed"] - before["total_commands_processed"] == 26
    client.close()
    reader.close()


def test_a_redis_that_went_away_is_said_at_once_and_one_that_came_back_is_read(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    reader = open_online(store.online_store({}, 0.5))
    assert isinstance(reader, RedisOnlineFeatures)
    wanted, place = asked(store, "world", ())
    before = reader.read(wanted)[place][0]
    assert before is not None
    server.stop()
    with pytest.raises(TemporaryError, match="the online store did not answer"):
        reader.read(wanted)
    # Left alone for a while: the next requests do not even try.
    began = time.monotonic()
    for _ in range(1000):
        with pytest.raises(TemporaryError):
            reader.read(wanted)
    assert time.monotonic() - began < 0.5
    server.start()
    patient(reader)
    assert reader.read(wanted)[place] == [None]  # it came back empty
    assert store.materialize(DAY + timedelta(days=4)) > 20
    assert reader.read(wanted)[place] == [before]
    # A connection that was closed between two requests costs no request its features.
    client = server.client()
    client.client_kill_filter(_type="normal", skipme=True)
    client.close()
    assert reader.read(wanted)[place] == [before]
    reader.close()


def test_a_redis_that_hangs_holds_a_request_no_longer_than_the_time_out(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    reader = open_online(store.online_store({}, 0.2))
    assert isinstance(reader, RedisOnlineFeatures)
    wanted, place = asked(store, "world", ())
    before = reader.read(wanted)[place]
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            patient(reader)
            began = time.monotonic()
            with pytest.raises(TemporaryError, match=r"[Tt]ime"):
                reader.read(wanted)
            assert time.monotonic() - began < 5
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    patient(reader)
    # What was asked and never read must not be taken for an answer to something else.
    assert reader.read(wanted)[place] == before
    reader.close()


def test_the_loop_is_told_that_redis_is_away_and_writes_later(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    rows = {"event_timestamp": pa.array([DAY + timedelta(days=5)], EVENT), "world_x": pa.array([42.0])}
    store.append("world", pa.table(rows))
    server.stop()
    with pytest.raises(TemporaryError, match="did not answer"):
        store.materialize(DAY + timedelta(days=6))
    server.start()
    assert store.materialize(DAY + timedelta(days=6)) > 20
    reader = open_online(store.online_store({}, 1.0))
    wanted, place = asked(store, "world", ())
    (found,) = reader.read(wanted)[place]
    assert found is not None
    assert found.values == (42.0,)
    reader.close()


def test_nothing_new_writes_nothing_and_a_second_process_writes_no_more(tmp_path: Path, server: Server) -> None:
    filled("redis", tmp_path / "features", section(server))
    other = FeastFeatureStore("shops-redis-1", tmp_path / "features", definitions(), "all", online=section(server))
    assert other.materialize(DAY + timedelta(days=5)) == 0


def test_bytes_that_are_not_feasts_are_named_with_their_view(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    config = store.online_store({}, 1.0)
    reader = open_online(config)
    wanted, place = asked(store, "world", ())
    key = KeyEncoder(config.views[place]).encode(())
    assert key is not None
    client = server.client()
    client.hset(key + config.project.encode(), feature_field("world", "world_x"), b"\x29\x01")
    with pytest.raises(DataError, match="no value of Feast's"):
        reader.read(wanted)
    # What is no hash at all is Redis' own error, and the connection is not left with answers on it.
    client.delete(key + config.project.encode())
    client.set(key + config.project.encode(), b"?")
    with pytest.raises(TemporaryError, match="WRONGTYPE"):
        reader.read(wanted)
    client.close()
    reader.close()


def test_the_password_lies_in_one_file_that_only_its_owner_reads(tmp_path: Path, server: Server) -> None:
    store = filled("redis", tmp_path / "features", section(server))
    assert PASSWORD not in repr(store.online_store({}, 1.0))
    file = tmp_path / "features" / "feature_store.yaml"
    assert PASSWORD in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_options_that_redis_does_not_take_are_refused(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text("online_store: {type: redis, connection_string: 'x:1,dbb=2'}\n")
    config = online_module.OnlineStoreConfig(str(tmp_path), "p", (), "redis")
    with pytest.raises(ConfigError, match="dbb"):
        open_online(config)
