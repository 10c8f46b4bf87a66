"""`LaptopLosses`: what a version achieved on what it answered, by block, from the rows that performance reports are made of."""

from __future__ import annotations

from datetime import datetime

from mainspring.domain.time import TimeWindow, floor_to
from mainspring.labels.known import Unlabelled
from mainspring.loop.platform import LossBlocks
from mainspring.performance.whole_days import by_block
from mainspring.platforms.performance_reference import read_reference
from mainspring.platforms.performance_rows import DAY, Known, label_all, read_day
from mainspring.ports import LabelSource, ModelRegistry, PredictionLog
from mainspring.settings.project import ProjectSettings


class LaptopLosses:
    """`LossJob` on log, labels and registry.

    A report's own numbers would not do: its blocks are single days, and those that are final have the labels of their time.
    """

    def __init__(
        self, settings: ProjectSettings, log: PredictionLog, labels: LabelSource, registry: ModelRegistry
    ) -> None:
        self._settings = settings
        self._log = log
        self._labels = labels
        self._registry = registry

    def blocks(self, version: str, known_at: datetime) -> LossBlocks:
        """Both kinds of blocks, of whole days. A version that came without a held-out evaluation has none of that."""
        import numpy as np

        reference = read_reference(self._registry.fetch(version))
        held_out = () if reference is None else reference.blocks
        of_version = next(one for one in self._registry.versions() if one.version == version)
        known = Known(of_version.signature, None)
        # From its first answer: the test has looked at the same days before, and each look has its share of alpha.
        since = floor_to(of_version.trained_until or known_at - self._settings.retrain.budget_period, DAY)
        hours = self._log.hours(TimeWindow(since, max(since, floor_to(known_at, DAY))))
        answered = [
            one
            for day in sorted({floor_to(hour, DAY) for hour in hours})
            for one in read_day(self._log, day, [], {version: known}.get, (), (), build="")
            if one.version == version
        ]
        try:
            labels = self._labels.labels(known_at) if answered else None
        except Unlabelled:
            labels = None
        if labels is None:
            return LossBlocks(held_out, ())
        labelled = label_all(answered, labels, {version: known})
        days = [
            np.full(len(found.places), one.day.date(), "datetime64[D]")
            for one, found in zip(answered, labelled, strict=True)
        ]
        found = by_block(
            self._settings.metric,
            np.concatenate([one.truth for one in labelled]),
            np.concatenate([one.outputs[found.places] for one, found in zip(answered, labelled, strict=True)]),
            np.concatenate(days),
        )
        return LossBlocks(held_out, tuple(found.values()))
