"""The predictor's series on `MetricSlots`."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.domain.model_card import ModelCard
from mainspring.serving.config import ServeConfig
from mainspring.serving.lookup import Reason
from mainspring.telemetry import registry
from mainspring.telemetry.slots import MetricSlots

_STATUSES = {
    "v1": (200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 503),
    "v2": (200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 503),
    "grpc": ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "UNAVAILABLE"),
}
"""What prediction requests are answered: HTTP statuses, and gRPC's codes."""

_BY_REASON: dict[Reason, registry.MetricDefinition] = {
    "missing": registry.FEATURE_MISSING,
    "stale": registry.FEATURE_STALE,
    "unavailable": registry.FEATURE_UNAVAILABLE,
    "defaulted": registry.FEATURE_DEFAULTED,
}


class PredictorMetrics:
    """Counts of one predictor; all series exist from the start."""

    def __init__(self, model: str, version: str, build: str, features: Sequence[str], workers: int = 1) -> None:
        self._slots = slots = MetricSlots(workers)
        self._info = slots.add(registry.PREDICTOR_INFO, model=model, version=version, build=build)
        slots.values[self._info] = 1.0
        self._ready = slots.add(registry.PREDICTOR_READY)
        self._requests = {
            (speaks, status): slots.add(registry.PREDICTOR_REQUESTS, protocol=speaks, status=str(status))
            for speaks, statuses in _STATUSES.items()
            for status in statuses
        }
        self._rows = slots.add(registry.PREDICTOR_ROWS)
        self._latency = slots.add(registry.PREDICTOR_LATENCY)
        self._features = {
            reason: [slots.add(definition, feature=name) for name in features]
            for reason, definition in _BY_REASON.items()
        }
        self._store_failures = slots.add(registry.ONLINE_FAILURES)
        self._bytes = slots.add(registry.LOG_APPENDED)
        self._failures = slots.add(registry.LOG_FAILURES)

    @classmethod
    def of(cls, config: ServeConfig, card: ModelCard) -> PredictorMetrics:
        """The series of all workers of a configuration; made before they are forked."""
        names = [feature.name for feature in (*card.signature.features, *card.signature.inputs)]
        return cls(config.name, config.version, config.build, names, config.workers)

    def use_row(self, worker: int) -> None:
        """Count as this worker from now on."""
        self._slots.use_row(worker)
        self._slots.clear_row()
        self._slots.values[self._info] = float(worker == 0)

    def answered(self, speaks: str, status: int | str) -> None:
        """A prediction request got this status."""
        self._slots.values[self._requests[speaks, status]] += 1.0

    def predicted(self, rows: int, seconds: float) -> None:
        """A request was answered with predictions."""
        self._slots.values[self._rows] += rows
        self._slots.observe(registry.PREDICTOR_LATENCY, self._latency, seconds)

    def logged(self, size: int) -> None:
        """Bytes went to the log."""
        self._slots.values[self._bytes] += size

    def log_failed(self, rows: int) -> None:
        """Rows could not be written to the log."""
        self._slots.values[self._failures] += rows

    def feature(self, reason: Reason, place: int) -> None:
        """A feature was not there, or a default stood in for it."""
        self._slots.values[self._features[reason][place]] += 1.0

    def store_failed(self) -> None:
        """The online store did not answer."""
        self._slots.values[self._store_failures] += 1.0

    def readiness(self, ready: bool) -> None:
        """Whether this worker takes requests."""
        self._slots.values[self._ready] = float(ready)

    def exposition(self) -> str:
        """All series of all workers in Prometheus' text format."""
        return self._slots.exposition()
