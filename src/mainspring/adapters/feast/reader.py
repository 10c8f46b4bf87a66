"""`FeastReader`: online features by Feast's own SDK, for every online store that a predictor does not read directly.

Feast's calls are made by one thread of their own: what hangs there holds no request longer than the configured time,
and the next ones are answered without it until it is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mainspring.adapters.feast.online import DUMMY_KEY
from mainspring.adapters.feast.repo import open_repo
from mainspring.serving.config import OnlineStoreConfig, OnlineView
from mainspring.serving.online import Keys, OnlineRow, Outage

_Question = tuple["Future[list[list[OnlineRow | None]]]", Sequence[Sequence[Keys | None]]]
_FIRST_SECONDS = 10.0
"""The first call connects, and imports what connecting takes."""


class FeastReader:
    """Online features through `get_online_features`."""

    def __init__(self, config: OnlineStoreConfig) -> None:
        self._views = config.views
        self._store = open_repo(Path(config.path))
        self._outage = Outage(f"{self._store.config.online_store.type} of {config.path}")
        self._seconds = config.timeout_seconds
        self._asked: SimpleQueue[_Question | None] | None = None
        self._under_way: Future[Any] | None = None

    def read(self, wanted: Sequence[Sequence[Keys | None]]) -> list[list[OnlineRow | None]]:
        """The views' rows for these keys."""
        self._outage.check()
        if self._under_way is not None and not self._under_way.done():
            raise self._outage.begins("an earlier look-up is still under way")
        first = self._asked is None
        if self._asked is None:
            self._asked = SimpleQueue()
            # A daemon: what hangs in it must not keep the process from ending.
            Thread(target=self._answer, args=(self._asked,), name="feast", daemon=True).start()
        answer: Future[list[list[OnlineRow | None]]] = Future()
        self._under_way = answer
        self._asked.put((answer, wanted))
        try:
            return answer.result(_FIRST_SECONDS if first else self._seconds)
        except LateError as error:
            raise self._outage.begins(f"no answer within {self._seconds:g} s") from error
        except Exception as error:  # every store's client has errors of its own
            raise self._outage.begins(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """End the thread; what hangs in it is left behind."""
        if self._asked is not None:
            self._asked.put(None)
            self._asked = None

    def _answer(self, asked: SimpleQueue[_Question | None]) -> None:
        while (question := asked.get()) is not None:
            answer, wanted = question
            try:
                answer.set_result(self._read(wanted))
            except BaseException as error:  # whatever it is, who asked has to hear of it
                answer.set_exception(error)

    def _read(self, wanted: Sequence[Sequence[Keys | None]]) -> list[list[OnlineRow | None]]:
        return [self._view(view, rows) for view, rows in zip(self._views, wanted, strict=True)]

    def _view(self, view: OnlineView, rows: Sequence[Keys | None]) -> list[OnlineRow | None]:
        found: list[OnlineRow | None] = [None] * len(rows)
        typed = [None if keys is None else _typed(view, keys) for keys in rows]
        asked = [place for place, keys in enumerate(typed) if keys is not None]
        if not asked:
            return found
        columns: Mapping[str, list[Any]] = {
            key: [keys[place] for keys in typed if keys is not None] for place, key in enumerate(view.entities)
        } or {DUMMY_KEY: [""] * len(asked)}
        answer = self._store.get_online_features(
            features=[f"{view.name}:{name}" for name in view.features], entity_rows=columns
        ).to_dict(include_event_timestamps=True)
        for row, place in enumerate(asked):
            events = [answer[f"{name}__ts"][row] for name in view.features]
            if any(events):
                values = tuple(_plain(answer[name][row]) for name in view.features)
                found[place] = OnlineRow(max(events) * 1_000_000, values)
        return found


def _plain(value: Any) -> Any:
    """Instants in seconds, as Feast keeps them."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value.timestamp()) if isinstance(value, datetime) else value


def _typed(view: OnlineView, keys: Keys) -> Keys | None:
    """Keys in the types that Feast asks for; None for a value that its type cannot hold."""
    typed: list[Any] = []
    for place, value in enumerate(keys):
        kind = view.key_types[place] if view.key_types else "STRING"
        try:
            if kind in ("INT32", "INT64", "UNIX_TIMESTAMP"):
                bits = 31 if kind == "INT32" else 63
                number = int(value)
                if number != (value if isinstance(value, float) else number) or not -(1 << bits) <= number < 1 << bits:
                    return None
                typed.append(number)
            elif kind == "BYTES":
                typed.append(value if isinstance(value, bytes) else str(value).encode())
            else:
                typed.append(str(int(value)) if isinstance(value, float) else str(value))
        except ValueError:
            return None
    return tuple(typed)
