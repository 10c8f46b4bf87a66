"""The `online_store` section of a `feature_store.yaml`, with its variables: connections and passwords are read from there
by whoever connects, and are copied nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mainspring.domain.errors import ConfigError

REPO_FILE = "feature_store.yaml"


def online_store_section(repo: Path) -> Mapping[str, Any]:
    """What the repository's file says of its online store, variables filled in as Feast does.

    Errors: `ConfigError` when there is no such file or section.
    """
    path = repo / REPO_FILE
    try:
        document = yaml.safe_load(os.path.expandvars(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {REPO_FILE}", where=str(repo), valid="a Feast repository") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", where=str(path)) from error
    section = document.get("online_store") if isinstance(document, dict) else None
    if isinstance(section, str):
        section = {"type": section}
    if not isinstance(section, dict):
        raise ConfigError("no online store is configured", where=str(path), valid="online_store: {type: ...}")
    return section
