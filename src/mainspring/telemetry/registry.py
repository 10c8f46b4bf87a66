"""Every metric's name, kind, labels and help, in one place; nothing emits a name that is not here.

Names are `mainspring_<noun>_<measure>_<unit>`; a counter ends in `_total`. Dashboards and alert rules use these only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]

LATENCY_BOUNDS_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of latency histograms: from what one row costs to the longest time-out."""


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
    "mainspring_predictor_ready", "gauge", "1 when the predictor takes requests.", "predictor"
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
LOG_APPENDED = MetricDefinition(
    "mainspring_log_appended_bytes_total", "counter", "Bytes appended to prediction-log segments.", "predictor"
)
LOG_FAILURES = MetricDefinition(
    "mainspring_log_failures_total", "counter", "Appends to the prediction log that failed.", "predictor"
)

LOOP_TICKS = MetricDefinition(
    "mainspring_loop_ticks_total", "counter", "Ticks of the loop, by whether something was done.", "loop", ("outcome",)
)
LOOP_TICK_LATENCY = MetricDefinition(
    "mainspring_loop_latency_seconds", "histogram", "Time of one tick.", "loop", bounds=LATENCY_BOUNDS_SECONDS
)
LOOP_DECISIONS = MetricDefinition(
    "mainspring_loop_decisions_total", "counter", "Decisions written to the ledger, by kind.", "loop", ("kind",)
)
ROLLOUT_WEIGHT = MetricDefinition(
    "mainspring_rollout_weight_percent", "gauge", "The candidate's share of the traffic; 0 without a rollout.", "loop"
)
LOG_ROWS = MetricDefinition(
    "mainspring_log_rows_total", "counter", "Rows of the prediction log turned into Parquet.", "loop"
)

DEFINITIONS: dict[str, MetricDefinition] = {
    value.name: value for value in list(globals().values()) if isinstance(value, MetricDefinition)
}
"""All of them by name."""
