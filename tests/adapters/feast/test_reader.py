"""Online features by Feast's SDK: a store that fails, hangs, or cannot be opened."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.feast.test_online_stores import filled

from mainspring.adapters.feast.reader import FeastReader
from mainspring.domain.errors import ConfigError, TemporaryError
from mainspring.serving.config import OnlineStoreConfig

CUSTOM = {"type": "tests.adapters.feast.custom_store.CustomOnlineStore", "path": "custom.db"}


def reading(tmp_path: Path, seconds: float) -> tuple[FeastReader, list[Any]]:
    config = filled("custom", tmp_path, CUSTOM).online_store({}, seconds)
    reader = FeastReader(config)
    keys = {"scalars": ("shop 1",), "daily": ("shop 1", 0), "tills": (5,), "world": (), "homes": ("shop 2",)}
    wanted = [[keys[one.name]] for one in config.views]
    assert any(rows[0] for rows in reader.read(wanted))
    return reader, wanted


def test_a_store_that_raises_is_away_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, wanted = reading(tmp_path, 2.0)
    asked = []

    def failing(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise ConnectionResetError("by peer")

    with monkeypatch.context() as patched:
        patched.setattr(reader._store, "get_online_features", failing)
        for _ in range(5):
            with pytest.raises(TemporaryError, match="ConnectionResetError: by peer"):
                reader.read(wanted)
    assert len(asked) == 1
    reader._outage._until = 0.0
    assert any(rows[0] for rows in reader.read(wanted))
    reader.close()


def test_a_store_that_hangs_holds_one_request_for_the_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, wanted = reading(tmp_path, 0.2)
    released = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(reader._store, "get_online_features", lambda **_: released.wait(30))
        began = time.monotonic()
        with pytest.raises(TemporaryError, match=r"no answer within 0\.2 s"):
            reader.read(wanted)
        reader._outage._until = 0.0
        with pytest.raises(TemporaryError, match="an earlier look-up is still under way"):
            reader.read(wanted)
        assert time.monotonic() - began < 10
        released.set()
        assert reader._under_way is not None
        with pytest.raises(AttributeError):
            reader._under_way.result(20)
    reader._outage._until = 0.0
    assert any(rows[0] for rows in reader.read(wanted))
    reader.close()


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Feast cannot open the repository"):
        FeastReader(OnlineStoreConfig(str(tmp_path / "none"), "p", (), "feast"))
