"""What of pipeline runs nothing refers to any more: run folders, cache entries, artifacts.

A cache entry goes before the artifacts that it names; Kubeflow takes an entry without its artifacts for none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.execute import LOCK, REQUEST, RESULT, kept_file
from mainspring.adapters.kfp.pipeline import STEP_CALLS
from mainspring.adapters.processes.locks import held
from mainspring.settings.paths import ProjectPaths

_ENTRY = re.compile(r"[0-9a-f]{64}\.json")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that may go: what it is, and why."""

    kind: str
    path: Path
    why: str


def leftovers(paths: ProjectPaths, versions: Collection[str], current: str, keep: int) -> list[Leftover]:
    """What may go, in the order in which it has to. `versions` are the registry's, `current` a run that is asked for,
    `keep` how many ended runs without a version stay, the newest."""
    kept, gone = _runs(paths, versions, current, keep)
    keys = {key for folder in kept for key in _request(folder).get("cache_keys", {}).values()}
    entries = {_entry_name(task, key) for key in keys for task in STEP_CALLS}
    numbers = {kept_file(paths.steps, key).name for key in keys}
    found: list[Leftover] = []
    used: set[str] = set()
    for path in sorted(paths.steps.glob("*.json")) if paths.steps.is_dir() else ():
        ours = path.name.startswith("numbers-")
        if (ours and path.name in numbers) or path.name in entries:
            used |= set(_artifacts(path))
        elif ours or _ENTRY.fullmatch(path.name):
            found.append(Leftover("step", path, "no run that is kept has this result"))
    begun = [at for folder in kept if not (folder / RESULT).exists() and (at := _started(folder)) is not None]
    since = min(begun).timestamp() if begun else float("inf")
    artifacts = paths.state / "artifacts"
    for path in sorted(artifacts.iterdir()) if artifacts.is_dir() else ():
        if path.is_dir() and path.name not in used and path.stat().st_mtime < since:
            found.append(Leftover("artifacts", path, "no result that is kept names them"))
    found += [Leftover("run", folder, why) for folder, why in gone]
    begun_to_go = paths.runs.glob(".*.gone") if paths.runs.is_dir() else ()
    return [*found, *(Leftover("run", folder, "its end was interrupted") for folder in sorted(begun_to_go))]


def _runs(
    paths: ProjectPaths, versions: Collection[str], current: str, keep: int
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Run folders that stay, and those that go with the reason, oldest first."""
    kept: list[Path] = []
    gone: list[tuple[Path, str]] = []
    ended: list[tuple[Path, str]] = []
    there = [one for one in paths.runs.iterdir() if not one.name.startswith(".")] if paths.runs.is_dir() else []
    folders = [one for one in there if (one / REQUEST).exists()]
    for folder in sorted(folders, key=lambda one: (_request(one)["started_at"], one.name)):
        version = _version(folder)
        if (
            not (folder / RESULT).exists()
            or held(folder / LOCK) is not None
            or folder.name == current
            or version in versions
        ):
            kept.append(folder)
        elif version:
            gone.append((folder, f"version {version} is not there any more"))
        else:
            ended.append((folder, f"it made no version, and is older than the newest {keep} of those"))
    cut = len(ended) - keep if keep else len(ended)
    return [*kept, *(folder for folder, _ in ended[max(0, cut) :])], [*gone, *ended[: max(0, cut)]]


def _request(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / REQUEST).read_bytes())
    return found


def _started(folder: Path) -> datetime | None:
    text = _request(folder).get("started_at")
    return datetime.fromisoformat(text) if text else None


def _version(folder: Path) -> str:
    path = folder / "register.json"
    numbers = json.loads(path.read_bytes())["numbers"] if path.exists() else {}
    return str(int(numbers["version"])) if "version" in numbers else ""


def _entry_name(task: str, key: str) -> str:
    from kfp.local.cache import LocalCache

    # Of the component's name in the pipeline and a key of one's own; nothing else counts then.
    found = LocalCache.compute_key(None, f"comp-{task}", "", [], {}, None, key)
    return f"{found}.json"


def _artifacts(entry: Path) -> Iterator[str]:
    """The session folders, below `artifacts`, that an entry's results lie in."""
    for value in json.loads(entry.read_bytes()).values():
        if isinstance(value, dict) and "uri" in value:
            parts = Path(str(value["uri"])).parts
            if "artifacts" in parts:
                place = len(parts) - 1 - parts[::-1].index("artifacts")
                yield from parts[place + 1 : place + 2]
