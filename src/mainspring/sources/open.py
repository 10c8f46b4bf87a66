"""A declared source opened: files here, SQL through the adapter that the caller hands in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import TimeWindow
from mainspring.settings.project import SourceSettings
from mainspring.settings.storage import S3_SCHEME
from mainspring.sources.files import FileSource, RemoteFiles

if TYPE_CHECKING:
    import pyarrow as pa


class OpenedSource(Protocol):
    """What files and SQL both give: `ports.Source`, and what a transform session asks for."""

    @property
    def uri(self) -> str:
        """Where the rows lie, without secrets."""
        ...

    def read(self, *, known_at: datetime, window: TimeWindow | None = None, limit: int | None = None) -> pa.Table:
        """Rows available at `known_at`, checked against the declaration."""
        ...

    def query(self, db: Any) -> str:
        """Load every row into a DuckDB connection; SQL for them with `_available_at`."""
        ...

    def state(self) -> object:
        """Equal to its last value only when the rows cannot have changed."""
        ...


class SqlOpener(Protocol):
    """Opens a source that has a `url`; `mainspring.adapters.sql.source.SqlSource` is one."""

    def __call__(self, name: str, settings: SourceSettings, root: Path) -> OpenedSource:
        """The source of that name."""
        ...


class RemoteOpener(Protocol):
    """Opens the files of a source whose `path` is an object store's; `mainspring.adapters.s3.source.S3Files` are some."""

    def __call__(self, name: str, settings: SourceSettings, root: Path) -> RemoteFiles:
        """The files of the source of that name."""
        ...


def open_source(
    name: str,
    settings: SourceSettings,
    root: Path,
    sql: SqlOpener | None = None,
    remote: RemoteOpener | None = None,
) -> OpenedSource:
    """The source as its declaration says: a `path` is read here, an `s3://` one by `remote`, a `url` by `sql`. Nothing is read yet."""
    if settings.path is not None and settings.path.startswith(S3_SCHEME):
        if remote is None:
            raise ConfigError(f"source {name!r} lies on S3, and no adapter was given", where=f"sources.{name}.path")
        return FileSource(name, settings, root, remote(name, settings, root))
    if settings.path is not None:
        return FileSource(name, settings, root)
    if sql is None:
        raise ConfigError(f"source {name!r} has a URL, and no SQL adapter was given", where=f"sources.{name}.url")
    return sql(name, settings, root)


def open_sources(
    settings: Mapping[str, SourceSettings], root: Path, sql: SqlOpener | None = None
) -> dict[str, OpenedSource]:
    """All sources of a project by name, where none lies on an object store."""
    return {name: open_source(name, one, root, sql) for name, one in settings.items()}
