"""Profiles and counts as Parquet: one row for each feature, numbers as numbers, with a format's version.

Any tool reads them; nothing in them is code. The same profile is the same bytes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.domain.errors import DataError
from mainspring.drift.cells import APART, NULL, Cells, Counts, Windows, joined_tails
from mainspring.drift.placing import WindowedCounts
from mainspring.drift.profile import Profile

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "profile.parquet"
FIRST_FILE = "profile.json"
"""What versions before format 2 have."""
FORMAT = 2
_ABOUT = b"mainspring.profile"


def write_profile(profile: Profile, folder: Path) -> Path:
    """The profile as a file of a model folder; returns its path."""
    path = folder / FILE
    path.write_bytes(profile_bytes(profile))
    return path


def read_profile(folder: Path) -> Profile:
    """The profile of a model folder, of this format or of the first one.

    Errors: `DataError` for a profile that a later mainspring wrote, or that is none.
    """
    path = folder / FILE
    if not path.exists() and (folder / FIRST_FILE).exists():
        return _first_format((folder / FIRST_FILE).read_bytes(), str(folder / FIRST_FILE))
    if not path.exists():
        raise DataError(
            "this version has no profile: its drift cannot be watched",
            where=str(path),
            valid=f"{FILE}, which training and adoption write",
            next_step="mainspring run",
        )
    return profile_of(path.read_bytes(), str(path))


def profile_bytes(profile: Profile) -> bytes:
    """The profile as Parquet."""
    import pyarrow as pa

    names = list(profile.cells)
    windows = [profile.windows.get(name) for name in names]
    places = [None if one is None else np.flatnonzero(one.counts) for one in windows]
    columns = {
        "feature": pa.array(names, pa.string()),
        "kind": pa.array([profile.cells[name].kind for name in names], pa.string()),
        "edges": pa.array([profile.cells[name].edges for name in names], pa.list_(pa.float64())),
        "categories": pa.array([profile.cells[name].categories for name in names], pa.list_(pa.string())),
        **_counts_columns([profile.counts[name] for name in names]),
        "window_starts": pa.array(
            [None if one is None else one.starts.astype("datetime64[us]").astype(np.int64) for one in windows],
            pa.list_(pa.int64()),
        ),
        "window_places": pa.array(places, pa.list_(pa.int32())),
        "window_rows": pa.array(
            [None if one is None else one.counts.ravel()[at] for one, at in zip(windows, places, strict=True)],
            pa.list_(pa.int32()),
        ),
    }
    return _parquet(pa.table(columns), {"format": FORMAT, "every_seconds": profile.every_seconds})


def profile_of(raw: bytes, where: str) -> Profile:
    """What `profile_bytes` wrote. Errors: `DataError`."""
    table, about = _table(raw, where)
    cells, counts, windows = {}, {}, {}
    for place, row in enumerate(_rows(table, "feature", "kind", "categories")):
        name = row["feature"]
        cells[name] = Cells(row["kind"], _array(table, "edges", place), tuple(row["categories"]))
        counts[name] = Counts(_array(table, "counts", place), _array(table, "tails", place))
        if table.column("window_starts")[place].is_valid:
            starts = _array(table, "window_starts", place).astype("datetime64[us]")
            found = np.zeros(len(starts) * cells[name].width, np.int32)
            found[_array(table, "window_places", place)] = _array(table, "window_rows", place)
            windows[name] = Windows(starts, found.reshape(len(starts), cells[name].width))
        if len(counts[name].vector) != cells[name].width:
            raise DataError(f"{name} has {len(counts[name].vector)} counts for {cells[name].width} cells", where=where)
    return Profile(cells, counts, windows, float(about.get("every_seconds", 0.0)))


@dataclass(frozen=True)
class KeptCounts:
    """Counts by hour and feature as they are kept: only cells that have rows. `about` says what they are of, as JSON values."""

    table: pa.Table
    about: Mapping[str, Any]

    def total(self, hours: Collection[int] | None = None) -> dict[str, Counts]:
        """The sum over some hours (microseconds since 1970), by feature; of all without `hours`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self.table
        if hours is not None:
            table = table.filter(pc.is_in(table.column("hour"), value_set=pa.array(sorted(hours), pa.int64())))
        found = {}
        for name in table.column("feature").unique().to_pylist():
            rows = table.filter(pc.equal(table.column("feature"), name)).combine_chunks()
            width = rows.column("width")[0].as_py()
            places = pc.list_flatten(rows.column("places")).to_numpy()
            # Weights are floats, and exact up to 2^53 rows.
            vector = np.bincount(places, pc.list_flatten(rows.column("rows")).to_numpy(), width).astype(np.int64)
            tails = pc.list_flatten(rows.column("tails")).to_numpy()
            found[name] = Counts(vector, joined_tails(tails))
        return found


