"""What the loop does after it was killed between two writes: the message still goes out, and the order stays."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from mainspring.domain.decision import Alert
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow
from mainspring.loop import reconcile
from mainspring.loop.alerts import owed
from tests.loop.world import AT, Killed, World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def dying(world, *, before):
    """A loop that ends at its next alert, before or after it was sent."""
    platform = world.platform()

    def notify(alert):
        if not before:
            world.sent.append(alert)
        raise Killed

    platform.notifier.notify = notify
    with suppress(Killed):
        for _ in range(20):
            reconcile(platform)
    return platform


def failed_run(world):
    platform = world.platform()
    for _ in range(2):
        reconcile(platform)
    world.runs["run-first"] = replace(world.runs["run-first"], status="failed", reason="no memory")


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_an_alert_the_next_start_sends_it_and_then_never_again(world, before):
    failed_run(world)
    dying(world, before=before)
    assert [one.kind for one in world.rows("run_failed")] == ["run_failed"]
    world.settle()
    world.settle()
    # Killed right after: sent twice, with one id, which is what a notifier tells them by.
    assert [one.id for one in world.sent] == ["run_failed:run-first"] * (1 if before else 2)


def test_only_what_the_loop_sends_can_be_owed():
    with pytest.raises(AssertionError):
        owed(Alert("hello:1", "", AT, "info", ""))


def test_a_tick_ends_with_the_first_step(world):
    tick = reconcile(world.platform())
    assert (tick.moved, list(tick.outcomes)[-1], tick.outcomes["first"]) == (True, "first", "moved")


def test_the_version_that_served_in_a_window_is_reported_on_wherever_the_loop_is_killed(tmp_path):
    def reported(fuse):
        folder = tmp_path / str(fuse)
        folder.mkdir()
        world = World(folder, rollout={"step_time": "1h", "min_requests": 0}, drift={"every": "1d"})
        world.served()
        world.settle()
        world.add("2")
        for _ in range(4):
            reconcile(world.platform())
        assert world.rollout.phase == "canary"
        world.clock.advance(AT + timedelta(days=2))
        seen, world.writes, world.fuse = set(), 0, fuse
        for _ in range(2):
            platform = world.platform()

            def run(version, at):
                seen.add((version, at))
                return DriftReport(f"d-{version}-{at}", version, at, TimeWindow(at, at), 0, (), "quiet", "")

            platform.drift.run = run
            with suppress(Killed):
                for _ in range(20):
                    reconcile(platform)
            world.fuse = None
        assert world.rollout.stable == "2"
        return seen, world.writes

    whole, writes = reported(None)
    assert {version for version, _ in whole} == {"1"}
    for fuse in range(writes):
        assert reported(fuse)[0] == whole, fuse


def test_what_serves_is_started_again_while_a_candidate_gets_ready(world):
    platform = world.served()
    world.add("2")
    for _ in range(2):
        reconcile(platform)
    assert world.rollout.phase in ("deploying", "canary")
    world.ledger.put_state(
        {"rollout": world.ledger.state("rollout").replace('"phase":"canary"', '"phase":"deploying"')}
    )
    del world.running["1", ""]
    platform.server.start = _never_ready(world, platform.server.start)
    reconcile(platform)
    assert ("1", "") in world.running


def _never_ready(world, start):
    def started(version, model, *, build=""):
        start(version, model, build=build)
        if version.version == "2":
            world.running["2", build] = replace(world.running["2", build], ready=False)

    return started
