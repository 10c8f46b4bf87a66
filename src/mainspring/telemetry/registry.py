"""Every metric's name, kind, labels and help, in one place; nothing emits a name that is not here.

Names are `mainspring_<noun>_<measure>_<unit>`; a counter ends in `_total`. Dashboards and alert rules use these only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]

LATENCY_BOUNDS_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of latency histograms: from what one row costs to the longest time-out."""
TICK_BOUNDS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""From a tick that finds nothing to do to one that fits a challenger on years of data."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A metric's contract. `process` is who emits it; `bounds` are a histogram's upper bounds, in its unit."""

    name: str
    kind: MetricKind
    help: str
    process: Literal["predictor", "loop"]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


PREDICTOR_INFO = MetricDefinition(
    "mainspring_predictor_info", "gauge", "1, with the model version and build that is served.", "predictor",
    ("model", "version", "build"),
)  # fmt: skip
PREDICTOR_READY = MetricDefinition(
    "mainspring_predictor_ready",
    "gauge",
    "Processes of the predictor that take requests; 1 without more workers.",
    "predictor",
)
PREDICTOR_REQUESTS = MetricDefinition(
    "mainspring_predictor_requests_total", "counter", "Requests for predictions, by protocol and kind of answer.",
    "predictor", ("protocol", "status"),
)  # fmt: skip
PREDICTOR_ROWS = MetricDefinition(
    "mainspring_predictor_rows_total", "counter", "Rows answered with a prediction.", "predictor"
)
PREDICTOR_LATENCY = MetricDefinition(
    "mainspring_predictor_latency_seconds", "histogram", "Time from a request's body to its answer, answered requests.",
    "predictor", bounds=LATENCY_BOUNDS_SECONDS,
)  # fmt: skip
FEATURE_MISSING = MetricDefinition(
    "mainspring_feature_missing_total", "counter", "Values that were missing when a model needed them, by feature.",
    "predictor", ("feature",),
)  # fmt: skip
FEATURE_STALE = MetricDefinition(
    "mainspring_feature_stale_total", "counter", "Values older than their view's time to live, by feature.",
    "predictor", ("feature",),
)  # fmt: skip
FEATURE_UNAVAILABLE = MetricDefinition(
    "mainspring_feature_unavailable_total", "counter", "Values that the online store did not give in time, by feature.",
    "predictor", ("feature",),
)  # fmt: skip
FEATURE_DEFAULTED = MetricDefinition(
    "mainspring_feature_defaulted_total", "counter", "Values for which the project's default stood in, by feature.",
    "predictor", ("feature",),
)  # fmt: skip
ONLINE_FAILURES = MetricDefinition(
    "mainspring_online_failures_total", "counter", "Look-ups that the online store did not answer.", "predictor"
)
LOG_APPENDED = MetricDefinition(
    "mainspring_log_appended_bytes_total", "counter", "Bytes appended to prediction-log segments.", "predictor"
)
LOG_FAILURES = MetricDefinition(
    "mainspring_log_failures_total", "counter", "Rows that could not be written to the prediction log.", "predictor"
)

