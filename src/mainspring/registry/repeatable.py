"""A skops file that is the same for the same model.

skops names objects by where they lay in memory and stamps its archive with the time: two trainings of one thing would
give two digests. Here objects are numbered in order and the archive has one date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

_SCHEMA = "schema.json"
_DATE = (1980, 1, 1, 0, 0, 0)


def make_repeatable(path: Path) -> None:
    """Write the file anew, with numbers in place of memory addresses; what it loads as stays the same."""
    with ZipFile(path) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        contents = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
    ids: dict[int, int] = {}
    files: dict[str, str] = {}
    schema = _renumbered(schema, ids, files, contents)
    with ZipFile(path, "w") as archive:
        for old, new in files.items():
            archive.writestr(ZipInfo(new, _DATE), contents[old])
        archive.writestr(ZipInfo(_SCHEMA, _DATE), json.dumps(schema, indent=1))


def _renumbered(node: Any, ids: dict[int, int], files: dict[str, str], contents: dict[str, bytes]) -> Any:
    if isinstance(node, list):
        return [_renumbered(one, ids, files, contents) for one in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key == "__id__" and isinstance(value, int):
            found[key] = ids.setdefault(value, len(ids) + 1)
        elif key == "file" and isinstance(value, str) and value in contents:
            found[key] = files.setdefault(value, f"{len(files) + 1}{Path(value).suffix}")
        else:
            found[key] = _renumbered(value, ids, files, contents)
    return found
