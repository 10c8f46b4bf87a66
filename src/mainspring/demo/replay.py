"""Replaying history through the loop that would run in production: the clock moves, the loop turns, callers ask."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mainspring.adapters.clock import ReplayedClock
from mainspring.demo.client import Callers, Question
from mainspring.domain.decision import Decision
from mainspring.domain.errors import MainspringError
from mainspring.loop import Platform, reconcile
from mainspring.loop.rollouts import start_build
from mainspring.loop.state import rollout_of

STEP = timedelta(hours=6)
BROKEN = "broken"
BROKEN_SHARE = 0.2
_EVERY = 3
_WAIT_SECONDS = 0.05


@dataclass
class Replay:
    """What happened in a replay beside what ledger and log keep."""

    first_answer_at: float = 0.0
    broken_at: datetime | None = None
    ticks: int = 0
    spent: dict[str, float] = field(default_factory=dict)


def replay(
    platform: Platform,
    clock: ReplayedClock,
    questions: list[tuple[datetime, Question]],
    *,
    until: datetime,
    broken_from: datetime | None,
    callers: Callable[[str], Callers],
    told: Callable[[datetime, list[Decision], int], None],
) -> tuple[Replay, Callers]:
    """Move the clock from where it is to `until`, six hours a step; `told` hears of each step and its decisions.

    At `broken_from` a broken build of the champion is rolled out, once, when no other rollout is under way.
    """
    done, seen, place = Replay(), 0, 0
    asking: Callers | None = None
    while clock.now() < until:
        settle(platform, done)
        if broken_from is not None and done.broken_at is None and clock.now() >= broken_from:
            stable = rollout_of(platform.ledger).stable
            reason = "rehearsal: a build that fails a fifth of its requests"
            if start_build(platform, stable, BROKEN, reason) == "moved":
                done.broken_at = clock.now()
                settle(platform, done)
        end = min(clock.now() + STEP, until)
        batch = []
        while place < len(questions) and questions[place][0] < end:
            batch.append(questions[place][1])
            place += 1
        if asking is None:
            asking = callers(_address(platform))
        with spent(done, "requests"):
            asking.ask(batch)
        if not done.first_answer_at and asking.tally.requests > asking.tally.failed:
            done.first_answer_at = time.monotonic()
        clock.advance(end)
        decisions = list(platform.ledger.decisions())
        told(end, decisions[seen:], asking.tally.requests)
        seen = len(decisions)
    settle(platform, done)
    assert asking is not None
    told(clock.now(), list(platform.ledger.decisions())[seen:], asking.tally.requests)
    return done, asking


def _address(platform: Platform) -> str:
    """Where callers ask. Errors: `MainspringError` with the ledger's reason when no model came into service."""
    if rollout_of(platform.ledger).stable:
        return platform.router.address()
    last = platform.ledger.decisions()[-1]
    raise MainspringError(f"no model came into service: {last.what}: {last.why}", next_step="mainspring ledger")


def settle(platform: Platform, done: Replay) -> None:
    """Tick until nothing moves and nothing is waited for: event time stands still meanwhile."""
    with spent(done, "loop"):
        while True:
            tick = reconcile(platform)
            done.ticks += 1
            if not tick.moved and not tick.waiting:
                return
            if not tick.moved:
                time.sleep(_WAIT_SECONDS)


class spent:  # noqa: N801  # reads as a word: with spent(done, "loop")
    """Adds the time of a block to `done.spent`."""

    def __init__(self, done: Replay, name: str) -> None:
        self._done, self._name = done, name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._done.spent[self._name] = self._done.spent.get(self._name, 0.0) + time.monotonic() - self._began


def flight_questions(data: Path, start: datetime, until: datetime) -> list[tuple[datetime, Question]]:
    """About every third flight that asks in [start, until), in order: two hours before its scheduled departure."""
    return list(_questions(data, start, until))


def _questions(data: Path, start: datetime, until: datetime) -> Iterator[tuple[datetime, Question]]:
    import duckdb

    columns = ["carrier", "origin", "dest", "distance", "hour", "minute", "weekday"]
    kinds = ["BYTES", "BYTES", "BYTES", "FP64", "INT64", "INT64", "INT64"]
    with duckdb.connect() as db:
        rows = db.execute(
            f"SELECT flight_id, asked_at, {', '.join(columns)} FROM read_parquet(?) WHERE asked_at >= ? AND asked_at < ? "
            "ORDER BY asked_at, flight_id",
            [str(data / "flights.parquet"), start.replace(tzinfo=None), until.replace(tzinfo=None)],
        ).fetchall()
    for flight, asked_at, *values in rows[::_EVERY]:
        inputs: list[dict[str, Any]] = [
            {"name": name, "shape": [1], "datatype": kind, "data": [value]}
            for name, kind, value in zip(columns, kinds, values, strict=True)
        ]
        at = asked_at.replace(tzinfo=UTC)
        yield at, Question(flight, at.isoformat(), json.dumps({"id": flight, "inputs": inputs}).encode())
