"""`LaptopShadow`: the copies of a rollout's requests against what callers were answered, from the prediction log."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Signature
from mainspring.domain.rollout import Rollout
from mainspring.domain.shadow_report import PairedBlock, ShadowReport
from mainspring.domain.time import TimeWindow
from mainspring.labels.known import Unlabelled, met
from mainspring.performance.pairing import distance
from mainspring.performance.quality import by_day
from mainspring.pipeline.gate import base_rate
from mainspring.pipeline.signature import truth
from mainspring.ports import LabelSource, ModelRegistry, PredictionLog
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ["request_id", "version", "build", "role", "outcome", "output", "event_at"]


class LaptopShadow:
    """Reports over log, labels and registry. `every_seconds`: how often the log is read again, at most."""

    def __init__(
        self,
        settings: ProjectSettings,
        log: PredictionLog,
        labels: LabelSource,
        registry: ModelRegistry,
        *,
        every_seconds: float = 0.0,
    ) -> None:
        self._settings = settings
        self._log = log
        self._labels = labels
        self._registry = registry
        self._every_seconds = every_seconds
        self._last: tuple[tuple[str, str, int], float, ShadowReport] | None = None

    def compare(self, rollout: Rollout, until: datetime) -> ShadowReport:
        """The report on the rollout's phase so far, from the prediction log and the labels known at `until`."""
        phase, now = (rollout.id, rollout.phase, rollout.step), time.monotonic()
        if self._last is not None and self._last[0] == phase and now - self._last[1] < self._every_seconds:
            return self._last[2]
        report = self._compare(rollout, until)
        self._last = (phase, now, report)
        return report

    def _compare(self, rollout: Rollout, until: datetime) -> ShadowReport:
        since = rollout.phase_since or until
        rows = self._log.read(TimeWindow(since, max(since, until) + timedelta(microseconds=1)), _COLUMNS)
        primary = _of(rows, rollout.stable, "", "primary", "answered")
        copied = _of(rows, rollout.candidate, rollout.candidate_build, "shadow")
        answered, failed = _of(copied, outcome="answered"), _of(copied, outcome="failed")
        pairs = met(primary, answered.rename_columns([*answered.column_names[:5], "shadow", "event_at"]), "shadow")
        signature = self._signature(rollout.stable)
        one, other = _outputs(pairs.column("output"), signature), _outputs(pairs.column("shadow"), signature)
        found = distance(one, other, share_of_spread=signature.task == "regression")
        ids = pairs.column("request_id")
        return ShadowReport(
            primary.num_rows,
            pairs.num_rows,
            failed.num_rows,
            found.differing,
            found.tolerance,
            found.mean,
            found.largest,
            tuple(str(ids[place]) for place in found.furthest),
            *self._blocks(pairs, signature, until),
        )

    def _blocks(
        self, pairs: pa.Table, signature: Signature, until: datetime
    ) -> tuple[tuple[PairedBlock, ...], float | None]:
        """Both on the same labelled requests, day by day, and the constant answer's metric on all of them.

        None where labels cannot meet their requests.
        """
        if not pairs.num_rows:
            return (), None
        first = pairs.column("event_at")[0].as_py()
        try:
            labels = self._labels.labels(until, TimeWindow(first - timedelta(days=1), until))
        except Unlabelled:
            return (), None
        known = met(pairs, labels, "label")
        if not known.num_rows:
            return (), None
        right = truth(known.column("label"), signature)
        one, other = _outputs(known.column("output"), signature), _outputs(known.column("shadow"), signature)
        days = known.column("event_at").to_numpy().astype("datetime64[D]")
        name = self._settings.metric.name
        blocks = tuple(
            PairedBlock(block.name, block.old, block.new, block.rows)
            for block in by_day(self._settings.metric, right, other, one, days)
        )
        return blocks, base_rate(self._settings, right, [name])[name]

    def _signature(self, version: str) -> Signature:
        return next(one.signature for one in self._registry.versions() if one.version == version)


def _of(
    rows: pa.Table, version: str | None = None, build: str = "", role: str | None = None, outcome: str | None = None
) -> pa.Table:
    import pyarrow.compute as pc

    wanted = {"version": version, "build": build if version is not None else None, "role": role, "outcome": outcome}
    for name, value in wanted.items():
        if value is not None:
            rows = rows.filter(pc.equal(rows.column(name), value))
    return rows


def _outputs(column: Any, signature: Signature) -> Any:
    """[rows], or of several classes [rows, classes]."""
    import numpy as np

    width = len(signature.classes) if signature.task == "multiclass" else 1
    found = np.array(column.to_pylist(), np.float64).reshape(len(column), width)
    return found if width > 1 else found[:, 0]
