"""Users who keep their arm, as any router stamps them and any evidence counts them: hashed, once each, over restarts."""

import hashlib
from dataclasses import replace

import pytest

from mainspring.domain.rollout import Rollout

SALT = "5f" * 16
STICKY = Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=50, sticky_header="x-user", salt=SALT)
# One byte before, on and after the edges of a hash's blocks; letters of several bytes; longer than any key should be.
KEYS = ["eva", "é€".encode().decode("latin1"), *("k" * length for length in (22, 23, 30, 31, 32, 86, 87, 4096, 5000))]


def hashed(key):
    return hashlib.sha256(f"{SALT}:".encode() + key.encode("latin1")[:4096]).hexdigest()[:32]


def rounds(routed, users, rollout=STICKY):
    """The evidence once the round of its step has so many users."""

    def steps():
        return [one for one in routed.evidence.users(rollout.id) if one.kind == "step"]

    return routed.settled(
        steps, lambda found: found and sum(one.users(arm) for one in found for arm in one.first) >= users
    )


def test_a_predictor_and_the_log_know_a_hash_of_the_user_alone(routed):
    routed.apply(STICKY)
    keys = [key for key in KEYS if key.isascii() or routed.wire == "rest"]  # metadata is ASCII
    for key in keys:
        _, answer = routed.ask("q1", x_user=key, mainspring_user="forged")
        assert answer["mainspring-user"] == hashed(key)
    rounds(routed, len({hashed(key) for key in keys}))
    members = routed.evidence.members(STICKY.id, 50)
    assert set(members.column("user").to_pylist()) == {hashed(key) for key in keys}


@pytest.mark.parametrize("rollout", [STICKY, replace(STICKY, sticky_header=""), Rollout("none", "1")])
def test_who_has_no_key_has_no_hash_and_forges_none(routed, rollout):
    routed.apply(rollout)
    for header in ({}, {"x_user": ""}):
        _, answer = routed.ask("q1", mainspring_user="forged", **header)
        assert "mainspring-user" not in answer


def test_another_rollout_knows_another_hash(routed):
    seen = set()
    for salt in (SALT, "a0" * 16):
        routed.apply(replace(STICKY, salt=salt))
        seen.add(routed.ask("q1", x_user="eva")[1]["mainspring-user"])
    assert len(seen) == 2


def test_a_user_counts_once_however_often_he_asks_and_fails(routed):
    routed.candidate.status = 500
    routed.apply(STICKY)
    arms = {}
    for place in range(20):
        arms[place] = routed.ask(f"q{place}", x_user=f"u{place}")[1]["mainspring-arm"]
    routed.many(200, "heavy", x_user="u0")
    routed.counts(STICKY.id, 220)
    ours = sum(arm == "candidate" for arm in arms.values())
    (step,) = rounds(routed, 20)
    assert (step.users("candidate"), step.users("stable")) == (ours, 20 - ours)
    assert step.failed == ({"candidate": ours} if ours else {})
    assert step.first["candidate"].upstream_errors == ours
    assert step.first["candidate"].user_errors == 0  # stable answered for it


def test_requests_without_a_key_count_each_for_itself_and_cohorts_not_at_all(routed):
    routed.apply(replace(STICKY, cohort_header="x-group", cohorts={"b": "candidate"}))
    routed.many(30)
    routed.many(30, "c", x_group="b", x_user="u1")
    routed.counts(STICKY.id, 60)
    (step,) = rounds(routed, 30)
    assert step.users("candidate") + step.users("stable") == 30


def test_a_ramp_begins_a_round_and_counts_everybody_anew(routed):
    for weight in (20, 60):
        routed.apply(replace(STICKY, weight_percent=weight))
        for place in range(60):
            routed.ask(f"w{weight}-{place}", x_user=f"u{place}")
        routed.counts(STICKY.id, 60)
    first, second = rounds(routed, 120)
    assert [first.weight_percent, second.weight_percent] == [20, 60]
    assert first.users("candidate") < second.users("candidate")
    assert sum(second.users(arm) for arm in second.first) == 60
    assert routed.evidence.members(STICKY.id, 60).num_rows == 60
    assert routed.evidence.members(STICKY.id, 20).num_rows == 0
