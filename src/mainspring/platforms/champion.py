"""Which version has the alias `champion`, without importing MLflow where its database did not change."""

from __future__ import annotations

import json

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.platforms.whole_file import write_whole
from mainspring.settings.load import LoadedProject

_MEMO = "champion.json"


def champion(loaded: LoadedProject) -> str:
    """The version with the alias `champion`, empty without one.

    MLflow takes two seconds to import, more than all of an unchanged run: while its database is as it was, what it said
    last is remembered.
    """
    tracking = Tracking(loaded.settings, loaded.paths)
    memo, state = loaded.paths.steps / _MEMO, json.loads(json.dumps(tracking.state()))
    if state == []:
        return ""  # there is no database yet
    known = json.loads(memo.read_bytes()) if memo.exists() else {}
    if state is not None and known.get("state") == state:
        return str(known["champion"])
    versions = MlflowRegistry(loaded.settings.name, tracking, loaded.paths.models).versions()
    found = next((one.version for one in versions if "champion" in one.aliases), "")
    write_whole(memo, json.dumps({"state": state, "champion": found}).encode())
    return found
