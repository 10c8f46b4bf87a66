"""`ServeConfig`: everything one predictor needs to know, `serve.json` beside the process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mainspring.domain.codec import from_json
from mainspring.domain.errors import ConfigError, DataError

MissingPolicy = Literal["serve_and_flag", "reject", "default"]
StoreKind = Literal["sqlite", "redis", "feast"]
KeyType = Literal["STRING", "BYTES", "INT32", "INT64", "UNIX_TIMESTAMP"]
"""Feast's value types that an entity key can have."""


@dataclass(frozen=True, slots=True)
class OnlineView:
    """A feature view as it lies in the online store.

    `entities` are join keys, `key_types` their types in that order (none: all are text); `columns` says which column of
    the request holds a join key, where the names differ. `ttl_seconds` None or 0: rows never get stale.
    """

    name: str
    entities: tuple[str, ...]
    features: tuple[str, ...]
    ttl_seconds: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    key_types: tuple[KeyType, ...] = ()


@dataclass(frozen=True, slots=True)
class OnlineStoreConfig:
    """Feast's online store, the Feast project's name and the views.

    `path` is SQLite's file, else the folder with `feature_store.yaml`, where connections and passwords stay. `sqlite`
    and `redis` are read directly; `feast` is any other store, read by the class that `reader` names (`module:Class`).
    `timeout_seconds` is the longest that a request waits for a store behind a network.
    """

    path: str
    project: str
    views: tuple[OnlineView, ...]
    kind: StoreKind = "sqlite"
    reader: str = ""
    timeout_seconds: float = 0.25


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """One predictor: what it serves, where it listens, where it writes its log, and what it does when data is missing.

    `port` is REST's, `grpc_port` gRPC's, 0 for none. `name` is the model's name in URLs; `model` the model folder; `segments` the folder for prediction-log segments.
    `workers`: processes that share the port. `receive_seconds`: longest wait for the rest of a request that was begun.
    `log_drop` and `log_hash` are columns that the log gets not at all or as a hash, whose key is in `log_key_file` or, where
    that is empty, comes by the environment. `replayed_clock`: the header `mainspring-event-at` says when it is. `timeout_seconds`: longest wait for
    open requests at the end. `drain_seconds`: how long a predictor that was told to end goes on
    answering after it said that it is not ready, so that a proxy notices. `fsync`: every row is on the disk before its
    answer. `missing` is the policy for features that are not there, `missing_by` what it is for a view or a feature of
    that name, `defaults` what stands in under `default`. `on_demand` names the function that opens the model's on-demand
    views (`module:function`). `on_log_failure`: what to do with an answer that cannot be logged. `error_share` is for rehearsals: that
    share of requests, chosen by request id, is answered 500.
    """

    name: str
    version: str
    model: str
    segments: str
    port: int
    host: str = "127.0.0.1"
    grpc_port: int = 0
    build: str = ""
    workers: int = 1
    online: OnlineStoreConfig | None = None
    missing: MissingPolicy = "serve_and_flag"
    missing_by: dict[str, MissingPolicy] = field(default_factory=dict)
    defaults: dict[str, str | int | float | bool] = field(default_factory=dict)
    on_demand: str = ""
    replayed_clock: bool = False
    timeout_seconds: float = 5.0
    receive_seconds: float = 30.0
    drain_seconds: float = 0.3
    warm_up_requests: int = 50
    fsync: bool = False
    on_log_failure: Literal["refuse", "serve"] = "refuse"
    segment_bytes: int = 16 * 1024 * 1024
    segment_seconds: float = 3600.0
    max_body_bytes: int = 8 * 1024 * 1024
    max_rows: int = 10_000
    error_share: float = 0.0
    log_drop: tuple[str, ...] = ()
    log_hash: tuple[str, ...] = ()
    log_key_file: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.error_share <= 1.0:
            raise ValueError(f"error_share is a share, 0 to 1, not {self.error_share}")


def read_config(path: Path) -> ServeConfig:
    """Read `serve.json`; a `ConfigError` names the file and the field."""
    try:
        return from_json(ServeConfig, path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError("there is no such configuration", where=str(path)) from error
    except (DataError, ValueError) as error:
        raise ConfigError(str(error), where=str(path)) from error
