"""Drift of any table: a window of it, counted by the engine that has it, against a version's reference."""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mainspring.domain.codec import to_json
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.errors import ConfigError, NotFound
from mainspring.domain.time import TimeWindow, floor_to, instant
from mainspring.drift.cells import Counts
from mainspring.drift.page import page
from mainspring.drift.profile import CONFIDENCE, PREDICTION
from mainspring.drift.report import report
from mainspring.drift.scan import ParquetCounter
from mainspring.drift.storage import read_profile
from mainspring.drift.telling import told
from mainspring.drift.window_counter import WindowCounter
from mainspring.platforms.drift_effects import importance_of
from mainspring.platforms.whole_file import write_whole
from mainspring.ports import ModelRegistry
from mainspring.serving.runtime import load_card
from mainspring.settings.load import LoadedProject

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
FOLDER = "tables"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TableWish:
    """What a person asks for. `origin` is a URL, or a source that has one; "" is the default of each."""

    origin: str
    table: str = ""
    time: str = ""
    since: str = ""
    until: str = ""
    columns: tuple[str, ...] = ()
    version: str = ""
    trailing: bool = False


def report_on_table(loaded: LoadedProject, wish: TableWish) -> tuple[DriftReport, Path]:
    """The report and its page, beside which it lies as JSON. The loop takes no notice of it: it was not served.

    Features that the project keeps out of its log are not counted. Errors: `ConfigError`, `DataError`, `NotFound`, and
    `TemporaryError` for an engine that does not answer.
    """
    from mainspring.adapters.ibis.counter import IbisCounter
    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking

    files = _files(loaded, wish)
    url, table, time = ("", "", _time_of(loaded, wish)) if files else _place(loaded, wish)
    columns = _columns(wish)
    window, now = _window(wish, time), datetime.now(UTC)
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    version = wish.version or _serving(loaded, registry)
    folder = registry.fetch(version)
    texts = {one.name for one in load_card(folder).signature.features if one.type in ("str", "category")}
    counter: WindowCounter = (
        ParquetCounter(files, time, columns, texts)
        if files
        else IbisCounter(url, table, time=time, columns=columns, as_text=texts, root=loaded.paths.root)
    )
    if window is not None and not wish.until and counter.dated():
        # Today's rows are there, too: of a date they lie in the whole day.
        window = TimeWindow(window.start, floor_to(now, DAY) + DAY)
    found = _report(loaded, folder, version, counter, window, now, columns, trailing=wish.trailing)
    place = loaded.paths.drift / FOLDER / version
    write_whole(place / f"{found.id}.html", page(found).encode())
    write_whole(place / f"{found.id}.json", to_json(found))
    return found, place / f"{found.id}.html"


def _report(
    loaded: LoadedProject,
    folder: Path,
    version: str,
    counter: WindowCounter,
    window: TimeWindow | None,
    now: datetime,
    columns: dict[str, str],
    *,
    trailing: bool,
) -> DriftReport:
    settings, profile = loaded.settings.drift, read_profile(folder)
    unknown = [name for name in columns if name not in profile.cells]
    if unknown:
        raise ConfigError(
            f"version {version} has no feature {', '.join(unknown)}", where="--column", valid=", ".join(profile.cells)
        )
    hidden = {name for names in loaded.settings.concealed for name in names}
    answers = {PREDICTION, CONFIDENCE}
    # A table of features has no predictions; one of predictions has both.
    there = set(counter.columns()) if answers & set(profile.cells) else set()
    cells = {
        name: one
        for name, one in profile.cells.items()
        if name not in hidden and (name not in answers or columns.get(name, name) in there)
    }
    counts = counter.count(cells, window)
    before: dict[str, Counts] = {}
    if trailing and window is not None:
        before = dict(counter.count(cells, TimeWindow(window.start - settings.trailing, window.start)))
    else:
        # There is no other reference to act on.
        settings = settings.model_copy(update={"reference": "training"})
    current = window or TimeWindow(_FIRST, now)
    found = report(version, current.end, current, profile, counts, before, settings)
    # What the change does to the answers is not known: rows stay where they are.
    found = told(
        found,
        profile.cells,
        counts,
        {"training": profile.counts, "trailing": before},
        units=loaded.settings.features.units,
        importance=importance_of(folder),
        effects={},
    )
    return replace(
        found,
        id=f"table-{version}-{current.start:%Y%m%dT%H%M}-{current.end:%Y%m%dT%H%M}",
        unwatched=tuple(name for name in profile.cells if name in hidden),
    )


