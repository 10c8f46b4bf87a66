"""Users as the unit: exact values of the best stopping at the boundary, what rounds share, and who sends whom back."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import multinomial

from mainspring.domain.rollout import ArmCounts, EvidenceBatch, UserRound
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess, margin_log_e, margin_log_es
from mainspring.rollout.evidence.mixture import log_mean_exp
from mainspring.rollout.evidence.ratio import ratio_log_e
from mainspring.rollout.evidence.users import judge_slow_users, judge_users, judge_users_split, users_in_words
from mainspring.rollout.watch import begun

LIMITS = ErrorLimits(1.5, 0.02)
USERS = 12


def round_of(stable, candidate, *, weight=10, kind="step", met=None):
    """Each arm's users and how many first requests of them failed; `met`: how many ever met an error."""
    failed = dict(zip(("stable", "candidate"), met or (stable[1], candidate[1]), strict=True))
    return UserRound(weight, kind, {"stable": ArmCounts(*stable), "candidate": ArmCounts(*candidate)}, failed)


def best_stopping(weight, stable, candidate, e_value):
    """The most that somebody can expect who looks after each moment and stops when he likes.

    Of `USERS` users all have come; `stable` and `candidate` are the chances [moments] to meet the first error then. Nobody's arm
    shows before he meets one.
    """
    moments = len(stable)

    @cache
    def value(moment, k_s, k_c):
        now = math.exp(e_value(USERS, k_s, k_c, weight))
        if moment == moments:
            return now
        left = 1 - sum((1 - weight) * s + weight * c for s, c in zip(stable[:moment], candidate[:moment], strict=True))
        ours, theirs = weight * candidate[moment] / left, (1 - weight) * stable[moment] / left
        rest = USERS - k_s - k_c
        expected = sum(
            multinomial.pmf([j, i, rest - i - j], rest, [theirs, ours, 1 - ours - theirs])
            * value(moment + 1, k_s + j, k_c + i)
            for i in range(rest + 1)
            for j in range(rest + 1 - i)
        )
        return max(now, expected)

    return value(0, 0, 0)


def by_ratio(users, k_s, k_c, weight):
    return float(ratio_log_e(k_c, k_s + k_c, weight, LIMITS.ratio))


def by_margin(users, k_s, k_c, weight):
    return log_mean_exp(margin_log_es(users, k_s, k_c, weight, LIMITS.margin))


RATES = np.array([[0.05, 0.05, 0.05], [0.2, 0.0, 0.01], [0.0, 0.01, 0.3]])


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("stable", RATES)
def test_whoever_stops_when_he_likes_wins_nothing_at_the_limit_of_the_ratio(weight, stable):
    assert best_stopping(weight, tuple(stable), tuple(LIMITS.ratio * stable), by_ratio) == pytest.approx(1, abs=1e-6)
    assert best_stopping(weight, tuple(stable), tuple(2 * stable), by_ratio) > 1.02


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("stable", RATES)
@pytest.mark.parametrize("when", [(1, 0, 0), (0, 0, 1), (1 / 3, 1 / 3, 1 / 3)])
def test_nor_at_the_limit_of_the_margin_whenever_the_errors_come(weight, stable, when):
    worse = stable + LIMITS.margin * np.array(when)
    assert best_stopping(weight, tuple(stable), tuple(worse), by_margin) <= 1 + 1e-9
    assert best_stopping(weight, tuple(stable), tuple(stable + 0.1), by_margin) > 1.01


def test_many_batches_are_each_batch():
    batches = [ErrorBatch(90, 2, 10, 3, 0.1), ErrorBatch(50, 0, 50, 9, 0.5)]
    columns = ([100, 100], [2, 0], [3, 9], [0.1, 0.5])
    expected = [margin_log_e(one, 0.02).tolist() for one in batches]
    assert np.allclose(margin_log_es(*columns, 0.02), expected)


