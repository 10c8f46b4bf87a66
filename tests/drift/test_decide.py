"""The one decider: by which method, at which rate, and what it takes for a young project's reference to be long enough."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from scipy.stats import binom

from mainspring.drift.decide import FeatureWindows, Rule, decide, expected_alarms, next_level, windows_for

DAY = timedelta(days=1)
DEFAULT = Rule()
START = np.datetime64("2024-01-01", "us")


def days(count):
    return START + np.arange(count) * np.timedelta64(1, "D")


def world(seed, windows, features=3, rows=800, groups=6, lasting=0.3):
    """Counts {name: [windows, groups]} of days that differ by weekday, and by a weather that lasts from day to day."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in "abcdefgh"[:features]:
        noise = np.zeros((windows, groups))
        for day in range(1, windows):
            noise[day] = lasting * noise[day - 1] + rng.normal(0, 0.12, groups)
        week = rng.normal(0, 0.2, (7, groups))[np.arange(windows) % 7]
        shares = np.exp(noise + week)
        counts = rng.multinomial(rows, shares / shares.sum(axis=1, keepdims=True))
        found[name] = np.hstack([counts, np.zeros((windows, 1), np.int64)])
    return found


def ask(counts, at, rule=DEFAULT, level=None, alarm_since=None):
    features = {name: FeatureWindows(one[:at], one[at], 1) for name, one in counts.items()}
    return decide(days(at), days(at + 1)[-1], DAY, features, rule, level, alarm_since)


def moved(counts, share):
    """The share of the first group's rows, and as many of each other one, moved to the second."""
    found = counts.copy()
    taken = (found[0] * share).astype(int)
    found[0] -= taken
    found[1] += taken
    return found


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_later_windows_are_named_as_often_as_stated_or_less(rate):
    """At the rate itself as often as it says; with feedback, which never raises it, a quarter less."""
    shares = {}
    for feedback in (False, True):
        named = []
        for seed in (1, 2):
            counts, level = world(seed, 300), rate
            for at in range(80, 300):
                past = {name: one[max(at - 100, 0) :] for name, one in counts.items()}
                found = ask(past, min(at, 100), Rule(rate), level)
                named.append(any(one.drifted for one in found.features.values()))
                level = next_level(level, rate, named[-1]) if feedback else rate
        shares[feedback] = sum(named)
    low, high = binom.interval(0.95, 440, rate)
    assert low <= shares[False] <= high
    assert 0.5 * low < shares[True] <= shares[False]


def test_a_drift_is_named_with_its_feature_and_its_sureness():
    counts = world(2, 90)
    quiet = ask(counts, 89)
    counts["b"][89] = moved(counts["b"][89], 0.6)
    found = ask(counts, 89)
    assert [name for name, one in found.features.items() if one.drifted] == ["b"]
    assert found.features["b"].value > found.features["b"].threshold
    assert found.features["a"].value == quiet.features["a"].value < quiet.features["a"].threshold
    assert found.p_value == pytest.approx(1 / 61)
    assert {one.method for one in found.features.values()} == {"calibrated"}
    assert (found.rate, found.windows, found.windows_needed) == (0.05, 60, 0)


def test_missing_values_and_new_categories_are_groups_like_others():
    counts = world(3, 90)
    counts["a"][89, :6] = counts["a"][89, :6] * 7 // 10
    counts["a"][89, 6] = 800 - counts["a"][89, :6].sum()
    for rule, at in ((Rule(), 89), (Rule(min_rows=100), 89)):
        assert [name for name, one in ask(counts, at, rule).features.items() if one.drifted] == ["a"]
    young = ask({name: one[70:] for name, one in counts.items()}, 19)
    assert young.features["a"].method == "minimum_effect"
    assert young.features["a"].drifted


def test_a_young_reference_falls_back_to_the_tolerated_psi_and_says_what_is_missing():
    counts = world(4, 60)
    found = ask(counts, 12)
    assert {one.method for one in found.features.values()} == {"minimum_effect"}
    assert (found.p_value, found.windows) == (None, 0)
    # 14 windows are half of a trailing reference, 30 calibrate, the newest two do not yet.
    assert [ask(counts, at).windows_needed for at in range(12, 60)] == [max(46 - at, 0) for at in range(12, 60)]


