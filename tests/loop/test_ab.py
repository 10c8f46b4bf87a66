"""An A/B step in the loop: who keeps his arm, what it waits for, each way out of it; and every write a place to be killed at."""

from contextlib import suppress

import pytest

from mainspring.domain.rollout import ArmCounts
from mainspring.rollout.evidence.verdict import Evidence
from tests.loop.world import Killed, World, hours, turn

AB = {"user": "X-User", "percent": 50, "time": "7d", "min_users": 1000}
COHORTS = {"header": "x-group", "candidate": ["beta"], "stable": ["vip"]}
BUSINESS = {"source": "s", "column": "revenue", "range": [0, 500]}
SOURCES = {"s": {"path": "s.csv", "time": "at"}}
BETTER = Evidence("ACCEPT", "shown to be better than stable", unit="users")
UNDECIDED = Evidence("INCONCLUSIVE", "not shown to be better, nor shown to be harm", still_needed=900, unit="users")


def rollout(**ab):
    return {
        "steps": [10, {"ab": {**AB, "cohorts": COHORTS, "evidence": "beat", **ab}}],
        "business": BUSINESS,
        "undecided": {"after": "21d"},
    }


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, sources=SOURCES, rollout=rollout())


def in_ab(world):
    platform = world.served()
    world.add("2")
    turn(platform)
    hours(world, 1)
    turn(platform)
    assert world.rollout.weight_percent == 50
    return platform


def test_users_keep_their_arm_from_the_first_canary_on_and_cohorts_come_with_the_step(world):
    platform = world.served()
    world.add("2")
    turn(platform)
    first = world.routed
    assert (first.weight_percent, first.sticky_header, first.cohorts) == (10, "x-user", {})
    assert len(first.salt) == 32
    assert world.rows("weight")[0].what == "10 % of users to version 2"
    hours(world, 1)
    turn(platform)
    second = world.routed
    assert (second.weight_percent, second.sticky_header, second.salt) == (50, "x-user", first.salt)
    assert (second.cohort_header, second.cohorts) == ("x-group", {"beta": "candidate", "vip": "stable"})


def test_time_users_and_the_metric_are_waited_for_in_that_order(world):
    platform = in_ab(world)
    world.users, world.business, world.counts = (
        999,
        UNDECIDED,
        {"candidate": ArmCounts(5000), "stable": ArmCounts(5000)},
    )
    hours(world, 7 * 24)
    turn(platform)
    assert world.rollout.phase == "canary"
    world.users = 1000
    turn(platform)
    assert world.rollout.phase == "canary"
    world.business = BETTER
    turn(platform)
    (row,) = world.rows("promoted")[1:]
    assert row.why == "ACCEPT: shown to be better than stable."
    assert row.numbers["business"] == "shown to be better than stable"
    world.settle()
    assert world.rollout.stable == "2"


def test_harm_to_the_business_sends_back_at_once_and_before_any_ab_step_too(world):
    platform = world.served()
    world.add("2")
    turn(platform)
    world.business = Evidence("REJECT", "users of the candidate brought less", {"harm": 9.0}, {"harm": 4.0})
    turn(platform)
    assert world.rows("rolled_back")[0].why.startswith("business: users of the candidate brought less")
    world.settle()
    assert world.rollout.stable == "1"


def test_undecided_goes_back_in_time(world):
    platform = in_ab(world)
    world.users, world.business = 5000, UNDECIDED
    world.counts = {"candidate": ArmCounts(5000), "stable": ArmCounts(5000)}
    hours(world, 20 * 24)
    turn(platform)
    assert world.rollout.phase == "canary"
    hours(world, 24)
    turn(platform)
    assert world.rows("rolled_back")[0].why == f"undecided after 21d: {UNDECIDED.reason}"


def test_when_it_is_over_the_salt_and_the_cohorts_are_forgotten(world):
    platform = in_ab(world)
    salt = world.rollout.salt
    world.users, world.business = 1000, BETTER
    hours(world, 7 * 24)
    turn(platform, 12)
    assert (world.rollout.phase, world.rollout.stable) == ("idle", "2")
    assert (world.rollout.salt, world.rollout.sticky_header, world.rollout.cohorts) == ("", "", {})
    assert salt not in "".join(str(row) for row in world.ledger.decisions())
    assert not world.routed.salt


@pytest.mark.parametrize("outcome", ["ACCEPT", "REJECT"])
def test_killed_before_any_write_users_keep_their_arm_and_it_comes_to_the_same_end(tmp_path, outcome):
    def life(folder, fuse=None):
        world = World(folder, sources=SOURCES, rollout=rollout())
        world.served()
        world.add("2")
        world.users, world.fuse, salts = 1000, fuse, set()
        for hour in range(9):
            if hour == 4:
                world.business = Evidence(outcome, "said so", {"harm": 9.0, "beat": 9.0}, {"harm": 4.0, "beat": 4.0})
            with suppress(Killed):
                world.settle()
            if world.fuse is not None and world.fuse < 0:
                world.fuse = None
                world.settle()
            salts |= {world.rollout.salt} - {""}
            hours(world, 24)
        assert len(salts) == 1
        return world, [(one.id, one.kind, one.version) for one in world.ledger.decisions()]

    world, whole = life(tmp_path / "whole")
    assert world.rollout.stable == ("2" if outcome == "ACCEPT" else "1")
    for fuse in range(world.writes):
        other, rows = life(tmp_path / str(fuse), fuse)
        assert (rows, other.rollout.stable) == (whole, world.rollout.stable), fuse


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": [{"ab": {}}]}, "a step `ab` needs the header with the user's key: `ab: {user: x-user}`"),
        ({"steps": [{"ab": {"user": "x-a"}}], "sticky": "x-b"}, "one header has the user's key in all steps, .* x-a, x-b"),
        ({"steps": [50, {"ab": {"user": "x-a", "percent": 20}}]}, "a candidate's share grows from step to step, not"),
        ({"steps": [{"ab": {"user": "x-a", "evidence": "beat"}}]}, "is about `rollout.business`, which is not there"),
        ({"steps": [{"ab": {"user": "x a"}}]}, "String should match pattern"),
        ({"business": BUSINESS}, "`business.join: user` needs the header with the user's key: `rollout.sticky: x-user`"),
        ({"business": {**BUSINESS, "range": [5, 10]}, "sticky": "x-a"}, r"a range is \[least, most\] with 0 in it"),
        ({"business": {**BUSINESS, "range": [-5, 10]}, "sticky": "x-a"}, "a range that begins below 0 it is `margin: 0`"),
        ({"business": {**BUSINESS, "source": "t"}, "sticky": "x-a"}, "'t' is not a source; there are s"),
        ({"steps": [{"ab": {"user": "x-a", "cohorts": {"header": "h"}}}]}, "name values: `candidate: "),
        (
            {"steps": [{"ab": {"user": "x-a", "cohorts": {"header": "h", "candidate": ["b"], "stable": ["b"]}}}]},
            "b cannot be of both arms",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        World(tmp_path, sources=SOURCES, rollout=given)
