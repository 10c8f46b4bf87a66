"""`S3Files`: objects of a source as files on this disk, fetched once for each ETag, so that they are held to the same checks."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainspring.adapters.processes.locks import locked
from mainspring.adapters.s3.connect import asking, filesystem
from mainspring.domain.errors import NotFound, TemporaryError
from mainspring.settings.project import SourceSettings
from mainspring.settings.storage import S3_SCHEME, S3Settings
from mainspring.sources.files import SUFFIXES

_TRIES = 3
_AT_ONCE = 16
_WILD = re.compile(r"[*?\[]")
_KEPT_SECONDS = 24 * 3600.0
"""How long a copy that is out of date stays: somebody may read it still."""


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as it is now: `bucket/key`, bytes, and S3's own mark of its contents."""

    path: str
    size: int
    etag: str


class S3Files:
    """The objects that a source's `path` means: one, all below a prefix, or those of a glob (`*` within a folder, `**` across).

    `folder` is where their copies lie, this source's alone. Errors: `NotFound` without the bucket or an object, `ConfigError`
    without the rights, `TemporaryError` when S3 does not answer or objects change while they are fetched.
    """

    def __init__(self, name: str, settings: SourceSettings, s3: S3Settings, folder: Path) -> None:
        self._name = name
        self._url = str(settings.path)
        self._folder = folder
        self._s3 = settings.s3 or s3
        self._where = f"sources.{name}"
        self._connected: Any = None

    def state(self) -> tuple[S3Object, ...]:
        """The objects, in the order of their keys; equal only when none of them changed."""
        with asking(self._url, self._where):
            return tuple(self._listed())

    def fetch(self) -> list[Path]:
        """Their copies, in that order; what is here already is not fetched again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / ".lock"), asking(self._url, self._where):
            for _ in range(_TRIES):
                found = self._listed()
                with ThreadPoolExecutor(_AT_ONCE) as several:
                    copies = list(several.map(self._copied, found))
                if all(copy is not None for copy in copies):
                    self._sweep(found)
                    return [copy for copy in copies if copy is not None]
        raise TemporaryError(
            f"source {self._name!r}: objects change while they are fetched", where=f"{self._where}: {self._url}"
        )

    def _listed(self) -> list[S3Object]:
        from pyarrow.fs import FileSelector, FileType

        path = self._url.removeprefix(S3_SCHEME).rstrip("/")
        parts = path.split("/")
        fixed = next((place for place, part in enumerate(parts) if _WILD.search(part)), len(parts))
        base = "/".join(parts[:fixed])
        found = []
        if fixed == len(parts) and len(parts) > 1:
            info = self._files.get_file_info(path)
            found = [info] if info.type == FileType.File else []
        if not found:
            matches = re.compile(_pattern(path) if fixed < len(parts) else f"{re.escape(path)}/.*")
            listed = self._files.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
            if not listed:
                self._files.get_file_info(FileSelector(parts[0]))  # says so when there is no bucket
            found = [
                one
                for one in listed
                if one.type == FileType.File and matches.fullmatch(one.path) and Path(one.path).suffix in SUFFIXES
            ]
        if not found:
            raise NotFound(
                f"source {self._name!r}: there is no such object",
                where=f"{self._where}: {self._url}",
                valid="a .parquet or .csv object, a prefix of them, or a glob",
                next_step=f"correct `sources.{self._name}.path` in mainspring.yaml",
            )
        found.sort(key=lambda one: one.path)
        with ThreadPoolExecutor(_AT_ONCE) as several:
            tags = list(several.map(self._etag, (one.path for one in found)))
        return [S3Object(one.path, one.size, tag) for one, tag in zip(found, tags, strict=True)]

    def _copied(self, one: S3Object) -> Path | None:
        """The object's copy; None when it became another one in the meantime."""
        mark = hashlib.blake2b(f"{one.path}\0{one.size}\0{one.etag}".encode(), digest_size=12).hexdigest()
        # With its folders, whose names may be columns (`day=2013-01-01`).
        copy = self._folder / mark / one.path.partition("/")[2]
        if copy.exists():
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f".{copy.name}.part")
        with self._files.open_input_stream(one.path) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        # By ranges: asked again, whether all of them were of the same object.
        if part.stat().st_size != one.size or self._etag(one.path) != one.etag:
            part.unlink()
            return None
        part.replace(copy)
        return copy

    def _sweep(self, found: Sequence[S3Object]) -> None:
        """Copies that are out of date and that nobody can be reading any more go."""
        kept = {self._copied(one) for one in found}
        for folder in self._folder.iterdir():
            if not folder.is_dir() or any(copy is not None and copy.is_relative_to(folder) for copy in kept):
                continue
            if time.time() - os.stat(folder).st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def _etag(self, path: str) -> str:
        with self._files.open_input_file(path) as file:
            return bytes(file.metadata().get("ETag", b"")).decode()

    @property
    def _files(self) -> Any:
        if self._connected is None:
            self._connected = filesystem(self._s3, tries=_TRIES)
        return self._connected


def _pattern(glob: str) -> str:
    """A glob as a regular expression.

    >>> bool(re.fullmatch(_pattern("b/*/x.csv"), "b/a/x.csv")), bool(re.fullmatch(_pattern("b/*.csv"), "b/a/x.csv"))
    (True, False)
    >>> bool(re.fullmatch(_pattern("b/**/x.csv"), "b/a/c/x.csv")), bool(re.fullmatch(_pattern("b/**/x.csv"), "b/x.csv"))
    (True, True)
    """
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", glob):
        if part.startswith("["):
            text += part.replace("[!", "[^")
        else:
            text += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return text
