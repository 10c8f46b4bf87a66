"""A strategy's steps: shadow, canary, promotion, guard; each way back; and every write a place to be killed at."""

from contextlib import suppress

import pytest

from mainspring.domain.errors import ConflictError
from mainspring.domain.rollout import ArmCounts
from mainspring.loop.requests import answer, ask
from mainspring.loop.rollouts import start_build
from mainspring.loop.wishes import PersonRequest
from mainspring.rollout.evidence.verdict import Evidence
from tests.loop.world import AT, Killed, World, hours, turn

STRATEGY = {
    "rollout": {"steps": [{"shadow": {}}, 10, {"canary": {"weight": 50, "time": "2h"}}], "guard": {"time": "2d"}}
}
HEALTHY = ArmCounts(300, 0)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, **STRATEGY)


def in_shadow(world):
    platform = world.served()
    world.add("2")
    turn(platform)
    assert (world.rollout.phase, world.mirrored) == ("shadow", 100)
    return platform


def in_guard(world):
    """Version 2 took over from version 1 at the end of all steps."""
    platform = in_shadow(world)
    world.copies = HEALTHY
    for count in (1, 1, 2):
        hours(world, count)
        turn(platform)
    assert world.rollout.phase == "guard"
    return platform


def test_a_candidate_goes_through_every_step_and_the_old_version_stays_warm(world):
    platform = in_shadow(world)
    assert (world.weights, set(world.running)) == ({"stable": 100, "candidate": 0}, {("1", ""), ("2", "")})
    world.copies = HEALTHY
    hours(world, 1)
    turn(platform)
    assert (world.rollout.phase, world.rollout.weight_percent, world.mirrored) == ("canary", 10, 0)
    hours(world, 1)
    turn(platform)
    assert world.rollout.weight_percent == 50
    hours(world, 1)
    turn(platform)
    assert world.rollout.phase == "canary"  # this step takes two hours
    hours(world, 1)
    turn(platform)
    assert (world.rollout.phase, world.rollout.stable, world.rollout.candidate) == ("guard", "2", "1")
    assert (world.weights["stable"], world.mirrored, set(world.running)) == (100, 100, {("1", ""), ("2", "")})
    assert world.versions["2"].aliases == ("champion",)
    hours(world, 48)
    world.settle()
    assert (world.rollout.phase, world.rollout.stable, set(world.running)) == ("idle", "2", {("2", "")})
    assert world.rows("weight")[0].why.startswith("no harm found: 0 errors in 300 requests of the candidate")


def test_copies_without_an_answer_take_a_candidate_back_and_nobody_saw_it(world):
    platform = in_shadow(world)
    world.copies = ArmCounts(100, 20)
    turn(platform)
    (back,) = world.rows("rolled_back")
    assert "errors of the candidate 20 in 100 requests (20.0%), of stable 0 in 100" in back.why
    assert back.numbers["log_e"]["errors.ratio"] > back.numbers["log_thresholds"]["errors.ratio"]
    assert world.rollout.stable == "1"
    assert not world.rows("weight")


def test_a_guarded_promotion_is_undone_in_one_tick(world):
    platform = in_guard(world)
    row = ask(platform.ledger, PersonRequest("undo", "eva", world.clock.now(), reason="complaints"))
    turn(platform, 1)
    assert (world.weights["stable"], world.mirrored) == (100, 0)
    assert (world.rollout.stable, world.versions["1"].aliases) == ("1", ("champion",))
    assert answer(platform.ledger, row).what == "version 2 rolled back: the promotion is undone, back to version 1"
    assert "complaints" in world.versions["2"].tags["mainspring.rolled_back"]
    world.settle()
    assert (world.rollout.phase, set(world.running)) == ("idle", {("1", "")})
    with pytest.raises(ConflictError, match="no rollout is under way"):
        ask(world.ledger, PersonRequest("undo", "eva", world.clock.now()))


def test_a_new_version_that_fails_in_the_guard_goes_back(tmp_path):
    world = World(tmp_path, rollout={"guard": {"time": "2d"}})
    platform = world.served()
    world.add("2")
    turn(platform)
    world.counts = {"stable": ArmCounts(900, 9), "candidate": ArmCounts(100, 1)}
    hours(world, 1)
    turn(platform)
    assert world.rollout.phase == "guard"
    world.counts = {"stable": ArmCounts(960, 29), "candidate": ArmCounts(100, 1)}
    turn(platform)
    (back,) = world.rows("rolled_back")
    assert "20 errors in 60 requests (33.3%; limit 5 % and 2 times the 1.0% before)" in back.why
    world.settle()
    assert world.rollout.stable == "1"
    assert world.sent[-1].severity == "critical"


