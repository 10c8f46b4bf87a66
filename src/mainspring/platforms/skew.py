"""`mainspring skew`: served requests replayed against the offline store, as of each request's event time, and the model run again.

Nothing is computed anew and nothing is written but the report's page: views are taken as they lie there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.domain.errors import ConfigError, NotFound
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature
from mainspring.domain.skew_report import AnswerSkew, FeatureSkew, SkewReport
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import EVENT_TIME, REQUEST_ID
from mainspring.features.skew import Served, compare
from mainspring.features.skew_page import page
from mainspring.platforms.champion import champion
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.sink import WholeLog, whole_log
from mainspring.ports import FeatureViewInfo
from mainspring.serving.batch import BatchPredictor, looked_up_values
from mainspring.serving.columns import Columns
from mainspring.serving.missing import policies
from mainspring.serving.on_demand import FOLDER
from mainspring.serving.runtime import load_card, load_runtime
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-6
"""Relative: ten times what a number loses on its way through 32 bits."""
SAMPLE = 10_000
_DAY = timedelta(days=1)
_ANSWER_TOLERANCE = 1e-4
_IDS = 20


def skew_of(
    loaded: LoadedProject,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    sample: int = SAMPLE,
    version: str = "",
    tolerance: float = TOLERANCE,
) -> tuple[SkewReport, Path]:
    """The skew of a version, by default the champion, and the page that says it.

    Without `since` it is the day before `until`, and without that the day before the newest request. Requests are drawn by a hash
    of their ids: the same each time. Errors: `NotFound` where nothing was served.
    """
    wanted = version or champion(loaded)
    if not wanted:
        raise NotFound("there is no champion", next_step="mainspring up; or --version of one that was served")
    log = whole_log(loaded)
    window = _window(log, since, until)
    rows = _served(log.read(window), wanted)
    logged = rows.num_rows
    if not logged:
        raise NotFound(
            f"version {wanted} answered nothing from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC",
            next_step="mainspring logs; mainspring skew --since T --until T",
        )
    rows = _drawn(rows, sample)
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    folder = registry.fetch(wanted)
    replay = _Replay(loaded, load_card(folder), rows, tolerance)
    features = replay.features()
    answers = replay.answers(folder)  # Which adds on-demand features.
    report = SkewReport(wanted, window, logged, rows.num_rows, tolerance, tuple(features), answers, replay.not_compared)
    path = loaded.paths.state / "skew" / f"{wanted}-{window.end:%Y-%m-%dT%H-%M}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report), encoding="utf-8")
    return report, path


def _window(log: WholeLog, since: datetime | None, until: datetime | None) -> TimeWindow:
    if until is None and since is None:
        newest = log.newest(1)
        if not newest.num_rows:
            raise NotFound("no prediction is logged", next_step="mainspring up, then mainspring predict")
        until = newest.column("event_at")[0].as_py() + timedelta(microseconds=1)
    end = until or datetime.now(UTC)
    begin = since or end - _DAY
    if begin >= end:
        raise ConfigError(f"the window ends ({end:%Y-%m-%d %H:%M}) before it begins", where="--since, --until")
    return TimeWindow(begin, end)


def _served(rows: pa.Table, version: str) -> pa.Table:
    """What callers were answered by the version; a batch has its features from the offline store already."""
    import pyarrow.compute as pc

    if not rows.num_rows:
        return rows
    chosen = pc.and_(pc.equal(rows.column("version"), version), pc.equal(rows.column("outcome"), "answered"))
    return rows.filter(pc.and_(chosen, pc.not_equal(rows.column("role"), "batch")))


def _drawn(rows: pa.Table, sample: int) -> pa.Table:
    if rows.num_rows <= sample:
        return rows
    digests = [
        hashlib.blake2b(str(one).encode(), digest_size=8).digest() for one in rows.column("request_id").to_pylist()
    ]
    order = sorted(range(rows.num_rows), key=digests.__getitem__)[:sample]
    return rows.take(sorted(order))


@dataclass(frozen=True, slots=True)
class _Behind:
    """Of a view, for each request: the offline row's event time and when it became known, in seconds; and, at the row that
    was served, the features."""

    row_at: Sequence[float | None]
    known_at: Sequence[float | None]
    before: Mapping[str, Sequence[Any]]
    served_at: Sequence[float | None]


class _Replay:
    """Requests of one version, asked again offline."""

    def __init__(self, loaded: LoadedProject, card: ModelCard, rows: pa.Table, tolerance: float) -> None:
        self._settings, self._card, self._rows, self._tolerance = loaded.settings, card, rows, tolerance
        self._laptop = LaptopFeatures(loaded)
        self._loaded = loaded
        self._signature = card.signature
        self._ids = [str(one) for one in rows.column("request_id").to_pylist()]
        self._at: list[datetime] = rows.column("event_at").to_pylist()
        self._flags = [_by_feature(flags or ()) for flags in rows.column("flags").to_pylist()]
        self._dropped = {*loaded.settings.concealed[0]}
        self._hashed = {*loaded.settings.concealed[1]}
        self._views = [one for one in self._laptop.views() if not one.on_demand]
        self.not_compared: dict[str, str] = {}
        self._known_rows: dict[str, _Behind | None] = {}
        self._features: list[FeatureSkew] = []
        self._looked_up = self._join()

    def features(self) -> list[FeatureSkew]:
        """Each feature that both sides have."""
        by_view = {view.name: view for view in self._views}
        computed = {one.name for one in self._signature.on_demand}
        asked = self._asked()
        found = []
        for feature in self._signature.features:
            why = self._concealed(feature.name)
            if why:
                self.not_compared[feature.name] = why
            elif feature.source == "request":
                if feature.name in asked:
                    found.append(self._compare(feature, asked[feature.name], None, only=asked["there"]))
                else:
                    self.not_compared[feature.name] = (
                        "sent by callers, and their requests meet no row of the target's source"
                    )
            elif feature.source in computed:
                continue  # Once the model runs again: its own functions compute it.
            elif feature.name in self._looked_up:
                view = by_view.get(feature.source)
                found.append(self._compare(feature, self._looked_up[feature.name], self._behind(view)))
            else:
                self.not_compared.setdefault(feature.name, f"the project has no view {feature.source} any more")
        self._features = found
        return found

    def answers(self, folder: Path) -> AnswerSkew | None:
        """The model run again, on what was logged and on what is offline; on-demand features join the others on the way."""
        sent = {one.name: self._logged(one) for one in self._signature.features if one.source == "request"}
        away = [one.name for one in self._signature.features if self._concealed(one.name)]
        away += [name for name in self._keys_concealed() if name not in away]
        if away:
            computed = {one.name for one in self._signature.on_demand}
            for one in self._signature.features:
                if one.source in computed:
                    self.not_compared.setdefault(one.name, "it is computed from what the log does not have")
            self.not_compared["the model's answers"] = f"the log has not what it was asked: {', '.join(away)}"
            return None
        runtime, missing = load_runtime(folder, self._card), self._settings.features
        how = policies(self._signature, missing.missing, missing.missing_by, missing.defaults, strict=False)
        on_demand = None
        if self._signature.on_demand:
            from mainspring.adapters.feast.on_demand import open_views

            on_demand = open_views(folder / FOLDER, self._signature)
        outputs: list[list[float]] = self._rows.column("output").to_pylist()
        logged_inputs = [self._logged(one) for one in self._signature.features]
        again = runtime.predict([list(row) for row in zip(*logged_inputs, strict=True)])
        repeated = [_gap(one, other) > _ANSWER_TOLERANCE for one, other in zip(again, outputs, strict=True)]
        predictor = BatchPredictor(self._card, runtime, [], how, on_demand)
        offline = predictor.answer(sent, self._looked_up) if sent or self._looked_up else None
        if offline is None:
            return AnswerSkew(len(outputs), 0, sum(repeated))
        self._computed(offline.places, offline.rows)
        if offline.refused:
            self.not_compared["requests"] = (
                f"{len(offline.refused)} are refused with their offline features: {offline.refused[0][1]}"
            )
        gaps = [
            (_gap(out, outputs[place]), self._ids[place])
            for place, out in zip(offline.places, offline.outputs, strict=True)
        ]
        moved = [(gap, name) for gap, name in gaps if gap > _ANSWER_TOLERANCE]
        return AnswerSkew(
            len(gaps),
            len(moved),
            sum(repeated),
            median(gap for gap, _ in moved) if moved else None,
            max(gap for gap, _ in moved) if moved else None,
            tuple(name for _, name in sorted(moved, reverse=True)[:_IDS]),
        )

    def _computed(self, places: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        """On-demand features, from offline inputs by the version's own functions."""
        views = {one.name for one in self._signature.on_demand}
        for position, feature in enumerate(self._signature.features):
            if feature.source in views:
                values: list[Any] = [None] * len(self._ids)
                for place, row in zip(places, rows, strict=True):
                    values[place] = row[position]
                there = [False] * len(self._ids)
                for place in places:
                    there[place] = True
                self._features.append(self._compare(feature, values, None, only=there))

    def _compare(
        self, feature: Feature, offline: Sequence[Any], behind: _Behind | None, *, only: Sequence[bool] | None = None
    ) -> FeatureSkew:
        served = self._logged(feature)
        rows = [
            Served(
                self._ids[place],
                self._at[place],
                served[place],
                self._stood_in(
                    feature, offline[place], self._flags[place].get(feature.name, frozenset()), served[place]
                ),
                self._flags[place].get(feature.name, frozenset()),
                None if behind is None else behind.served_at[place],
                None if behind is None else behind.row_at[place],
                None if behind is None else behind.known_at[place],
                None if behind is None else behind.before.get(feature.name, [None] * len(served))[place],
            )
            for place in range(len(served))
            if only is None or only[place]
        ]
        return compare(feature.name, feature.source, rows, self._tolerance)

    def _stood_in(self, feature: Feature, offline: Any, flags: frozenset[str], served: Any) -> Any:
        """Where a default stood in for what is missing offline as well, both sides have the default."""
        nothing = offline is None or offline != offline  # noqa: PLR0124  # NaN is not itself
        return served if nothing and "defaulted" in flags else offline

    def _logged(self, feature: Feature) -> list[Any]:
        name = f"feature.{feature.name}"
        if name not in self._rows.column_names:
            return [None] * self._rows.num_rows
        return looked_up_values(self._rows.column(name), feature)

    def _join(self) -> Columns:
        """Looked-up features as the offline store knew them at each request's event time."""
        import pyarrow as pa

        wanted = [*self._signature.features, *self._signature.inputs]
        if self._laptop.store is None or not self._views:
            return {}
        spine: dict[str, Any] = {EVENT_TIME: pa.array(self._at, pa.timestamp("us", "UTC"))}
        spine |= self._keys()
        of_views = {name for view in self._views for name, _ in (*view.features, *view.hidden)}
        # On-demand views are not computed here, and want to see their columns of the request all the same.
        asked = {name for view in self._laptop.views() if view.on_demand for name in view.inputs} - of_views
        spine |= {name: pa.nulls(self._rows.num_rows, pa.float64()) for name in asked if name not in spine}
        joined = self._laptop.store.historical(pa.table(spine), on_demand=False)
        blind = {view.name: self._blind(view) for view in self._views}
        found: Columns = {}
        for view in self._views:
            for name, _ in (*view.features, *view.hidden):
                if blind[view.name]:
                    self.not_compared[name] = blind[view.name]
        for one in wanted:
            if one.name in of_views and one.source != "request" and one.name not in self.not_compared:
                feature = one if one in self._signature.features else None
                found[one.name] = looked_up_values(joined.column(one.name), feature)
        return found

    def _keys(self) -> dict[str, Any]:
        """Entity keys by the names that the join asks for; those that the log has not are null."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        for view in self._views:
            for key in view.entities:
                logged = f"entity.{self._settings.features.entities.get(key, key)}"
                values = (
                    self._rows.column(logged).to_pylist()
                    if logged in self._rows.column_names
                    else [None] * self._rows.num_rows
                )
                columns[key] = pa.array([None if one is None else _plain_key(one) for one in values], pa.string())
        return columns

    def _blind(self, view: FeatureViewInfo) -> str:
        """Why a view's features cannot be looked up again; "" where they can."""
        columns = [self._settings.features.entities.get(key, key) for key in view.entities]
        hidden = [one for one in columns if one in self._dropped | self._hashed]
        return f"its key is not in the log, by log.drop or log.hash: {', '.join(hidden)}" if hidden else ""

    def _keys_concealed(self) -> list[str]:
        return [view.name for view in self._views if self._blind(view)]

    def _concealed(self, name: str) -> str:
        if name in self._dropped:
            return "log.drop keeps it out of the log"
        return "log.hash: the log has its hash alone" if name in self._hashed else ""

    def _behind(self, view: FeatureViewInfo | None) -> _Behind | None:
        """The rows behind a view's values, where they can be told."""
        import pyarrow as pa

        if view is None or self._laptop.store is None:
            return None
        if view.name not in self._known_rows:
            keys = {key: column for key, column in self._keys().items() if key in view.entities}
            at = {EVENT_TIME: pa.array(self._at, pa.timestamp("us", "UTC"))}
            now = self._laptop.store.newest(view.name, pa.table({**at, **keys}))
            found = None
            if now is not None:
                ages = f"age.{view.name}"
                logged = (
                    self._rows.column(ages).to_pylist() if ages in self._rows.column_names else [None] * len(self._at)
                )
                served_at = [
                    None if age is None else when.timestamp() - age for when, age in zip(self._at, logged, strict=True)
                ]
                # Where no row was served it is asked for long ago, and finds nothing.
                then = [0 if one is None else round(one * 1e6) for one in served_at]
                before = self._laptop.store.newest(
                    view.name, pa.table({EVENT_TIME: pa.array(then, pa.timestamp("us", "UTC")), **keys})
                )
                assert before is not None
                by_name = {one.name: one for one in self._signature.features}
                found = _Behind(
                    _seconds(now, "mainspring_row_at"),
                    _seconds(now, "mainspring_known_at"),
                    {
                        name: looked_up_values(before.column(name), by_name[name])
                        for name, _ in view.features
                        if name in by_name
                    },
                    served_at,
                )
            self._known_rows[view.name] = found
        return self._known_rows[view.name]

    def _asked(self) -> dict[str, Any]:
        """Columns of the target's source for the same requests; `there` says which requests have a row."""
        wanted = {one.name: one for one in self._signature.features if one.source == "request"}
        if self._settings.target.id is None or not wanted:
            return {}
        table = self._laptop.questions(datetime.now(UTC))
        place_of = {str(one): place for place, one in enumerate(table.column(REQUEST_ID).to_pylist())}
        places = [place_of.get(one) for one in self._ids]
        if not any(one is not None for one in places):
            return {}
        found: dict[str, Any] = {"there": [one is not None for one in places]}
        for name, feature in wanted.items():
            if name in table.column_names:
                values = looked_up_values(table.column(name), feature)
                found[name] = [None if one is None else values[one] for one in places]
        return found


def _by_feature(flags: Sequence[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for flag in flags:
        reason, _, name = flag.partition(":")
        found.setdefault(name, set()).add(reason)
    return {name: frozenset(reasons) for name, reasons in found.items()}


def _plain_key(text: str) -> str:
    """A key as text; 7.0 is 7."""
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _seconds(table: pa.Table, name: str) -> list[float | None]:
    import pyarrow as pa

    if name not in table.column_names:
        return [None] * table.num_rows
    found = table.column(name).cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    return [None if one is None else one / 1e6 for one in found]


def _gap(one: Sequence[float], other: Sequence[float] | None) -> float:
    if other is None or len(one) != len(other):
        return math.inf
    return max((abs(a - b) / max(1.0, abs(b)) for a, b in zip(one, other, strict=True)), default=0.0)
