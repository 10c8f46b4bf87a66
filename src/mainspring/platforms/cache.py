"""Cache keys of the pipeline's tasks: what a step's result depends on, and nothing else.

A key is a hash of the step's name, our own code, the project's files and settings that the step reads, its parameters,
the installed packages and lock file, the sources' contents, and the keys of the steps before it. What was known at an
instant counts, not the instant: asking again later, with nothing new, is the same question.
"""

from __future__ import annotations

import ast
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import mainspring
from mainspring.adapters.parquet.labels import ParquetLabels
from mainspring.domain.time import utc
from mainspring.platforms.opened import opened_sources
from mainspring.platforms.whole_file import write_whole
from mainspring.settings.load import LoadedProject
from mainspring.sources.digest import content_digest
from mainspring.sources.files import connect
from mainspring.sources.open import OpenedSource

_UPSTREAM: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "validate": ("ingest",),
    "engineer": ("ingest", "validate"),
    "train": ("engineer",),
    "evaluate": ("engineer", "train"),
    "register": ("engineer", "train", "evaluate"),
    "refuse": ("engineer", "train", "evaluate"),
}
_FILES: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "validate": ("expectations.py",),
    "engineer": ("features.py", "transforms.py"),
}
"""Project files that a step reads; a step that is not here reads every Python file."""
_SETTINGS: dict[str, tuple[str, ...]] = {
    "ingest": ("name", "task", "sources", "target", "labels", "features"),
    "validate": (),
    "engineer": ("split",),
    "train": ("params", "seed"),
    "evaluate": ("gate",),
    "register": ("tracking",),
    "refuse": ("tracking",),
}
_LOCKS = ("requirements.txt", "requirements.lock", "pylock.toml", "uv.lock", "poetry.lock")
_MEMO = "sources.json"


def cache_keys(loaded: LoadedProject, parameters: Mapping[str, str]) -> dict[str, str]:
    """A key for each task of the pipeline; `parameters` are the run's: `known_at`, `champion`, `train_from`."""
    root, settings = loaded.paths.root, loaded.settings.model_dump(mode="json")
    known_at = utc(datetime.fromisoformat(parameters["known_at"]))
    environment = [_packages(), _tree(Path(mainspring.__file__).parent, "*.py"), _files(root, _LOCKS)]
    keys: dict[str, str] = {}
    for step, before in _UPSTREAM.items():
        own: list[Any] = [step, *environment, *(keys[one] for one in before)]
        own.append([settings[name] for name in _SETTINGS.get(step, ())])
        own.append(_files(root, _FILES[step]) if step in _FILES else _tree(root, "*.py", deep=False))
        if step == "ingest":
            own.append(_sources(loaded, known_at))
        if step == "engineer":
            own.append(_other_rows(loaded))
            own.append(parameters.get("train_from", ""))
        if step in ("evaluate", "register", "refuse"):
            own.append(parameters.get("champion", ""))
        keys[step] = hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()
    return keys


def training_environment(loaded: LoadedProject) -> list[Any]:
    """What a model depends on beside its rows, parameters and seed: packages, locks, our own code, the project's."""
    root = loaded.paths.root
    ours = _tree(Path(mainspring.__file__).parent / "pipeline", "*.py")
    return [_packages(), ours, _files(root, _LOCKS), _tree(root, "*.py", deep=False)]


def files_digest(root: Path) -> str:
    """One digest of everything that a person may edit while a run is going: the project's code, policy and locks."""
    found = [_tree(root, "*.py", deep=False), _files(root, ("mainspring.yaml", *_LOCKS))]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _sources(loaded: LoadedProject, known_at: datetime) -> list[Any]:
    """Contents of each source and of added labels, and how much of them was known: all, or what was at that instant."""
    import pyarrow.compute as pc

    memo_file = loaded.paths.steps / _MEMO
    memo: dict[str, Any] = json.loads(memo_file.read_bytes()) if memo_file.exists() else {}
    opened = opened_sources(loaded)
    found: dict[str, Any] = {}
    for name, source in opened.items():
        key = json.dumps([name, source.state()], default=str)
        found[key] = memo.get(key) or _describe(source)
    if found.keys() != memo.keys():
        write_whole(memo_file, json.dumps(found).encode())
    newest = max((one["newest"] for one in found.values() if one["newest"]), default="")
    settings = loaded.settings
    delay = max([settings.target.delay, *(one.delay for one in settings.sources.values())])
    everything = not newest or known_at >= utc(datetime.fromisoformat(newest)) + delay
    added = ParquetLabels(loaded.paths.labels)
    last = pc.max(added.statements().column("known_at")).as_py()
    everything = everything and (last is None or known_at >= last)
    known = "everything" if everything else known_at.isoformat()
    return [[one["digest"] for one in found.values()], added.state(), known]


def _other_rows(loaded: LoadedProject) -> list[Any]:
    """Files that `features.py` names and the platform does not write: what views read beside the sources.

    Of an existing Feast repository nobody can tell here what its stores hold: with one, features are always read again.
    """
    definitions = loaded.paths.root / "features.py"
    if loaded.settings.features.repo is not None:
        return [uuid.uuid4().hex]
    if not definitions.is_file():
        return []
    try:
        tree = ast.parse(definitions.read_text(encoding="utf-8"))
    except SyntaxError:
        return []  # the step that imports it says where
    texts = {
        str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found: set[Path] = set()
    for text in texts:
        if text.strip("./") and text.isprintable() and len(text) < 256:
            path = (loaded.paths.features / text).resolve()  # as Feast reads a relative path
            if not path.is_relative_to(loaded.paths.state.resolve()):
                found |= {one for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file()}
    return sorted((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in found)


def _describe(source: OpenedSource) -> dict[str, str]:
    """A digest of the rows, and the newest instant anywhere in them."""
    with connect() as db:
        rows = db.sql(source.query(db)).to_arrow_table()
    import pyarrow as pa
    import pyarrow.compute as pc

    newest = ""
    for field in rows.schema:
        if pa.types.is_timestamp(field.type):
            last = pc.max(rows.column(field.name)).as_py()
            newest = max(newest, utc(last).isoformat()) if last is not None else newest
    return {"digest": content_digest(rows), "newest": newest}


def _files(root: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, _digest(root / name)) for name in names if (root / name).is_file()]


def _tree(root: Path, pattern: str, *, deep: bool = True) -> list[tuple[str, str]]:
    found = root.rglob(pattern) if deep else root.glob(pattern)
    return [(str(path.relative_to(root)), _digest(path)) for path in sorted(found)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _packages() -> list[str]:
    return sorted(f"{one.metadata['Name']}=={one.version}" for one in distributions())