def test_another_build_of_the_champion_is_told_apart_from_it(tmp_path):
    world = World(tmp_path, rollout={"steps": [10]})
    platform = world.served()
    assert start_build(platform, "1", "slim", "smaller") == "moved"
    turn(platform)
    world.counts = {"stable": ArmCounts(900, 0), "candidate": ArmCounts(100, 40)}
    hours(world, 1)
    turn(platform)
    (began,), (back,) = world.rows("rollout_started")[-1:], world.rows("rolled_back")
    assert began.what == "rollout of build `slim` of version 1 began"
    assert back.what == "build `slim` of version 1 rolled back: back to version 1"
    world.settle()
    assert "build `slim` of version 1 was rolled back" in world.sent[-1].what


def test_in_the_guard_neither_a_run_nor_another_rollout_begins(world):
    in_guard(world)
    world.add("3")
    world.settle()
    assert (world.rollout.phase, world.rollout.candidate) == ("guard", "1")
    with pytest.raises(ConflictError, match="version 2, guarded: version 1 is warm"):
        ask(world.ledger, PersonRequest("retrain", "eva", AT))
    hours(world, 48)
    world.settle()
    assert (world.rollout.phase, world.rollout.candidate) == ("shadow", "3")


@pytest.mark.parametrize("undone", [False, True])
def test_killed_before_any_write_the_steps_come_to_the_same_end(tmp_path, undone):
    def life(folder, fuse=None):
        world = World(folder, **STRATEGY)
        world.served()
        world.add("2")
        world.copies, world.fuse, asked = HEALTHY, fuse, False
        for _ in range(60):
            with suppress(Killed):
                world.settle()
                if undone and world.rollout.phase == "guard" and not asked:
                    asked = True
                    ask(world.ledger, PersonRequest("undo", "eva", world.clock.now()))
                    world.settle()
                hours(world, 1)
            world.fuse = None
        return world, [(one.id, one.kind, one.version) for one in world.ledger.decisions() if one.kind != "requested"]

    (tmp_path / "whole").mkdir()
    world, whole = life(tmp_path / "whole")
    assert world.rollout.stable == ("1" if undone else "2")
    for fuse in range(world.writes):
        folder = tmp_path / str(fuse)
        folder.mkdir()
        other, rows = life(folder, fuse)
        assert (rows, other.rollout.stable, other.running.keys()) == (whole, world.rollout.stable, world.running.keys())


def test_a_strategy_is_refused_that_goes_down_or_says_nothing(tmp_path):
    with pytest.raises(ValueError, match="a candidate's share grows from step to step"):
        World(tmp_path, rollout={"steps": [50, 10]})
    with pytest.raises(ValueError, match="a step is either"):
        World(tmp_path, rollout={"steps": [{}]})


def test_a_match_is_waited_for_and_what_is_undecided_goes_back(tmp_path):
    rollout = {**STRATEGY["rollout"], "evidence": "match", "undecided": {"after": "14d"}}
    world = World(tmp_path, rollout=rollout)
    platform = in_shadow(world)
    world.copies, world.quality = HEALTHY, Evidence("INCONCLUSIVE", "on these 13 days", still_needed=8, unit="days")
    hours(world, 13 * 24)
    turn(platform)
    assert world.rollout.phase == "shadow"
    world.quality = Evidence("ACCEPT", "on these 14 days: shown to be no worse than 0.02")
    turn(platform)
    assert world.rollout.phase == "canary"
    assert "shown to be no worse than 0.02" in world.rows("weight")[0].why
    other = World(tmp_path / "other", rollout=rollout)
    platform = in_shadow(other)
    other.copies, other.quality = HEALTHY, Evidence("INCONCLUSIVE", "on these 14 days")
    hours(other, 14 * 24)
    turn(platform)
    assert other.rows("rolled_back")[0].why == "undecided after 14d: on these 14 days"


def test_a_new_version_that_is_worse_in_the_guard_goes_back(world):
    platform = in_guard(world)
    world.quality = Evidence("REJECT", "on these 30 days the candidate's loss was more", {"worse": 5.0})
    turn(platform)
    assert world.rows("rolled_back")[0].numbers == {"log_e": {"worse": 5.0}}
    world.settle()
    assert world.rollout.stable == "1"
