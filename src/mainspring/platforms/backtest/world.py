"""What stands in for the outside while the past is replayed: registry, pipeline, rollout, challengers, losses, served log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.clock import ReplayedClock
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.codec import to_json
from mainspring.domain.decision import Alert, Decision
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.domain.model_card import CARD_FILE, ModelCard
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Rollout
from mainspring.domain.run import Run
from mainspring.domain.time import TimeWindow, floor_to, utc
from mainspring.drift.cells import Counts
from mainspring.drift.profile import Profile
from mainspring.drift.storage import FILE, profile_bytes
from mainspring.features.questions import EVENT_TIME, LABEL, REQUEST_ID
from mainspring.loop.champions import untried
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import BlockScore, LossBlocks, Platform
from mainspring.loop.state import ROLLOUT, dump, rollout_of
from mainspring.performance.whole_days import by_block
from mainspring.pipeline import split as parts
from mainspring.pipeline.gate import Beside, HeldOut, judge
from mainspring.pipeline.split import HOLDOUT, TRAIN, VALIDATION
from mainspring.platforms.backtest.history import FOLDER, History, moment
from mainspring.platforms.backtest.models import Fitted, Models
from mainspring.platforms.challenger import MOST_ROWS
from mainspring.platforms.drift import LaptopDrift
from mainspring.platforms.drift_reference import reference_profile
from mainspring.platforms.performance_rows import DAY
from mainspring.platforms.whole_file import write_whole
from mainspring.ports import LogHour
from mainspring.settings.load import LoadedProject
from mainspring.settings.paths import ProjectPaths

if TYPE_CHECKING:
    import pyarrow as pa

_COUNTED = 1000


@dataclass
class World:
    """One policy's past: what it has in service since when, and every model that was fitted for it."""

    loaded: LoadedProject
    history: History
    models: Models
    folder: Path
    clock: ReplayedClock
    versions: dict[str, _Version] = field(default_factory=dict)
    served: list[tuple[datetime, str]] = field(default_factory=list)
    used: dict[str, Fitted] = field(default_factory=dict)

    def fitted(self, places: Any, validation: Any = None) -> Fitted:
        """A model, counted as one of this policy's."""
        found = self.models.on(places, validation)
        self.used[found.key] = found
        return found

    def platform(self) -> Platform:
        """The loop's parts over this past; those that no chore of a replay turns on are not there."""
        nothing: Any = None
        registry = _Registry(self)
        paths = ProjectPaths(self.loaded.paths.root, self.folder)
        return Platform(
            settings=self.loaded.settings,
            clock=self.clock,
            ledger=SqliteLedger(self.folder / "ledger.db"),
            features=nothing,
            runner=_Pipeline(self),
            registry=registry,
            server=nothing,
            router=nothing,
            log=nothing,
            labels=nothing,
            notifier=_Silence(),
            drift=_Drift(replace(self.loaded, paths=paths), registry, _ServedLog(self)),
            challengers=_Challengers(self),
            tests=nothing,
            record_failures=lambda: 0,
            losses=_Losses(self),
        )

    def in_service(self, places: Any) -> Any:
        """The version that was in service when each row was asked, "" before the first."""
        import numpy as np

        starts = np.array([moment(at) for at, _ in self.served], "datetime64[us]")
        names = np.array(["", *(name for _, name in self.served)], object)
        return names[np.searchsorted(starts, self.history.asked[places], side="right")]

    def outputs(self, places: Any) -> Any:
        """The answers of what was in service when each row was asked; rows before the first model are none of these."""
        import numpy as np

        versions = self.in_service(places)
        found: Any = None
        for version in {name for _, name in self.served}:
            here = versions == version
            if here.any():
                some = self.versions[version].shipped.at(places[here])
                found = np.full((len(places), *some.shape[1:]), np.nan, np.float32) if found is None else found
                found[here] = some
        return found


@dataclass(frozen=True)
class _Version:
    version: ModelVersion
    shipped: Fitted
    evaluated: Fitted
    held_out: tuple[float, ...]
    profile: Path


class _Silence:
    def notify(self, alert: Alert) -> None:
        """Nobody is told of the past."""


