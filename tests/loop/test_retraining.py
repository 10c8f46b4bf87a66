"""The question whether to retrain: each alarm is answered, what holds it back is said once, and windows are compared."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow
from mainspring.loop import reconcile
from mainspring.loop.platform import BlockScore, LossBlocks
from mainspring.settings.retrain import RetrainSettings

from .world import AT, Killed, World

GOOD = {f"2026-03-{day:02}": 0.7 + day % 3 / 100 for day in range(1, 15)}


class Drift:
    """Alarms as long as `on`."""

    on = False

    def run(self, version, at):
        verdict = "alarm" if self.on else "quiet"
        return DriftReport(f"d-{version}-{at}", version, at, TimeWindow(at, at), 0, (), verdict, "temp moved")


class Challengers:
    """Gains so much a day; that of the newest sixty days, `short`."""

    def __init__(self, gain=0.0, short=0.0):
        self.gain, self.short, self.fitted = gain, short, []

    def fit(self, known_at, train_from=None):
        self.fitted.append((known_at, train_from))
        return "short" if train_from else "all"

    def scores(self, challenger, champion, known_at):
        more = self.gain + (self.short if challenger == "short" else 0.0)
        return [
            BlockScore(day, score + more + (place % 2 - 0.5) / 1000, score)
            for place, (day, score) in enumerate(GOOD.items())
        ]


class Losses:
    """Held out 0.7, served so much less."""

    def __init__(self, lost=0.0):
        self.lost = lost

    def blocks(self, version, known_at):
        held = tuple(GOOD.values())
        return LossBlocks(held, tuple(one - self.lost for one in held))


def loop(world, **parts):
    return replace(world.platform(), **{"drift": Drift(), "challengers": Challengers(), "losses": Losses(), **parts})


def settle(platform):
    for _ in range(30):
        if not reconcile(platform).moved:
            return
    raise AssertionError("the loop does not come to rest")


def serving(tmp_path, **retrain):
    world = World(tmp_path)
    world.served()
    world.settings = world.settings.model_copy(update={"retrain": RetrainSettings.model_validate(retrain)})
    world.clock.advance(AT + timedelta(days=2))
    return world


def go(world, platform, days):
    world.clock.advance(world.clock.now() + timedelta(days=days))
    settle(platform)


def answers(world):
    return [(one.kind, one.why) for one in world.rows("no_trigger", "trigger") if one.id != "trigger:first"]


@pytest.mark.parametrize(
    ("policy", "kind", "said"),
    [
        ("on_demand", "no_trigger", "a person asks, by mainspring retrain"),
        ("never", "no_trigger", "a person asks, by mainspring retrain"),
        ("on_alarm", "trigger", "temp moved"),
        ("on_regret", "no_trigger", "an alarm alone decides nothing under on_regret, which is asked next on 2026-"),
        ("on_loss", "no_trigger", "an alarm alone decides nothing under on_loss, which is asked next on 2026-"),
        ({"all": ["on_alarm", "on_regret"]}, "no_trigger", "a challenger of 21d ago would know no more"),
        ({"all": ["on_alarm", "on_loss"]}, "no_trigger", "held out"),
        ({"any": ["on_loss", "on_alarm"]}, "trigger", "temp moved"),
    ],
)
def test_every_alarm_is_answered_once_with_its_reason(tmp_path, policy, kind, said):
    world = serving(tmp_path, policy=policy, cooldown="0s", ask_every="300d")
    drift = Drift()
    platform = loop(world, drift=drift)
    settle(platform)
    before = len(answers(world))
    drift.on = True
    for _ in range(4):
        go(world, platform, 1)
        world.runs.clear()
    assert len(world.rows("alarm")) == 1
    found = answers(world)[before:]
    assert len(found) == 1, found
    assert found[0][0] == kind
    assert said in found[0][1]


def test_an_alarm_that_the_policy_does_not_go_by_waits_for_its_question(tmp_path):
    world = serving(tmp_path, policy="on_loss", cooldown="0s", ask_every="7d")
    drift = Drift()
    platform = loop(world, drift=drift)
    settle(platform)
    drift.on = True
    for _ in range(8):
        go(world, platform, 1)
    alarm = world.rows("alarm")[0]
    first, held, asked = world.rows("no_trigger")[-3:]
    assert held.numbers == {"held_by": "schedule", "alarm": alarm.id}
    assert asked.at - first.at == timedelta(days=7)
    assert "held out" in asked.why


def test_what_holds_it_back_is_a_row_a_change_and_the_question_is_asked_when_it_ends(tmp_path):
    world = serving(tmp_path, policy="on_alarm", ask_every="1d")
    drift = Drift()
    platform = loop(world, drift=drift)
    for _ in range(5):
        go(world, platform, 1)
    assert [why for _, why in answers(world)] == [
        "not retraining, because the last training was 3 days ago and the cooldown is 14 days"
    ]
    drift.on = True
    for _ in range(3):
        go(world, platform, 1)
    assert len(answers(world)) == 2  # the same, as the answer to the alarm
    assert world.rows("no_trigger")[-1].numbers["alarm"] == world.rows("alarm")[0].id
    for _ in range(7):
        go(world, platform, 1)
    assert answers(world)[2:] == [
        ("trigger", "temp moved"),
        ("no_trigger", "not retraining, because a run is under way"),
    ]


def test_quiet_hours_and_a_freeze_wait_and_a_person_does_not(tmp_path):
    quiet = {"hours": ["mon-fri 06:00-20:00"], "time_zone": "Europe/Berlin"}
    world = serving(tmp_path, policy="on_schedule", schedule="0s", cooldown="0s", quiet=quiet)
    platform = loop(world)
    settle(platform)  # a Wednesday, 13:00 in Berlin
    assert [why for _, why in answers(world)] == [
        "not retraining, because these are quiet hours (mon-fri 06:00-20:00, Europe/Berlin)"
    ]
    world.clock.advance(AT + timedelta(days=2, hours=8))
    settle(platform)
    assert answers(world)[-1][0] == "trigger"


def test_a_loss_asks_and_says_its_numbers(tmp_path):
    world = serving(tmp_path, policy="on_loss", cooldown="0s")
    platform = loop(world, losses=Losses(0.05))
    settle(platform)
    row = world.rows("trigger")[-1]
    assert row.numbers["loss"]["days"] == 7
    assert "it had 0.66" in row.why


def test_no_challenger_is_fitted_where_another_trigger_decides(tmp_path):
    world = serving(tmp_path, policy={"any": ["on_regret", "on_loss"]}, cooldown="0s")
    challengers = Challengers()
    settle(loop(world, losses=Losses(0.05), challengers=challengers))
    assert answers(world)[-1][0] == "trigger"
    assert challengers.fitted == []


@pytest.mark.parametrize(("short", "window"), [(0.02, "60d"), (-0.02, "all"), (0.0, "all")])
def test_the_window_is_what_did_better_and_the_ledger_has_the_numbers(tmp_path, short, window):
    world = serving(
        tmp_path, policy="on_schedule", schedule="0s", cooldown="0s", windows=["all", "60d", "since_change"]
    )
    challengers = Challengers(short=short)
    platform = loop(world, challengers=challengers)
    asked = {}
    platform.runner.start = lambda run_id, trigger, parameters: asked.update(parameters)
    for _ in range(5):
        reconcile(platform)
    now, numbers = world.clock.now(), world.rows("trigger")[-1].numbers
    assert numbers["windows"]["60d"]["mean_gain"] == pytest.approx(short)
    assert "no drift alarm is older" in numbers["windows"]["left_out"]["since_change"]
    known = now - timedelta(days=21)
    assert challengers.fitted == [(known, None), (known, known - timedelta(days=60))]
    assert asked.get("window", "all") == window
    if window == "60d":
        assert asked["train_from"] == (now - timedelta(days=60)).isoformat() == numbers["train_from"]


def test_killed_anywhere_the_question_is_answered_once(tmp_path):
    def answered(fuse):
        world = serving(tmp_path / str(fuse), policy="on_alarm", cooldown="0s", ask_every="300d")
        drift = Drift()
        drift.on = True
        world.writes, world.fuse = 0, fuse
        for _ in range(2):
            platform = loop(world, drift=drift)
            with suppress(Killed):
                go(world, platform, 1)
            world.fuse = None
        return [(one.kind, one.why) for one in world.rows("alarm", "trigger", "no_trigger")], world.writes

    whole, writes = answered(None)
    assert [kind for kind, _ in whole][-2:] == ["alarm", "trigger"]
    for fuse in range(writes):
        found, _ = answered(fuse)
        assert [kind for kind, _ in found].count("trigger") == [kind for kind, _ in whole].count("trigger"), fuse
