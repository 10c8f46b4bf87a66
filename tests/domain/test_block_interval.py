"""Do intervals over few blocks cover as often as they state? Simulated: blocks with effects of their own."""

import numpy as np
import pytest

from mainspring.domain.block_interval import (
    closed_scale,
    inflation,
    interval,
    leave_out,
    open_scale,
    spread,
)
from mainspring.domain.metric import METRICS
from mainspring.domain.scoring import estimate, score

WORLDS = 400


def regression_world(generator, days, rows, effect, correlation=0.0):
    """Errors of which each day has its own size; neighbouring days resemble each other."""
    shocks = generator.normal(size=days)
    for day in range(1, days):
        shocks[day] = correlation * shocks[day - 1] + np.sqrt(1 - correlation**2) * shocks[day]
    size = np.exp(effect * shocks)
    day = np.repeat(np.arange(days), rows)
    return generator.normal(size=days * rows) * size[day], np.zeros(days * rows), day


def covered(seed, days, correlation, ends):
    generator, inside = np.random.default_rng(seed), 0
    effect = 0.3
    truth = np.sqrt(2 / np.pi) * np.exp(effect**2 / 2)
    for _ in range(WORLDS):
        low, high = ends(*regression_world(generator, days, 60, effect, correlation))
        inside += low <= truth <= high
    return inside / WORLDS


def jackknifed(neighbours=False):
    def ends(truth, outputs, day):
        found = interval(leave_out("mae", truth, outputs, day), neighbours=neighbours)
        return found.low, found.high

    return ends


def bootstrapped(truth, outputs, day):
    found = estimate("mae", truth, outputs, day, repetitions=200)
    return found.low, found.high


def test_seven_days_cover_nine_in_ten():
    # 400 worlds: a true rate of 0.90 gives 0.86 to 0.94 in 99 of 100.
    assert 0.86 <= covered(1, 7, 0.0, jackknifed()) <= 0.945


def test_drawing_seven_days_again_covers_less_which_is_why_t_is_used():
    assert covered(1, 7, 0.0, bootstrapped) < covered(1, 7, 0.0, jackknifed()) - 0.02


def test_days_that_resemble_the_day_before_are_allowed_for():
    plain, allowed = covered(2, 14, 0.5, jackknifed()), covered(2, 14, 0.5, jackknifed(neighbours=True))
    assert plain < 0.83
    assert allowed > plain + 0.07


def test_the_mean_of_equal_blocks_has_the_textbooks_error():
    values = np.random.default_rng(3).normal(5.0, 1.0, 10)
    found = leave_out("mae", values, np.zeros(10), np.arange(10))
    textbook = np.std(np.abs(values), ddof=1) / np.sqrt(10)
    assert spread(found, opened=False).error == pytest.approx(textbook)
    assert spread(found, opened=False).degrees == 9


@pytest.mark.parametrize("metric", ["auc", "brier", "calibration_error", "accuracy", "average_precision", "log_loss"])
def test_leaving_a_block_out_is_the_metric_of_the_others(metric):
    generator = np.random.default_rng(4)
    outputs, blocks = generator.random(200), generator.integers(0, 4, 200)
    truth = (generator.random(200) < outputs).astype(int)
    found = leave_out(metric, truth, outputs, blocks)
    assert found.value == pytest.approx(score(metric, truth, outputs))
    if metric == "calibration_error":
        return  # Its bins are of the rows that are weighed: with and without the others they are not the same.
    for place in range(4):
        rest = blocks != place
        assert found.without[place] == pytest.approx(score(metric, truth[rest], outputs[rest]))


def test_where_a_metric_is_not_defined_there_is_no_interval():
    nothing = leave_out("auc", [1, 1, 1], [0.1, 0.2, 0.3], [0, 1, 2])
    assert nothing.value is None
    assert interval(nothing) is None
    assert interval(leave_out("mae", [], [], [])) is None
    one = interval(leave_out("mae", [1.0, 2.0], [0.0, 0.0], ["a", "a"]))
    assert (one.low, one.high, one.blocks) == (None, None, 1)
    # Without the one block that has both classes an AUC is not defined: it is left out of the error.
    some = leave_out("auc", [0, 1, 1, 1], [0.1, 0.9, 0.3, 0.4], ["a", "a", "b", "b"])
    assert some.without[0] is None


@pytest.mark.parametrize("metric", METRICS)
def test_scales_are_each_others_way_back(metric):
    for value in (0.001, 0.3, 0.999):
        assert closed_scale(metric, open_scale(metric, value)) == pytest.approx(value, rel=1e-6)


def test_extremes_have_an_interval():
    found = interval(leave_out("accuracy", [1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2], [0, 0, 1, 1]))
    assert found.value == 1.0
    assert 0.0 <= found.low <= found.high <= 1.0


def test_a_row_of_days_that_goes_up_and_down_is_not_called_correlated():
    assert inflation([1, -1, 1, -1, 1, -1, 1, -1]) < 1.5
    assert inflation(np.sin(np.arange(40) / 6)) > 5
