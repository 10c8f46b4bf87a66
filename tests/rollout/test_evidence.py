"""Latency, the split, the budget, and several tests told as one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import ConfigError
from mainspring.rollout.evidence.budget import TESTS, Budget
from mainspring.rollout.evidence.errors import ErrorLimits, ErrorProcess
from mainspring.rollout.evidence.latency import (
    LatencyHistogram,
    band_width,
    judge_latency,
    quantile_band,
    slow_batch,
    slow_edge,
)
from mainspring.rollout.evidence.sample_ratio import SplitProcess, judge_split
from mainspring.rollout.evidence.verdict import Evidence, together

EDGES = (0.005, 0.01, 0.02, 0.05, 0.1)


def measured(rng: np.random.Generator, requests: int, scale_seconds: float) -> LatencyHistogram:
    counts = np.histogram(rng.exponential(scale_seconds, requests), (0.0, *EDGES, np.inf))[0]
    return LatencyHistogram(EDGES, tuple(int(count) for count in counts))


def test_a_slower_candidate_goes_back_and_an_equal_one_stays() -> None:
    rng = np.random.default_rng(1)
    tau = slow_edge(measured(rng, 10_000, 0.01))
    assert tau == 0.05
    slow = equal = ErrorProcess(ErrorLimits(ratio=2.0, margin=0.01))
    for _ in range(20):
        stable = measured(rng, 180, 0.01)
        slow = slow.after(slow_batch(stable, measured(rng, 20, 0.03), tau, 0.1))
        equal = equal.after(slow_batch(stable, measured(rng, 20, 0.01), tau, 0.1))
    found = judge_latency(slow, 0.05, tau)
    assert found.outcome == "REJECT"
    assert "requests slower than 0.05 s of the candidate" in found.reason
    assert judge_latency(equal, 0.05, tau).outcome == "INCONCLUSIVE"


def test_the_band_flags_equal_arms_less_often_than_stated() -> None:
    rng = np.random.default_rng(2)
    flags = 0
    for _ in range(100):
        stable, ours = np.zeros(6, int), np.zeros(6, int)
        flagged = False
        for _ in range(20):
            stable += np.array(measured(rng, 90, 0.01).counts)
            ours += np.array(measured(rng, 10, 0.01).counts)
            band = quantile_band(LatencyHistogram(EDGES, tuple(stable)), LatencyHistogram(EDGES, tuple(ours)), 0.05)
            flagged |= band.flagged
        flags += flagged
    assert flags <= 5


def test_the_band_is_the_published_one_and_needs_no_data_to_say_so() -> None:
    t, alpha = 10_000, 0.025
    assert band_width(t, alpha) == pytest.approx(
        0.85 * math.sqrt((math.log(1 + math.log(t)) + 0.8 * math.log(1612 / alpha)) / t)
    )
    nothing = LatencyHistogram(EDGES, (0,) * 6)
    assert not quantile_band(nothing, nothing, 0.05).flagged


def test_a_latency_that_is_no_edge_and_a_past_without_one_are_refused() -> None:
    histogram = LatencyHistogram(EDGES, (1, 1, 1, 1, 1, 5))
    with pytest.raises(ValueError, match="no edge"):
        histogram.slower_than(0.03)
    with pytest.raises(ValueError, match="last edge"):
        slow_edge(histogram)
    with pytest.raises(ValueError, match="no past"):
        slow_edge(LatencyHistogram(EDGES, (0,) * 6))
    with pytest.raises(ValueError, match="ascending"):
        LatencyHistogram((0.2, 0.1), (1, 1, 1))
    with pytest.raises(ValueError, match="same edges"):
        quantile_band(histogram, LatencyHistogram((1.0,), (1, 1)), 0.05)


def test_a_split_as_configured_stays_quiet_through_a_ramp_and_a_wrong_one_is_found() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        process, alarmed = SplitProcess(), False
        for weight in (0.05, 0.1, 0.25, 0.5):
            for _ in range(20):
                ours = int(rng.binomial(500, weight))
                process = process.after(stable=500 - ours, candidate=ours, weight=weight)
                alarmed |= judge_split(process, 0.05).outcome == "REJECT"
        alarms += alarmed
    assert alarms <= 10
    process = SplitProcess()
    for _ in range(10):
        process = process.after(stable=870, candidate=130, weight=0.1)
    found = judge_split(process)
    assert found.outcome == "REJECT"
    assert "(13.00%), not the 10.00% asked for" in found.reason
    assert from_json(SplitProcess, to_json(process)) == process


def test_the_mean_of_the_split_evidence_is_one() -> None:
    n, weight = 40, 0.1
    chances = [math.comb(n, k) * weight**k * (1 - weight) ** (n - k) for k in range(n + 1)]
    evidence = [SplitProcess().after(stable=n - k, candidate=k, weight=weight).log_e for k in range(n + 1)]
    assert sum(c * math.exp(e) for c, e in zip(chances, evidence, strict=True)) == pytest.approx(1.0)


def test_a_split_without_units_is_no_evidence_and_a_full_weight_no_split() -> None:
    assert SplitProcess().log_e == 0.0
    assert judge_split(SplitProcess()).outcome == "INCONCLUSIVE"
    with pytest.raises(ValueError, match="between 0 and 1"):
        SplitProcess().after(stable=0, candidate=10, weight=1.0)


@given(st.dictionaries(st.sampled_from(TESTS), st.floats(0.1, 10), min_size=1), st.floats(0.001, 0.5))
def test_the_shares_of_a_budget_add_up(weights: dict[str, float], alpha: float) -> None:
    budget = Budget(alpha, weights)
    assert sum(budget.alpha_of(test) for test in TESTS) == pytest.approx(alpha)
    assert budget.alpha_to_accept == alpha


@pytest.mark.parametrize(
    ("alpha", "weights", "said"),
    [
        (0.05, {"speed": 1.0}, "no test is called speed"),
        (1.0, {"errors": 1.0}, "1.0 is no error rate"),
        (0.05, {"errors": 0.0}, "not all 0"),
        (0.05, {"errors": 2.0, "quality": -1.0}, "not negative"),
    ],
)
def test_a_budget_that_cannot_be_shared_is_refused(alpha: float, weights: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Budget(alpha, weights)
    with pytest.raises(ConfigError, match="no test is called speed"):
        Budget().alpha_of("speed")


def test_several_tests_as_one() -> None:
    waits = Evidence("INCONCLUSIVE", "as many errors as stable", {"ratio": 0.1}, {"ratio": 3.0})
    accepts, rejects = Evidence("ACCEPT", "no worse"), Evidence("REJECT", "fails a fifth")
    off = Evidence("REJECT", "30 % instead of 10 %")
    longer = Evidence("INCONCLUSIVE", "not shown", still_needed=12, unit="days")
    assert together({}).reason == "no test has run"
    assert together({"errors": waits, "quality": accepts}).outcome == "ACCEPT"
    assert together({"errors": rejects, "quality": accepts}).reason == "errors: fails a fifth"
    assert together({"errors": waits, "quality": longer}) == Evidence(
        "INCONCLUSIVE",
        "errors: as many errors as stable; quality: not shown",
        {"errors.ratio": 0.1},
        {"errors.ratio": 3.0},
        12,
        "days",
    )
    assert together({"quality": accepts}, off).reason.startswith("the split is off: 30 %")
    assert together({"errors": rejects}, off).reason == "errors: fails a fifth; the split is off: 30 % instead of 10 %"
    assert together({"quality": accepts}, waits).outcome == "ACCEPT"


@given(st.sampled_from(["ACCEPT", "REJECT", "INCONCLUSIVE"]), st.floats(-1e6, 1e6), st.none() | st.integers(1, 99))
def test_evidence_can_be_kept_and_told(outcome: str, log_e: float, needed: int | None) -> None:
    found = from_json(
        Evidence,
        to_json({"outcome": outcome, "reason": "why", "log_e_values": {"a": log_e}, "still_needed": needed}),
    )
    assert from_json(Evidence, to_json(found)) == found
    assert str(found).startswith(f"{outcome}: why. Odds against chance: a ")
