"""`ParquetHours`: a sink of Parquet files, one for each hour and writer, on S3 or in a folder.

`<prefix>/event_date=2026-11-26/event_hour=06/<writer>.parquet`: Hive's layout, as DuckDB, Spark, Athena and BigLake read it.
A file is replaced by one PUT, which S3 makes visible whole; in a folder by one rename. Its footer has the receipt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.s3.connect import asking, filesystem
from mainspring.adapters.sinks.hours import HeldHour, Receipt
from mainspring.domain.errors import DataError, NotFound, TemporaryError
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.settings.log_sink import SinkSettings
    from mainspring.settings.storage import S3Settings

WHERE = "log.sink"
_ROWS, _DIGEST = b"mainspring.rows", b"mainspring.digest"
_DAY, _HOUR, _SUFFIX = "event_date=", "event_hour=", ".parquet"
_TRIAL = "_mainspring-trial"


class ParquetHours:
    """`HourStore` on files."""

    def __init__(self, settings: SinkSettings, s3: S3Settings) -> None:
        from pyarrow.fs import LocalFileSystem

        self.url, parts = settings.url, settings.parts
        self._local = settings.kind == "file"
        self._files: Any = LocalFileSystem() if self._local else filesystem(settings.s3 or s3, tries=1)
        self._root = parts["path"] if self._local else "/".join(filter(None, (parts["bucket"], parts["prefix"])))
        self._place = parts["path"] if self._local else parts["bucket"]

    def hours(self, window: TimeWindow | None = None) -> Sequence[HeldHour]:
        """Those of the files' paths."""
        from pyarrow.fs import FileSelector

        with self._asking("list"):
            there = self._files.get_file_info(FileSelector(self._root, recursive=True, allow_not_found=True))
            if not there:
                self._require_place()
        found = [held for one in there if (held := _held(one.path)) is not None]
        inside = [one for one in found if window is None or _overlap(one.window, window)]
        return sorted(inside, key=lambda one: (one.at, one.writer))

    def put(self, hour: HeldHour, table: pa.Table, digest: str) -> None:
        """The whole file is made before its first byte leaves: a file that was begun and not ended is never seen."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        own = {_ROWS: str(table.num_rows).encode(), _DIGEST: digest.encode()}
        buffer = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(own), buffer, compression="zstd")
        self._write(self._path(hour), buffer.getvalue())

    def look(self, hour: HeldHour) -> Receipt | None:
        """From the file's footer."""
        import pyarrow.parquet as pq

        with self._asking("read"):
            try:
                with self._files.open_input_file(self._path(hour)) as file:
                    schema = pq.ParquetFile(file).schema_arrow
            except FileNotFoundError:
                return None
        own = schema.metadata or {}
        return Receipt(int(own.get(_ROWS, b"-1")), own.get(_DIGEST, b"").decode())

    def get(self, hour: HeldHour, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The file's rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._asking("read"):
            try:
                with self._files.open_input_file(self._path(hour)) as stream, pq.ParquetFile(stream) as file:
                    there = set(file.schema_arrow.names)
                    wanted = None if columns is None else [name for name in columns if name in there]
                    table = file.read(columns=wanted)
            except FileNotFoundError:
                return None
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"the hour {hour.at:%Y-%m-%d %H}:00 cannot be read: {error}", where=f"{WHERE}: {self._path(hour)}"
                ) from error
        return table.replace_schema_metadata(None)

    def remove(self, hour: HeldHour) -> None:
        """Delete the file."""
        with self._asking("delete"):
            self._delete(self._path(hour))

    def try_out(self) -> str:
        """A file of its own, written, read and deleted."""
        path = f"{self._root}/{_TRIAL}-{os.getpid()}"
        with self._asking("write"):
            self._require_place()
        self._write(path, b"mainspring")
        with self._asking("read"), self._files.open_input_file(path) as file:
            if file.read() != b"mainspring":
                raise DataError("what was written is not what is read", where=f"{WHERE}: {self.url}")
        with self._asking("delete"):
            self._delete(path)
        return "written, read and deleted"

    def _write(self, path: str, data: Any) -> None:
        with self._asking("write"):
            if not self._local:
                stream = self._files.open_output_stream(path)
                stream.write(data)
                stream.close()
                return
            place = Path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.{os.getpid()}.part")
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)

    def _delete(self, path: str) -> None:
        try:
            self._files.delete_file(path)
        except FileNotFoundError:
            return

    def _require_place(self) -> None:
        """Refuse a bucket or a folder that is not there; nothing in it is no reason."""
        from pyarrow.fs import FileSelector, FileType

        if self._local:
            if self._files.get_file_info(self._place).type != FileType.Directory:
                raise NotFound("there is no such folder", where=f"{WHERE}: {self.url}", next_step="make or mount it")
        else:
            self._files.get_file_info(FileSelector(self._place))

    def _asking(self, to: str) -> AbstractContextManager[None]:
        return _on_disk(self.url) if self._local else asking(self.url, WHERE, to=to)

    def _path(self, hour: HeldHour) -> str:
        at = hour.at
        return f"{self._root}/{_DAY}{at:%Y-%m-%d}/{_HOUR}{at:%H}/{hour.writer}{_SUFFIX}"


@contextmanager
def _on_disk(url: str) -> Iterator[None]:
    """A folder's errors, in words."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TemporaryError(f"the folder of the log's sink failed: {error}", where=f"{WHERE}: {url}") from error


def _held(path: str) -> HeldHour | None:
    """The hour of a file's path; None for a file that is no hour's."""
    day, _, rest = path.rpartition(f"/{_HOUR}")
    hour, _, name = rest.partition("/")
    date = day.rpartition(f"/{_DAY}")[2]
    if not date or "/" in name or not name.endswith(_SUFFIX) or name.startswith("."):
        return None
    try:
        at = datetime.strptime(f"{date} {hour}", "%Y-%m-%d %H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return HeldHour(at, name.removesuffix(_SUFFIX))


def _overlap(one: TimeWindow, other: TimeWindow) -> bool:
    return one.start < other.end and other.start < one.end
