"""Ports: what a stage or the loop asks of the outside world, as Protocols of at most five methods.

What is written can be read back. Tables cross a port as `pyarrow.Table` within a process and as a path between
processes. Every method that writes is idempotent: called again with the same arguments it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mainspring.domain.decision import Alert, Decision
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Arm, ArmCounts, Endpoint, EvidenceBatch, Rollout, UserRound
from mainspring.domain.run import Run
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa


class Clock(Protocol):
    """Event time: the wall clock in production, a replayed one when history is replayed."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        ...


class Source(Protocol):
    """Rows of one declared source, as they were known at an instant."""

    def read(self, *, known_at: datetime, window: TimeWindow | None = None, limit: int | None = None) -> pa.Table:
        """Rows available at `known_at` (and, with `window`, whose event time lies in it), checked against the declaration."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureViewInfo:
    """A feature view: its entity (join) keys, feature names with types, time to live, and where its rows lie.

    `entities` are the keys as questions have them; `join_keys` the same keys as rows have them, which a feature service
    may rename. An `on_demand` view computes its features from `inputs` when they are asked for; `hidden` are features
    of another view that the model does not take, and on-demand views do.
    """

    name: str
    entities: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    ttl_seconds: float | None
    path: Path | None
    on_demand: bool = False
    join_keys: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()


class FeatureStore(Protocol):
    """Feast, or what stands in for it: offline rows by event date, point-in-time joins, an online store."""

    def views(self) -> Sequence[FeatureViewInfo]:
        """The views the project's model uses, after applying the project's definitions."""
        ...

    def append(self, view: str, rows: pa.Table) -> int:
        """Append rows (`event_timestamp`, entity keys, features) to a view's offline files; returns rows written."""
        ...

    def historical(self, spine: pa.Table) -> pa.Table:
        """Join the views to `spine` (`event_timestamp`, entity keys, any further column kept) as known at each instant."""
        ...

    def materialize(self, until: datetime) -> int:
        """Bring the online store up to the rows available at `until`; returns rows written."""
        ...

    def online(self, keys: Sequence[Mapping[str, Any]]) -> pa.Table:
        """The online store's current features for each key row."""
        ...


class DataValidator(Protocol):
    """Runs the project's expectations over a table."""

    def validate(self, table: pa.Table, page: Path) -> Sequence[ExpectationResult]:
        """Every expectation's result; writes a readable page to `page` (HTML)."""
        ...


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation on the data: what it `asked`, whether it held, how many rows broke it, and examples of them."""

    expectation: str
    column: str
    severity: str
    success: bool
    unexpected_count: int
    examples: tuple[str, ...] = ()
    asked: str = ""


class PipelineRunner(Protocol):
    """Runs the six steps. One run at a time; a run is found again by its id."""

    def start(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> None:
        """Start the run unless it was already started; returns at once."""
        ...

    def status(self, run_id: str) -> Run | None:
        """The run as it stands, None when it was never started."""
        ...

    def wait(self, run_id: str, timeout_seconds: float) -> Run:
        """Wait until the run ended, or the time is over; the run as it stands then."""
        ...

    def interrupt(self, run_id: str) -> None:
        """Stop the run's processes without ending it: `start` goes on with it."""
        ...

    def cancel(self, run_id: str) -> None:
        """Stop the run and its steps; an ended run stays as it is."""
        ...


