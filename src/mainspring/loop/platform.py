"""`Platform`: the ports that the loop turns on, as one parts list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mainspring.domain.drift_report import DriftReport
from mainspring.domain.performance_report import PerformanceReport
from mainspring.domain.rollout import Arm, ArmCounts, Rollout
from mainspring.ports import (
    Clock,
    LabelSource,
    Ledger,
    ModelRegistry,
    ModelServer,
    Notifier,
    PipelineRunner,
    PredictionLog,
    TrafficRouter,
)
from mainspring.rollout.rules import StepEvidence
from mainspring.settings.project import ProjectSettings


class Features(Protocol):
    """Keeps the feature views current."""

    def advance(self, until: datetime) -> int:
        """Compute the views' rows that are due by `until` and bring the online store up to it; rows written."""
        ...


class DriftJob(Protocol):
    """Compares the newest window with the references of the model in service."""

    def run(self, version: str, at: datetime) -> DriftReport:
        """The report for the window that ended at `at`; written where people find it."""
        ...


class PerformanceJob(Protocol):
    """Says what versions achieved, what is to be expected, and whether the one in service became worse."""

    def run(self, version: str, at: datetime) -> PerformanceReport:
        """The report on whole days up to `at`, `version` being in service; written where people find it."""
        ...

    def latest(self) -> PerformanceReport | None:
        """The newest report, None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class BlockScore:
    """Quality of two models on one block of time that neither was trained on, in the gate's own metric."""

    block: str
    challenger: float
    champion: float
    rows: int


class ChallengerJob(Protocol):
    """A cheap refit on everything labelled, asked what a retraining would be worth."""

    def fit(self, known_at: datetime) -> str:
        """Fit a challenger on what is known; returns its id. Called again for the same instant it does nothing."""
        ...

    def trained_until(self, challenger: str) -> datetime:
        """The newest label that the challenger was trained on."""
        ...

    def scores(self, challenger: str, champion: str, known_at: datetime) -> Sequence[BlockScore]:
        """Scores on every whole block after both were trained, oldest first."""
        ...


class RolloutTests(Protocol):
    """The tests of a rollout, up to date with what its arms did."""

    def look(self, rollout: Rollout, now: datetime) -> StepEvidence:
        """What is known at the rollout's step, from the requests so far and the labels known `now`."""
        ...

    def past(self, rollout: Rollout) -> Mapping[Arm, ArmCounts]:
        """Counts since the rollout began, by assigned arm."""
        ...


@dataclass(frozen=True, slots=True)
class Doomed:
    """A version that goes: its pipeline run, and the tracking's runs that hold its models."""

    version: str
    run_id: str
    tracking_runs: tuple[str, ...]
    why: str


class Collector(Protocol):
    """Deletes what is not kept. Called again, or after it was killed, it deletes what is left."""

    def collect(self, doomed: Doomed) -> None:
        """The version from the registry, then its models from the tracking's runs, then its files here."""
        ...

    def sweep(self, now: datetime) -> int:
        """Files that nothing refers to any more, and the log's that are too old; returns bytes."""
        ...


@dataclass(frozen=True)
class Platform:
    """Everything that the loop needs, behind ports. Built by `mainspring.platforms`."""

    settings: ProjectSettings
    clock: Clock
    ledger: Ledger
    features: Features
    runner: PipelineRunner
    registry: ModelRegistry
    server: ModelServer
    router: TrafficRouter
    log: PredictionLog
    labels: LabelSource
    notifier: Notifier
    drift: DriftJob
    challengers: ChallengerJob
    tests: RolloutTests
    record_failures: Callable[[], int]
    collector: Collector | None = None
    performance: PerformanceJob | None = None
