"""Feast repositories: a project's own, which is written here, or an existing one; their services and online stores."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mainspring.domain.errors import ConfigError
from mainspring.serving.config import StoreKind
from mainspring.settings.feast_repo import REPO_FILE

ONLINE_FILE = "online.db"
_SQLITE = {"sqlite", "feast.infra.online_stores.sqlite.SqliteOnlineStore"}
_REDIS = {"redis", "feast.infra.online_stores.redis.RedisOnlineStore"}


@dataclass(frozen=True, slots=True)
class OnlinePlace:
    """How predictors read an online store, and SQLite's file or the repository's folder."""

    kind: StoreKind
    path: Path


def write_repo(folder: Path, project: str, online: Mapping[str, Any] | None) -> None:
    """Write the project's own `feature_store.yaml`; `online` is its online store, None for SQLite beside it.

    Only its owner may read the file: a store's password is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    section: dict[str, Any] = {"type": "sqlite", "path": ONLINE_FILE} if online is None else dict(online)
    if section.get("type") in _REDIS:
        # What is written is already the newest row of its key. Feast's look at what is there would keep a corrected row
        # out that has the same event time.
        section.setdefault("skip_dedup", True)
    document = {
        "project": project,
        "provider": "local",
        "registry": {
            "registry_type": "file",
            "registry_store_type": "mainspring.adapters.feast.registry_file.AtomicFileRegistryStore",
            "path": "registry.pb",
            "cache_ttl_seconds": 0,
        },
        "offline_store": {"type": "mainspring.adapters.feast.asof_store.AsofOfflineStore"},
        "online_store": section,
        "entity_key_serialization_version": 3,
    }
    text = yaml.safe_dump(document, sort_keys=False)
    path = folder / REPO_FILE
    if path.exists() and path.read_text() == text:
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def open_repo(folder: Path) -> Any:
    """Feast's `FeatureStore` on a repository; a `ConfigError` says what Feast does not take."""
    from feast import FeatureStore

    try:
        store = FeatureStore(repo_path=str(folder))
        store._get_provider()
    except Exception as error:  # pydantic's, Feast's and import errors, by store
        raise ConfigError(
            f"Feast cannot open the repository: {error}",
            where=str(folder / REPO_FILE),
            next_step="compare features.online, or the file's online_store, with Feast's documentation of that store",
        ) from error
    return store


def online_place(store: Any, folder: Path) -> OnlinePlace:
    """How the repository's online store is read: directly, where its bytes are known, else by Feast."""
    online, config = store.config.online_store, store.config
    known = config.entity_key_serialization_version == 3 and not config.registry.enable_online_feature_view_versioning
    if known and online.type in _SQLITE:
        path = Path(online.path)
        return OnlinePlace("sqlite", path if path.is_absolute() else folder / path)
    if known and online.type in _REDIS and online.redis_type == "redis":
        return OnlinePlace("redis", folder)
    return OnlinePlace("feast", folder)


def feast_objects(definitions: Mapping[str, Any]) -> list[Any]:
    """Feast objects of a module: named there, in its lists, or used by its feature services."""
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView, RequestSource

    kinds = (Entity, FeatureView, OnDemandFeatureView, FeatureService, RequestSource)
    found: dict[tuple[str, str], Any] = {}
    for value in definitions.values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, kinds):
                found[type(one).__name__, one.name] = one
    return list(found.values())


def choose_service(services: Mapping[str, Any], wanted: str | None) -> Any:
    """The feature service that is meant; None: the only one there is."""
    if wanted is None and len(services) == 1:
        return next(iter(services.values()))
    if wanted is None or wanted not in services:
        near = difflib.get_close_matches(wanted or "", services, n=1)
        raise ConfigError(
            f"there is no feature service {wanted!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            if wanted
            else f"there are {len(services)} feature services, and no one is named",
            where="mainspring.yaml: features.service",
            valid=", ".join(services) or "none is there: add FeatureService(name=..., features=[...]) to features.py",
        )
    return services[wanted]
