"""The drift chore: which window is reported on, and when."""

from dataclasses import replace
from datetime import timedelta

from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow
from mainspring.loop.monitoring import drift

from .world import AT, World


class Job:
    """Reports nothing but that it was asked."""

    def __init__(self):
        self.asked = []

    def run(self, version, at):
        self.asked.append((version, at))
        return DriftReport("r", version, at, TimeWindow(at - timedelta(minutes=1), at), 0, (), "quiet", "")


def test_a_window_is_reported_on_once_when_all_that_was_asked_in_it_is_answered(tmp_path):
    world = World(tmp_path, drift={"every": "1m", "trailing": "10m"}, serving={"timeout": "5s"})
    job = Job()
    platform = replace(world.served(), drift=job)
    begins = world.clock.now()
    for seconds in (0, 4, 5, 60, 64, 65, 66, 100):
        world.clock.advance(begins + timedelta(seconds=seconds))
        drift(platform)
        job.asked.append(seconds)
    before, asked = begins - timedelta(minutes=1), [("1", begins), ("1", begins + timedelta(minutes=1))]
    assert job.asked == [("1", before), 0, 4, asked[0], 5, 60, 64, asked[1], 65, 66, 100]


def test_what_was_not_looked_at_in_time_is_not_reported_on(tmp_path):
    world = World(tmp_path)
    job = Job()
    platform = replace(world.served(), drift=job)
    world.clock.advance(AT + timedelta(days=9))
    drift(platform)
    drift(platform)
    assert [at.date() for _, at in job.asked] == [(AT + timedelta(days=9)).date()]
