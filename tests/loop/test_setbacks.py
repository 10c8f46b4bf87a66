"""One chore that fails leaves the others alone, is told once, and rests longer each time."""

from datetime import timedelta

import pytest

from mainspring.domain.errors import ConflictError, DataError, TemporaryError
from mainspring.loop import reconcile
from mainspring.loop.failing import Failing
from mainspring.loop.setbacks import Setback, Setbacks
from tests.loop.world import AT, World


class Told:
    def __init__(self):
        self.lines, self.counted, self.now = [], [], 0.0
        self.setbacks = Setbacks(
            lambda one: self.lines.append((one.chore, one.text)), self.counted.append, seconds=lambda: self.now
        )


@pytest.fixture
def told():
    return Told()


def failing(*errors):
    left = list(errors)

    def work():
        if left:
            raise left.pop(0)
        return "still"

    return work


def test_a_broken_source_does_not_take_serving_down(tmp_path, told):
    world = World(tmp_path)
    world.add("1")
    platform = world.platform()
    broken = failing(*[DataError("row 7 is not a number")] * 9)
    platform.features.advance = lambda until: broken()
    for _ in range(6):
        tick = reconcile(platform, told.setbacks)
    assert tick.outcomes["features"] == "failed"
    assert world.rollout.stable == "1"
    assert told.lines == [("features", "row 7 is not a number")]
    assert told.counted == ["features"]  # it rests: it was tried once


def test_pauses_double_up_to_ten_minutes_and_an_end_is_told(told):
    work, tried = failing(*[DataError("no")] * 9), []
    for second in range(4000):
        told.now = float(second)
        before = len(told.counted)
        told.setbacks.take("drift", work)
        tried += [second] * (len(told.counted) - before)
    assert tried == [0, 5, 15, 35, 75, 155, 315, 635, 1235]
    assert told.lines == [("drift", "no"), ("drift", "")]


def test_what_is_said_anew_is_told_anew(told):
    work = failing(DataError("one"), DataError("one"), ValueError("two"))
    for second in range(60):
        told.now = float(second)
        told.setbacks.take("run", work)
    assert told.lines == [("run", "one"), ("run", "ValueError: two"), ("run", "")]


def test_a_temporary_error_is_tried_again_soon_and_told_only_when_it_lasts(told):
    work = failing(*[TemporaryError("no answer")] * 2)
    for place in range(20):
        told.now = place / 10
        told.setbacks.take("rollout", work)
    assert told.lines == []
    assert told.counted == ["rollout", "rollout"]
    work = failing(*[TemporaryError("no answer")] * 4)
    for second in range(20):
        told.now = 100.0 + second
        told.setbacks.take("rollout", work)
    assert told.lines == [("rollout", "no answer"), ("rollout", "")]


def test_a_loop_that_lost_its_lease_ends(told):
    with pytest.raises(ConflictError):
        told.setbacks.take("run", failing(ConflictError("another loop took over")))


def test_what_does_not_help_itself_is_owed_one_alert_each_time_that_it_began():
    failing, at, minute = Failing(), AT, timedelta(minutes=1)

    def fails(chore, error, now):
        failing.heard(Setback(chore, error, 1, 5.0), now)

    fails("drift", DataError("row 7 is not a number"), at)
    fails("run", DataError("no packages"), at + 3 * minute)
    fails("drift", DataError("row 8 is not a number"), at + 8 * minute)
    assert failing.owed(at + 9 * minute) == []
    (first,) = failing.owed(at + 10 * minute)
    assert (first.id, first.severity) == ("chore_failing:drift:2026-03-02T12:00:00", "warning")
    assert (first.since, first.detail) == (at, "row 8 is not a number")
    (second,) = failing.owed(at + 30 * minute)
    assert (second.id, second.severity) == ("chore_failing:run:2026-03-02T12:03:00", "critical")
    fails("drift", None, at + 31 * minute)
    assert failing.words == {"run": "no packages"}
    fails("drift", DataError("again"), at + 40 * minute)
    assert failing.owed(at + 49 * minute) == []
    assert [one.detail for one in failing.owed(at + 50 * minute)] == ["again"]
    assert failing.owed(at + 90 * minute) == []
