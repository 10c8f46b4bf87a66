"""A project's sources, opened: files here, S3 and SQL through their adapters. Nothing is read yet."""

from __future__ import annotations

from pathlib import Path

from mainspring.adapters.sql.source import SqlSource
from mainspring.settings.load import LoadedProject
from mainspring.settings.project import SourceSettings
from mainspring.sources.files import RemoteFiles
from mainspring.sources.open import OpenedSource, open_source


def opened_source(loaded: LoadedProject, name: str) -> OpenedSource:
    """The source of that name."""

    def remote(name: str, settings: SourceSettings, root: Path) -> RemoteFiles:
        from mainspring.adapters.s3.source import S3Files

        return S3Files(name, settings, loaded.settings.s3, loaded.paths.fetched / name)

    return open_source(name, loaded.settings.sources[name], loaded.paths.root, SqlSource, remote)


def opened_sources(loaded: LoadedProject) -> dict[str, OpenedSource]:
    """All of them, by name."""
    return {name: opened_source(loaded, name) for name in loaded.settings.sources}