class ModelRegistry(Protocol):
    """MLflow's registry, or another: versions, aliases and tags."""

    def versions(self) -> Sequence[ModelVersion]:
        """All versions with their aliases, oldest first."""
        ...

    def register(self, draft: ModelVersion, model: Path) -> ModelVersion:
        """Register the model folder as a new version, or return the version that `draft.run_id` already made."""
        ...

    def set_alias(self, alias: str, version: str) -> None:
        """Point `alias` at a version; an empty version removes the alias."""
        ...

    def annotate(self, version: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a version."""
        ...

    def fetch(self, version: str) -> Path:
        """A local folder with the version's files, its digest checked."""
        ...


class ModelServer(Protocol):
    """Predictor processes, one per model version (and build)."""

    def start(self, version: ModelVersion, model: Path, *, build: str = "") -> None:
        """Start a predictor unless one runs; returns before it is ready."""
        ...

    def endpoints(self) -> Sequence[Endpoint]:
        """The predictors that should run, whether they are ready, and why not."""
        ...

    def stop(self, version: str, *, build: str = "") -> None:
        """Drain and stop a predictor."""
        ...


class TrafficRouter(Protocol):
    """Envoy or Istio: sends callers to stable and candidate as a `Rollout` says.

    `tests/adapters/traffic` is what all of them do. What a request was assigned is stamped into its headers before any
    fail-over: `mainspring-arm`, `-rollout`, `-weight`, `-cohort`, `-user` (the user's key, hashed with the rollout's salt), and
    on a copy `mainspring-role: shadow`.
    """

    def apply(self, rollout: Rollout, endpoints: Sequence[Endpoint]) -> None:
        """Write the routes; returns once they were read back from the proxy. After an error they are what they were."""
        ...

    def observed(self) -> Mapping[Arm, int]:
        """The weights in percent that the proxy itself reports; empty when it serves nothing yet."""
        ...

    def address(self) -> str:
        """The base URL that callers use."""
        ...

    def close(self) -> None:
        """Drain and stop the proxy, where it is ours."""
        ...


class MetricsSource(Protocol):
    """Counts of requests by assigned arm; copies of requests are counted for themselves."""

    def counts(self, rollout_id: str) -> Mapping[Arm, ArmCounts]:
        """Counts since that rollout began, by assigned arm."""
        ...

    def batches(self, rollout_id: str) -> Sequence[EvidenceBatch]:
        """The requests that were split by weight, in order and weight by weight; only the last batch still grows."""
        ...

    def shadows(self, rollout_id: str) -> ArmCounts:
        """What the candidate answered to copies of stable's requests."""
        ...

    def users(self, rollout_id: str) -> Sequence[UserRound]:
        """Users who keep their arm, each counted once a round, in the order in which the rounds began."""
        ...

    def members(self, rollout_id: str, weight_percent: int) -> pa.Table:
        """Each user at that weight, oldest first: `user` (a hash with the rollout's salt, or the id of a request that is a unit
        of its own), `arm`, `since`, and the ids of his `requests` where they are kept."""
        ...


@dataclass(frozen=True, slots=True)
class LogHour:
    """An hour of the log. `token` is another one when rows came or went; `size_bytes` says what reading it may cost."""

    token: str
    size_bytes: int


class PredictionLog(Protocol):
    """Every acknowledged answer and every failure."""

    def compact(self) -> int:
        """Turn closed segments into Parquet by event date and hour; returns rows written."""
        ...

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows whose event time lies in the window, each identity once."""
        ...

    def hours(self, window: TimeWindow) -> Mapping[datetime, LogHour]:
        """The hours of event time that have rows and meet the window, by their beginnings, without reading rows."""
        ...


class LabelSource(Protocol):
    """What really happened, once it is known."""

    def labels(self, known_at: datetime, window: TimeWindow | None = None) -> pa.Table:
        """Columns `request_id`, `label`, `event_at`, `known_at`: labels known at `known_at`, asked for in the window."""
        ...


class Ledger(Protocol):
    """Append-only decisions, and the small state that the loop turns on, written in one transaction."""

    def append(self, decision: Decision, *, state: Mapping[str, str] | None = None) -> bool:
        """Write a decision and, in the same transaction, state; False when that decision was already there."""
        ...

    def decisions(self, *, since: datetime | None = None, kind: str = "") -> Sequence[Decision]:
        """Decisions in the order in which they were written."""
        ...

    def state(self, key: str) -> str | None:
        """The latest value of a key, None when never written."""
        ...

    def states(self, prefix: str) -> Mapping[str, str]:
        """Keys that begin with `prefix` and are not empty, with their latest values."""
        ...

    def put_state(self, state: Mapping[str, str]) -> None:
        """Write several keys in one transaction."""
        ...


class Notifier(Protocol):
    """Tells people."""

    def notify(self, alert: Alert) -> None:
        """Take an alert over; the same one again changes nothing. Failing to tell people never stops the caller: an alert that
        cannot even be kept is a `TemporaryError`, and stays owed."""
        ...
