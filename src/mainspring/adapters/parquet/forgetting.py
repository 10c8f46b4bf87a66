"""Rows of the prediction log that are to be forgotten: found by entity, and removed file by file.

Under the log's lock everything that was answered becomes Parquet, and the files that there are then are written down with
what is asked for, as keyed hashes. Each file is then written anew without the rows and put in its place, one at a time,
under the lock; killed in between, whoever comes next goes on. What is answered afterwards is new, and stays.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.parquet.segments import DAMAGED
from mainspring.adapters.parquet.tables import read_file
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import NotFound
from mainspring.serving.segment_writer import OPEN

if TYPE_CHECKING:
    import pyarrow as pa

REQUEST_ID = "request_id"
Terms = dict[str, list[str]]
"""Hashes of the values that are asked for, by column; a row has to have one of them in each column."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What is to be forgotten. `files` are those that are still to be looked through, relative to the log's folder; `rows`
    those found in them, by file, None before they were counted. `still_open` counts segments whose bytes go when their writer closes them."""

    id: str
    actor: str
    why: str
    at: datetime
    terms: Terms
    rows: dict[str, int] | None = None
    files: tuple[str, ...] = ()
    still_open: int = 0
    damaged: int = 0

    @property
    def columns(self) -> str:
        """The columns that it asks by."""
        return ", ".join(sorted(self.terms))

    @property
    def total(self) -> int:
        """How many rows were found."""
        return sum((self.rows or {}).values())


class LogForgetting:
    """Forgets rows of one project's log. `concealment` has its key; `log` is what it is read and compacted by."""

    def __init__(self, log: ParquetPredictionLog, folder: Path, segments: Path, concealment: Concealment) -> None:
        self._log = log
        self._folder = folder
        self._segments = segments
        self._asked = log.forgettings
        self._concealment = concealment

    def hashed(self, values: Mapping[str, Sequence[str]]) -> Terms:
        """What a person asks for, in clear, as it is kept and compared."""
        return {
            column: sorted({str(self._concealment.hashed(column, one)) for one in given})
            for column, given in values.items()
        }

    def refuse_strange(self, terms: Terms, more: Sequence[str] = ()) -> None:
        """Refuse columns that nothing was logged by; `more` are columns of rows that lie elsewhere. Errors: `NotFound`."""
        import pyarrow.parquet as pq

        known: set[str] = set(_columns(more))
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                known.update(_columns(pq.read_schema(path).names))
        for table in self._log.unread():
            known.update(_columns(table.column_names))
        strange = sorted(set(terms) - known)
        if strange:
            raise NotFound(
                f"nothing was logged by {', '.join(strange)}",
                where="--entity",
                valid=", ".join(sorted(known)) or "nothing is logged yet",
                next_step="mainspring logs --json --last 1 shows what a row has",
            )

    def count(self, terms: Terms, files: Sequence[str] | None = None) -> dict[str, int]:
        """Rows that would go, by file; without `files` of all, and by "" of those that are not Parquet yet."""
        found: dict[str, int] = {}
        listed = self._files() if files is None else [self._folder / one for one in files]
        for path in listed:
            table = _read(path, [name for column in terms for name in _logged(column)])
            if table is not None:
                self._note(found, str(path.relative_to(self._folder)), table, terms)
        for table in self._log.unread() if files is None else ():
            self._note(found, "", table, terms)
        return found

    def ask(self, terms: Terms, *, actor: str, why: str) -> Forgetting:
        """Write down what is to be forgotten, of everything that was answered so far. The same asked again is one."""
        with self._log.alone():
            for one in self.unfinished():
                if one.terms == terms:
                    return one
            self._log.compact_alone()
            for left in self._folder.rglob("*.part") if self._folder.is_dir() else ():
                left.unlink()  # of one who was killed: nobody writes now
            files = tuple(str(path.relative_to(self._folder)) for path in self._files())
            there = list(self._segments.iterdir()) if self._segments.is_dir() else []
            asked = Forgetting(
                uuid.uuid4().hex[:12],
                actor,
                why,
                datetime.now(UTC),
                terms,
                None,
                files,
                sum(path.suffix == OPEN for path in there),
                sum(path.suffix == DAMAGED for path in there),
            )
            self._put(asked)
            return asked

    def unfinished(self) -> list[Forgetting]:
        """What was asked for and is not done, oldest first."""
        paths = self._asked.glob("*.json") if self._asked.is_dir() else ()
        return sorted((from_json(Forgetting, path.read_bytes()) for path in paths), key=lambda one: one.at)

    def carry_out(self, asked: Forgetting, done: Callable[[str], None] = lambda file: None) -> Forgetting:
        """Write every file anew that holds such rows; returns it with their number. `done` hears of each file.

        Errors: `OSError` when the disk is full: the file is then as it was, and called again it goes on.
        """
        if asked.rows is None:
            # Before the first goes: how many there were is not to be known afterwards.
            asked = replace(asked, rows=self.count(asked.terms, asked.files))
            self._put(asked)
        assert asked.rows is not None
        left = list(asked.files)
        while left:
            with self._log.alone():
                self._rewrite(self._folder / left[0], asked.terms)
                file = left.pop(0)
                # What had no such row when it was asked for need not be written down one by one.
                if file in asked.rows or not left:
                    self._put(replace(asked, files=tuple(left)))
            done(file)
        return asked

    def without(self, table: pa.Table, terms: Terms) -> pa.Table:
        """Rows of the log, wherever they lie, without those that are asked for."""
        import pyarrow.compute as pc

        found = self._matches(table, terms)
        return table if found is None else table.filter(pc.invert(found))

    def forget_request(self, asked: Forgetting) -> None:
        """It is done, and in the ledger."""
        (self._asked / f"{asked.id}.json").unlink(missing_ok=True)

    def _rewrite(self, path: Path, terms: Terms) -> None:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        part = path.with_suffix(".part")
        table = _read(path, None)
        if table is None:
            return
        found = self._matches(table, terms)
        if found is None or not pc.any(found).as_py():
            return
        kept = table.filter(pc.invert(found))
        if not kept.num_rows:
            path.unlink()
            return
        try:
            pq.write_table(kept, part, compression="zstd")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _note(self, found: dict[str, int], name: str, table: pa.Table, terms: Terms) -> None:
        import pyarrow.compute as pc

        matches = self._matches(table, terms)
        count = 0 if matches is None else pc.sum(matches).as_py() or 0
        if count:
            found[name] = found.get(name, 0) + count

    def _matches(self, table: pa.Table, terms: Terms) -> Any:
        """Whether each row has one of the values in each column; None where the table has not all of them."""
        import pyarrow.compute as pc

        found = None
        for column, hashes in terms.items():
            here = [name for name in _logged(column) if name in table.column_names]
            if not here:
                return None
            # A key that is a feature as well is logged twice.
            one = self._matching(table.column(here[0]), column, set(hashes))
            for name in here[1:]:
                one = pc.or_(one, self._matching(table.column(name), column, set(hashes)))
            found = one if found is None else pc.and_(found, one)
        return found

    def _matching(self, values: Any, column: str, hashes: set[str]) -> Any:
        """Logged in clear or as a hash: a project may have changed its mind."""
        import pyarrow as pa
        import pyarrow.compute as pc

        distinct = values.unique()
        wanted = [
            one
            for one in distinct.to_pylist()
            if one is not None and (str(one) in hashes or self._concealment.hashed(column, one) in hashes)
        ]
        return pc.fill_null(pc.is_in(values, value_set=pa.array(wanted, distinct.type)), False)

    def _files(self) -> list[Path]:
        return sorted(self._folder.rglob("*.parquet")) if self._folder.is_dir() else []

    def _put(self, asked: Forgetting) -> None:
        self._asked.mkdir(parents=True, exist_ok=True)
        path = self._asked / f"{asked.id}.json"
        part = path.with_suffix(".part")
        part.write_bytes(to_json(asked))
        part.replace(path)


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table | None:
    """A file's columns, all of them with None; None where it became another file in the meantime."""
    try:
        return read_file(path, columns)
    except FileNotFoundError:
        return None


def _logged(column: str) -> tuple[str, ...]:
    return (REQUEST_ID,) if column == REQUEST_ID else (f"entity.{column}", f"feature.{column}")


def _columns(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        kind, _, rest = name.partition(".")
        if kind in ("entity", "feature") and rest:
            yield rest
        elif name == REQUEST_ID:
            yield name
