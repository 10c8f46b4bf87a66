"""The chore that looks at performance: as often as the project says, on the days that have ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from mainspring.domain.time import floor_to
from mainspring.loop.outcome import STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import dump, read, rollout_of

PERFORMANCE_AT = "performance_at"
_DAY = timedelta(days=1)


def performance(platform: Platform) -> Outcome:
    """A report on the days up to the last midnight, once. What follows from it is the policy's to decide.

    A loop that slept looks once: the report covers all the days that are not final yet.
    """
    job, every = platform.performance, platform.settings.performance.every
    stable = rollout_of(platform.ledger).stable
    # What was asked before midnight is answered, and logged, within the longest that a caller waits.
    at = floor_to(platform.clock.now() - min(platform.settings.serving.timeout, _DAY / 10), _DAY)
    done = read(platform.ledger, PERFORMANCE_AT, datetime)
    if job is None or not stable or (done is not None and at - done < every):
        return STILL
    if done is not None:
        job.run(stable, at)
    # At first the day is one that began before anything was served.
    platform.ledger.put_state({PERFORMANCE_AT: dump(at)})
    return STILL
