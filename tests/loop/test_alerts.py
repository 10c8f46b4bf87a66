"""Alerts that are owed: none is lost to another, and what the notifier cannot keep stays owed."""

from datetime import timedelta

import pytest

from mainspring.domain.decision import Alert
from mainspring.domain.drift_report import DriftReport, FeatureDrift
from mainspring.domain.errors import TemporaryError
from mainspring.domain.time import TimeWindow
from mainspring.loop import reconcile
from mainspring.loop.alerts import owed
from tests.loop.world import AT, World, turn


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def alert(number):
    return Alert(
        f"alarm:{number}", f"temp drifted, {number}", AT + timedelta(hours=number), "warning", "mainspring drift"
    )


def test_two_alarms_between_two_ticks_are_both_told_the_oldest_first(world):
    platform = world.platform()
    for number in (2, 1):
        platform.ledger.put_state(owed(alert(number)))
    turn(platform)
    assert [one.id for one in world.sent] == ["alarm:1", "alarm:2"]
    turn(world.platform())
    assert len(world.sent) == 2


def test_an_alert_of_an_earlier_version_of_the_ledger_is_sent(world):
    platform = world.platform()
    platform.ledger.put_state({"alert_alarm": owed(alert(1))["alert_alarm:1"]})
    turn(platform)
    assert [one.id for one in world.sent] == ["alarm:1"]


def test_what_cannot_be_kept_stays_owed_and_stops_nothing(world):
    platform = world.platform()
    platform.ledger.put_state(owed(alert(1)))
    kept = platform.notifier.notify

    def full(one):
        raise TemporaryError("no space left")

    platform.notifier.notify = full
    tick = reconcile(platform)
    assert (tick.outcomes["alerts"], tick.outcomes["first"]) == ("waiting", "moved")
    platform.notifier.notify = kept
    reconcile(platform)
    assert [one.id for one in world.sent] == ["alarm:1"]


def test_a_drift_alarm_names_features_and_keeps_values_here(tmp_path):
    world = World(tmp_path, drift={"every": "1d"})
    platform = world.served()
    world.settle()
    world.clock.advance(world.clock.now() + timedelta(days=1))

    def run(version, at):
        one = FeatureDrift("surname", "trailing", 0.4, 0.3, 0.2, 0.2, "psi", True, 900, 100)
        window = TimeWindow(at - timedelta(days=1), at)
        reason = "surname drifted: Mustermann, was 2 %"
        return DriftReport("d1", version, at, window, 100, (one,), "alarm", reason, acted_on="trailing")

    platform.drift.run = run
    for _ in range(5):
        reconcile(platform)
    told = world.sent[-1]
    assert told.kind == "alarm"
    leaving = " ".join([told.what, told.sure, told.loop_will, told.next_step])
    assert "surname drifted" in leaving
    assert "carries no false-alarm rate" in leaving
    assert "Mustermann" not in leaving
    assert "Mustermann" in told.detail
    assert told.since == told.at - timedelta(days=1)


def test_a_failed_run_keeps_what_its_error_quotes_here(world):
    from dataclasses import replace

    platform = world.platform()
    for _ in range(2):
        reconcile(platform)
    world.runs["run-first"] = replace(world.runs["run-first"], status="failed", reason="row 7: 'Mustermann' is no int")
    world.settle()
    told = world.sent[-1]
    assert told.kind == "run_failed"
    assert "Mustermann" not in told.what + told.sure + told.loop_will + told.next_step
    assert "Mustermann" in told.detail