def test_what_is_missing_for_one_feature_leaves_the_others_calibrated():
    """As the prediction's: held-out windows are few where features have all of training's."""
    counts = world(5, 90)
    counts["c"][:80] = 0
    found = ask(counts, 89)
    assert {name: one.method for name, one in found.features.items()} == {
        "a": "calibrated",
        "b": "calibrated",
        "c": "minimum_effect",
    }
    assert found.windows_needed == 46 - 9


def test_after_a_pause_the_tolerated_psi_decides_until_half_of_a_reference_is_there_again():
    counts = world(4, 110)
    for at, gone in ((80, 14), (90, 4), (94, 0)):
        # 80 days, four weeks without a row, and what has come since.
        times = np.append(days(80), days(138)[108 : 108 + at - 80])
        features = {name: FeatureWindows(one[:at], one[at], 1) for name, one in counts.items()}
        found = decide(times, days(109 + at - 80)[-1], DAY, features, DEFAULT)
        methods = {one.method for one in found.features.values()}
        assert (found.windows_needed, found.p_value is None) == (gone, gone > 0)
        assert methods <= ({"minimum_effect"} if gone else {"calibrated"})


def test_without_rows_nothing_is_decided():
    counts = world(6, 90)
    counts = {name: np.where(np.arange(90)[:, None] == 89, 0, one) for name, one in counts.items()}
    assert ask(counts, 89).features == {}
    assert ask({}, 0).features == {}
    assert ask({name: one[:1] for name, one in counts.items()}, 0).features == {}


def test_few_rows_have_more_noise_and_do_not_alarm_for_it():
    """Windows of 150 rows after a past of 5,000: named no more often than stated."""
    rng = np.random.default_rng(7)
    shares = rng.dirichlet(np.full(8, 400), 400)
    named = 0
    for trial in range(40):
        past = rng.multinomial(5000, shares[trial : trial + 60])
        features = {"a": FeatureWindows(past, rng.multinomial(150, shares[trial + 60]))}
        found = decide(days(60), days(61)[-1], DAY, features, Rule())
        named += found.features["a"].drifted
    assert named <= binom.ppf(0.99, 40, 0.05)


def test_a_fixed_reference_is_calibrated_by_its_own_windows():
    counts, fixed = world(8, 61), Rule(trailing=None)
    found = ask(counts, 60, fixed)
    assert {one.windows for one in found.features.values()} == {60}
    counts["c"][60] = moved(counts["c"][60], 0.6)
    assert [name for name, one in ask(counts, 60, fixed).features.items() if one.drifted] == ["c"]


def test_while_an_alarm_stands_its_windows_are_not_what_is_normal():
    counts = world(9, 110)
    for at in range(90, 110):
        counts["a"][at] = moved(counts["a"][at], 0.9)
    since = days(91)[-1]
    standing = ask(counts, 97, alarm_since=since)
    forgotten = ask(counts, 97)
    assert standing.features["a"].drifted
    assert standing.p_value < forgotten.p_value


def test_a_month_of_false_alarms_is_what_persistence_leaves_of_the_rate():
    alone = expected_alarms(0.05, 1, 0.0, 30.0)
    assert alone == pytest.approx(30 * 0.05 * 0.95, rel=0.05)
    assert expected_alarms(0.05, 2, 0.0, 30.0) == pytest.approx(30 * 0.05 * (1 - 0.95**2), rel=0.12)
    assert expected_alarms(0.05, 2, 0.6, 30.0) > 1.5 * expected_alarms(0.05, 2, 0.0, 30.0)
    assert expected_alarms(0.05, 2, 0.0, 720.0) == pytest.approx(24 * expected_alarms(0.05, 2, 0.0, 30.0))


def test_a_rate_needs_so_many_windows():
    assert [windows_for(rate) for rate in (0.1, 0.05, 0.02, 0.01)] == [30, 30, 49, 99]
