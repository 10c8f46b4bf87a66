"""`MetricSlots`: counters, gauges and histograms as numbers in one block of memory that worker processes share.

A hot path adds to `slots.values[slot]`, nothing more. Every worker has a row of its own, so that nothing is locked; a
scrape of any worker adds up the rows of all.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Mapping

from mainspring.telemetry.registry import DEFINITIONS, MetricDefinition

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricSlots:
    """Metrics of one service, which is one process or several forked from one.

    Declare every series before the fork: `slot = slots.add(DEFINITION, label=...)`; after it each worker calls
    `use_row(i)`. Errors: `KeyError` for a metric that is not registered, `ValueError` for labels that are not the
    definition's and when `capacity` series are spent.

    >>> from mainspring.telemetry.registry import LOG_ROWS
    >>> slots = MetricSlots()
    >>> rows = slots.add(LOG_ROWS)
    >>> slots.values[rows] += 3
    >>> print(slots.exposition().splitlines()[-1])
    mainspring_log_rows_total 3
    """

    def __init__(self, workers: int = 1, capacity: int = 4096) -> None:
        self._workers = workers
        self._capacity = capacity
        self._memory = mmap.mmap(-1, workers * capacity * 8)
        self._all = memoryview(self._memory).cast("d")
        self._next = 0
        self._series: dict[str, dict[tuple[str, ...], int]] = {}
        self._row = 0
        self.values = self._all[:capacity]

    def use_row(self, worker: int) -> None:
        """Write to this worker's row from now on."""
        self._row = worker
        self.values = self._all[worker * self._capacity : (worker + 1) * self._capacity]

    def clear_row(self) -> None:
        """Gauges of a worker that starts again begin at 0; counters go on."""
        for name, series in self._series.items():
            if DEFINITIONS[name].kind == "gauge":
                for slot in series.values():
                    self.values[slot] = 0.0

    def add(self, definition: MetricDefinition, **labels: str) -> int:
        """The slot of a series, which is made when it is new."""
        if DEFINITIONS[definition.name] is not definition:
            raise ValueError(f"{definition.name} is registered otherwise")
        if set(labels) != set(definition.labels):
            raise ValueError(f"{definition.name} has the labels {definition.labels}, not {tuple(labels)}")
        series = self._series.setdefault(definition.name, {})
        key = tuple(labels[name] for name in definition.labels)
        if key not in series:
            width = len(definition.bounds) + 2 if definition.kind == "histogram" else 1
            if self._next + width > self._capacity:
                raise ValueError(f"more than {self._capacity} series: {definition.name} has no place")
            series[key] = self._next
            self._next += width
        return series[key]

    def observe(self, definition: MetricDefinition, slot: int, value: float) -> None:
        """Add a value to the histogram at `slot`: its bucket, and the sum in the last place."""
        values = self.values
        values[slot + bisect_left(definition.bounds, value)] += 1.0
        values[slot + len(definition.bounds) + 1] += value

    def total(self, slot: int) -> float:
        """The number at a slot, added up over the workers."""
        return sum(self._all[worker * self._capacity + slot] for worker in range(self._workers))

    def exposition(self) -> str:
        """All series in Prometheus' text format, in the order in which they were declared."""
        lines: list[str] = []
        for name, series in self._series.items():
            definition = DEFINITIONS[name]
            lines += [f"# HELP {name} {definition.help}", f"# TYPE {name} {definition.kind}"]
            for key, slot in series.items():
                labels = dict(zip(definition.labels, key, strict=True))
                if definition.kind == "histogram":
                    lines += self._histogram(definition, labels, slot)
                else:
                    lines.append(f"{name}{_labels(labels)} {_number(self.total(slot))}")
        return "\n".join(lines) + "\n"

    def _histogram(self, definition: MetricDefinition, labels: Mapping[str, str], slot: int) -> list[str]:
        lines, count = [], 0.0
        for position, bound in enumerate((*definition.bounds, float("inf"))):
            count += self.total(slot + position)
            upper = "+Inf" if bound == float("inf") else _number(bound)
            lines.append(f"{definition.name}_bucket{_labels({**labels, 'le': upper})} {_number(count)}")
        total = self.total(slot + len(definition.bounds) + 1)
        lines.append(f"{definition.name}_sum{_labels(labels)} {_number(total)}")
        lines.append(f"{definition.name}_count{_labels(labels)} {_number(count)}")
        return lines


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
