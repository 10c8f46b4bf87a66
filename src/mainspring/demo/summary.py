"""What a replay came to, from the prediction log, the labels and the ledger; nothing else is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.decision import Decision
from mainspring.domain.errors import DataError
from mainspring.domain.metric import Estimate
from mainspring.domain.scoring import estimate_gain, score
from mainspring.labels.known import joined, met
from mainspring.loop import Platform
from mainspring.pipeline.signature import truth
from mainspring.platforms.steps import replay
from mainspring.serving.runtime import load_card

if TYPE_CHECKING:
    import pyarrow as pa

AFTER = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a version."""

    at: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Month:
    """The three schedules' AUC on one month's requests."""

    month: str
    static_auc: float
    calendar_auc: float
    loop_auc: float
    requests: int


@dataclass(frozen=True, slots=True)
class Promotion:
    """A new model and the one it replaced, on the requests of the two weeks that followed."""

    at: str
    version: str
    replaced: str
    new_auc: float
    old_auc: float
    gain: Estimate

    @property
    def significantly_worse(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.gain.high is not None and self.gain.high < 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The demo's result; `retrains` are all training runs after the first, refused ones too."""

    static_auc: float
    calendar_auc: float
    loop_auc: float
    share_of_gain: float
    monthly: tuple[Month, ...]
    retrains: tuple[Event, ...]
    promotions: tuple[Event, ...]
    rejections: tuple[Event, ...]
    rollbacks: tuple[Event, ...]
    compared: tuple[Promotion, ...]
    requests: int
    failed_requests: int
    logged_predictions: int
    seconds: float = 0.0
    seconds_to_first_answer: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)


def summarise(
    platform: Platform,
    calendar: Path,
    *,
    until: datetime,
    requests: int,
    failed: int,
) -> Summary:
    """Read the log, meet the labels by request id, and score all three schedules on exactly those requests.

    Errors: `DataError` without a prediction log, or without labels for it.
    """
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    answered = primary(platform)
    labelled = joined(answered, platform.labels.labels(until + timedelta(days=30)))
    baseline = pq.read_table(calendar)
    labelled = met(labelled, baseline, "calendar")
    if not labelled.num_rows:
        raise DataError("no prediction of the log has a label", next_step="mainspring logs")
    first = next(one for one in platform.registry.versions() if one.verdict == "accepted")
    known = truth(labelled.column("label"), first.signature)
    ours = np.array([one[0] for one in labelled.column("output").to_pylist()])
    static = scores(platform, first.version, labelled)
    every_month = labelled.column("calendar").to_numpy()
    names = np.array(pc.strftime(labelled.column("event_at"), "%Y-%m").to_pylist())
    monthly = tuple(_month(str(name), names == name, known, static, every_month, ours) for name in np.unique(names))
    static_auc = float(np.mean([one.static_auc for one in monthly]))
    calendar_auc = float(np.mean([one.calendar_auc for one in monthly]))
    loop_auc = float(np.mean([one.loop_auc for one in monthly]))
    decisions = platform.ledger.decisions()
    possible = calendar_auc - static_auc
    return Summary(
        static_auc,
        calendar_auc,
        loop_auc,
        share_of_gain=(loop_auc - static_auc) / possible if possible else float("nan"),
        monthly=monthly,
        retrains=_retrains(decisions),
        promotions=_events(decisions, "promoted"),
        rejections=_events(decisions, "gate_refused"),
        rollbacks=_events(decisions, "rolled_back"),
        compared=tuple(_promotions(platform, decisions, labelled, known)),
        requests=requests,
        failed_requests=failed,
        logged_predictions=answered.num_rows,
    )


def _month(name: str, here: Any, known: Any, static: Any, calendar: Any, loop: Any) -> Month:
    found = [score("auc", known[here], one[here]) for one in (static, calendar, loop)]
    return Month(name, found[0], found[1], found[2], int(here.sum()))


def primary(platform: Platform) -> pa.Table:
    """The primary answers of the log. Errors: `DataError` when there is none."""
    import pyarrow.compute as pc

    rows = platform.log.read()
    answered = rows.filter(
        pc.and_(pc.equal(rows.column("role"), "primary"), pc.equal(rows.column("outcome"), "answered"))
    )
    if not answered.num_rows:
        raise DataError("the prediction log has no answer", next_step="mainspring doctor")
    return answered


def scores(platform: Platform, version: str, rows: pa.Table) -> Any:
    """A version's answers to logged requests, from the features that were logged."""
    import math

    folder = platform.registry.fetch(version)
    card = load_card(folder)
    columns = []
    for feature in card.signature.features:
        values = rows.column(f"feature.{feature.name}").to_pylist()
        text = feature.type in ("str", "category")
        columns.append([("" if text else math.nan) if value is None else value for value in values])
    return replay(folder, card, [list(row) for row in zip(*columns, strict=True)])


def _promotions(platform: Platform, decisions: Sequence[Decision], labelled: pa.Table, known: Any) -> list[Promotion]:
    import numpy as np

    at = labelled.column("event_at").to_numpy()
    promoted = [one for one in decisions if one.kind == "promoted"]
    found = []
    for before, now in pairwise(promoted):
        begins = np.datetime64(now.at.replace(tzinfo=None))
        here = np.flatnonzero((at >= begins) & (at < begins + np.timedelta64(AFTER)))
        rows, right = labelled.take(here), known[here]
        new, old = scores(platform, now.version, rows), scores(platform, before.version, rows)
        gain = estimate_gain("auc", right, new, old, at[here].astype("datetime64[D]"), higher_is_better=True)
        found.append(
            Promotion(
                f"{now.at:%Y-%m-%d}",
                now.version,
                before.version,
                score("auc", right, new),
                score("auc", right, old),
                gain,
            )
        )
    return found


def _retrains(decisions: Sequence[Decision]) -> tuple[Event, ...]:
    versions = {
        one.run_id: one.version for one in decisions if one.kind in ("gate_passed", "gate_refused", "run_failed")
    }
    return tuple(
        Event(f"{one.at:%Y-%m-%dT%H:%MZ}", versions.get(one.run_id, ""), one.why)
        for one in decisions
        if one.kind == "trigger" and one.id != "trigger:first"
    )


def _events(decisions: Sequence[Decision], kind: str) -> tuple[Event, ...]:
    return tuple(Event(f"{one.at:%Y-%m-%dT%H:%MZ}", one.version, one.why) for one in decisions if one.kind == kind)
