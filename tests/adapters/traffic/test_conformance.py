"""What any `TrafficRouter` does with a `Rollout`, as callers and predictors see it."""

import statistics
import time
from collections import Counter

import pytest

from mainspring.domain.errors import MainspringError
from mainspring.domain.rollout import Endpoint, Rollout

COHORTS = {"cohort_header": "x-group", "cohorts": {"a": "stable", "b": "candidate"}}


def idle():
    return Rollout("none", "1")


def canary(weight=10, name="1-to-2-1", **more):
    return Rollout(name, "1", "2", phase="canary", weight_percent=weight, **more)


def shadow(percent=100, **more):
    return Rollout("1-to-2-1", "1", "2", phase="shadow", mirror_percent=percent, **more)


def users(routed, count=300, key="user"):
    """Which of so many users the candidate answers."""
    asked = [routed.ask(f"{key}-{time.monotonic_ns()}", x_user=f"u{place}") for place in range(count)]
    assert {status for status, _ in asked} == {200}
    return {f"u{place}" for place, (_, answer) in enumerate(asked) if answer["name"] == "2"}


@pytest.mark.parametrize("weight", [0, 1, 10, 50, 99, 100])
def test_a_weight_is_read_back_and_is_the_share(routed, weight):
    routed.apply(canary(weight))
    shares = {"candidate": weight, "stable": 100 - weight}
    assert routed.router.observed() == (shares if weight else {"stable": 100})
    answered = Counter(answer["name"] for _, answer in routed.many(600))
    spread = (weight * (100 - weight) * 600) ** 0.5 / 100
    assert abs(answered["2"] - 6 * weight) <= 4 * spread


def test_without_a_candidate_stable_answers_everything(routed):
    routed.apply(idle(), without="2")
    assert routed.router.observed() == {"stable": 100}
    assert {answer["name"] for _, answer in routed.many(50)} == {"1"}


def test_weights_that_were_read_back_are_in_force(routed):
    routed.apply(idle())
    for turn in range(20):
        weight = 0 if turn % 2 else 100
        routed.apply(canary(weight))
        assert routed.ask(f"q{turn}")[1]["name"] == ("2" if weight else "1")


def test_a_request_id_stays_where_it_is_and_a_ramp_takes_nobody_back(routed):
    before = set()
    for weight in (1, 10, 30, 60, 100):
        routed.apply(canary(weight))
        answered = routed.many(300)
        now = {place for place, (_, answer) in enumerate(answered) if answer["name"] == "2"}
        assert before <= now
        before = now
    assert len(before) == 300


def test_a_user_keeps_his_arm_and_a_ramp_takes_nobody_back(routed):
    before = set()
    for weight in (1, 10, 30, 60, 100):
        routed.apply(canary(weight, sticky_header="x-user"))
        now = users(routed)
        assert before <= now
        assert now == users(routed)
        before = now
    assert len(before) == 300


def test_another_rollout_draws_other_users(routed):
    routed.apply(canary(30, "1-to-2-1", sticky_header="x-user"))
    first = users(routed)
    routed.apply(canary(30, "1-to-2-2", sticky_header="x-user"))
    second = users(routed)
    assert len(first & second) < 60  # 27 are expected where 90 would be the same ones
    assert 50 <= len(second) <= 130


@pytest.mark.parametrize("nobody", [{}, {"x_user": ""}])
def test_requests_without_a_user_are_assigned_by_their_id(routed, nobody):
    routed.apply(canary(50, sticky_header="x-user"))
    first = [answer["name"] for _, answer in routed.many(100, **nobody)]
    assert 25 <= first.count("2") <= 75
    assert first == [answer["name"] for _, answer in routed.many(100, **nobody)]


def test_cohorts_and_users_are_told_apart(routed):
    routed.apply(canary(50, sticky_header="x-user", **COHORTS))
    first = users(routed, 60)
    assert 10 <= len(first) <= 50
    assert first == users(routed, 60)
    assert {answer["name"] for _, answer in routed.many(40, x_user="u1", x_group="b")} == {"2"}


@pytest.mark.parametrize("weight", [0, 50])
def test_a_cohort_gets_its_arm_whatever_the_weight_and_the_others_are_split(routed, weight):
    routed.apply(canary(weight, **COHORTS))
    assert {answer["name"] for _, answer in routed.many(40, "a", x_group="a")} == {"1"}
    found = [answer for _, answer in routed.many(40, "b", x_group="b")]
    assert {(one["name"], one["mainspring-arm"], one["mainspring-cohort"]) for one in found} == {
        ("2", "candidate", "b")
    }
    others = [answer for _, answer in routed.many(60, "o", x_group="B", mainspring_cohort="b")]
    answered = Counter(one["name"] for one in others)
    assert bool(answered["2"]) == bool(weight)
    assert not any("mainspring-cohort" in one for one in others)


