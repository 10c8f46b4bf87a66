"""CSV files whose lines end in two ways: written by one program and appended to by another, which the engine refuses."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO


def with_one_line_end(files: Sequence[Path], folder: Path) -> list[Path] | None:
    """Copies of the files below `folder`, each line ended by a newline; None where no file mixes its line ends."""
    if not any(_mixed(file) for file in files):
        return None
    copies = []
    for file in files:
        # With its folders, whose names may be columns (`day=2013-01-01`).
        copy = folder.joinpath(*file.resolve().parts[1:])
        copy = copy.with_suffix("") if copy.suffix == ".gz" else copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _text(file) as source, copy.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        copies.append(copy)
    return copies


def _mixed(file: Path) -> bool:
    lines = both = 0
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        for line in stream:
            lines += line.endswith(b"\n")
            both += line.endswith(b"\r\n")
            if 0 < both < lines:
                return True
    return False


def _text(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", errors="surrogateescape", newline=None)
    return file.open(encoding="utf-8", errors="surrogateescape", newline=None)
