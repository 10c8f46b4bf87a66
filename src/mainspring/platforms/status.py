"""`mainspring status`: what serves, what is under way and what the loop waits for, whether a loop runs or not.

Everything is looked at, nothing is changed: ledger, predictors, Envoy, the newest drift report, log and labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.adapters.processes.server import look as predictors_of
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.codec import from_json
from mainspring.domain.decision import Decision
from mainspring.domain.errors import MainspringError
from mainspring.domain.rollout import Arm, Endpoint, Rollout
from mainspring.domain.run import Run
from mainspring.loop.freeze import Freeze, freeze_of
from mainspring.loop.grants import in_words
from mainspring.loop.requests import pending
from mainspring.loop.state import RUN, RunRequest, read, rollout_of
from mainspring.platforms.business import business_of
from mainspring.platforms.coverage import Coverage, coverage
from mainspring.platforms.drift import latest
from mainspring.platforms.lease import holder
from mainspring.platforms.notifying import troubles
from mainspring.platforms.opened import opened_sources
from mainspring.platforms.performance import latest as latest_performance
from mainspring.platforms.rollout_tests import LaptopRolloutTests
from mainspring.platforms.up import METRICS, SETBACKS
from mainspring.platforms.waiting import waiting_for
from mainspring.ports import Source
from mainspring.rollout.rules import judge
from mainspring.settings.load import LoadedProject

_RUN_ENDED = ("gate_passed", "gate_refused", "run_failed")


@dataclass(frozen=True, slots=True)
class LoopState:
    """Whether a loop runs, as which process, where its metrics are, and which of its chores fail."""

    running: bool
    pid: int | None = None
    metrics: str = ""
    failing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Serving:
    """What callers reach: the address (empty: nothing answers), Envoy's weights, and the predictors behind it."""

    address: str
    version: str
    since: datetime | None
    weights_percent: dict[Arm, int]
    predictors: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class DriftState:
    """The newest report's verdict."""

    at: datetime
    version: str
    verdict: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class PerformanceState:
    """The newest report's verdict on the version in service, and what it goes by."""

    at: datetime
    version: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """The log's sink: what it has, and what it has not yet; as is known here, nothing is asked of it."""

    url: str
    rows: int
    waiting_rows: int
    waiting_since: datetime | None

    def in_words(self) -> str:
        """As a line for a person."""
        if self.waiting_since is None:
            return f"{self.url} has all {self.rows:,} rows that were sent"
        since = f"{self.waiting_since:%Y-%m-%d %H:%M} UTC"
        return f"{self.url} has {self.rows:,} rows; {self.waiting_rows:,} wait, of the hour from {since} on"


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at once. `run` is under way; `last_run` is how the one before ended.

    `verdict` is what the loop would do with the candidate now and why, `tests` what the tests say, with their odds, and `business`
    what the business metric says alone; without quality, which takes the registry. `alerts`: what does not reach people.
    """

    project: str
    at: datetime
    loop: LoopState
    serving: Serving
    rollout: Rollout
    verdict: str
    tests: str
    business: str
    run: Run | None
    last_run: Decision | None
    drift: DriftState | None
    performance: PerformanceState | None
    labels: Coverage | None
    requests: tuple[str, ...]
    waiting_for: tuple[str, ...]
    freeze: Freeze | None
    alerts: tuple[str, ...] = ()
    sink: SinkStatus | None = None


def look(loaded: LoadedProject) -> Status:
    """The state of the project, now."""
    paths, now = loaded.paths, datetime.now(UTC)
    ledger = SqliteLedger(paths.ledger)
    rollout, run = rollout_of(ledger), _run(loaded, ledger)
    pid = holder(paths.lease)
    failing = ledger.state(SETBACKS) if pid is not None else ""
    loop = LoopState(
        pid is not None,
        pid,
        (ledger.state(METRICS) or "") if pid is not None else "",
        from_json(dict[str, str], failing) if failing else {},
    )
    decisions = ledger.decisions()
    verdict = tests = business = ""
    if rollout.phase in ("shadow", "canary"):
        seen = EnvoyEvidence(paths, loaded.settings.rollout, writes=False)
        metric = business_of(loaded.settings, lambda: _sources(loaded), seen)
        evidence = LaptopRolloutTests(loaded.settings, seen, None, metric).look(rollout, now)
        tests = str(evidence.tests)
        business = str(evidence.business or "")
        found = judge(rollout, evidence, loaded.settings.rollout, now)
        verdict = f"{found.action.replace('_', ' ')}: {found.reason}"
    report = latest(paths.drift)
    requests = tuple(one.what for one in pending(ledger))
    return Status(
        loaded.settings.name,
        now,
        loop,
        _serving(loaded, rollout, decisions),
        replace(rollout, salt=""),  # It ties hashes to people.
        verdict,
        tests,
        business,
        run,
        next((one for one in reversed(decisions) if one.kind in _RUN_ENDED), None),
        None if report is None else DriftState(report.at, report.version, report.verdict, report.reason, report.rows),
        _performance(loaded),
        _labels(loaded, now),
        requests,
        tuple(waiting_for(loaded, ledger, running=loop.running, failing=loop.failing, run=run, verdict=verdict)),
        freeze_of(ledger, now),
        tuple(troubles(paths)),
        _sink(loaded),
    )


def lines(found: Status) -> list[tuple[str, str]]:
    """The status as named lines for a person."""
    serving, loop = found.serving, found.loop
    text = [("project", found.project)]
    text.append(("loop", f"runs (process {loop.pid}), metrics at {loop.metrics}" if loop.running else "does not run"))
    if serving.version:
        since = f", champion since {serving.since:%Y-%m-%d %H:%M} UTC" if serving.since else ""
        text.append(("serving", f"version {serving.version}{since}"))
        text.append(("address", _address_in_words(serving)))
    else:
        text.append(("serving", "no version yet"))
    text += rollout_lines(found)
    text.append(("run", _run_in_words(found)))
    drift = found.drift
    text.append(
        ("drift", f"{drift.verdict} at {drift.at:%Y-%m-%d %H:%M} UTC: {drift.reason}" if drift else "no report yet")
    )
    performance = found.performance
    if performance is not None:
        told = f"{performance.verdict} at {performance.at:%Y-%m-%d} UTC: {performance.reason}"
        text.append(("performance", told))
    if found.labels is not None:
        text.append(("labels", found.labels.in_words()))
    text += [("alerts", one) for one in found.alerts]
    if found.sink is not None:
        text.append(("log sink", found.sink.in_words()))
    text += [("request", one) for one in found.requests]
    text += [("waits for", one) for one in found.waiting_for]
    return text


def rollout_lines(found: Status) -> list[tuple[str, str]]:
    """The rollout alone: phase, weights, predictors, evidence."""
    rollout, serving = found.rollout, found.serving
    text = [("rollout", "none is under way" if rollout.phase == "idle" else in_words(rollout))]
    if found.verdict:
        text.append(("evidence", found.verdict))
        text.append(("tests", found.tests))
    if found.business:
        text.append(("business", found.business))
    if serving.weights_percent:
        weights = ", ".join(f"{arm} {percent} %" for arm, percent in serving.weights_percent.items())
        text.append(("weights", f"{weights} (as Envoy reports them)"))
    for one in serving.predictors:
        name = f"version {one.version}" + (f" build {one.build}" if one.build else "")
        state = "ready" if one.ready else one.reason or "not ready"
        ports = f"port {one.port}" + (f", gRPC port {one.grpc_port}" if one.grpc_port else "")
        text.append(("predictor", f"{name}: {state}, {ports}, process {one.pid}"))
    return text


def _address_in_words(serving: Serving) -> str:
    if not serving.address:
        return "nothing answers"
    over_grpc = serving.predictors and all(one.grpc_port for one in serving.predictors)
    return serving.address + (", over gRPC at the same port" if over_grpc else "")


def _serving(loaded: LoadedProject, rollout: Rollout, decisions: Sequence[Decision]) -> Serving:
    router = EnvoyRouter(loaded.settings, loaded.paths)
    try:
        weights = dict(router.observed())
    except MainspringError:
        weights = {}
    promoted = [one.at for one in decisions if one.kind == "promoted" and one.version == rollout.stable]
    return Serving(
        router.address() if weights else "",
        rollout.stable,
        promoted[-1] if promoted else None,
        weights,
        tuple(predictors_of(loaded.paths)),
    )


def _run(loaded: LoadedProject, ledger: SqliteLedger) -> Run | None:
    asked = read(ledger, RUN, RunRequest)
    if asked is None:
        return None
    # Only looked at: its steps' cache keys are nobody's business here.
    found = KfpLocalRunner(loaded.paths, "", lambda parameters: {}, on_failure="").status(asked.id)
    return found or Run(asked.id, asked.trigger, "requested")


def _run_in_words(found: Status) -> str:
    if found.run is not None:
        active = [step for step in found.run.steps if step.status == "running"]
        return f"{found.run.id} {found.run.status}" + (
            f", {active[-1].name} since {active[-1].seconds:.0f} s" if active else ""
        )
    last = found.last_run
    return f"none is under way; last, {last.at:%Y-%m-%d %H:%M} UTC: {last.what}" if last else "none yet"


def _sources(loaded: LoadedProject) -> Mapping[str, Source]:
    return opened_sources(loaded)


def _sink(loaded: LoadedProject) -> SinkStatus | None:
    from mainspring.platforms.sink import backlog

    sink = loaded.settings.log.sink
    if sink is None:
        return None
    waiting = backlog(loaded, sink)
    return SinkStatus(sink.url, waiting.held_rows, waiting.rows, waiting.oldest)


def _performance(loaded: LoadedProject) -> PerformanceState | None:
    report = latest_performance(loaded.paths.performance, loaded.settings.performance.by)
    if report is None:
        return None
    return PerformanceState(report.at, report.version, report.verdict, report.reason)


def _labels(loaded: LoadedProject, now: datetime) -> Coverage | None:
    try:
        return coverage(loaded, now)
    except MainspringError:
        return None  # A source that cannot be read is told by the chore that needs it.
