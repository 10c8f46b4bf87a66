"""`MetricsPage`: registered metrics by prometheus-client, on a port of their own."""

from __future__ import annotations

import warnings

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
    values,
)

from mainspring.domain.errors import ConfigError
from mainspring.telemetry.registry import DEFINITIONS, MetricDefinition

# Feast turns the client's multi-process mode on in every process that imports it: each value would be a file then.
values.ValueClass = values.MutexValue


class MetricsPage:
    """Metrics of one process, made from their definitions.

    Errors: `KeyError` for a metric that is not registered.

    >>> from mainspring.telemetry.registry import LOG_ROWS
    >>> page = MetricsPage()
    >>> page.counter(LOG_ROWS).inc(3)
    >>> page.registry.get_sample_value("mainspring_log_rows_total")
    3.0
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # A `_created` sample beside each counter would be a name that no one registered.
        disable_created_metrics()  # type: ignore[no-untyped-call]

    def counter(self, definition: MetricDefinition) -> Counter:
        """A counter; its name ends in `_total`."""
        _registered(definition, "counter")
        return Counter(definition.name, definition.help, definition.labels, registry=self.registry)

    def gauge(self, definition: MetricDefinition) -> Gauge:
        """A gauge."""
        _registered(definition, "gauge")
        return Gauge(definition.name, definition.help, definition.labels, registry=self.registry)

    def histogram(self, definition: MetricDefinition) -> Histogram:
        """A histogram with the definition's bounds."""
        _registered(definition, "histogram")
        return Histogram(
            definition.name, definition.help, definition.labels, registry=self.registry, buckets=definition.bounds
        )

    def serve(self, port: int) -> str:
        """Answer at `/metrics` on this machine until `close`; returns the page's address. 0 takes a free port.

        Errors: `ConfigError` when the port is in use.
        """
        try:
            self._server, self._thread = start_http_server(port, "127.0.0.1", self.registry)
        except OSError as error:
            raise ConfigError(
                f"port {port} is in use",
                where="mainspring.yaml: serving.metrics_port",
                valid="a free port, or 0 for any",
                next_step="mainspring doctor",
            ) from error
        return f"http://127.0.0.1:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _registered(definition: MetricDefinition, kind: str) -> None:
    if DEFINITIONS[definition.name] is not definition or definition.kind != kind:
        raise KeyError(f"{definition.name} is registered otherwise")


def emptied(metric: Gauge) -> None:
    """Take all of a metric's series away."""
    with warnings.catch_warnings():
        # Feast's setting again: the client warns that it cannot do this over several processes.
        warnings.simplefilter("ignore")
        metric.clear()