def _files(loaded: LoadedProject, wish: TableWish) -> list[Path]:
    """Parquet files, where that is what is named: a path or a pattern, or a source of such. They are counted in this process."""
    if "://" in wish.origin:
        return []
    source = loaded.settings.sources.get(wish.origin)
    text = str(source.path) if source is not None and source.path else "" if source is not None else wish.origin
    if not text:
        return []
    path = (loaded.paths.root if source is not None else Path()) / text
    found = [Path(one) for one in sorted(glob.glob(str(path / "**/*" if path.is_dir() else path), recursive=True))]
    return [one for one in found if one.suffix == ".parquet"]


def _time_of(loaded: LoadedProject, wish: TableWish) -> str:
    source = loaded.settings.sources.get(wish.origin)
    return wish.time or (str(source.time or "") if source is not None else "")


def _place(loaded: LoadedProject, wish: TableWish) -> tuple[str, str, str]:
    """URL, table and time."""
    if "://" in wish.origin:
        if not wish.table:
            raise ConfigError("which table?", where="--from", next_step="name it: --table NAME")
        return wish.origin, wish.table, wish.time
    sources = {name: one for name, one in loaded.settings.sources.items() if one.url is not None}
    if wish.origin not in sources:
        raise ConfigError(
            f"{wish.origin!r} is neither a URL nor a source with a url, nor Parquet files",
            where="--from",
            valid=", ".join(
                [*sources, "Parquet files, duckdb:///x.db, postgres://..., sc://..., bigquery://project/dataset"]
            ),
        )
    source = sources[wish.origin]
    table = wish.table or str(source.table or "")
    if not table:
        raise ConfigError(
            f"source {wish.origin!r} is a query: an engine counts a table or a view",
            where=f"sources.{wish.origin}",
            next_step="name one: --table NAME",
        )
    return str(source.url), table, wish.time or str(source.time or "")


def _columns(wish: TableWish) -> dict[str, str]:
    pairs = [one.partition("=") for one in wish.columns]
    wrong = [name for name, _, column in pairs if not name or not column]
    if wrong:
        raise ConfigError(f"--column {wrong[0]} names no column", valid="--column FEATURE=COLUMN")
    return {name: column for name, _, column in pairs}


def _window(wish: TableWish, time: str) -> TimeWindow | None:
    if not wish.since and not wish.until:
        if wish.trailing:
            raise ConfigError("what is before all rows?", where="--trailing", next_step="give the window: --since T")
        return None
    if not time:
        raise ConfigError("a window needs the column of the event time", next_step="name it: --time COLUMN")
    since = instant(wish.since) if wish.since else _FIRST
    until = instant(wish.until) if wish.until else datetime.now(UTC)
    if until <= since:
        raise ConfigError(f"the window ends at {until.isoformat()}, before it begins", where="--until")
    return TimeWindow(since, until)


def _serving(loaded: LoadedProject, registry: ModelRegistry) -> str:
    from mainspring.adapters.sql.ledger import SqliteLedger
    from mainspring.loop.state import rollout_of

    stable = rollout_of(SqliteLedger(loaded.paths.ledger)).stable if loaded.paths.ledger.exists() else ""
    accepted = [one.version for one in registry.versions() if one.verdict == "accepted"]
    if not stable and not accepted:
        raise NotFound(
            "there is no version whose reference could be compared with",
            where=str(loaded.paths.state),
            next_step="mainspring run",
        )
    return stable or accepted[-1]
