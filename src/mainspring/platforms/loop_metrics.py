"""`LoopMetrics`: what a running loop tells of itself, from its ticks, its ledger and the newest drift report."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mainspring.adapters.notify.outbox import DeliveryState, Outbox
from mainspring.domain.added_labels import AddedLabels
from mainspring.domain.decision import Decision, DecisionKind
from mainspring.domain.rollout import Arm, ArmCounts, RolloutPhase
from mainspring.loop import Platform, Tick
from mainspring.loop.outcome import FAILED, MOVED, WAITING, Outcome
from mainspring.loop.reconcile import CHORES
from mainspring.loop.retraining import gather
from mainspring.loop.state import ALARM, RUN, rollout_of
from mainspring.platforms.coverage import Coverage
from mainspring.platforms.drift import latest
from mainspring.platforms.performance_metrics import PerformanceMetrics
from mainspring.ports import LogHour, PredictionLog
from mainspring.retrain.policy import RetrainEvidence, budget_left, cooldown_left
from mainspring.telemetry import registry
from mainspring.telemetry.page import MetricsPage, emptied

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from mainspring.domain.time import TimeWindow
    from mainspring.platforms.sending import Sending

RUN_RESULTS: dict[DecisionKind, str] = {"gate_passed": "passed", "gate_refused": "refused", "run_failed": "failed"}
_ROLLOUT_RESULTS: dict[DecisionKind, str] = {"promoted": "promoted", "rolled_back": "rolled_back"}
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_PHASES: tuple[RolloutPhase, ...] = get_args(RolloutPhase)
_DELIVERIES: tuple[DeliveryState, ...] = get_args(DeliveryState)
_ARMS: tuple[Arm, ...] = get_args(Arm)


class LoopMetrics:
    """The loop's series on a page; those whose labels are known are there from the start."""

    def __init__(self, page: MetricsPage) -> None:
        self._ticks = page.counter(registry.LOOP_TICKS)
        self._seconds = page.histogram(registry.LOOP_TICK_LATENCY)
        self._chore_failures = page.counter(registry.CHORE_FAILURES)
        self._chore_failing = page.gauge(registry.CHORE_FAILING)
        self._decisions = page.counter(registry.LOOP_DECISIONS)
        self._runs = page.counter(registry.RUN_RESULTS)
        self._run_active = page.gauge(registry.RUN_ACTIVE)
        self._champion = page.gauge(registry.CHAMPION_INFO)
        self._champion_age = page.gauge(registry.CHAMPION_AGE)
        self._weight = page.gauge(registry.ROLLOUT_WEIGHT)
        self._phase = page.gauge(registry.ROLLOUT_PHASE)
        self._rollouts = page.counter(registry.ROLLOUT_RESULTS)
        self._arm_requests = page.gauge(registry.ARM_REQUESTS)
        self._arm_errors = page.gauge(registry.ARM_ERRORS)
        self._log_rows = page.counter(registry.LOG_ROWS)
        self._sink_waiting = page.gauge(registry.SINK_WAITING_ROWS)
        self._sink_age = page.gauge(registry.SINK_WAITING)
        self._sink_rows = page.counter(registry.SINK_ROWS)
        self._sink_failures = page.counter(registry.SINK_FAILURES)
        self._sink_mended = page.counter(registry.SINK_MENDED)
        self._request_failures = page.counter(registry.REQUEST_FAILURES)
        self._drift = page.gauge(registry.DRIFT_STATISTIC)
        self._drift_alarm = page.gauge(registry.DRIFT_ALARM)
        self._drift_age = page.gauge(registry.DRIFT_AGE)
        self._budget = page.gauge(registry.RETRAIN_BUDGET)
        self._cooldown = page.gauge(registry.RETRAIN_COOLDOWN)
        self._label_coverage = page.gauge(registry.LABEL_COVERAGE)
        self._label_late = page.gauge(registry.LABEL_LATE)
        self._label_contradicting = page.gauge(registry.LABEL_CONTRADICTING)
        self._label_added = page.gauge(registry.LABEL_ADDED)
        self._alerts = page.gauge(registry.ALERT_DELIVERIES)
        self._alerts_failing = page.gauge(registry.ALERT_FAILING)
        self._performance = PerformanceMetrics(page)
        self._report: tuple[int, str] | None = None
        self._evidence: RetrainEvidence | None = None
        for outcome in _OUTCOMES:
            self._ticks.labels(outcome)
        for chore in CHORES:
            self._chore_failures.labels(chore)
        for kind in get_args(DecisionKind):
            self._decisions.labels(kind)
        for result in RUN_RESULTS.values():
            self._runs.labels(result)
        for result in _ROLLOUT_RESULTS.values():
            self._rollouts.labels(result)

    def ticked(self, tick: Tick, seconds: float) -> None:
        """Count a tick: by `moved`, else `failed`, `waiting` or `still`."""
        found = tick.outcomes.values()
        self._ticks.labels(next((one for one in (MOVED, FAILED, WAITING) if one in found), "still")).inc()
        self._seconds.observe(seconds)
        for chore, outcome in tick.outcomes.items():
            self._chore_failing.labels(chore).set(outcome == FAILED)

    def failed(self, chore: str) -> None:
        """A chore raised."""
        self._chore_failures.labels(chore).inc()

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Count decisions that the ledger got, those of earlier loops at the start."""
        for one in decisions:
            self._decisions.labels(one.kind).inc()
            if one.kind in RUN_RESULTS:
                self._runs.labels(RUN_RESULTS[one.kind]).inc()
            if one.kind in _ROLLOUT_RESULTS:
                self._rollouts.labels(_ROLLOUT_RESULTS[one.kind]).inc()
            self._evidence = None

    def compacted(self, rows: int) -> None:
        """Rows of the prediction log became Parquet."""
        self._log_rows.inc(rows)

    def sent(self, sending: Sending, now: datetime) -> None:
        """What the log's sink has, and does not have yet."""
        done, failures = sending.counted()
        self._sink_rows.inc(done.rows)
        self._sink_mended.inc(done.mended)
        self._sink_failures.inc(failures)
        waiting = sending.looked()
        self._sink_waiting.set(waiting.rows)
        self._sink_age.set(waiting.seconds(now))

    def unanswered(self, requests: int) -> None:
        """Requests whose caller got no answer were found."""
        self._request_failures.inc(requests)

    def labelled(self, found: Coverage | None, added: Sequence[AddedLabels]) -> None:
        """How many predictions have their label, and what became of files that were added."""
        if found is not None and found.predictions:
            self._label_coverage.set(found.labelled / found.predictions)
            self._label_late.set(found.late)
            self._label_contradicting.set(found.contradicting)
        for result in ("new", "doubles", "corrections", "refused", "unmatched"):
            self._label_added.labels(result).set(sum(getattr(one, result) for one in added))

    def alerted(self, channels: Sequence[str], outbox: Outbox) -> None:
        """What became of alerts on their way to people, for the channels that there are."""
        now, counts, troubled = time.time(), outbox.counts(), outbox.troubled(since=math.inf)
        for channel in channels:
            for state in _DELIVERIES:
                self._alerts.labels(channel, state).set(counts.get((channel, state), 0))
            began = [one.first_at for one in troubled if one.channel == channel and one.first_at is not None]
            self._alerts_failing.labels(channel).set(now - min(began) if began else 0.0)

    def look(self, platform: Platform, drift: Path) -> None:
        """Bring the gauges up to the present; `drift` is the folder of the reports."""
        now, rollout, policy = platform.clock.now(), rollout_of(platform.ledger), platform.settings.retrain
        self._run_active.set(bool(platform.ledger.state(RUN)))
        self._weight.set(rollout.weight_percent)
        for phase in _PHASES:
            self._phase.labels(phase).set(phase == rollout.phase)
        counts = platform.tests.past(rollout)
        for arm in _ARMS:
            found = counts.get(arm, ArmCounts())
            self._arm_requests.labels(arm).set(found.requests)
            self._arm_errors.labels(arm).set(found.upstream_errors)
        self._drift_alarm.set(bool(platform.ledger.state(ALARM)))
        if rollout.stable:
            if self._evidence is None or self._evidence.champion != rollout.stable:
                self._evidence = gather(platform, rollout.stable)
                emptied(self._champion)
                self._champion.labels(platform.settings.name, rollout.stable).set(1)
            self._champion_age.set((now - self._evidence.champion_since).total_seconds())
            self._budget.set(budget_left(self._evidence, policy, now))
            self._cooldown.set(cooldown_left(self._evidence, policy, now).total_seconds())
        if platform.performance is not None:
            self._performance.look(platform.performance.latest(), now)
        self._look_at_drift(drift)
        if self._report is not None:
            self._drift_age.set(now.timestamp() - self._report[0])

    def _look_at_drift(self, folder: Path) -> None:
        report = latest(folder)
        if report is None:
            return
        seen = (int(report.at.timestamp()), report.id)
        if seen == self._report:
            return
        self._report = seen
        emptied(self._drift)
        for one in report.features:
            for statistic in ("ks", "psi", "kl"):
                value = getattr(one, statistic)
                if value is not None:
                    self._drift.labels(one.feature, one.reference, statistic).set(value)


class PacedLog:
    """A prediction log that is compacted at most every so many seconds: each time makes files. Counts what it compacts."""

    def __init__(self, log: PredictionLog, metrics: LoopMetrics, *, every_seconds: float) -> None:
        self._log = log
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._next = 0.0

    def compact(self) -> int:
        """Rows written; 0 before it is time again."""
        now = time.monotonic()
        if now < self._next:
            return 0
        self._next = now + self._every_seconds
        rows = self._log.compact()
        self._metrics.compacted(rows)
        return rows

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows as the log gives them."""
        return self._log.read(window, columns)

    def hours(self, window: TimeWindow) -> Mapping[datetime, LogHour]:
        """Hours as the log gives them."""
        return self._log.hours(window)
