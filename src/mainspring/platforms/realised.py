"""`LaptopLosses`: what a version achieved on what it was asked, from the prediction log and the labels known, by block."""

from __future__ import annotations

from datetime import datetime, timedelta

from mainspring.domain.codec import from_json
from mainspring.domain.time import TimeWindow
from mainspring.labels.known import Unlabelled, met
from mainspring.loop.platform import LossBlocks
from mainspring.performance.whole_days import by_block
from mainspring.pipeline.signature import truth
from mainspring.ports import LabelSource, ModelRegistry, PredictionLog
from mainspring.settings.project import ProjectSettings

_COLUMNS = ["request_id", "version", "build", "role", "outcome", "output", "event_at"]


class LaptopLosses:
    """`LossJob` on log, labels and registry."""

    def __init__(
        self, settings: ProjectSettings, log: PredictionLog, labels: LabelSource, registry: ModelRegistry
    ) -> None:
        self._settings = settings
        self._log = log
        self._labels = labels
        self._registry = registry

    def blocks(self, version: str, known_at: datetime) -> LossBlocks:
        """Both kinds of blocks, from what is known. A version that came without a held-out evaluation has none of that."""
        import numpy as np
        import pyarrow.compute as pc

        from mainspring.platforms.steps import HELD_OUT_BLOCKS

        file = self._registry.fetch(version) / HELD_OUT_BLOCKS
        held_out = tuple(from_json(list[float], file.read_bytes())) if file.exists() else ()
        of_version = next(one for one in self._registry.versions() if one.version == version)
        since = of_version.trained_until or known_at - self._settings.retrain.budget_period
        rows = self._log.read(TimeWindow(min(since, known_at), known_at + timedelta(microseconds=1)), _COLUMNS)
        for name, value in (("version", version), ("build", ""), ("role", "primary"), ("outcome", "answered")):
            rows = rows.filter(pc.equal(rows.column(name), value))
        if not rows.num_rows:
            return LossBlocks(held_out, ())
        try:
            known = met(rows, self._labels.labels(known_at), "label")
        except Unlabelled:
            return LossBlocks(held_out, ())
        signature = of_version.signature
        width = len(signature.classes) if signature.task == "multiclass" else 1
        outputs = np.array(known.column("output").to_pylist(), np.float64).reshape(known.num_rows, width)
        days = known.column("event_at").to_numpy().astype("datetime64[D]")
        answers = outputs if width > 1 else outputs[:, 0]
        found = by_block(self._settings.metric, truth(known.column("label"), signature), answers, days)
        return LossBlocks(held_out, tuple(found.values()))
