"""Feast's Redis online store, read directly: one pipeline, and so one round trip, for all views and rows of a request.

Feast keeps a hash for each entity key and project: a view's features under the murmur hash of `view:feature`, their
event time under `_ts:view`. The connection is redis-py's own; its client is passed over, which costs more than the trip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmh3
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mainspring.domain.errors import ConfigError, DataError
from mainspring.serving.config import OnlineStoreConfig, OnlineView
from mainspring.serving.feast_format import KeyEncoder, decode_instant, decode_value
from mainspring.serving.online import Keys, OnlineRow, Outage
from mainspring.settings.feast_repo import online_store_section

_DEFAULT_ADDRESS = "localhost:6379"


class _ViewFields:
    """The fields of one view in its entities' hashes; the event time comes last."""

    def __init__(self, project: str, view: OnlineView) -> None:
        self.view = view
        self._encode = KeyEncoder(view).encode
        self._project = project.encode()
        self.fields = [*(feature_field(view.name, name) for name in view.features), f"_ts:{view.name}".encode()]

    def command(self, keys: Keys) -> tuple[Any, ...] | None:
        key = self._encode(keys)
        return None if key is None else ("HMGET", key + self._project, *self.fields)

    def row(self, found: Sequence[bytes | None]) -> OnlineRow | None:
        event = found[-1]
        if event is None:
            return None
        try:
            values = tuple([None if raw is None else decode_value(raw) for raw in found[:-1]])
            return OnlineRow(decode_instant(event), values)
        except DataError as error:
            raise DataError(error.what, where=f"feature view {self.view.name} in Redis") from error


class RedisOnlineFeatures:
    """Feast's online store on one Redis server.

    Reads block for at most the configured time-out; a server that is away is asked again after a pause, by one request.
    A connection that broke between two requests is made anew at once. Errors: `TemporaryError` when Redis does not
    answer or refuses, `DataError` for bytes that are no value of Feast's.
    """

    def __init__(self, config: OnlineStoreConfig) -> None:
        section = online_store_section(Path(config.path))
        address, options = parse_address(str(section.get("connection_string", _DEFAULT_ADDRESS)), config.path)
        host, _, port = address.partition(":")
        where = f"redis at {address}"
        waits = {"socket_timeout": config.timeout_seconds, "socket_connect_timeout": config.timeout_seconds}
        # Feast hands the options to redis-py's client as they are; so its pool makes the connection that they mean.
        options = {"host": host, "port": int(port or 6379), **options, **waits, "decode_responses": False}
        try:
            self._pool = redis.Redis(**options, retry=Retry(NoBackoff(), 0)).connection_pool
        except TypeError as error:
            raise ConfigError(
                f"redis-py does not take these options: {error}", where=f"{config.path}: online_store.connection_string"
            ) from error
        self._views = [_ViewFields(config.project, view) for view in config.views]
        self._connection: Any = None
        self._outage = Outage(where)

    def read(self, wanted: Sequence[Sequence[Keys | None]]) -> list[list[OnlineRow | None]]:
        """The views' rows for these keys."""
        found: list[list[OnlineRow | None]] = [[None] * len(keys) for keys in wanted]
        places, commands = [], []
        for place, (view, rows) in enumerate(zip(self._views, wanted, strict=True)):
            for row, keys in enumerate(rows):
                command = None if keys is None else view.command(keys)
                if command is not None:
                    places.append((place, row))
                    commands.append(command)
        if commands:
            for (place, row), values in zip(places, self._exchange(commands), strict=True):
                found[place][row] = self._views[place].row(values)
        return found

    def close(self) -> None:
        """Close the connection; the next read makes another."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self._outage.check()
        used = self._connection is not None
        try:
            try:
                return self._ask(commands)
            except redis.TimeoutError:
                raise
            except redis.ConnectionError:
                # A connection that was made before may only have been closed meanwhile, by a restart or for idleness.
                self.close()
                if not used:
                    raise
                return self._ask(commands)
        except (redis.RedisError, OSError) as error:
            # Answers that were not read yet would be taken for the next request's.
            self.close()
            raise self._outage.begins(error) from error
        except BaseException:
            self.close()
            raise

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._connection is None:
            connection: Any = self._pool.make_connection()
            connection.connect()
            self._connection = connection
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [connection.read_response() for _ in commands]


def feature_field(view: str, feature: str) -> bytes:
    """The field of a feature in an entity's hash: murmur3 in 32 bits, little-endian.

    >>> feature_field("weather", "temp").hex()
    '4f2b7879'
    """
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def parse_address(text: str, where: str) -> tuple[str, Mapping[str, Any]]:
    """Feast's connection string, `host:port,option=value,...`, as the address and the options.

    >>> parse_address("cache:6380,db=2,ssl=true,password=a=b", "")
    ('cache:6380', {'db': 2, 'ssl': True, 'password': 'a=b'})
    """
    parts = text.split(",")
    addresses = [part for part in parts if "=" not in part]
    if len(addresses) != 1:
        raise ConfigError(
            f"{len(addresses)} addresses of Redis",
            where=f"{where}: online_store.connection_string",
            valid="host:port,option=value: one server",
        )
    options: dict[str, Any] = {}
    for part in parts:
        name, separator, value = part.partition("=")
        if not separator:
            continue
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    if "password" in options:
        options["password"] = str(options["password"])
    return addresses[0], options
