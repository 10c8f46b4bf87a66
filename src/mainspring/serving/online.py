"""Online features as a predictor asks for them, whatever store has them: `OnlineFeatures`, and which one is opened.

Belongs here: the interface and the choice. A store of its own file reads Feast's bytes directly (`sqlite_store`,
`redis_store`); every other store is read by a class that the configuration names, because it needs Feast itself.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mainspring.domain.errors import ConfigError, TemporaryError
from mainspring.serving.config import OnlineStoreConfig
from mainspring.serving.feast_format import EntityValue, FeatureValue

Keys = tuple[EntityValue, ...]
"""Values of a view's join keys, in the view's order."""


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """A view's row for one entity: its event time in microseconds since 1970 UTC, and values in the view's order."""

    event_at: int
    values: tuple[FeatureValue, ...]


class OnlineFeatures(Protocol):
    """Where a predictor looks features up. Safe to make before a fork: it connects when it is first read."""

    def read(self, wanted: Sequence[Sequence[Keys | None]]) -> list[list[OnlineRow | None]]:
        """For each view, in the configuration's order, the rows of these entity keys; None where there is none.

        One call a request, and one round trip where there is a network. Errors: `TemporaryError` when the store does
        not answer in time, `DataError` for bytes that are no value of Feast's.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Outage:
    """A store that did not answer is left alone for a moment, so that requests do not wait for it one by one."""

    def __init__(self, where: str, pause_seconds: float = 1.0) -> None:
        self._where = where
        self._pause_seconds = pause_seconds
        self._until = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise what the store failed of, while it is left alone."""
        if self._until and time.monotonic() < self._until:
            raise TemporaryError(self._reason, where=self._where)

    def begins(self, error: Exception | str) -> TemporaryError:
        """The error to raise for a store that did not answer."""
        self._reason = f"the online store did not answer: {error}"
        self._until = time.monotonic() + self._pause_seconds
        return TemporaryError(self._reason, where=self._where)


def open_online(config: OnlineStoreConfig) -> OnlineFeatures:
    """The reader for the configured store; a `ConfigError` when there is none."""
    if config.kind == "sqlite":
        from mainspring.serving.sqlite_store import SqliteOnlineFeatures

        return SqliteOnlineFeatures(config)
    if config.kind == "redis":
        from mainspring.serving.redis_store import RedisOnlineFeatures

        return RedisOnlineFeatures(config)
    reader: OnlineFeatures = named(config.reader)(config)
    return reader


def named(path: str) -> Any:
    """What `module:name` names; a `ConfigError` when nothing does.

    >>> named("math:hypot")(3, 4)
    5.0
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path!r} cannot be imported: {error}", valid="module:name") from error
