"""Numbers of versions' answers: blocks with realised and expected metrics, bands, and tests of loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mainspring.domain.performance_report import BlockLength, LossTest, PerformanceBlock, ReferenceBand
from mainspring.domain.time import TimeWindow
from mainspring.performance.blocks import band, expected, realised
from mainspring.performance.loss import Question, expected_loss, realised_loss
from mainspring.performance.reference import metrics_of
from mainspring.performance.row_estimates import RowEstimates, joined_estimates
from mainspring.platforms.performance_rows import DAY, Answers, Known, Labelled
from mainspring.settings.project import ProjectSettings

DAYS: dict[BlockLength, int] = {"day": 1, "week": 7}
Labels = Mapping[tuple[datetime, str], Labelled]
"""Of a day and a version those of its answers that have a label."""


class Measures:
    """Of one project; `known` looks a version up."""

    def __init__(self, settings: ProjectSettings, known: Callable[[str], Known | None]) -> None:
        self._settings = settings
        self._known = known

    def blocks(
        self, by: BlockLength, window: TimeWindow, version: str, parts: Sequence[Answers], labelled: Sequence[Labelled]
    ) -> list[PerformanceBlock]:
        """One version on one block of time: all rows, then each slice."""
        pooled = _Pooled.of(parts, labelled)
        slices: dict[str, Any] = {"": None, **pooled.slices}
        return [self._block(by, window, version, pooled, name, here) for name, here in slices.items()]

    def _block(
        self, by: BlockLength, window: TimeWindow, version: str, pooled: _Pooled, name: str, here: Any
    ) -> PerformanceBlock:
        import numpy as np

        settings, known = self._settings.performance, self._known(version)
        # Slices have the gate's metric only: of all of them a report would be longer than anybody reads.
        metrics = metrics_of(self._settings.task) if not name else [self._settings.metric.name]
        having = pooled.having if here is None else here[np.isin(here, pooled.having)]
        rows = pooled.rows if here is None else len(here)
        count = pooled.labelled if here is None else len(having)
        block = PerformanceBlock(window, version, rows, count, slice=name)
        if known is not None and len(having) >= settings.min_rows:
            inner = pooled.hours[having].astype("datetime64[D]") if by == "week" else pooled.hours[having]
            truth, outputs = pooled.truth[having], pooled.outputs[having]
            block = replace(block, realised=realised(metrics, truth, outputs, inner, confidence=settings.confidence))
        everything = slice(None) if here is None else here
        measured = len(pooled.outputs) if here is None else len(here)
        if (
            known is not None
            and known.reference is not None
            and pooled.estimates is not None
            and measured >= settings.min_rows
        ):
            estimate = expected(
                known.reference,
                pooled.estimates,
                metrics,
                everything,
                days=pooled.days,
                confidence=settings.confidence,
            )
            block = replace(block, expected=estimate)
        return block

    def bands(self, by: BlockLength, blocks: Sequence[PerformanceBlock]) -> list[ReferenceBand]:
        """Those of all versions and slices that have blocks."""
        found: list[ReferenceBand] = []
        for version, name in dict.fromkeys((one.version, one.slice) for one in blocks):
            known = self._known(version)
            if known is None or known.reference is None:
                continue
            metrics = metrics_of(self._settings.task) if not name else [self._settings.metric.name]
            for metric in metrics:
                confidence = self._settings.performance.confidence
                one = band(known.reference, version, metric, name, days=DAYS[by], confidence=confidence)
                found += [one] if one is not None else []
        return found

    def losses(self, version: str, own: Sequence[Answers], labels: Labels) -> tuple[LossTest | None, LossTest | None]:
        """Realised and expected loss of a version on the newest of its days (`own`, oldest first); None without a reference.

        Realised: up to the newest day of which enough has its label. Expected: up to the newest.
        """
        known, settings = self._known(version), self._settings.performance
        if known is None or known.reference is None or not own:
            return None, None
        enough = [one for one in own if _coverage(one, labels[one.day, version]) >= settings.min_coverage]
        last = (enough or own)[-1].day
        asked, pooled = self._asked(version, [one for one in own if one.day <= last], labels)
        having = pooled.having
        days = pooled.hours.astype("datetime64[D]")
        loss = realised_loss(known.reference, asked, pooled.truth[having], pooled.outputs[having], days[having])
        asked, pooled = self._asked(version, own, labels)
        if pooled.estimates is None:
            return loss, None
        days = pooled.hours.astype("datetime64[D]")
        return loss, expected_loss(known.reference, asked, pooled.estimates, days)

    def _asked(self, version: str, own: Sequence[Answers], labels: Labels) -> tuple[Question, _Pooled]:
        settings, last = self._settings.performance, own[-1].day
        taken = [one for one in own if one.day > last - settings.window]
        pooled = _Pooled.of(taken, [labels[one.day, version] for one in taken])
        question = Question(
            version,
            self._settings.metric.name,
            TimeWindow(taken[0].day, last + DAY),
            pooled.rows,
            pooled.labelled,
            settings.alpha,
            settings.tolerance,
            settings.min_coverage,
            settings.confidence,
        )
        return question, pooled


@dataclass(frozen=True)
class _Pooled:
    """Answers of several days as one: places with a label (`having`), labels by place, and the counts of all rows."""

    days: int
    rows: int
    labelled: int
    having: Any
    truth: Any
    outputs: Any
    hours: Any
    estimates: RowEstimates | None
    slices: dict[str, Any]

    @classmethod
    def of(cls, parts: Sequence[Answers], labelled: Sequence[Labelled]) -> _Pooled:
        """In the order of the days."""
        import numpy as np

        sizes = [len(one.outputs) for one in parts]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
        truth = np.full(sum(sizes), np.nan)
        having = np.concatenate([found.places + start for found, start in zip(labelled, starts, strict=True)])
        having = having.astype(int)
        truth[having] = np.concatenate([one.truth for one in labelled])
        slices: dict[str, list[Any]] = {}
        for one, start in zip(parts, starts, strict=True):
            for name, places in one.slices.items():
                slices.setdefault(name, []).append(places + start)
        return cls(
            len(parts),
            sum(one.rows for one in parts),
            # Of a day that was thinned, as many as the measured rows stand for.
            sum(round(_coverage(one, found) * one.rows) for one, found in zip(parts, labelled, strict=True)),
            having,
            truth,
            np.concatenate([one.outputs for one in parts]),
            np.concatenate([one.hours for one in parts]),
            _together([one.estimates for one in parts]),
            {name: np.concatenate(places) for name, places in slices.items()},
        )


def _together(estimates: Sequence[RowEstimates | None]) -> RowEstimates | None:
    found = [one for one in estimates if one is not None]
    return joined_estimates(found) if found and len(found) == len(estimates) else None


def _coverage(answers: Answers, labelled: Labelled) -> float:
    return len(labelled.places) / len(answers.ids) if len(answers.ids) else 0.0