LOOP_TICKS = MetricDefinition(
    "mainspring_loop_ticks_total", "counter", "Ticks of the loop, by what came of them.", "loop", ("outcome",)
)
LOOP_TICK_LATENCY = MetricDefinition(
    "mainspring_loop_latency_seconds", "histogram", "Time of one tick.", "loop", bounds=TICK_BOUNDS_SECONDS
)
CHORE_FAILURES = MetricDefinition(
    "mainspring_chore_failures_total", "counter", "Failures of the loop's chores, by chore.", "loop", ("chore",)
)
CHORE_FAILING = MetricDefinition(
    "mainspring_chore_failing", "gauge", "1 while a chore fails and rests before it is tried again.", "loop", ("chore",)
)
LOOP_DECISIONS = MetricDefinition(
    "mainspring_loop_decisions_total", "counter", "Decisions in the ledger, by kind.", "loop", ("kind",)
)
RUN_RESULTS = MetricDefinition(
    "mainspring_run_results_total", "counter", "Ended pipeline runs: passed or refused by the gate, or failed.", "loop",
    ("result",),
)  # fmt: skip
RUN_ACTIVE = MetricDefinition("mainspring_run_active", "gauge", "1 while a run was asked for or is under way.", "loop")
CHAMPION_INFO = MetricDefinition(
    "mainspring_champion_info", "gauge", "1, with the version in service.", "loop", ("model", "version")
)
CHAMPION_AGE = MetricDefinition(
    "mainspring_champion_age_seconds", "gauge", "Time since the version in service was trained.", "loop"
)
ROLLOUT_WEIGHT = MetricDefinition(
    "mainspring_rollout_weight_percent", "gauge", "The candidate's share of the traffic; 0 without a rollout.", "loop"
)
ROLLOUT_PHASE = MetricDefinition(
    "mainspring_rollout_phase", "gauge", "1 for the phase that the rollout is in.", "loop", ("phase",)
)
ROLLOUT_RESULTS = MetricDefinition(
    "mainspring_rollout_results_total", "counter", "Ended rollouts: promoted or rolled back.", "loop", ("result",)
)
ARM_REQUESTS = MetricDefinition(
    "mainspring_arm_requests", "gauge", "Requests assigned to each arm since the rollout began.", "loop", ("arm",)
)
ARM_ERRORS = MetricDefinition(
    "mainspring_arm_errors", "gauge", "Requests that each arm failed since the rollout began, retried or not.", "loop",
    ("arm",),
)  # fmt: skip
LOG_ROWS = MetricDefinition(
    "mainspring_log_rows_total", "counter", "Rows of the prediction log turned into Parquet.", "loop"
)
SINK_WAITING_ROWS = MetricDefinition(
    "mainspring_sink_waiting_rows", "gauge", "Rows of the prediction log that its sink does not have yet.", "loop"
)
SINK_WAITING = MetricDefinition(
    "mainspring_sink_waiting_seconds", "gauge", "Age of the oldest hour of the log with rows that its sink does not have.",
    "loop",
)  # fmt: skip
SINK_ROWS = MetricDefinition(
    "mainspring_sink_rows_total",
    "counter",
    "Rows sent to the log's sink; those of an hour again each time it grew.",
    "loop",
)
SINK_FAILURES = MetricDefinition(
    "mainspring_sink_failures_total", "counter", "Times that the log's sink did not take what was sent.", "loop"
)
SINK_MENDED = MetricDefinition(
    "mainspring_sink_mended_hours_total", "counter", "Hours that the log's sink did not have as they were sent.", "loop"
)
REQUEST_FAILURES = MetricDefinition(
    "mainspring_request_failures_total", "counter", "Requests whose caller got no answer.", "loop"
)
DRIFT_STATISTIC = MetricDefinition(
    "mainspring_drift_statistic", "gauge", "Distance of the newest window from a reference, by feature.", "loop",
    ("feature", "reference", "statistic"),
)  # fmt: skip
DRIFT_ALARM = MetricDefinition(
    "mainspring_drift_alarm", "gauge", "1 while a drift alarm stands for the version in service.", "loop"
)
DRIFT_AGE = MetricDefinition(
    "mainspring_drift_age_seconds", "gauge", "Time since the end of the newest reported window.", "loop"
)
PERFORMANCE_METRIC = MetricDefinition(
    "mainspring_performance_metric", "gauge",
    "A metric of the version in service on the newest block that has it, realised or expected.", "loop",
    ("metric", "basis"),
)  # fmt: skip
PERFORMANCE_BAND = MetricDefinition(
    "mainspring_performance_band", "gauge",
    "The metric of the version in service on held-out rows (value), and where a block lies if nothing changed (low, high).",
    "loop", ("metric", "bound"),
)  # fmt: skip
PERFORMANCE_WORSE = MetricDefinition(
    "mainspring_performance_worse", "gauge",
    "1 while the version in service is worse than on its held-out rows, by labels or by what is to be expected.", "loop",
    ("basis",),
)  # fmt: skip
PERFORMANCE_P_VALUE = MetricDefinition(
    "mainspring_performance_p_value", "gauge", "The one-sided p-value of that question.", "loop", ("basis",)
)
PERFORMANCE_COVERAGE = MetricDefinition(
    "mainspring_performance_coverage_ratio", "gauge", "Share of the labelled rows in the newest block of the version in service.",
    "loop",
)  # fmt: skip
PERFORMANCE_AGE = MetricDefinition(
    "mainspring_performance_age_seconds",
    "gauge",
    "Time since the end of the days that the newest report covers.",
    "loop",
)
LABEL_COVERAGE = MetricDefinition(
    "mainspring_label_coverage_ratio", "gauge", "Share of the newest predictions whose label is known.", "loop"
)
LABEL_LATE = MetricDefinition(
    "mainspring_label_late_rows", "gauge", "Labels of the newest predictions that became known late.", "loop"
)
LABEL_CONTRADICTING = MetricDefinition(
    "mainspring_label_contradicting_rows", "gauge",
    "Requests of which more than one label was said beside the target's source.", "loop",
)  # fmt: skip
LABEL_ADDED = MetricDefinition(
    "mainspring_label_added_rows", "gauge",
    "Rows of label files that were added: new, doubles, corrections (among the new), refused, unmatched when added.",
    "loop", ("result",),
)  # fmt: skip
ALERT_DELIVERIES = MetricDefinition(
    "mainspring_alert_deliveries_rows", "gauge",
    "Alerts of the last months by channel and what became of them: waiting, failing, sent, given_up.",
    "loop", ("channel", "state"),
)  # fmt: skip
ALERT_FAILING = MetricDefinition(
    "mainspring_alert_failing_seconds", "gauge",
    "Time since the oldest alert that a channel does not take was first tried; 0 while all get through.", "loop", ("channel",),
)  # fmt: skip
RETRAIN_BUDGET = MetricDefinition(
    "mainspring_retrain_budget_runs", "gauge", "Retrainings that the policy's budget still allows.", "loop"
)
RETRAIN_COOLDOWN = MetricDefinition(
    "mainspring_retrain_cooldown_seconds", "gauge", "Time until the policy's cooldown is over.", "loop"
)

DEFINITIONS: dict[str, MetricDefinition] = {
    value.name: value for value in list(globals().values()) if isinstance(value, MetricDefinition)
}
"""All of them by name."""
