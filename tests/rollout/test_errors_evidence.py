"""The error tests: exact on every path of small rollouts, fast in old ones, and never out of the range of a float.

`confseq` has no wheel for Python 3.11 and `expectation` asks for Python 3.12: the closed forms are checked by brute-force
integration, and validity by enumerating every path.
"""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.codec import from_json, to_json
from mainspring.rollout.evidence import errors, ratio
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess, judge_errors
from mainspring.rollout.evidence.mixture import log_upper_beta
from mainspring.rollout.evidence.ratio import ratio_log_e

LOG_20 = math.log(20)
WEIGHTS = (0.05, 0.1, 0.1, 0.5, 0.25, 0.25)


def batch(rng: np.random.Generator, requests: int, weight: float, stable: float, candidate: float) -> ErrorBatch:
    ours = int(rng.binomial(requests, weight))
    theirs = requests - ours
    return ErrorBatch(theirs, int(rng.binomial(theirs, stable)), ours, int(rng.binomial(ours, candidate)), weight)


def integrated(x: float, y: float, p: float) -> float:
    """ln of the integral from p to 1 by the midpoint rule in u, t = 1 - (1-p) u^2: no singularity is left at 1."""
    u = (np.arange(400_000) + 0.5) / 400_000
    t = 1 - (1 - p) * u**2
    logs = (x - 1) * np.log(t) + (y - 1) * np.log1p(-t) + np.log(2 * (1 - p) * u)
    return float(np.logaddexp.reduce(logs) - math.log(len(u)))


@pytest.mark.parametrize(
    ("x", "y", "p"),
    [
        (0.5, 0.5, 0.14),
        (8.5, 2.5, 0.14),
        (1000.5, 9000.5, 1 / 7),
        (0.5, 900.5, 0.6),
        (20.5, 9000.5, 0.3),
        (3.5, 0.5, 0.9),
    ],
)
def test_the_upper_beta_is_its_integral(x: float, y: float, p: float) -> None:
    assert float(log_upper_beta(x, y, p)) == pytest.approx(integrated(x, y, p), abs=1e-4)


def test_the_tail_does_not_cancel() -> None:
    assert float(ratio_log_e(1000, 10_000, 0.1, 1.5)) == pytest.approx(-7.98, abs=0.005)


@given(st.integers(0, 2_000_000), st.floats(0, 1), st.floats(0.001, 0.999), st.floats(1.0, 20.0))
def test_ratio_evidence_is_always_a_number(errors_: int, share: float, weight: float, tolerated: float) -> None:
    assert math.isfinite(float(ratio_log_e(round(share * errors_), errors_, weight, tolerated)))


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.9])
def test_the_mean_of_the_ratio_evidence_is_one_at_the_boundary(weight: float) -> None:
    n = 60
    p0 = weight * 1.5 / (weight * 1.5 + 1 - weight)
    chances = [math.comb(n, k) * p0**k * (1 - p0) ** (n - k) for k in range(n + 1)]
    mean = sum(chance * math.exp(float(ratio_log_e(k, n, weight, 1.5))) for k, chance in enumerate(chances))
    assert mean == pytest.approx(1.0)


