"""When the loop looks at performance: once for days that ended, as often as the project says, whatever happens in between."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.domain.performance_report import PerformanceReport
from mainspring.domain.rollout import Rollout
from mainspring.loop.performing import PERFORMANCE_AT, performance
from mainspring.loop.state import ROLLOUT, dump
from tests.loop.world import AT, World

DAY = timedelta(days=1)


class Job:
    def __init__(self):
        self.asked = []

    def run(self, version, at):
        self.asked.append((version, at))
        return PerformanceReport("performance-1", at, "rain", version, "auc", "day")

    def latest(self):
        return None


@pytest.fixture
def job():
    return Job()


def platform_of(tmp_path, job, stable="1", **settings):
    world = World(tmp_path, **settings)
    platform = replace(world.platform(), performance=job)
    platform.ledger.put_state({ROLLOUT: dump(Rollout("r", stable=stable))})
    return world, platform


def test_each_day_is_looked_at_once(tmp_path, job):
    world, platform = platform_of(tmp_path, job)
    performance(platform)
    assert job.asked == []  # the day so far began before anything was served
    for hours in (6, 13, 20, 37):
        world.clock.advance(AT + timedelta(hours=hours))
        performance(platform)
        performance(platform)
    assert job.asked == [("1", datetime(2026, 3, 3, tzinfo=UTC)), ("1", datetime(2026, 3, 4, tzinfo=UTC))]


def test_what_was_asked_just_before_midnight_is_waited_for(tmp_path, job):
    world, platform = platform_of(tmp_path, job)
    performance(platform)
    world.clock.advance(datetime(2026, 3, 3, 0, 0, 3, tzinfo=UTC))
    performance(platform)
    assert job.asked == []


def test_a_loop_that_slept_looks_once(tmp_path, job):
    world, platform = platform_of(tmp_path, job)
    performance(platform)
    world.clock.advance(AT + 9 * DAY)
    performance(platform)
    performance(platform)
    assert job.asked == [("1", datetime(2026, 3, 11, tzinfo=UTC))]


def test_a_look_that_fails_is_taken_again(tmp_path, job):
    world, platform = platform_of(tmp_path, job)
    performance(platform)
    world.clock.advance(AT + DAY)

    def full(version, at):
        raise OSError("No space left on device")

    run, job.run = job.run, full
    with pytest.raises(OSError, match="No space"):
        performance(platform)
    job.run = run
    performance(platform)
    assert len(job.asked) == 1


def test_a_project_says_how_often_and_nothing_is_looked_at_before_something_serves(tmp_path, job):
    world, platform = platform_of(tmp_path, job, performance={"every": "7d"})
    performance(platform)
    for day in range(1, 15):
        world.clock.advance(AT + day * DAY)
        performance(platform)
    assert [at.day for _, at in job.asked] == [9, 16]
    other, idle = platform_of(tmp_path / "idle", job, stable="")
    other.clock.advance(AT + DAY)
    performance(idle)
    assert idle.ledger.state(PERFORMANCE_AT) is None
