"""What is kept of what was replaced: never what somebody may need, and the end of the rest survives every kill."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.errors import ConfigError, TemporaryError
from mainspring.loop.keep import doomed, reasons
from mainspring.loop.requests import ask
from mainspring.loop.state import COLLECT_WANTED
from mainspring.loop.wishes import PersonRequest
from tests.loop.world import AT, Killed, World


def world_with(tmp_path, refused=0, **keep):
    """`1` and then `2` were champions, `3` was refused ...; keep.versions is 0 unless said otherwise."""
    world = World(tmp_path, keep={"versions": 0, **keep}, drift={"every": "1d"})
    world.served()
    promote(world, "2")
    for place in range(3, 3 + refused):
        world.add(str(place), verdict="refused")
    return world


def promote(world, version):
    world.add(version)
    for _ in range(6):
        world.clock.advance(world.clock.now() + timedelta(hours=2))
        world.settle()
    assert world.rollout.stable == version, world.rollout


def collect(world, **more):
    platform = world.settle()
    ask(world.ledger, PersonRequest("collect", "eva", world.clock.now()))
    return world.settle(**more) or platform


def stays(world, *running):
    return reasons(list(world.versions.values()), world.ledger, world.settings.keep, running)


def test_what_nobody_uses_goes_and_the_ledger_has_it(tmp_path):
    world = world_with(tmp_path, 3)
    promote(world, "6")
    collect(world)
    assert sorted(world.versions) == ["2", "6"]
    assert sorted(world.files) == ["2", "6"]
    rows = world.rows("retired")
    assert [one.version for one in rows] == ["1", "3", "4", "5"]
    assert {one.actor for one in rows} == {"eva"}
    assert rows[0].why.startswith("accepted, not in use, and older")
    (answer,) = world.rows("collected")
    assert answer.actor == "eva"
    assert len(world.swept) == 1


def test_nothing_goes_unless_somebody_asks(tmp_path):
    world = world_with(tmp_path, 3)
    for _ in range(3):
        world.clock.advance(world.clock.now() + timedelta(days=100))
        world.settle()
    assert len(world.versions) == 5


def test_the_loop_does_it_by_itself_where_the_project_says_how_often(tmp_path):
    world = world_with(tmp_path, 3, every="7d")
    world.settle()
    assert len(world.versions) == 5  # looked at when the first version was in service
    world.clock.advance(world.clock.now() + timedelta(days=8))
    world.settle()
    assert sorted(world.versions) == ["1", "2"]
    assert {one.actor for one in world.rows("retired")} == {"policy:auto"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"aliases": ("keep-me",)}, "alias keep-me"),
        ({"approver": "eva"}, "approved by eva"),
    ],
)
def test_what_somebody_named_stays(tmp_path, change, why):
    world = world_with(tmp_path, 3)
    world.versions["4"] = replace(world.versions["4"], **change)
    assert stays(world)["4"] == why
    collect(world)
    assert sorted(world.versions) == ["1", "2", "4"]


def test_what_is_in_use_or_may_be_stays(tmp_path):
    world = world_with(tmp_path, 2)
    found = stays(world, "3")
    assert found == {"1": "the champion before", "2": "in service", "3": "its predictor runs"}
    world.add("8")
    assert stays(world)["8"] == "may be rolled out"
    ask(world.ledger, PersonRequest("start", "eva", AT, "4"))
    assert stays(world)["4"] == "asked for"


def test_a_candidate_and_the_old_version_under_guard_stay(tmp_path):
    world = World(tmp_path, keep={"versions": 0}, rollout={"guard": {"time": "2d"}}, drift={"every": "1d"})
    world.served()
    world.add("2")
    world.settle()
    assert world.rollout.phase == "canary"
    assert stays(world)["2"] == "in a rollout or its guard"
    collect(world)
    world.clock.advance(world.clock.now() + timedelta(hours=2))
    world.settle()
    assert world.rollout.phase == "guard"
    collect(world)
    assert sorted(world.versions) == ["1", "2"]
    ask(world.ledger, PersonRequest("undo", "eva", world.clock.now()))
    world.settle()
    assert world.rollout.stable == "1"


def test_the_newest_that_are_not_in_use_stay_up_to_the_number(tmp_path):
    world = world_with(tmp_path, 5, versions=2)
    collect(world)
    assert sorted(world.versions) == ["1", "2", "6", "7"]


def test_a_registry_without_the_version_in_service_deletes_nothing(tmp_path):
    world = world_with(tmp_path, 2)
    gone = world.versions.pop("2")
    with pytest.raises(TemporaryError, match="does not have version 2, which is in service"):
        doomed(list(world.versions.values()), world.ledger, world.settings.keep, ())
    world.versions["2"] = gone


def test_killed_before_every_write_the_next_loop_deletes_the_same(tmp_path):
    fuse = 0
    while True:
        folder = tmp_path / str(fuse)
        world = world_with(folder, 2)
        promote(world, "5")
        ask(world.ledger, PersonRequest("collect", "eva", world.clock.now()))
        world.fuse = fuse
        ended = False
        with suppress(Killed):
            world.settle()
            ended = True
        world.fuse = None
        world.settle()
        assert sorted(world.versions) == ["2", "5"], fuse
        assert sorted(world.files) == ["2", "5"], fuse
        assert [one.version for one in world.rows("retired")] == ["1", "3", "4"]
        assert len(world.rows("collected")) == 1
        assert not world.ledger.state(COLLECT_WANTED)
        if ended:
            break
        fuse += 1
    assert fuse > 10


def test_what_was_asked_for_after_a_kill_is_not_deleted(tmp_path):
    world = world_with(tmp_path, 1)
    world.add("3", verdict="accepted")  # was refused; somebody may start it
    world.versions["3"] = replace(world.versions["3"], verdict="refused")
    ask(world.ledger, PersonRequest("collect", "eva", world.clock.now()))
    platform = world.platform()

    def dies(doomed):
        raise Killed

    platform.collector.collect = dies
    with suppress(Killed):
        from mainspring.loop import reconcile

        for _ in range(9):
            reconcile(platform)
    assert [one.version for one in world.rows("retired")] == ["3"]
    world.versions["3"] = replace(world.versions["3"], aliases=("mine",))
    world.settle()
    assert "3" in world.versions
    assert [(one.what, one.why) for one in world.rows("collected")][-1] == (
        "version 3 stays after all",
        "alias mine",
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_there_is_what_is_needed_never_goes(tmp_path_factory, data):
    world = world_with(tmp_path_factory.mktemp("world") / "w")
    for place in range(3, 3 + data.draw(st.integers(0, 8))):
        world.add(str(place), verdict=data.draw(st.sampled_from(["accepted", "refused"])))
        world.versions[str(place)] = replace(
            world.versions[str(place)],
            aliases=data.draw(st.sampled_from([(), (), ("a",)])),
            approver=data.draw(st.sampled_from(["policy:auto", "policy:auto", "eva"])),
        )
    running = data.draw(st.sets(st.sampled_from(sorted(world.versions))))
    keep = world.settings.keep.model_copy(update={"versions": data.draw(st.integers(0, 4))})
    versions = list(world.versions.values())
    gone = {one.version for one in doomed(versions, world.ledger, keep, running)}
    for one in versions:
        if one.version in gone:
            assert one.version not in running | {"1", "2"}
            assert not one.aliases
            assert one.approver == "policy:auto"
            assert one.verdict == "refused"
    unused = [one.version for one in versions if one.version not in reasons(versions, world.ledger, keep, running)]
    assert sorted(gone) == sorted(unused)


def test_how_many_stay_warm(tmp_path):
    def after(warm, **rollout):
        world = World(
            tmp_path / f"{warm}{len(rollout)}",
            keep={"warm": warm},
            rollout={"guard": {"time": "2h"}, **rollout},
            drift={"every": "1d"},
        )
        world.served()
        world.add("2")
        for _ in range(2):
            world.clock.advance(world.clock.now() + timedelta(hours=1, minutes=1))
            world.settle()
        guarded = world.rollout.phase
        for version in ("2", "3", "4"):
            promote(world, version)
        return guarded, sorted(version for version, _ in world.running), world

    assert after(0)[:2] == ("idle", ["4"])
    assert after(1)[:2] == ("guard", ["4"])
    guarded, running, world = after(3)
    assert (guarded, running) == ("guard", ["2", "3", "4"])
    world.running.clear()  # a loop that ended in peace stops them all
    world.settle()
    assert sorted(version for version, _ in world.running) == ["2", "3", "4"]


def test_a_log_that_is_still_read_cannot_be_kept_for_less(tmp_path):
    with pytest.raises((ConfigError, ValueError), match=r"keep.log: the log is read 30d back"):
        World(tmp_path, keep={"log": "7d"})
    with pytest.raises((ConfigError, ValueError), match=r"keep.log: the log is read 90d back .*rollout.undecided"):
        World(tmp_path, keep={"log": "60d"}, rollout={"undecided": {"after": "90d"}})
