"""The file that `mainspring score` writes: batch by batch under another name, and under its own once it is whole; and what
one that was killed leaves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.processes.locks import lock_file, taken
from mainspring.domain.errors import ConfigError
from mainspring.domain.model_card import ModelCard
from mainspring.serving.batch import BatchAnswers
from mainspring.sources.batches import Batch
from mainspring.sources.digest import file_digest

if TYPE_CHECKING:
    import pyarrow as pa


class ScoreOutput:
    """Rows of answers. `carried` are columns of the input that are taken over as they are.

    `request_id`, `event_at`, the carried columns, the model's output (`probability` of the positive class, `probability.<class>`
    of each of several, or `value`), `flags` (text, what was unusual), `version`.
    """

    def __init__(self, path: Path, card: ModelCard, version: str, carried: Sequence[str]) -> None:
        if path.suffix not in (".csv", ".parquet"):
            raise ConfigError(
                f"cannot write {path.name}", where=str(path), valid="a name that ends in .csv or .parquet"
            )
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self._version = version
        self._carried = tuple(carried)
        several = card.task == "multiclass"
        self._outputs = [f"{card.output}.{one}" for one in card.signature.classes] if several else [card.output]
        clash = sorted({*carried} & {"request_id", "event_at", "flags", "version", *self._outputs})
        if clash:
            raise ConfigError(
                f"`{clash[0]}` is a column of the output's own", where=str(path), next_step="rename it in the input"
            )
        self._writer: Any = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While rows are written; if that fails, nothing of them stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield
        except BaseException:
            if self._writer is not None:
                with _suppressed():
                    self._writer.close()
            self._part.unlink(missing_ok=True)
            raise

    def write(self, batch: Batch, ids: Sequence[str], instants: Sequence[datetime], found: BatchAnswers) -> None:
        """The answered rows of a batch; `ids` and `instants` are of all its rows."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "request_id": pa.array([ids[place] for place in found.places], pa.string()),
            "event_at": pa.array([instants[place] for place in found.places], pa.timestamp("us", "UTC")),
        }
        columns |= {name: batch.rows.column(name).take(pa.array(found.places, pa.int64())) for name in self._carried}
        for place, name in enumerate(self._outputs):
            columns[name] = pa.array([output[place] for output in found.outputs], pa.float64())
        columns["flags"] = pa.array([",".join(flags) for flags in found.flags], pa.string())
        columns["version"] = pa.array([self._version] * len(found.places), pa.string())
        table = pa.table(columns)
        if self._writer is None:
            self._writer = self._opened(table.schema)
        self._writer.write_table(table)

    def whole(self) -> str:
        """Nothing more comes: the file is on the disk, under its other name; the digest of its bytes."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        with self._part.open("rb") as file:
            os.fsync(file.fileno())
        return file_digest(self._part)

    def publish(self) -> None:
        """The file takes its name."""
        self._part.replace(self.path)

    def _opened(self, schema: pa.Schema) -> Any:
        if self.path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.ParquetWriter(self._part, schema, compression="zstd")
        from pyarrow import csv

        return csv.CSVWriter(self._part, schema)


def sweep_killed(scoring: Path) -> None:
    """Delete the rows to be logged of each `mainspring score` that was killed; those that go on keep theirs."""
    for staged in sorted(scoring.iterdir()) if scoring.is_dir() else ():
        if staged.is_dir():
            with lock_file(staged.with_suffix(".lock")) as lock:
                if taken(lock):
                    shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def _suppressed() -> Iterator[None]:
    """A writer that cannot end its file says so again when it is closed; the first error is the one to tell."""
    try:
        yield
    except Exception:
        return
