"""`mainspring score`: a file's rows answered by one version, into another file, the prediction log and the ledger.

The output is written beside its place under another name. Once it is whole, its rows join the prediction log, then the
ledger has its lineage, then it takes its name: killed in between, the same command again makes the same file, and its rows
are in the log once.
"""

from __future__ import annotations

import getpass
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.adapters.processes.locks import lock_file, taken
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.concealment import Concealment
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError, ConflictError, DataError, MainspringError, NotFound
from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES, LogRow, SegmentHeader, microseconds
from mainspring.domain.model_card import ModelCard
from mainspring.platforms.batch_rows import BatchRows
from mainspring.platforms.champion import champion
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.personal import refuse_strange_columns_of
from mainspring.platforms.score_output import ScoreOutput, sweep_killed
from mainspring.serving.batch import BatchAnswers, BatchPredictor
from mainspring.serving.columns import is_text
from mainspring.serving.missing import policies
from mainspring.serving.on_demand import FOLDER, OnDemand
from mainspring.serving.runtime import load_card, load_runtime
from mainspring.serving.segment_writer import CLOSED, SegmentWriter
from mainspring.settings.load import LoadedProject
from mainspring.settings.log_key import concealment
from mainspring.sources.batches import Batch, BatchedFile
from mainspring.sources.digest import file_digest

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored by which version, with digests (SHA-256 of the bytes) of both files.

    `missing` counts, by feature, the values that the model had to do without. `decision` is the ledger's row.
    """

    source: str
    output: str
    version: str
    as_of: datetime
    rows: int
    refused: int
    missing: dict[str, int]
    source_digest: str
    output_digest: str
    decision: str
    logged: bool


def score_file(
    loaded: LoadedProject,
    source: Path,
    output: Path,
    as_of: datetime,
    *,
    version: str = "",
    keep_extra: bool = False,
    skip_bad: bool = False,
    log: bool = True,
    by: str = "",
) -> Scored:
    """Score `source` into `output` with a version, by default the champion, as everything was known at `as_of`.

    Errors: `NotFound` without a champion or such a version, `ConfigError` for columns that are missing or no input,
    `DataError` names rows that no caller would be answered, unless `skip_bad` leaves them out; nothing is written then.
    `ConflictError` while another one writes the same file.
    """
    now = datetime.now(UTC)
    if as_of > now:
        raise ConfigError(f"what is known at {as_of:%Y-%m-%d %H:%M} UTC is yet to come", where="--as-of")
    file = BatchedFile(source, nulls=loaded.settings.sources[loaded.settings.target.source].nulls)
    if output.exists() and output.samefile(source):
        raise ConfigError("a file is not scored into itself", where=str(output), valid="another name")
    version, folder = _model(loaded, version)
    card = load_card(folder)
    digest, state = file_digest(source), _state(source)
    rows = BatchRows(
        loaded.settings, LaptopFeatures(loaded), card.signature, file.names, source, as_of, keep_extra=keep_extra
    )
    refuse_strange_columns_of(loaded, [card.signature])
    conceal = concealment(loaded.settings, loaded.paths) if log else None
    missing = loaded.settings.features
    how = policies(card.signature, missing.missing, missing.missing_by, missing.defaults, strict=False)
    predictor = BatchPredictor(card, load_runtime(folder, card), rows.entities, how, _on_demand(folder, card))
    out = ScoreOutput(output, card, version, rows.columns.carried)
    # Rows without an instant of their own are other questions at another one.
    asked = digest if rows.columns.time is not None else f"{digest} at {as_of.isoformat()}"
    work = _Work(file, rows, predictor, out, hashlib.sha256(asked.encode()).hexdigest()[:16])
    with _alone(loaded, output) as staged, out.writing():
        segments = _segments(staged, predictor, version, conceal) if log else None
        _run(work, segments, skip_bad=skip_bad, source=source)
        if _state(source) != state:
            raise DataError("the file changed while it was read", where=str(source), next_step="score it again")
        made = out.whole()
        if segments is not None:
            _move(segments, staged, loaded.paths.segments)
        done = Scored(
            str(source),
            str(output),
            version,
            as_of,
            work.answered,
            len(work.refused),
            dict(sorted(work.missing.items())),
            digest,
            made,
            f"scored:{digest[:16]}:{version}:{as_of.isoformat()}:{made[:16]}",
            log,
        )
        SqliteLedger(loaded.paths.ledger).append(_decision(done, by or getpass.getuser(), now))
        out.publish()
    return done


def _model(loaded: LoadedProject, wanted: str) -> tuple[str, Path]:
    """The version, by default the champion, and the folder with its files."""
    version = wanted or champion(loaded)
    if not version:
        raise NotFound("there is no champion", next_step="mainspring up; or --version of one that mainspring run made")
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    return version, registry.fetch(version)


def _on_demand(folder: Path, card: ModelCard) -> OnDemand | None:
    """The version's on-demand views, as they were at its training."""
    if not card.signature.on_demand:
        return None
    from mainspring.adapters.feast.on_demand import open_views

    return open_views(folder / FOLDER, card.signature)