def counts_bytes(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    """A table of counts by hour as Parquet."""
    return _parquet(table, {**about, "format": FORMAT})


def counts_of(raw: bytes, where: str) -> KeptCounts:
    """What `counts_bytes` wrote. Errors: `DataError`."""
    return KeptCounts(*_table(raw, where))


def merged_bytes(kept: KeptCounts, table: pa.Table, about: Mapping[str, Any]) -> bytes:
    """Kept counts, of which the hours of `table` were counted anew."""
    import pyarrow as pa
    import pyarrow.compute as pc

    new = pc.unique(table.column("hour"))
    old = kept.table.filter(pc.invert(pc.is_in(kept.table.column("hour"), value_set=new)))
    return counts_bytes(pa.concat_tables([old.replace_schema_metadata(None), table]), about)


def hours_table(hours: Sequence[int], features: Mapping[str, WindowedCounts]) -> pa.Table:
    """Counts of each feature in each of the hours (microseconds since 1970), which are its windows."""
    import pyarrow as pa

    tables = []
    for name, one in features.items():
        ends = np.searchsorted(one.windows, np.arange(len(hours) + 1)).astype(np.int32)
        columns = {
            "hour": pa.array(hours, pa.int64()),
            "feature": pa.array([name] * len(hours), pa.string()),
            "width": pa.array([one.width] * len(hours), pa.int32()),
            "places": pa.ListArray.from_arrays(ends, one.places.astype(np.int32)),
            "rows": pa.ListArray.from_arrays(ends, one.rows),
            "tails": pa.ListArray.from_arrays(np.arange(len(hours) + 1, dtype=np.int32) * 6, one.tails.ravel()),
        }
        tables.append(pa.table(columns, schema=_hours_schema()))
    return pa.concat_tables(tables) if tables else _hours_schema().empty_table()


def _hours_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "hour": pa.int64(),
            "feature": pa.string(),
            "width": pa.int32(),
            "places": pa.list_(pa.int32()),
            "rows": pa.list_(pa.int64()),
            "tails": pa.list_(pa.float64()),
        }
    )


def _counts_columns(counts: list[Counts]) -> dict[str, Any]:
    import pyarrow as pa

    return {
        "counts": pa.array([one.vector for one in counts], pa.list_(pa.int64())),
        "tails": pa.array([one.tails for one in counts], pa.list_(pa.float64())),
    }


def _parquet(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    told = json.dumps(about, sort_keys=True).encode()
    pq.write_table(table.replace_schema_metadata({_ABOUT: told}), buffer, compression="zstd")
    return buffer.getvalue()


def _table(raw: bytes, where: str) -> tuple[pa.Table, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # In this thread: what Python holds must not be let go of by Arrow's, which may outlive the interpreter.
        with pq.ParquetFile(pa.BufferReader(raw)) as file:
            table = file.read(use_threads=False)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"these are no counts of drift: {error}", where=where) from error
    if about.get("format") != FORMAT:
        raise DataError(
            f"these counts have format {about.get('format')}",
            where=where,
            valid=f"{FORMAT}, or the first one as {FIRST_FILE}",
            next_step="run the mainspring that wrote it, or a newer one",
        )
    return table, about


def _rows(table: pa.Table, *names: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.select(list(names)).to_pylist()
    return found


def _array(table: pa.Table, name: str, row: int) -> Any:
    return np.array(table.column(name)[row].values.to_numpy(zero_copy_only=False))


def _first_format(raw: bytes, where: str) -> Profile:
    """Cells of the first format had no cell of their own below the least value, and NaN counted as null."""
    try:
        told = json.loads(raw)
        cells, counts = {}, {}
        for name, one in told["cells"].items():
            vector, known = told["counts"][name]["cells"], np.array(one["edges"], np.float64)
            if one["text"]:
                cells[name] = Cells("category", categories=tuple(one["categories"]))
            else:
                first = math.nextafter(known[0], -math.inf) if len(known) and vector[0] else None
                cells[name] = Cells("number", known if first is None else np.insert(known, 0, first))
                vector = vector if first is None else [0, *vector]
            apart = [0] * len(APART)
            apart[NULL] = told["counts"][name]["nulls"]
            counts[name] = Counts(np.array([*vector, *apart], np.int64))
            if len(counts[name].vector) != cells[name].width:
                raise ValueError(f"{name} has {len(vector)} counts for {cells[name].size} cells")
        return Profile(cells, counts)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"this profile of the first format cannot be read: {error}",
            where=where,
            next_step="mainspring run: the next version has one that can",
        ) from error
