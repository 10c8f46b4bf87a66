"""`World`: one policy's past, and the loop's parts over it; registry, challengers and losses that stand in for the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.clock import ReplayedClock
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Alert
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.time import floor_to
from mainspring.loop.platform import BlockScore, LossBlocks, Platform
from mainspring.performance.whole_days import by_block
from mainspring.platforms.backtest.history import History, moment
from mainspring.platforms.backtest.models import Fitted, Models
from mainspring.platforms.backtest.pipeline import ReplayedPipeline, ReplayedVersion
from mainspring.platforms.backtest.served import ServedDrift, ServedLog
from mainspring.platforms.challenger import MOST_ROWS
from mainspring.platforms.performance_rows import DAY
from mainspring.settings.load import LoadedProject
from mainspring.settings.paths import ProjectPaths


@dataclass
class World:
    """One policy's past: what it has in service since when, and every model that was fitted for it."""

    loaded: LoadedProject
    history: History
    models: Models
    folder: Path
    clock: ReplayedClock
    versions: dict[str, ReplayedVersion] = field(default_factory=dict)
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
            runner=ReplayedPipeline(self),
            registry=registry,
            server=nothing,
            router=nothing,
            log=nothing,
            labels=nothing,
            notifier=_Silence(),
            drift=ServedDrift(replace(self.loaded, paths=paths), registry, ServedLog(self)),
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
