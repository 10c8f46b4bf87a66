"""`mainspring data`: the training set as it was known at an instant, written to a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mainspring.domain.dataset import Dataset
from mainspring.domain.errors import ConfigError
from mainspring.domain.time import instant
from mainspring.features.questions import EVENT_TIME
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import LoadedProject
from mainspring.sources.digest import describe


def write_training_set(loaded: LoadedProject, as_of: str, out: Path) -> Dataset:
    """Write the training set known at `as_of` (ISO 8601; empty: now) to a .parquet or .csv file."""
    if out.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"cannot write {out.name}", valid="a name that ends in .parquet or .csv")
    known_at = instant(as_of) if as_of else datetime.now(UTC)
    table = LaptopFeatures(loaded).training_set(known_at)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    if out.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, part)
    else:
        import pyarrow.csv

        pyarrow.csv.write_csv(table, part)
    part.replace(out)
    time = EVENT_TIME if EVENT_TIME in table.column_names else None
    return describe(table, str(out), time=time)
