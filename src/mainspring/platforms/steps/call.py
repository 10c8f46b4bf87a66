"""What a step is given, and the files by which steps hand their results on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import ConfigError
from mainspring.domain.model_version import Signature
from mainspring.features.questions import EVENT_TIME
from mainspring.pipeline.split import PART
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking

ROWS, DATASET, SIGNATURE, RESULTS, FACTS = (
    "rows.parquet",
    "dataset.json",
    "signature.json",
    "results.json",
    "facts.json",
)
IMPORTANCE = "importance.json"


@dataclass(frozen=True)
class StepCall:
    """One step of one run: the project, the instant whose knowledge it may use, and its artifacts' folders.

    `by` is the person who asked for the run, empty when the policy did. `notes` is what a person should know although the step succeeded.
    """

    loaded: LoadedProject
    run_id: str
    known_at: datetime
    champion: str
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    by: str = ""
    notes: list[str] = field(default_factory=list)

    def tracking(self) -> Tracking:
        """MLflow as the project names it."""
        from mainspring.adapters.mlflow.tracking import Tracking

        return Tracking(self.loaded.settings, self.loaded.paths)

    def registry(self) -> MlflowRegistry:
        """The project's registry."""
        from mainspring.adapters.mlflow.registry import MlflowRegistry

        return MlflowRegistry(self.loaded.settings.name, self.tracking(), self.loaded.paths.models)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the training set beside its rows: a digest of each feature view, and expectations' warnings."""

    features: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    expectations: int = 0


def write_rows(folder: Path, rows: pa.Table) -> None:
    """The rows and what they look like."""
    import pyarrow.parquet as pq

    from mainspring.sources.digest import describe

    if not rows.num_rows:
        raise ConfigError(
            "there is no labelled row yet", valid="rows whose label is known", next_step="mainspring data --out x.csv"
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / ROWS)
    time = EVENT_TIME if EVENT_TIME in rows.column_names else None
    (folder / DATASET).write_bytes(to_json(describe(rows, str(folder / ROWS), time=time), indent=2))


def read_rows(folder: Path) -> pa.Table:
    """The rows that `write_rows` wrote."""
    import pyarrow.parquet as pq

    return pq.read_table(folder / ROWS)


def training_set(call: StepCall) -> tuple[pa.Table, Signature, Facts]:
    """The training set with its signature and facts."""
    folder = call.inputs["training_set"]
    signature = from_json(Signature, (folder / SIGNATURE).read_bytes())
    return read_rows(folder), signature, from_json(Facts, (folder / FACTS).read_bytes())


def part_of(rows: pa.Table, part: str) -> pa.Table:
    """The rows of one part of the split."""
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows.column(PART), part))