def test_a_cohort_of_a_failing_candidate_is_answered_by_stable_and_counted_as_the_candidates(routed):
    routed.candidate.status = 500
    routed.apply(canary(0, **COHORTS))
    found = routed.many(40, "b", x_group="b")
    assert {(status, answer["name"]) for status, answer in found} == {(200, "1")}
    counts = routed.counts("1-to-2-1", 40)
    assert (counts["candidate"].requests, counts["candidate"].upstream_errors) == (40, 40)
    assert routed.evidence.batches("1-to-2-1") == ()


def test_names_may_have_signs_that_mean_something_to_a_proxy(routed):
    name = "50% \\1 [a-z]* $(x)"
    routed.apply(canary(0, name, cohort_header="x-group", cohorts={name: "candidate"}))
    _, answer = routed.ask("q1", x_group=name)
    assert (answer["name"], answer["mainspring-rollout"], answer["mainspring-cohort"]) == ("2", name, name)
    assert routed.counts(name, 1)["candidate"].requests == 1
    routed.apply(canary(50, name, sticky_header="x-user"))
    assert 10 <= len(users(routed, 60)) <= 50


def test_cohorts_are_at_rest_outside_a_canary(routed):
    routed.apply(shadow(0, **COHORTS))
    assert {answer["name"] for _, answer in routed.many(20, x_group="b")} == {"1"}


def fail(routed):
    routed.candidate.status = 503


def hang(routed):
    routed.candidate.going.clear()


def die(routed):
    routed.candidate.die()


@pytest.mark.parametrize("fault", [fail, hang, die])
def test_stable_answers_for_a_candidate_that_does_not_and_the_candidate_is_blamed(routed, fault):
    routed.apply(canary(50))
    fault(routed)
    found = routed.many(60)
    assert {(status, answer["name"]) for status, answer in found} == {(200, "1")}
    stamped = Counter(answer["mainspring-arm"] for _, answer in found)
    assert stamped["candidate"] > 10
    counts = routed.counts("1-to-2-1", 60)
    assert counts["candidate"].requests == counts["candidate"].upstream_errors == stamped["candidate"]
    assert counts["stable"].requests == stamped["stable"]
    assert counts["candidate"].user_errors == counts["stable"].upstream_errors == 0
    assert routed.evidence.counts("another") == {}


def test_a_large_request_of_a_failing_candidate_is_answered_by_stable_too(routed):
    routed.candidate.status = 500
    routed.apply(canary(100))
    assert routed.ask("q1", b" " * 8 * 1024 * 1024)[0] == 200


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_mistake_of_the_caller_is_answered_once_and_is_nobodys_error(routed, status):
    routed.candidate.status = status
    routed.apply(canary(100))
    assert {found for found, _ in routed.many(10)} == {status}
    counts = routed.counts("1-to-2-1", 10)["candidate"]
    assert (counts.requests, counts.upstream_errors, counts.user_errors) == (10, 0, 0)
    assert (len(routed.candidate.got), len(routed.stable.got)) == (10, 0)
    assert routed.evidence.record_failures() == 0


def test_an_error_of_stable_is_not_hidden(routed):
    routed.stable.status = 500
    routed.apply(canary(0))
    assert routed.ask("q1")[0] == 500
    counts = routed.counts("1-to-2-1", 1)
    assert (counts["stable"].upstream_errors, counts["stable"].user_errors) == (1, 1)


def test_stamps_are_the_routers_own(routed):
    routed.apply(canary(50))
    ours = ("arm", "rollout", "role", "weight", "shadow-cluster")
    forged = {f"mainspring_{one}": "forged" for one in ours}
    for place in range(20):
        _, answer = routed.ask(f"q{place}", **forged)
        assert answer["mainspring-arm"] == {"1": "stable", "2": "candidate"}[answer["name"]]
        assert (answer["mainspring-rollout"], answer["mainspring-weight"]) == ("1-to-2-1", "50")
        assert "forged" not in answer.values()
        assert "mainspring-role" not in answer
        assert answer["x-request-id"] == f"q{place}"


def test_a_shadow_is_a_copy_that_says_so_and_is_counted_for_itself(routed):
    routed.apply(shadow())
    found = routed.many(40)
    assert {(answer["name"], answer["mainspring-arm"]) for _, answer in found} == {("1", "stable")}
    assert not any("mainspring-role" in answer for _, answer in found)
    copies = routed.settled(lambda: list(routed.candidate.got), lambda got: len(got) >= 40)
    assert {one["x-request-id"] for one in copies} == {f"q{place}" for place in range(40)}
    stamps = {(one["mainspring-role"], one["mainspring-arm"], one["mainspring-rollout"]) for one in copies}
    assert stamps == {("shadow", "candidate", "1-to-2-1")}
    assert {one.get("host") for one in copies} == {found[0][1].get("host")}
    shadows = routed.settled(lambda: routed.evidence.shadows("1-to-2-1"), lambda counts: counts.requests >= 40)
    assert (shadows.requests, shadows.upstream_errors, sum(shadows.latency_counts)) == (40, 0, 40)
    counts = routed.counts("1-to-2-1", 40)
    assert (set(counts), counts["stable"].requests) == ({"stable"}, 40)


