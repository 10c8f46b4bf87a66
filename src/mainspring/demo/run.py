"""`mainspring demo` from an empty folder to its summary: project, worker, baseline, replay, scores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mainspring.adapters.clock import ReplayedClock
from mainspring.adapters.kfp.worker import warm_worker
from mainspring.demo.client import Callers
from mainspring.demo.data import write_flights
from mainspring.demo.replay import BROKEN, BROKEN_SHARE, flight_questions, replay
from mainspring.demo.summary import Summary, summarise
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.loop import Platform
from mainspring.platforms.lease import lease
from mainspring.platforms.parts import laptop
from mainspring.platforms.step import WARM
from mainspring.settings.load import LoadedProject, load_project

FIRST = datetime(2013, 3, 1, tzinfo=UTC)
LAST = datetime(2014, 1, 1, tzinfo=UTC)
BROKEN_FROM = datetime(2013, 6, 10, tzinfo=UTC)
"""A build that fails a fifth of its requests is rolled out from here, as soon as no other rollout is under way."""

Write = Callable[[Path], object]


class Teller(Protocol):
    """Hears what the demo does; the command line prints it."""

    def stage(self, text: str) -> None:
        """Something began that takes a while."""
        ...

    def step(self, at: datetime, decisions: list[Decision], requests: int) -> None:
        """The clock moved on to `at`; what was decided meanwhile, and how many requests were asked so far."""
        ...


def demo(
    folder: Path, write_project: Write, teller: Teller, *, until: datetime = LAST, write_data: Write = write_flights
) -> Summary:
    """Replay the year through the loop in `folder`, which must be new or empty; the project stays there.

    `write_project` writes the flights template into a folder, `write_data` its tables. Errors: whatever stops the loop,
    with its reason.
    """
    began = time.monotonic()
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError("the folder is not empty", where=str(folder), next_step="mainspring demo NEW-FOLDER")
    with ExitStack() as stack:
        teller.stage("writing the project")
        write_project(folder)
        loaded = _any_port(load_project(folder))
        warm = stack.enter_context(warm_worker(loaded.paths.state, WARM))
        teller.stage("writing the year's flights")
        write_data(folder / "data")
        questions = flight_questions(folder / "data", FIRST, until)
        stack.enter_context(lease(loaded.paths.lease))
        clock = ReplayedClock(FIRST)
        platform = laptop(loaded, clock, replayed=True, error_shares={BROKEN: BROKEN_SHARE}, quiet=True)
        stack.enter_context(_stopped(platform))
        teller.stage("warming up the pipeline's worker")
        warm(60.0)
        teller.stage("training on January and February")
        baseline = stack.enter_context(_baseline(folder, until))
        asked = 0

        def told(at: datetime, decisions: list[Decision], requests: int) -> None:
            nonlocal asked
            asked = requests
            teller.step(at, decisions, requests)

        done, callers = replay(
            platform,
            clock,
            questions,
            until=until,
            broken_from=BROKEN_FROM,
            callers=lambda address: Callers(address, f"/v2/models/{loaded.settings.name}/infer"),
            told=told,
        )
        callers.close()
        teller.stage("waiting for the calendar's models")
        calendar = baseline()
        teller.stage("scoring the year from the prediction log")
        summary = summarise(
            platform, calendar, until=until, requests=callers.tally.requests, failed=callers.tally.failed
        )
    return replace(
        summary,
        seconds=round(time.monotonic() - began, 1),
        seconds_to_first_answer=round(done.first_answer_at - began, 1),
        spent={name: round(value, 1) for name, value in done.spent.items()},
    )


def _any_port(loaded: LoadedProject) -> LoadedProject:
    """A demo takes whatever port is free: the one that the project names may be in use."""
    return replace(loaded, settings=loaded.settings.changed("serving", port=0))


@contextmanager
def _stopped(platform: Platform) -> Iterator[None]:
    """Predictors and proxy end with the demo."""
    try:
        yield
    finally:
        platform.router.close()
        for endpoint in platform.server.endpoints():
            platform.server.stop(endpoint.version, build=endpoint.build)


@contextmanager
def _baseline(folder: Path, until: datetime) -> Iterator[Callable[[], Path]]:
    """The calendar's models, fitted beside the replay; what is given waits for them."""
    out = folder / ".mainspring" / "demo" / "calendar.parquet"
    out.parent.mkdir(parents=True, exist_ok=True)
    output = out.with_name("baseline.log")
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                *[sys.executable, "-m", "mainspring.demo.baseline", str(folder), str(out)],
                *[f"{FIRST:%Y-%m-%d}", f"{until:%Y-%m-%d}"],
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait() -> Path:
        if process.wait() != 0:
            words = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise MainspringError(f"the calendar's models failed: {words[-1] if words else ''}", where=str(output))
        return out

    try:
        yield wait
    finally:
        process.kill()
        process.wait()
