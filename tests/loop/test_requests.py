"""What a person asks for: granted in the person's name, or refused with a reason, once, whatever is killed in between."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConflictError
from mainspring.domain.rollout import ArmCounts
from mainspring.domain.run import Run
from mainspring.loop import reconcile
from mainspring.loop.requests import answer, ask, pending
from mainspring.loop.state import RUN
from mainspring.loop.wishes import PersonRequest
from tests.loop.world import AT, Killed, World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def turn(platform, ticks=3):
    for _ in range(ticks):
        reconcile(platform)


def wish(what, version="", at=AT, actor="eva", reason="", until=None):
    return PersonRequest(what, actor, at, version, reason, until)


def in_canary(world):
    """Version 2 takes over from version 1, and has its first share."""
    platform = world.served()
    world.add("2")
    turn(platform, 4)
    assert (world.rollout.phase, world.rollout.candidate) == ("canary", "2")
    return platform


def test_a_retraining_is_a_trigger_and_a_run_in_the_persons_name(world):
    platform = world.served()
    row = ask(platform.ledger, wish("retrain", reason="new sensors"))
    assert answer(platform.ledger, row) is None
    turn(platform)
    granted = answer(platform.ledger, row)
    assert (granted.kind, granted.actor, granted.run_id) == ("trigger", "eva", "run-person-1")
    assert granted.why == "asked for by eva: new sensors"
    assert list(world.runs) == ["run-person-1"]


def test_the_same_asked_twice_is_one_request_and_one_run(world):
    platform = world.served()
    first = ask(platform.ledger, wish("retrain"))
    assert ask(platform.ledger, wish("retrain", at=AT + timedelta(seconds=1), actor="max")) == first
    turn(platform)
    assert len(world.rows("trigger")) == 1
    assert len(world.rows("requested")) == 1


def test_while_a_run_is_under_way_another_is_refused_at_once_and_in_the_loop(world):
    platform = world.served()
    ask(platform.ledger, wish("retrain"))
    # Two people at the same time: both rows are there before the loop looks.
    late = PersonRequest("retrain", "max", AT)
    platform.ledger.append(Decision(late.id, "requested", "max asks", "", "max", AT, numbers={"wish": "retrain"}))
    turn(platform)
    assert [one.why for one in world.rows("request_refused")] == ["a run is under way (run-person-1)"]
    assert answer(platform.ledger, late.id).kind == "request_refused"
    with pytest.raises(ConflictError, match="a run is under way"):
        ask(platform.ledger, wish("retrain", at=AT + timedelta(hours=1)))
    assert len(world.rows("request_refused")) == 2
    assert list(world.runs) == ["run-person-1"]
    assert not pending(platform.ledger)


def test_a_first_model_that_failed_is_tried_again_when_a_person_asks(world):
    platform = world.platform()
    turn(platform)
    world.runs["run-first"] = replace(world.runs["run-first"], status="failed", reason="training.py: no")
    turn(platform)
    assert len(world.rows("run_failed")) == 1
    world.settle()
    assert list(world.runs) == ["run-first"]
    ask(platform.ledger, wish("retrain"))
    turn(platform)
    assert list(world.runs) == ["run-first", "run-person-1"]


def test_where_versions_wait_for_a_person_a_start_is_the_approval(tmp_path):
    world = World(tmp_path, rollout={"approval": "person"})
    world.add("1")
    platform = world.settle()
    assert world.rollout.phase == "idle"
    assert not world.running
    ask(platform.ledger, wish("start", "1"))
    world.settle()
    assert world.rollout.stable == "1"
    (approved,) = world.rows("approved")
    assert (approved.actor, approved.version, world.versions["1"].approver) == ("eva", "1", "eva")
    assert [one.actor for one in world.rows("rollout_started")] == ["eva"]


def test_an_abort_goes_back_and_the_version_is_not_tried_again(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("abort", reason="complaints"))
    world.settle()
    (back,) = world.rows("rolled_back")
    assert (back.actor, back.version, back.why) == ("eva", "2", "asked for by eva: complaints")
    assert (world.rollout.stable, world.rollout.phase, set(world.running)) == ("1", "idle", {("1", "")})
    assert "complaints" in world.sent[-1].detail
    assert "complaints" not in world.sent[-1].what
    assert len(world.rows("rollout_started")) == 2


def test_a_promotion_does_not_wait_for_evidence(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("promote"))
    world.settle()
    assert world.rollout.stable == "2"
    assert world.rows("promoted")[-1].actor == "eva"
    assert world.versions["2"].aliases == ("champion",)


def test_a_former_champion_comes_back_by_a_persons_word_and_stays(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("promote"))
    platform = world.settle()
    ask(platform.ledger, wish("start", "1"))
    turn(platform, 4)
    assert (world.rollout.phase, world.rollout.candidate) == ("canary", "1")
    ask(platform.ledger, wish("promote", at=AT + timedelta(days=2)))
    platform = world.settle()
    assert world.rollout.stable == "1"
    world.clock.advance(AT + timedelta(days=9))
    world.settle()
    assert world.rollout.stable == "1"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (wish("abort"), "no rollout is under way"),
        (wish("promote"), "no rollout is under way"),
        (wish("start", "1"), "version 1 is in service"),
        (wish("start", "9"), "there is no version 9; there are 1, 2"),
        (wish("start", "2"), "the gate refused version 2: not better"),
    ],
)
def test_what_cannot_be_granted_is_refused_with_its_reason(world, request_, why):
    platform = world.served()
    world.add("2", verdict="refused")
    with suppress(ConflictError):  # by the ledger alone, or by the loop
        ask(platform.ledger, request_)
    world.settle()
    assert [one.why for one in world.rows("request_refused")] == [why]
    assert world.rollout.stable == "1"


def test_during_a_rollout_neither_a_run_nor_another_rollout_is_granted(world):
    platform = in_canary(world)
    world.add("3", verdict="refused")
    for one in (wish("retrain"), wish("start", "3")):
        with pytest.raises(ConflictError, match=r"a rollout is under way \(version 2, canary at 10 %\)"):
            ask(platform.ledger, one)


def test_a_row_that_asks_for_nothing_known_is_answered_too(world):
    platform = world.served()
    platform.ledger.append(Decision("x", "requested", "?", "", "eva", AT, numbers={"wish": "a pony"}))
    world.settle()
    assert "'a pony'" in world.rows("request_refused")[0].why
    assert not pending(platform.ledger)


def test_an_alias_that_somebody_moved_is_a_request_and_is_put_back(world):
    platform = world.served()
    world.add("2")
    world.versions["2"] = replace(world.versions["2"], aliases=("champion",))
    world.versions["1"] = replace(world.versions["1"], aliases=())
    turn(platform)
    (row,) = world.rows("requested")
    assert (row.actor, row.version) == ("external", "2")
    assert "champion" in world.versions["1"].aliases
    assert world.rows("rollout_started")[-1].actor == "external"
    assert (world.rollout.stable, world.rollout.candidate) == ("1", "2")


def test_an_alias_moved_to_a_refused_version_is_refused_and_one_removed_is_put_back(world):
    platform = world.served()
    world.add("2", verdict="refused", aliases=["champion"])
    world.versions["1"] = replace(world.versions["1"], aliases=())
    world.settle()
    assert [one.why for one in world.rows("request_refused")] == ["the gate refused version 2: not better"]
    assert (world.versions["1"].aliases, world.versions["2"].aliases) == (("champion",), ())
    platform.registry.set_alias("champion", "")
    world.settle()
    assert world.versions["1"].aliases == ("champion",)
    assert len(world.rows("alias")) == 1


def guarded_canary(tmp_path):
    world = World(tmp_path, rollout={"min_requests": 1, "guard": {"time": "1d"}})
    world.served()
    world.add("2")
    world.settle()
    assert (world.rollout.phase, world.rollout.candidate) == ("canary", "2")
    return world


def test_an_alias_moved_to_the_candidate_asks_for_its_promotion_and_back_for_the_old_version(tmp_path):
    world = guarded_canary(tmp_path)
    moved_alias(world)
    world.settle()
    assert world.rows("promoted")[-1].actor == "external"
    assert (world.rollout.phase, world.rollout.stable, world.rollout.candidate) == ("guard", "2", "1")
    world.versions["1"] = replace(world.versions["1"], aliases=("champion",))
    world.versions["2"] = replace(world.versions["2"], aliases=())
    world.settle()
    assert world.rows("rolled_back")[-1].actor == "external"
    assert (world.rollout.phase, world.rollout.stable) == ("idle", "1")
    assert world.versions["1"].aliases == ("champion",)


def test_an_alias_moved_elsewhere_during_a_rollout_is_refused_and_put_back(tmp_path):
    world = guarded_canary(tmp_path)
    world.add("3", verdict="refused", aliases=["champion"])
    world.versions["1"] = replace(world.versions["1"], aliases=())
    world.settle()
    assert "a rollout is under way (version 2, canary at 10 %)" in world.rows("request_refused")[-1].why
    assert (world.versions["1"].aliases, world.versions["3"].aliases) == (("champion",), ())
    assert world.rollout.phase == "canary"


def moved_alias(world):
    world.versions["2"] = replace(world.versions["2"], aliases=("champion",))
    world.versions["1"] = replace(world.versions["1"], aliases=())


def approval(world):
    ask(world.ledger, wish("start", "2"))


@pytest.mark.parametrize("asked", [moved_alias, approval])
def test_killed_before_any_write_the_next_start_comes_to_the_same_end(tmp_path, asked):
    def turned(fuse, folder):
        folder.mkdir()
        world = World(folder, rollout={"approval": "person", "min_requests": 0, "step_time": "1h"})
        world.add("1")
        world.settle()
        ask(world.ledger, wish("start", "1"))
        world.settle()
        world.add("2")
        world.settle()
        asked(world)
        world.writes, world.fuse = 0, fuse
        try:
            world.settle()
        except Killed:
            world.fuse = None
            world.settle()
        ids = [one.id for one in world.ledger.decisions()]
        return ids, world.rollout, {name: (one.aliases, one.approver) for name, one in world.versions.items()}, world

    *whole, world = turned(None, tmp_path / "whole")
    assert world.writes >= 5
    for fuse in range(world.writes):
        *killed, _ = turned(fuse, tmp_path / str(fuse))
        assert killed == whole, fuse


def test_a_run_that_ends_is_not_kept_from_its_end_by_requests(world):
    platform = world.served()
    ask(platform.ledger, wish("retrain"))
    turn(platform)
    world.runs["run-person-1"] = Run("run-person-1", "person", "failed", reason="no")
    world.settle()
    assert platform.ledger.state(RUN) == ""
    assert world.rows("run_failed")[-1].run_id == "run-person-1"


def test_a_paused_rollout_stays_at_its_share_until_it_goes_on(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("pause", reason="the on-call is away"))
    turn(platform)
    assert [one.why for one in world.rows("paused")] == ["asked for by eva: the on-call is away"]
    world.clock.advance(AT + timedelta(days=3))
    turn(platform)
    assert (world.rollout.phase, world.rollout.paused_by) == ("canary", "eva")
    with pytest.raises(ConflictError, match="it is paused already"):
        ask(platform.ledger, wish("pause", at=AT + timedelta(days=3)))
    row = ask(platform.ledger, wish("resume", actor="max", at=AT + timedelta(days=3)))
    world.settle()
    assert answer(world.ledger, row).kind == "resumed"
    assert (world.rollout.stable, world.rollout.paused_by) == ("2", "")


def test_a_paused_rollout_still_goes_back(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("pause"))
    turn(platform)
    world.counts = {"candidate": ArmCounts(30, 30, 30), "stable": ArmCounts(300)}
    world.settle()
    assert (world.rollout.stable, world.rollout.phase, world.rollout.paused_by) == ("1", "idle", "")


def test_a_freeze_stops_runs_rollouts_and_ramps_until_it_ends(world):
    platform = in_canary(world)
    until = AT + timedelta(days=5)
    row = ask(platform.ledger, wish("freeze", at=AT + timedelta(days=1), until=until, reason="holidays"))
    turn(platform)
    assert answer(platform.ledger, row).what == "frozen by eva until 2026-03-07 12:00 UTC: holidays"
    world.clock.advance(AT + timedelta(days=3))
    turn(platform)
    assert world.rollout.phase == "canary"
    for late in "retrain", "promote":
        with pytest.raises(ConflictError, match="holidays; it ends early by: mainspring freeze --end"):
            ask(platform.ledger, wish(late, at=AT + timedelta(days=3)))
    world.clock.advance(until)
    world.settle()
    assert world.rollout.stable == "2"


def test_a_freeze_ends_early_and_never_stops_a_way_back(world):
    platform = in_canary(world)
    ask(platform.ledger, wish("freeze", at=AT + timedelta(days=1), until=AT + timedelta(days=5)))
    turn(platform)
    ask(platform.ledger, wish("abort", at=AT + timedelta(days=1)))
    world.settle()
    assert world.rollout.stable == "1"
    world.add("3")
    world.settle()
    assert world.rollout.phase == "idle"
    row = ask(world.ledger, wish("unfreeze", at=AT + timedelta(days=1)))
    world.settle()
    assert answer(world.ledger, row).kind == "unfrozen"
    assert world.rollout.candidate == "3"
    with pytest.raises(ConflictError, match="nothing is frozen"):
        ask(world.ledger, wish("unfreeze", at=AT + timedelta(days=2)))


def test_a_freeze_needs_an_end_later_than_now(world):
    with pytest.raises(ConflictError, match="a freeze needs an end later than now, 2026-03-02 12:00 UTC"):
        ask(world.served().ledger, wish("freeze", until=AT))


@pytest.mark.parametrize("fuse", range(4))
def test_an_approval_lets_a_version_take_traffic_once_whatever_is_killed(tmp_path, fuse):
    world = World(tmp_path, rollout={"approval": "person"})
    world.add("1")
    platform = world.settle()
    row = ask(platform.ledger, wish("approve", "1", reason="looked at the slices"))
    world.fuse = fuse
    with suppress(Killed):
        world.settle()
    world.fuse = None
    world.settle()
    assert world.rollout.stable == "1"
    (approved,) = world.rows("approved")
    assert answer(world.ledger, row) == approved
    assert (approved.actor, world.versions["1"].tags["mainspring.approval"]) == ("eva", "looked at the slices")


def test_nobody_approves_what_he_trained(tmp_path):
    world = World(tmp_path, rollout={"approval": "person"})
    world.add("1")
    world.versions["1"] = replace(world.versions["1"], trained_by="eva")
    platform = world.settle()
    rows = [ask(platform.ledger, wish(one, "1")) for one in ("approve", "start")]
    world.settle()
    for row in rows:
        assert answer(world.ledger, row).why == "eva trained version 1: somebody else has to approve it"
    assert world.rollout.phase == "idle"
    ask(world.ledger, wish("approve", "1", actor="max"))
    world.settle()
    assert world.rollout.stable == "1"