def test_a_share_is_mirrored(routed):
    routed.apply(shadow(25))
    routed.many(600)
    time.sleep(0.2)
    assert 108 <= len(routed.candidate.got) <= 192  # four standard deviations
    routed.apply(shadow(0))
    before = len(routed.candidate.got)
    routed.many(50)
    assert len(routed.candidate.got) == before


@pytest.mark.parametrize("fault", [fail, hang, die])
def test_a_shadow_that_does_not_answer_touches_no_user_and_is_in_the_evidence(routed, fault):
    routed.apply(idle())
    routed.many(50)
    alone = seconds(routed, "alone")
    routed.apply(shadow())
    fault(routed)
    mirrored = seconds(routed, "mirrored")
    medians = " ".join(f"{statistics.median(one) * 1000:.2f}" for one in (alone, mirrored))
    print(f"median ms without a shadow, and with one: {medians}")
    # A hanging shadow takes a second to fail, and would show in every answer.
    assert max(mirrored) < 0.7
    assert statistics.median(mirrored) < statistics.median(alone) * 3 + 0.005
    shadows = routed.settled(lambda: routed.evidence.shadows("1-to-2-1"), lambda counts: counts.requests >= 100)
    assert (shadows.requests, shadows.upstream_errors, shadows.user_errors) == (100, 100, 0)
    assert routed.counts("1-to-2-1", 100)["stable"].upstream_errors == 0


def seconds(routed, prefix):
    """How long each of a hundred answers of stable took."""
    found = []
    for place in range(100):
        began = time.perf_counter()
        assert routed.ask(f"{prefix}{place}")[1]["name"] == "1"
        found.append(time.perf_counter() - began)
    return found


def test_evidence_comes_in_order_with_the_weight_of_its_assignment(routed):
    for weight in (10, 50, 100, 20):
        routed.apply(canary(weight))
        routed.many(150, f"w{weight}-")
        routed.counts("1-to-2-1", 0)
    total = routed.counts("1-to-2-1", 600)
    batches = routed.evidence.batches("1-to-2-1")
    assert [(one.weight_percent, one.requests) for one in batches] == [
        *[(10, 100), (10, 50), (50, 100), (50, 50), (20, 100), (20, 50)]
    ]
    split = sum(one.counts["stable"].requests for one in batches)
    assert split == total["stable"].requests
    assert sum(total["stable"].latency_counts) == total["stable"].requests
    assert total["stable"].slower_than(10.0) == 0


def test_the_evidence_says_with_which_status_the_candidate_failed(routed):
    routed.apply(canary(100))
    fail(routed)
    routed.many(10)
    routed.counts("1-to-2-1", 10)
    status = {"rest": "503", "grpc": "UNAVAILABLE"}[routed.wire]
    assert routed.evidence.failed_attempts("1-to-2-1") == {"candidate": {status: 10}}


def test_a_bad_update_is_refused_with_a_reason_and_changes_nothing(routed):
    routed.apply(canary(100))
    nowhere = Endpoint("3", "not an address", 1, True)
    for _ in range(2):
        with pytest.raises(MainspringError, match="not an address"):
            routed.router.apply(canary(0), [routed.stable.endpoint(), routed.candidate.endpoint(), nowhere])
        assert routed.router.observed() == {"candidate": 100, "stable": 0}
        assert routed.ask("q1")[1]["name"] == "2"
    routed.apply(canary(0))
    assert routed.ask("q1")[1]["name"] == "1"


@pytest.mark.parametrize("missing", ["1", "2"])
def test_a_version_without_an_endpoint_gets_no_route(routed, missing):
    routed.apply(idle())
    with pytest.raises(MainspringError, match=f"version-{missing}"):
        routed.apply(canary(50), without=missing)
    assert routed.router.observed() == {"stable": 100}
    assert routed.ask("q1")[0] == 200


def test_a_predictor_that_moved_is_found_when_the_routes_stay(routed):
    routed.apply(canary(100))
    moved = type(routed.candidate)("2", routed.wire)
    endpoint = moved.endpoint()
    moved.name = "moved"
    try:
        routed.router.apply(canary(100), [routed.stable.endpoint(), endpoint])
        assert routed.ask("q1")[1]["name"] == "moved"
    finally:
        moved.close()
