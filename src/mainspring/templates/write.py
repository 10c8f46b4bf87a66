"""Writing a project: from a template, or from a file that a user has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import duration_in_words
from mainspring.settings.load import load_project
from mainspring.templates import render
from mainspring.templates.roles import Roles, Wish, find_roles
from mainspring.templates.table import PARQUET, Table, readable, some
from mainspring.templates.times import Times, find_times

_TEMPLATES = Path(__file__).parent
NAMES = tuple(sorted(path.name for path in _TEMPLATES.iterdir() if (path / "mainspring.yaml").is_file()))
_KEPT = {".git", ".gitignore", "README.md", "LICENSE"}
"""What a folder may hold that counts as empty: a repository that was just made."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a new project, and what was found in the data; `roles` and `times` only where it was looked at."""

    files: list[Path]
    roles: Roles | None = None
    times: Times | None = None

    def in_words(self) -> list[tuple[str, str]]:
        """What was found, for a person: pairs of a part and what is said of it."""
        if self.roles is None:
            return []
        roles = self.roles
        positive = f"; positive: {roles.positive}" if roles.task == "binary" else ""
        lines = [("task", f"{roles.task}: {roles.why}{positive}"), ("inputs", some(roles.request))]
        lines += [("left out", f"{name}: {reason}") for name, reason in roles.left_out.items()]
        times = self.times
        if times is None:
            lines.append(("held out", "a fifth of the rows, by a hash of the row: there are no times"))
        else:
            span = f"{times.held_out:,} of {times.labelled:,} labelled rows"
            lines.append(("held out", f"the newest {duration_in_words(times.holdout)}: {span}"))
            if times.in_future:
                lines.append(("hint", f"{times.in_future:,} rows lie in the future: they are not asked yet"))
        return [*lines, *(("hint", text) for text in roles.hints)]


def write_template(folder: Path, template: str, name: str = "") -> list[Path]:
    """Copy a template into a new or empty folder; returns the files. The flights bring their data."""
    write_files(folder, template, name)
    if template == "flights":
        from mainspring.demo.data import write_flights

        write_flights(folder / "data")
    return files_of(folder)


def write_files(folder: Path, template: str, name: str = "") -> None:
    """Copy a template's files, without data. Errors: `ConfigError` for an unknown template and a folder with files."""
    if template not in NAMES:
        raise ConfigError(f"there is no template {template!r}", where="--template", valid=", ".join(NAMES))
    refuse_full(folder)
    if name or template == "blank":
        name = project_name(name, folder)
    shutil.copytree(_TEMPLATES / template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    if name:
        file = folder / "mainspring.yaml"
        file.write_text(re.sub(r"(?m)^name: .*$", f"name: {name}", file.read_text("utf-8"), count=1), "utf-8")
    _ignore(folder)


def write_from_file(folder: Path, file: Path, wish: Wish) -> Written:
    """Write a project that runs on `file`. Nothing is written unless everything about the file is in order."""
    refuse_full(folder)
    wish = replace(wish, name=project_name(wish.name, folder))
    table = Table(readable(file), [one for one in (wish.time, wish.key) if one])
    if not wish.target:
        raise ConfigError(
            "--from needs --target: the column that is to be predicted",
            where=str(file),
            valid=", ".join(table.columns),
            next_step=f"mainspring init {folder} --from {file} --target COLUMN",
        )
    roles = find_roles(table, wish)
    times = find_times(table, wish.time, wish.target) if wish.time else None
    source = re.sub(r"\W+", "_", file.name.split(".")[0]).strip("_").lower() or "rows"
    source = source if source[0].isalpha() else f"rows_{source}"
    path, target = _place(folder, file, source, wish)
    text = render.settings(table, roles, times, wish, source=source, path=path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mainspring.yaml").write_text(text, encoding="utf-8")
    (folder / "training.py").write_text(render.training(roles, wish.target), encoding="utf-8")
    _ignore(folder)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    load_project(folder)
    return Written(files_of(folder), roles, times)


def project_name(wanted: str, folder: Path) -> str:
    """The name that was asked for, or the folder's, as a project may be called.

    >>> project_name("", Path("My Churn (2)"))
    'my-churn-2'
    """
    if wanted:
        if not _NAME.fullmatch(wanted):
            raise ConfigError(
                f"{wanted!r} cannot be a project's name",
                where="--name",
                valid="a small letter, then small letters, digits, - and _, such as churn-2",
            )
        return wanted
    name = re.sub(r"[^a-z0-9_]+", "-", folder.resolve().name.lower()).strip("-_")
    return (name if name[:1].isalpha() else f"model-{name}".rstrip("-"))[:63]


def files_of(folder: Path) -> list[Path]:
    """The files of a project, without a repository's own."""
    found = (path for path in folder.rglob("*") if path.is_file())
    foreign = _KEPT - {".gitignore"}
    return sorted(path for path in found if path.relative_to(folder).parts[0] not in foreign)


def _place(folder: Path, file: Path, source: str, wish: Wish) -> tuple[str, Path | None]:
    """The source's path as the project says it, and where the file is copied to."""
    if not wish.copy:
        return os.path.relpath(file.resolve(), folder.resolve()), None
    if file.suffix in PARQUET:
        # A Parquet file cannot be appended to: rows are added as files beside it.
        return f"data/{source}", folder / "data" / source / file.name
    return f"data/{file.name}", folder / "data" / file.name


def refuse_full(folder: Path, but: Collection[str] = ()) -> None:
    """Refuse a folder with files of somebody's, those named in `but` aside. Errors: `ConfigError`."""
    if folder.is_file():
        raise ConfigError("there is a file of that name", where=str(folder), next_step="name a new folder")
    there = sorted(path.name for path in folder.iterdir() if path.name not in {*_KEPT, *but}) if folder.is_dir() else []
    if there:
        raise ConfigError(
            f"the folder is not empty: it has {some(there, 4)}",
            where=str(folder),
            valid="a new folder, or an empty one",
            next_step="the same command with the name of a new folder",
        )


def _ignore(folder: Path) -> None:
    path = folder / ".gitignore"
    if not path.exists():
        path.write_text(render.GITIGNORE, encoding="utf-8")
