"""`History`: every question of the past with its features as they were known when it was asked, and when its label came."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.model_version import label_name
from mainspring.features.questions import EVENT_TIME, LABEL, LABEL_KNOWN_AT, REQUEST_ID, RESERVED
from mainspring.platforms.cache import cache_keys
from mainspring.platforms.challenger import require_slices
from mainspring.platforms.performance_rows import logged_as
from mainspring.platforms.sink import whole_log
from mainspring.settings.load import LoadedProject
from mainspring.settings.paths import ProjectPaths
from mainspring.sources.digest import content_digest

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "backtest"
From = Literal["source", "log"]
_ROWS = "rows.parquet"


@dataclass(frozen=True)
class History:
    """Rows in the order of their event time, each input's source, and the views' entity keys."""

    rows: pa.Table
    sources: dict[str, str]
    entities: list[str]
    digest: str

    @cached_property
    def asked(self) -> Any:
        """When each question was asked, datetime64[us]."""
        return _instants(self.rows, EVENT_TIME)

    @cached_property
    def known(self) -> Any:
        """When each label became known, datetime64[us]; NaT for a question that has none."""
        import numpy as np
        import pyarrow.compute as pc

        found = _instants(self.rows, LABEL_KNOWN_AT).copy()
        found[~pc.is_valid(self.rows.column(LABEL)).to_numpy(zero_copy_only=False)] = np.datetime64("NaT")
        return found

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Every label that there is, in order, as a signature names them."""
        labels = self.rows.column(LABEL).unique().to_pylist()
        return tuple(label_name(one) for one in sorted(one for one in labels if one is not None))

    def before(self, at: datetime) -> int:
        """How many questions were asked before an instant."""
        import numpy as np

        return int(np.searchsorted(self.asked, moment(at)))


def load_history(loaded: LoadedProject, source: From) -> History:
    """The past of a project, prepared once and kept below the state folder.

    Labels are those in force now, each from the instant it became known on: of a label that was corrected, the past sees
    nothing until the correction. Errors: `ConfigError` for questions without times, `DataError` without labelled ones.
    """
    import pyarrow.parquet as pq

    if loaded.settings.question_time is None:
        raise ConfigError("questions without times have no past to replay", where="mainspring.yaml: target.time")
    key = _key(loaded, source)
    folder = loaded.paths.state / FOLDER / f"history-{key[:16]}"
    if not (folder / "history.json").exists():
        rows, sources, entities = _of_source(loaded) if source == "source" else _of_log(loaded)
        if EVENT_TIME not in rows.column_names or not rows.num_rows or rows.column(LABEL).null_count == rows.num_rows:
            raise _unlabelled(loaded, source, rows.num_rows)
        other = "drop it, or mainspring backtest --from source" if source == "log" else ""
        require_slices(loaded.settings, rows.column_names, [*sources, *entities], other)
        folder.mkdir(parents=True, exist_ok=True)
        rows = rows.sort_by(EVENT_TIME)
        _write(folder / _ROWS, lambda path: pq.write_table(rows, path))
        about = json.dumps({"sources": sources, "entities": entities, "digest": content_digest(rows)})
        # Last: a folder with it is whole.
        _write(folder / "history.json", lambda path: path.write_text(about, encoding="utf-8"))
    found = json.loads((folder / "history.json").read_bytes())
    return History(pq.read_table(folder / _ROWS), found["sources"], found["entities"], found["digest"])


def apart(loaded: LoadedProject) -> LoadedProject:
    """The project with a state folder of the backtest's own: what is computed for the past touches nothing that serves."""
    paths = ProjectPaths(loaded.paths.root, loaded.paths.state / FOLDER)
    return replace(loaded, paths=paths, settings=loaded.settings.changed("features", online=None))


def moment(at: datetime) -> Any:
    """An instant as NumPy has it, UTC."""
    import numpy as np

    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")


def _key(loaded: LoadedProject, source: From) -> str:
    # A row is never changed once it is in the log, so that these five columns say which rows there are.
    which = ["request_id", "event_at", "version", "role", "outcome"]
    own = content_digest(whole_log(loaded).read(None, which)) if source == "log" else ""
    keys = cache_keys(loaded, {"known_at": datetime(9000, 1, 1, tzinfo=UTC).isoformat(), "champion": ""})
    return hashlib.sha256(json.dumps([source, keys["engineer"], own, loaded.settings.gate.slices]).encode()).hexdigest()


