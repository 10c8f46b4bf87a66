"""Writing a project from a template."""

from __future__ import annotations

import shutil
from pathlib import Path

from mainspring.domain.errors import ConfigError

_TEMPLATES = Path(__file__).parent
NAMES = tuple(sorted(path.name for path in _TEMPLATES.iterdir() if (path / "mainspring.yaml").is_file()))


def write_template(folder: Path, template: str) -> list[Path]:
    """Copy a template into a new or empty folder; returns the files. The flights bring their data."""
    write_files(folder, template)
    if template == "flights":
        from mainspring.demo.data import write_flights

        write_flights(folder / "data")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_files(folder: Path, template: str) -> None:
    """Copy a template's files, without data. Errors: `ConfigError` for an unknown template and a folder with files."""
    if template not in NAMES:
        raise ConfigError(f"there is no template {template!r}", valid=", ".join(NAMES))
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError("the folder is not empty", where=str(folder), next_step="name a new folder")
    shutil.copytree(_TEMPLATES / template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
