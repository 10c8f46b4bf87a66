"""The predictor's series on `MetricSlots`."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.domain.model_card import ModelCard
from mainspring.serving.config import ServeConfig
from mainspring.serving.lookup import Lookup
from mainspring.telemetry import registry
from mainspring.telemetry.slots import MetricSlots

_STATUSES = {
    "v1": (200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 503),
    "v2": (200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 503),
    "grpc": ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "UNAVAILABLE"),
}
"""What prediction requests are answered: HTTP statuses, and gRPC's codes."""


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
        self._missing = [slots.add(registry.FEATURE_MISSING, feature=name) for name in features]
        self._stale = [slots.add(registry.FEATURE_STALE, feature=name) for name in features]
        self._bytes = slots.add(registry.LOG_APPENDED)
        self._failures = slots.add(registry.LOG_FAILURES)

    @classmethod
    def of(cls, config: ServeConfig, card: ModelCard) -> PredictorMetrics:
        """The series of all workers of a configuration; made before they are forked."""
        names = [feature.name for feature in card.signature.features]
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

    def count(self, *, ready: bool, lookup: Lookup) -> None:
        """Bring in what is counted elsewhere, for the workers who are asked for all."""
        values = self._slots.values
        values[self._ready] = float(ready)
        for place, slot in enumerate(self._missing):
            values[slot] = float(lookup.missing_counts[place])
        for place, slot in enumerate(self._stale):
            values[slot] = float(lookup.stale_counts[place])

    def exposition(self) -> str:
        """All series of all workers in Prometheus' text format."""
        return self._slots.exposition()
