"""`Rollout` and what is counted of it: nothing is lost on paper, counts add up, and what makes no sense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.rollout import LATENCY_EDGES_SECONDS, ArmCounts, Rollout, latency_bucket


def counted(seconds):
    """Counts of requests that took so long each."""
    buckets = [latency_bucket(one) for one in seconds]
    counts = tuple(buckets.count(place) for place in range(len(LATENCY_EDGES_SECONDS) + 1))
    return ArmCounts(len(seconds), 0, 0, sum(seconds), counts if seconds else ())


COUNTS = st.lists(st.floats(0, 60), max_size=20).map(counted)
ROLLOUTS = st.builds(
    Rollout,
    id=st.text(max_size=8),
    stable=st.just("1"),
    candidate=st.sampled_from(["", "2"]),
    phase=st.sampled_from(["shadow", "canary", "idle"]),
    weight_percent=st.integers(0, 100),
    evidence=st.dictionaries(st.sampled_from(["stable", "candidate"]), COUNTS),
    mirror_percent=st.integers(0, 100),
    cohort_header=st.just("x-group"),
    cohorts=st.dictionaries(st.text(max_size=5), st.sampled_from(["stable", "candidate"])),
    sticky_header=st.sampled_from(["", "x-user"]),
)


@given(ROLLOUTS)
def test_a_rollout_survives_its_json(rollout):
    assert from_json(Rollout, to_json(rollout)) == rollout
    assert not (rollout.splits and rollout.mirrors)


@given(COUNTS, COUNTS, st.sampled_from(LATENCY_EDGES_SECONDS))
def test_counts_add_up_bucket_by_bucket(one, other, edge):
    both = one + other
    assert both.requests == one.requests + other.requests == sum(both.latency_counts)
    assert both.slower_than(edge) == one.slower_than(edge) + other.slower_than(edge) <= both.requests
    assert one + ArmCounts() == one == ArmCounts() + one


def test_a_latency_between_two_edges_was_not_counted():
    with pytest.raises(ValueError, match="not in tuple"):
        ArmCounts().slower_than(0.0123)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weight_percent": 101}, "whole percentage"),
        ({"mirror_percent": -1}, "whole percentage"),
        ({"sticky_header": "X-User"}, "lower-case"),
        ({"cohort_header": "x group"}, "lower-case"),
        ({"cohorts": {"a": "stable"}}, "cohort_header"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        Rollout("r", "1", "2", **wrong)
