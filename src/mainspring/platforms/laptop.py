"""The laptop's parts list: files, DuckDB, Feast on SQLite, everything in the project's state folder."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from mainspring.adapters.processes.locks import locked
from mainspring.domain.errors import TemporaryError
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import first_asked, labelled, questions
from mainspring.features.schedule import first_tick, run_transforms
from mainspring.features.transforms import TransformSession, load_module
from mainspring.platforms.labelling import LaptopLabels
from mainspring.platforms.opened import opened_sources
from mainspring.ports import FeatureViewInfo
from mainspring.settings.load import LoadedProject
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    from mainspring.adapters.feast.store import FeastFeatureStore


class LaptopFeatures:
    """Keeps a project's views current: transforms by tick, offline rows, online store; and reads training sets."""

    def __init__(self, loaded: LoadedProject) -> None:
        self._settings = loaded.settings
        self._paths = loaded.paths
        self.sources = opened_sources(loaded)
        self.labels = LaptopLabels(loaded.settings, loaded.paths, self.sources)
        self.store = feature_store(loaded)
        self._session = TransformSession(loaded.settings, loaded.paths.root, self.sources)
        self._advanced_to: datetime | None = None

    def advance(self, until: datetime, *, to_train: bool = False) -> int:
        """Compute the rows that are due by `until` and bring the online store up to it; rows appended.

        `to_train`: what is trained reads no online store, and one that is away is left to the loop's next tick.
        """
        if self.store is None or until == self._advanced_to:
            return 0
        self.store.views()
        remembered = self._paths.features / "transforms.json"
        # The loop and a run's step may do this at the same time.
        with locked(self._paths.features / "transforms.lock"):
            written = run_transforms(self._session, self.store, remembered, until, start=self._start)
            try:
                self.store.materialize(until)
            except TemporaryError as error:
                if not to_train:
                    raise
                Log().warning("the online store is away", reason=error.what, where=error.where)
                return sum(written.values())
        self._advanced_to = until
        return sum(written.values())

    def entities(self) -> list[str]:
        """The join keys of the project's views."""
        return sorted({key for view in self.store.views() for key in view.entities}) if self.store else []

    def views(self) -> list[FeatureViewInfo]:
        """The project's views; none without a feature store."""
        return list(self.store.views()) if self.store is not None else []

    def versions(self) -> dict[str, str]:
        """A digest of how each view's values come about, by name: its definition, and the transform that computes it."""
        if self.store is None:
            return {}
        computed = set(self._session.views)
        return {
            name: f"{digest}+{self._session.definition(name)}" if name in computed else digest
            for name, digest in self.store.feature_versions().items()
        }

    def questions(self, known_at: datetime, window: TimeWindow | None = None, *, carry: bool = False) -> pa.Table:
        """Questions asked by `known_at`, with the labels known by then, whichever way they came.

        `carry`: and columns that have no role.
        """
        source = self.sources[self._settings.target.source]
        asked = questions(self._settings, source, self.entities(), known_at=known_at, window=window, carry=carry)
        return self.labels.complete(asked, known_at)

    def training_set(self, known_at: datetime) -> pa.Table:
        """Labelled questions with their features as they were known when each was asked."""
        rows, _ = labelled(self.questions(known_at), known_at)
        if self.store is None:
            return rows
        self.advance(known_at, to_train=True)
        return self.store.historical(rows)

    def _start(self) -> datetime | None:
        first = first_asked(self._settings, self.sources[self._settings.target.source])
        return None if first is None else first_tick(self._settings, self._session, first)


def feature_store(loaded: LoadedProject) -> FeastFeatureStore | None:
    """The project's views; None for a project without `features.py` and without a Feast repository."""
    definitions, settings = loaded.paths.root / "features.py", loaded.settings
    repo = settings.features.repo
    if repo is None and not definitions.is_file():
        return None
    # Feast takes seconds to import, and a project without views needs none of it.
    from mainspring.adapters.feast.store import FeastFeatureStore

    objects = {} if repo is not None else vars(load_module(definitions, "mainspring_project_features"))
    folder = None if repo is None else loaded.paths.root / repo

    return FeastFeatureStore(
        settings.name,
        loaded.paths.features,
        objects,
        settings.features.service,
        repo=folder,
        online=settings.features.online,
    )