def _of_source(loaded: LoadedProject) -> tuple[pa.Table, dict[str, str], list[str]]:
    """Questions of the target's source; their features by the point-in-time join, each as it was available."""
    import pyarrow.compute as pc

    from mainspring.platforms.challenger import with_features
    from mainspring.platforms.labelling import LaptopLabels
    from mainspring.platforms.laptop import LaptopFeatures

    own = apart(loaded)
    features = LaptopFeatures(own)
    features.labels = LaptopLabels(loaded.settings, loaded.paths, features.sources)
    asked = features.questions(datetime(9000, 1, 1, tzinfo=UTC), carry=True)
    if not asked.num_rows:
        return asked, {}, []
    if loaded.settings.features.repo is None:
        newest = pc.max(asked.column(EVENT_TIME)).as_py()
        features.advance(newest + timedelta(microseconds=1), to_train=True, online=False)
    rows, sources, entities = with_features(own, features, asked)
    # Of what has no role only slices are asked for, and all of it would have to fit into memory.
    wanted = {*RESERVED, *sources, *entities, *loaded.settings.gate.slices}
    return rows.select([name for name in rows.column_names if name in wanted]), sources, entities


def _of_log(loaded: LoadedProject) -> tuple[pa.Table, dict[str, str], list[str]]:
    """Questions that callers asked, with the features that they were answered with; of old ones what only the sink has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking
    from mainspring.labels.known import KnownLabels
    from mainspring.platforms.labelling import LaptopLabels
    from mainspring.platforms.laptop import LaptopFeatures

    log = whole_log(loaded)
    rows = log.read()
    for name, value in (("role", "primary"), ("outcome", "answered")):
        rows = rows.filter(pc.equal(rows.column(name), value))
    features = LaptopFeatures(loaded)
    beside = LaptopLabels(loaded.settings, loaded.paths, features.sources, log).beside
    labels = KnownLabels(features.questions, beside).labels(datetime(9000, 1, 1, tzinfo=UTC))
    place = pc.index_in(rows.column("request_id"), value_set=labels.column("request_id"))
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    versions = registry.versions()
    if not rows.num_rows or not versions:
        return pa.table({EVENT_TIME: [], LABEL: []}), {}, []
    signature = versions[-1].signature
    there = [one for one in signature.features if f"feature.{one.name}" in rows.column_names]
    columns = {
        EVENT_TIME: rows.column("event_at"),
        REQUEST_ID: rows.column("request_id"),
        LABEL: labels.column("label").take(place),
        LABEL_KNOWN_AT: labels.column("known_at").take(place),
        **{one.name: rows.column(f"feature.{one.name}") for one in there},
    }
    for name in loaded.settings.gate.slices:
        logged = logged_as(rows, name)
        if logged is not None and name not in columns:
            columns[name] = rows.column(logged)
    return pa.table(columns), {one.name: "request" for one in there}, list(signature.entities)


def _unlabelled(loaded: LoadedProject, source: From, rows: int) -> DataError:
    """Why nothing can be replayed, and what to do about it."""
    what = "no question of the past has a label"
    if source == "source":
        return DataError(
            what, where=f"mainspring.yaml: sources.{loaded.settings.target.source}",
            valid="questions whose label is known", next_step="mainspring data",
        )  # fmt: skip
    if not rows:
        return DataError(
            f"{what}: the prediction log has no request that a version answered", where=str(loaded.paths.predictions),
            valid="some weeks of answers, and their labels",
            next_step="mainspring up, and ask it; or mainspring backtest --from source",
        )  # fmt: skip
    return DataError(
        f"{what}: {rows:,} requests were answered, and no label has the id of any",
        where=f"mainspring.yaml: target.id: {loaded.settings.target.id}",
        valid="labels that carry the id which callers sent (x-request-id)", next_step="mainspring labels",
    )  # fmt: skip


def _instants(rows: pa.Table, column: str) -> Any:
    return rows.column(column).to_numpy().astype("datetime64[us]")


def _write(path: Path, write: Any) -> None:
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)