def expected_e(stable: float, candidate: float, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """The mean e-values over every path of six requests, with a restart at each, thinning, and a ramp of weights."""
    monkeypatch.setattr(errors, "RESTART_EVERY", 1)
    monkeypatch.setattr(ratio, "_MOST_STARTS", 3)
    paths = {ErrorProcess(ErrorLimits(1.5, 0.2)): 1.0}
    for w in WEIGHTS:
        after: dict[ErrorProcess, float] = {}
        for (process, chance), ours, failed in itertools.product(paths.items(), (0, 1), (0, 1)):
            rate = candidate if ours else stable
            here = chance * (w if ours else 1 - w) * (rate if failed else 1 - rate)
            new = process.after(ErrorBatch(1 - ours, failed * (1 - ours), ours, failed * ours, w))
            after[new] = after.get(new, 0.0) + here
        paths = after
    assert sum(paths.values()) == pytest.approx(1)
    assert max(len(process.ratio_starts) for process in paths) == 3
    assert any(start.prior_candidate > 0.5 for process in paths for start in process.ratio_starts)
    by_ratio = sum(chance * math.exp(process.log_e_ratio) for process, chance in paths.items())
    by_margin = sum(chance * math.exp(process.log_e_margin) for process, chance in paths.items())
    return by_ratio, by_margin


def test_over_all_paths_both_means_are_one_at_the_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert expected_e(0.4, 0.6, monkeypatch) == (pytest.approx(1.0), pytest.approx(1.0))


def test_over_all_paths_a_good_candidate_has_less_and_a_bad_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(expected_e(0.4, 0.3, monkeypatch)) < 1 < min(expected_e(0.4, 0.9, monkeypatch))


def test_at_the_boundary_it_goes_back_less_often_than_stated() -> None:
    rng = np.random.default_rng(5)
    gone = 0
    for _ in range(200):
        process = ErrorProcess()
        for _ in range(40):
            process = process.after(batch(rng, 500, 0.1, 0.01, 0.015))
            if process.log_e >= LOG_20:
                gone += 1
                break
    assert gone <= 10


@pytest.mark.parametrize(("healthy", "most"), [(0, 400), (100_000, 700)])
def test_a_broken_candidate_goes_back_soon_however_old_it_is(healthy: int, most: int) -> None:
    rng = np.random.default_rng(6)
    waited = []
    for _ in range(20):
        process = ErrorProcess()
        for _ in range(healthy // 1000):
            process = process.after(batch(rng, 1000, 0.1, 0.01, 0.01))
        requests = 0
        while process.log_e < LOG_20:
            requests += 20
            process = process.after(batch(rng, 20, 0.1, 0.01, 0.2))
        waited.append(requests)
    assert statistics.median(waited) <= most


def test_a_ramp_keeps_what_was_won_and_a_healthy_candidate_reaches_its_end() -> None:
    rng = np.random.default_rng(7)
    bad, good = ErrorProcess(), ErrorProcess()
    for weight in (0.01, 0.05, 0.1, 0.25, 0.5, 0.9):
        before = bad.log_e_ratio
        for step in range(20):
            bad = bad.after(batch(rng, 100, weight, 0.01, 0.06))
            if step == 0:
                assert bad.log_e_ratio > before - 3  # A new weight costs a new prior, not the wealth.
            good = good.after(batch(rng, 100, weight, 0.01, 0.01))
    assert judge_errors(bad, 0.05).outcome == "REJECT"
    assert judge_errors(good, 0.05).outcome == "INCONCLUSIVE"


def test_an_incident_that_hits_both_arms_rolls_nothing_back() -> None:
    process = ErrorProcess()
    for _ in range(20):
        process = process.after(ErrorBatch(90, 60, 10, 7, 0.1))
    assert judge_errors(process, 0.05).outcome == "INCONCLUSIVE"


def test_no_request_is_no_evidence() -> None:
    assert judge_errors(ErrorProcess().after(ErrorBatch(100, 0, 0, 0, 0.1)), 0.05).reason.endswith("no evidence")


def test_a_million_requests_leave_a_small_state_in_which_numbers_are_numbers() -> None:
    process = ErrorProcess()
    for _ in range(1000):
        process = process.after(ErrorBatch(500, 50, 500, 0, 0.5))  # 50,000 errors, none the candidate's: e^-45,000
    assert len(to_json(process)) < 4000
    assert from_json(ErrorProcess, to_json(process)) == process
    assert -math.log(1003) < process.log_e < 0
    spread = [start.restart for start in process.ratio_starts]
    assert spread[0] < 10
    assert spread[-5:] == [997, 998, 999, 1000, 1001]


def test_one_large_batch_begins_all_the_restarts_it_spans() -> None:
    process = ErrorProcess().after(ErrorBatch(4500, 0, 500, 0, 0.1))
    assert process.restarts == 6
    assert process.log_e_ratio == pytest.approx(0.0)  # 1/2 + (1/2 - 1/7) + 1/7: nothing is lost, nothing won.


COUNTS = st.tuples(
    st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 1), st.floats(0, 1), st.sampled_from(WEIGHTS)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(COUNTS, max_size=40))
def test_any_rollout_has_finite_evidence_and_a_state_that_can_be_kept(
    rows: list[tuple[int, int, float, float, float]],
) -> None:
    process = ErrorProcess()
    for stable, ours, share, our_share, weight in rows:
        process = process.after(ErrorBatch(stable, int(stable * share), ours, int(ours * our_share), weight))
    assert math.isfinite(process.log_e_ratio)
    assert math.isfinite(process.log_e_margin)
    assert from_json(ErrorProcess, to_json(process)) == process


@pytest.mark.parametrize("counts", [(10, 11, 0, 0, 0.1), (10, -1, 0, 0, 0.1), (10, 1, 2, 1, 0.0), (10, 1, 2, 1, 1.0)])
def test_impossible_counts_and_weights_without_two_arms_are_refused(counts: tuple[int, int, int, int, float]) -> None:
    with pytest.raises(ValueError, match=r"weight|errors"):
        ErrorBatch(*counts)


@pytest.mark.parametrize(("times", "margin"), [(0.9, 0.0), (1.5, 1.0), (1.5, -0.1)])
def test_limits_that_mean_nothing_are_refused(times: float, margin: float) -> None:
    with pytest.raises(ValueError, match="ratio is at least 1"):
        ErrorLimits(times, margin)