def test_what_a_share_of_alpha_costs():
    """A step's round has half of alpha, its first weight half of that, each of its two counts half again."""
    found = judge_users([round_of((900, 9), (100, 20))], LIMITS, 0.05)
    assert found.log_e_values["ratio"] == pytest.approx(by_ratio(0, 9, 20, 0.1) - math.log(8))
    slow = judge_slow_users([round_of((900, 0), (100, 0))], LIMITS, 0.05, 0.1)
    assert slow.log_e_values["ratio"] == pytest.approx(-math.log(4))
    late = [round_of((900, 9), (100, 1), kind="hour")] * 6 + [round_of((900, 9), (100, 20), kind="hour")]
    assert judge_users(late, LIMITS, 0.05).log_e_values["ratio"] == pytest.approx(
        by_ratio(0, 9, 20, 0.1) - math.log(2 * 7 * 8 * 2)
    )


def test_shares_of_alpha_add_up_to_it():
    shares = [0.5 * 0.5 / (place * (place + 1)) for place in range(1, 100_000) for _ in range(4)]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert sum(shares) < 1


def test_copies_of_a_shadow_have_half_and_still_send_back():
    process = ErrorProcess(LIMITS)
    assert judge_users([round_of((900, 9), (100, 1))], LIMITS, 0.05, before=process).log_e_values == (
        judge_users([round_of((900, 9), (100, 1))], LIMITS, 0.05).log_e_values
    )
    process = process.after(ErrorBatch(100, 1, 100, 60, 0.5))
    found = judge_users([round_of((900, 9), (100, 1))], LIMITS, 0.05, before=process)
    assert (found.outcome, found.reason[:50]) == ("REJECT", "copies that the candidate failed 60 in 100 (60.0%)")


def test_a_user_meets_an_error_late_and_it_counts():
    fine, bad = round_of((900, 9), (100, 1)), round_of((900, 9), (100, 1), met=(30, 40))
    assert judge_users([fine], LIMITS, 0.05).outcome == "INCONCLUSIVE"
    found = judge_users([bad], LIMITS, 0.05)
    assert found.outcome == "REJECT"
    assert found.reason.startswith(
        "users of the candidate who met an error 40 in 100 (40.0%), of stable 30 in 900 (3.3%)"
    )


def test_no_user_is_no_evidence():
    for rounds in ([], [round_of((90, 1), (0, 0))]):
        assert judge_users(rounds, LIMITS, 0.05).reason == "no user was assigned to the candidate: no evidence"
    assert judge_users_split([]).outcome == "INCONCLUSIVE"
    assert users_in_words([]) == "no user was assigned"


def test_a_split_is_looked_at_once_for_each_weight_and_not_hour_by_hour():
    off = round_of((800, 0), (200, 0), kind="hour")
    assert judge_users_split([round_of((900, 0), (100, 0)), off]).outcome == "INCONCLUSIVE"
    found = judge_users_split([round_of((900, 0), (100, 0)), round_of((700, 0), (300, 0), weight=50)])
    assert found.outcome == "REJECT"
    assert "300 of 1000 users were assigned to the candidate (30.00%), not the 50.00% asked for" in found.reason


def test_a_watch_of_users_leaves_requests_alone():
    watch = begun(ErrorLimits(), ErrorLimits(), 0.1)
    batch = EvidenceBatch(10, {"stable": ArmCounts(900), "candidate": ArmCounts(100, 100)})
    requests = watch.after([batch])
    users = replace(watch, by_user=True, rounds=(round_of((900, 9), (100, 1)),))
    assert requests.evidence(Budget()).outcome == "REJECT"
    assert users.evidence(Budget()).outcome == "INCONCLUSIVE"
    assert users.words == "1 of 100 users of the candidate met an error, 9 of 900 of stable"
    assert not users.split_off


def test_what_a_shadow_may_spend_is_the_same_before_users_come():
    """Else a candidate could go back falsely by all of alpha in the shadow, and by half of it again after."""
    copies = begun(ErrorLimits(), ErrorLimits(), 0.0).after_copies(ArmCounts(100, 1), ArmCounts(100, 5), 1.0)
    alone = copies.evidence(Budget()).log_e_values["errors.ratio"]
    users = replace(copies, by_user=True)
    assert users.evidence(Budget()).log_e_values["errors.ratio"] == pytest.approx(alone - math.log(2))
    later = replace(users, rounds=(round_of((900, 9), (100, 1)),))
    assert later.evidence(Budget()).log_e_values["errors.ratio"] == pytest.approx(alone - math.log(2))
