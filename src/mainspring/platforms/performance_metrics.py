"""Gauges of the newest performance report: the version in service, all rows, the newest block of each metric."""

from __future__ import annotations

from datetime import datetime

from mainspring.domain.performance_report import PerformanceReport
from mainspring.telemetry import registry
from mainspring.telemetry.page import MetricsPage, emptied


class PerformanceMetrics:
    """The series on a page; none of them has a value before the first report."""

    def __init__(self, page: MetricsPage) -> None:
        self._metric = page.gauge(registry.PERFORMANCE_METRIC)
        self._band = page.gauge(registry.PERFORMANCE_BAND)
        self._worse = page.gauge(registry.PERFORMANCE_WORSE)
        self._p_value = page.gauge(registry.PERFORMANCE_P_VALUE)
        self._coverage = page.gauge(registry.PERFORMANCE_COVERAGE)
        self._age = page.gauge(registry.PERFORMANCE_AGE)
        self._seen: tuple[str, datetime] | None = None

    def look(self, report: PerformanceReport | None, now: datetime) -> None:
        """Bring the gauges up to the present."""
        if report is None:
            return
        self._age.set((now - report.at).total_seconds())
        if self._seen == (report.id, report.at):
            return
        self._seen = (report.id, report.at)
        for one in (self._metric, self._band, self._worse, self._p_value):
            emptied(one)
        own = [one for one in report.of_slice() if one.version == report.version]
        for basis in ("realised", "expected"):
            newest = {name: one.value for block in own for name, one in getattr(block, basis).items()}
            for name, value in newest.items():
                self._metric.labels(name, basis).set(value)
        bounds = [
            (band.metric, bound, getattr(band, bound))
            for band in report.bands
            if band.version == report.version and not band.slice
            for bound in ("low", "value", "high")
        ]
        for name, bound, value in bounds:
            if value is not None:
                self._band.labels(name, bound).set(value)
        for loss in (report.realised_loss, report.expected_loss):
            if loss is not None:
                self._worse.labels(loss.basis).set(loss.worse)
                self._p_value.labels(loss.basis).set(loss.p_value)
        if own:
            self._coverage.set(own[-1].coverage)
