"""`Backtest`: what several retraining policies would have done on the same past, and what each would have been worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class BacktestEvent:
    """A ledger row of the replay, or a retraining of a fixed schedule: kinds are those of `Decision`."""

    at: datetime
    kind: str
    version: str
    why: str


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy on the past. `quality` is the mean of `by_block`, the metric on each block of time of what was in service.

    `share_of_gain` is how much of what the calendar gains over the first model, None where that gains nothing.
    `retrainings` are runs after the first, refused ones among them; `train_seconds` and `train_rows` are of all models that
    were fitted, `fits`, challengers included, as measured when they were fitted. `gated`: false for a fixed schedule, whose
    models go into service at once.
    """

    name: str
    policy: str
    quality: float
    by_block: dict[str, float]
    share_of_gain: float | None
    alarms: int
    retrainings: int
    refused: int
    promotions: int
    fits: int
    train_seconds: float
    train_rows: int
    events: tuple[BacktestEvent, ...] = ()
    gated: bool = True


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """With so many retrainings: the quality of the best instants in hindsight (of whole weeks), and of evenly spaced ones."""

    retrainings: int
    best: float
    even: float
    best_share: float | None = None
    even_share: float | None = None


@dataclass(frozen=True, slots=True)
class Backtest:
    """A replay of [start, until). `rows` are the questions asked in it, `labelled` those of them whose label came.

    `block` is the length of the blocks in words. `seconds` is what the replay took, with `fitted` models that were not known
    yet and `reused` that were.
    """

    name: str
    metric: str
    higher_is_better: bool
    start: datetime
    until: datetime
    rows: int
    labelled: int
    block: str
    results: tuple[PolicyResult, ...]
    frontier: tuple[FrontierPoint, ...] = ()
    seconds: float = 0.0
    fitted: int = 0
    reused: int = 0
    source: str = "source"