class _Registry:
    """`ModelRegistry` in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def versions(self) -> Sequence[ModelVersion]:
        return [one.version for one in self._world.versions.values()]

    def register(self, draft: ModelVersion, model: Path) -> ModelVersion:
        return draft

    def set_alias(self, alias: str, version: str) -> None:
        """Aliases are for those who serve."""

    def annotate(self, version: str, tags: Mapping[str, str]) -> None:
        """Tags are for those who look at a registry."""

    def fetch(self, version: str) -> Path:
        return self._world.versions[version].profile


class _Pipeline:
    """`PipelineRunner`: divides, fits, judges and refits as the steps do, at once, and registers in the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._runs: dict[str, Run] = {}

    def start(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> None:
        try:
            self._runs[run_id] = self._run(run_id, trigger, parameters)
        except MainspringError as error:
            self._runs[run_id] = Run(run_id, trigger, "failed", reason=error.what)

    def status(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def wait(self, run_id: str, timeout_seconds: float) -> Run:
        return self._runs[run_id]

    def interrupt(self, run_id: str) -> None:
        """Nothing goes on between two ticks."""

    def cancel(self, run_id: str) -> None:
        """Nothing goes on between two ticks."""

    def _run(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> Run:
        import numpy as np

        world, settings = self._world, self._world.loaded.settings
        known_at = datetime.fromisoformat(parameters["known_at"])
        train_from = datetime.fromisoformat(parameters["train_from"]) if parameters.get("train_from") else None
        places = world.models.known(known_at)
        rows = world.history.rows.take(places)
        divided = parts.divide(rows, settings.split, time=EVENT_TIME, known_at=known_at, train_from=train_from)
        part = np.array(divided.parts)
        parts.require_classes(rows.column(LABEL), divided.parts, world.models.labels(places))
        candidate = world.fitted(places[part == TRAIN], places[part == VALIDATION])
        held = places[part == HOLDOUT]
        stable = world.versions.get(parameters.get("champion", ""))
        champion, build = None, ""
        if stable is not None:
            for model, name in ((stable.shipped, "shipped"), (stable.evaluated, "evaluated")):
                later = held[world.history.asked[held] > moment(model.trained_until)]
                if len(later):
                    champion, build, held = model, name, later
                    break
            else:
                return Run(
                    run_id, trigger, "failed", reason="there is no labelled row that the champion was not trained on"
                )
        passed, reason, metrics = self._judged(candidate, champion, build, stable, held)
        shipped = candidate
        everything = places[part != ""]
        if passed:
            kept = len(everything) - round(len(everything) * settings.split.validation_share)
            shipped = world.fitted(everything[:kept], everything[kept:])
        name = str(len(world.versions) + 1)
        by_days = by_block(
            settings.metric,
            world.models.truth(held, candidate.signature),
            candidate.at(held),
            world.history.asked[held].astype("datetime64[D]"),
        )
        version = ModelVersion(
            settings.name, name, run_id, "", "", False, "policy:auto", "onnx", shipped.signature,
            verdict="accepted" if passed else "refused", reason=reason, metrics=metrics, trained_until=shipped.trained_until,
        )  # fmt: skip
        profile = self._profile(shipped, everything, held, candidate.at(held)) if passed else world.folder
        world.versions[name] = _Version(version, shipped, candidate, tuple(by_days.values()), profile)
        return Run(run_id, trigger, "succeeded", passed=passed, version=name, reason=reason)

    def _judged(
        self, candidate: Fitted, champion: Fitted | None, build: str, stable: _Version | None, held: Any
    ) -> tuple[bool, str, dict[str, float]]:
        """The gate's verdict, found again by what it was taken from: its intervals cost more than a look-up."""
        world, settings = self._world, self._world.loaded.settings
        if settings.gate.own is not None:
            raise ConfigError("the gate decides by the project's own evaluate, which needs the models themselves")
        gate = settings.gate.model_dump_json()
        name = stable.version.version if stable is not None else ""
        told = [candidate.key, champion.key if champion is not None else "", build, name, gate, settings.seed]
        key = hashlib.sha256(json.dumps(told).encode() + held.tobytes()).hexdigest()[:32]
        file = world.loaded.paths.state / FOLDER / "verdicts" / f"{key}.json"
        if not file.exists():
            columns = {
                one: [str(value) for value in world.history.rows.column(one).take(held).to_pylist()]
                for one in settings.gate.slices
            }
            days = world.history.asked[held].astype("datetime64[D]")
            theirs = None if champion is None else champion.at(held)
            rows = HeldOut(world.models.truth(held, candidate.signature), candidate.at(held), days, theirs, columns)
            found = judge(rows, settings, Beside(name, build))
            metrics = {one: value.value for one, value in found.candidate.items()}
            write_whole(file, to_json([found.passed, found.reason, metrics]))
        passed, reason, metrics = json.loads(file.read_bytes())
        return passed, reason, metrics

    def _profile(self, shipped: Fitted, places: Any, held: Any, held_out: Any) -> Path:
        """The version's drift reference, as a registered version carries it."""
        import pyarrow as pa

        world = self._world
        folder = world.loaded.paths.state / FOLDER / "profiles" / shipped.key
        if not (folder / FILE).exists():
            settings, rows = world.loaded.settings, world.history.rows
            outputs = (held_out if held_out.ndim == 2 else held_out[:, None]).astype(float).tolist()
            answered = pa.table({"output": outputs, EVENT_TIME: rows.column(EVENT_TIME).take(held)})
            signature = world.models.answering(shipped.signature)
            profile = reference_profile(rows.take(places), answered, signature, settings.drift.every)
            card = ModelCard(settings.name, settings.task, "onnx", signature, trained_until=shipped.trained_until)
            write_whole(folder / CARD_FILE, to_json(card))
            # Last: a folder with it is whole.
            write_whole(folder / FILE, profile_bytes(profile))
        return folder


class _Challengers:
    """`ChallengerJob` on the past."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ids: dict[str, tuple[datetime, Fitted]] = {}

    def fit(self, known_at: datetime, train_from: datetime | None = None) -> str:
        import numpy as np

        name = f"{known_at.isoformat()}/{train_from}"
        if name not in self._ids:
            places = self._world.models.known(known_at, train_from)
            if len(places) > MOST_ROWS:
                step = len(places) / MOST_ROWS
                places = places[(np.arange(MOST_ROWS) * step).astype(np.int64)]
            cut = round(len(places) * (1 - self._world.loaded.settings.split.validation_share))
            self._ids[name] = (known_at, self._world.fitted(places[:cut], places[cut:]))
        return name

    def trained_until(self, challenger: str) -> datetime:
        return self._ids[challenger][0]

    def scores(self, challenger: str, champion: str, known_at: datetime) -> Sequence[BlockScore]:
        world, (since, model) = self._world, self._ids[challenger]
        theirs = world.versions[champion].shipped
        since = max(since, theirs.trained_until)
        places = world.models.known(known_at, since)
        places = places[world.history.asked[places] > moment(since)]
        known, days = world.models.truth(places, model.signature), world.history.asked[places].astype("datetime64[D]")
        metric = world.loaded.settings.metric
        ours = by_block(metric, known, model.at(places), days)
        others = by_block(metric, known, theirs.at(places), days)
        return [BlockScore(name, ours[name], others[name]) for name in ours if name in others]


class _Losses:
    """`LossJob` on the past."""

    def __init__(self, world: World) -> None:
        self._world = world

    def blocks(self, version: str, known_at: datetime) -> LossBlocks:
        world, of = self._world, self._world.versions[version]
        places = world.models.known(known_at)
        asked = world.history.asked[places]
        answered = world.in_service(places) == version
        places = places[answered & (asked < moment(floor_to(known_at, DAY)))]
        known, days = (
            world.models.truth(places, of.shipped.signature),
            world.history.asked[places].astype("datetime64[D]"),
        )
        found = by_block(world.loaded.settings.metric, known, of.shipped.at(places), days)
        return LossBlocks(of.held_out, tuple(found.values()))


class _Drift(LaptopDrift):
    """The loop's drift job with its verdicts; what explains them to people is left out, and nothing is written."""

    def _told(
        self,
        found: DriftReport,
        profile: Profile,
        current: Mapping[str, Counts],
        references: Mapping[Any, Mapping[str, Counts]],
    ) -> DriftReport:
        return found

    def _put(self, version: str, found: DriftReport) -> None:
        self._earlier[version] = [*self._before(version, found.at), found][-self._settings.persistence - 1 :]


class _ServedLog:
    """`PredictionLog` of what the replay served: every question, answered by the version in service when it was asked."""

    def __init__(self, world: World) -> None:
        self._world = world

    def compact(self) -> int:
        return 0

    def hours(self, window: TimeWindow) -> Mapping[datetime, LogHour]:
        import numpy as np

        history = self._world.history
        start = max(window.start, self._world.served[0][0]) if self._world.served else window.end
        asked = history.asked[history.before(start) : history.before(max(start, window.end))]
        found = np.unique(asked.astype("datetime64[h]"))
        return {utc(one.astype("datetime64[us]").item()): LogHour(str(one), 1) for one in found}

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        world, history = self._world, self._world.history
        first, last = (0, history.rows.num_rows) if window is None else map(history.before, (window.start, window.end))
        first = max(first, history.before(world.served[0][0])) if world.served else last
        places = np.arange(first, max(first, last))
        rows = history.rows.slice(first, max(0, last - first))
        answered = world.outputs(places) if len(places) else np.zeros(0, np.float32)
        ids = rows.column(REQUEST_ID) if REQUEST_ID in rows.column_names else pa.array([str(one) for one in places])
        outputs = answered[:, None] if answered.ndim == 1 else answered
        found = {
            "request_id": ids,
            "role": pa.array(["primary"] * len(places)),
            "outcome": pa.array(["answered"] * len(places)),
            "version": pa.array(world.in_service(places), pa.string()),
            "output": pa.array(outputs.astype(float).tolist(), pa.list_(pa.float64())),
            "flags": pa.array([[]] * len(places), pa.list_(pa.string())),
            "event_at": rows.column(EVENT_TIME),
            **{f"feature.{name}": rows.column(name) for name in history.sources},
        }
        return pa.table({name: found[name] for name in columns or found if name in found})


def rollout_time(loaded: LoadedProject) -> timedelta:
    """The least event time from a passed gate to a promotion."""
    return timedelta(seconds=sum(one.seconds for one in loaded.settings.rollout.strategy()))


def turn_rollout(world: World, platform: Platform) -> Outcome:
    """The chore that stands in for rollouts: an accepted version takes its least time, is promoted, and guarded."""
    now, ledger = platform.clock.now(), platform.ledger
    rollout = rollout_of(ledger)
    since = rollout.phase_since or now
    guard = world.loaded.settings.rollout.guard.time
    if rollout.phase == "guard":
        if now - since < guard:
            return STILL
        ledger.put_state({ROLLOUT: dump(replace(rollout, phase="idle", candidate="", phase_since=now))})
        return MOVED
    if rollout.phase == "canary":
        if now - since < rollout_time(world.loaded):
            return STILL
        return _promoted(world, platform, rollout, rollout.candidate, guard)
    fresh = untried(platform.registry.versions(), ledger, rollout.stable)
    if not fresh:
        return STILL
    name = fresh[-1].version
    if not rollout.stable:
        return _promoted(world, platform, rollout, name, timedelta(0))
    begun = replace(rollout, id=f"rollout-{name}", candidate=name, phase="canary", phase_since=now)
    what = f"version {name} is rolled out"
    row = Decision(f"rollout_started:{name}", "rollout_started", what, "it passed the gate", "loop", now, name)
    ledger.append(row, state={ROLLOUT: dump(begun)})
    return MOVED


def _promoted(world: World, platform: Platform, rollout: Rollout, name: str, guard: timedelta) -> Outcome:
    now = platform.clock.now()
    phase: Any = "guard" if guard else "idle"
    done = replace(
        rollout,
        id=f"rollout-{name}",
        stable=name,
        candidate=rollout.stable if guard else "",
        phase=phase,
        phase_since=now,
    )
    row = Decision(f"promoted:{name}", "promoted", f"version {name} is champion", "replayed", "loop", now, name)
    platform.ledger.append(row, state={ROLLOUT: dump(done)})
    world.served.append((now, name))
    return MOVED