@dataclass
class _Work:
    """What is scored, and what became of it so far."""

    file: BatchedFile
    rows: BatchRows
    predictor: BatchPredictor
    out: ScoreOutput
    name: str
    answered: int = 0

    def __post_init__(self) -> None:
        self.refused: list[tuple[int, str]] = []
        self.missing: Counter[str] = Counter()

    def ids(self, batch: Batch) -> list[str]:
        """The request ids of a batch's rows: their own, or made of the file's digest and the row's number."""
        own = self.rows.columns.id
        found = [None] * batch.rows.num_rows if own is None else batch.rows.column(own).to_pylist()
        return [f"{self.name}#{place}" if one is None else str(one) for place, one in enumerate(found, batch.first)]


def _run(work: _Work, segments: SegmentWriter | None, *, skip_bad: bool, source: Path) -> None:
    """All batches, into output and segments. Once a row is refused, the others are only looked at."""
    for batch in work.file.batches():
        instants, sent = work.rows.instants(batch), work.rows.sent(batch)
        found = work.predictor.answer(sent, work.rows.looked_up(batch, sent, instants))
        work.refused += [(batch.first + place, why) for place, why in found.refused]
        if work.refused and not skip_bad:
            continue
        ids = work.ids(batch)
        work.out.write(batch, ids, instants, found)
        work.answered += len(found.places)
        flags = [flag.partition(":") for flags in found.flags for flag in flags]
        work.missing.update(name for kind, _, name in flags if kind == "missing")
        if segments is not None and found.places:
            segments.append(_logged(ids, instants, found))
    if work.refused and not skip_bad:
        lines = [f"row {place:,}: {why}" for place, why in work.refused[:_SHOWN]]
        more = len(work.refused) - len(lines)
        lines += [f"and {more:,} more"] if more else []
        raise DataError(
            f"{len(work.refused):,} rows cannot be answered, and nothing was written:\n  - " + "\n  - ".join(lines),
            where=str(source),
            next_step="mend them; or score the others alone: --skip-bad",
        )
    if not work.answered:
        raise DataError("there is no row to score", where=str(source))


def _logged(ids: Sequence[str], instants: Sequence[datetime], found: BatchAnswers) -> list[LogRow]:
    role, arm, outcome = ROLES.index("batch"), ARMS.index("stable"), OUTCOMES.index("answered")
    return [
        LogRow(
            ids[place],
            role,
            arm,
            outcome,
            microseconds(instants[place]),
            0,
            tuple(output),
            tuple([None if value != value else value for value in row]),  # noqa: PLR0124  # NaN is not itself
            entities,
            (),
            tuple(flags),
        )
        for place, row, entities, flags, output in zip(
            found.places, found.rows, found.entities, found.flags, found.outputs, strict=True
        )
    ]


def _segments(staged: Path, predictor: BatchPredictor, version: str, concealment: Concealment | None) -> SegmentWriter:
    header = SegmentHeader(
        version,
        "",
        tuple(one.name for one in predictor.features),
        tuple("text" if is_text(one) else "number" for one in predictor.features),
        predictor.entities,
    )
    return SegmentWriter(staged, header, fsync=True, concealment=concealment)


def _move(segments: SegmentWriter, staged: Path, target: Path) -> None:
    """Whole segments join those of the predictors; the loop makes Parquet of them."""
    segments.rotate()
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(staged.glob(f"*{CLOSED}")):
        path.replace(target / path.name)


@contextmanager
def _alone(loaded: LoadedProject, output: Path) -> Iterator[Path]:
    """An empty folder for the rows to be logged, while nobody else writes this output."""
    sweep_killed(loaded.paths.scoring)
    name = hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]
    staged = loaded.paths.scoring / name
    with lock_file(loaded.paths.scoring / f"{name}.lock") as lock:
        if not taken(lock):
            raise ConflictError("another `mainspring score` writes this file", where=str(output))
        shutil.rmtree(staged, ignore_errors=True)
        try:
            yield staged
        except OSError as error:
            raise MainspringError(
                f"the output could not be written, and nothing was: {error.strerror or error}", where=str(output)
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _decision(done: Scored, by: str, now: datetime) -> Decision:
    numbers = from_json(dict[str, Any], to_json(done))
    refused = f", {done.refused:,} left out" if done.refused else ""
    return Decision(
        done.decision,
        "scored",
        f"{done.rows:,} rows of {Path(done.source).name} by version {done.version}",
        f"as known at {done.as_of:%Y-%m-%d %H:%M} UTC, into {Path(done.output).name}{refused}",
        by,
        now,
        done.version,
        numbers=numbers,
    )


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
