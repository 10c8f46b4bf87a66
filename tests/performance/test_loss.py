"""Does the test of a loss keep its stated error, and does it see what there is to see? Simulated versions, days with moods."""

from datetime import UTC, datetime

import numpy as np
import pytest

from mainspring.domain.performance_report import LossTest
from mainspring.domain.time import TimeWindow
from mainspring.performance.booster import Columns
from mainspring.performance.loss import Question, expected_loss, realised_loss
from mainspring.performance.reference import HeldOutRows, estimate_rows, fit_reference

WINDOW = TimeWindow(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC))
ROWS = 60


def values(generator, days, *, worse=1.0, mood=0.3, correlation=0.0):
    """Truth and answers of a regression: each day's errors have a size of their own, like the day before's or not."""
    shocks = generator.normal(size=days)
    for day in range(1, days):
        shocks[day] = correlation * shocks[day - 1] + np.sqrt(1 - correlation**2) * shocks[day]
    size = np.repeat(np.exp(mood * shocks), ROWS) * worse
    return generator.normal(size=days * ROWS) * size, np.zeros(days * ROWS), np.repeat(np.arange(days), ROWS)


def asked(days, *, labelled=None, metric="mae", **more):
    rows = days * ROWS
    return Question("1", metric, WINDOW, rows, rows if labelled is None else labelled, **more)


def compared(seed, **world) -> LossTest:
    generator = np.random.default_rng(seed)
    calm = {name: value for name, value in world.items() if name != "worse"}
    truth, outputs, days = values(generator, 14, **calm)
    reference = fit_reference(HeldOutRows(truth, outputs, days), "regression", "mae", Columns())
    return realised_loss(reference, asked(14), *values(generator, 14, **world))


@pytest.fixture(scope="module")
def quiet():
    """The same world before and after, three hundred times."""
    return [compared(seed) for seed in range(300)]


def test_nothing_changed_is_called_a_loss_as_often_as_stated(quiet):
    alarms = sum(one.worse for one in quiet)
    # 300 at 5 %: 15, and in 99 of 100 cases no more than 25.
    assert alarms <= 25
    assert alarms >= 3
    assert sum(one.p_value < 0.5 for one in quiet) == pytest.approx(150, abs=35)


def test_the_interval_of_the_loss_has_no_loss_inside_as_often_as_stated(quiet):
    inside = sum(one.loss.low <= 0 <= one.loss.high for one in quiet)
    assert 255 <= inside <= 288  # 270 at 90 %


def test_days_like_the_day_before_cost_some_of_it_and_limits_say_so():
    alarms = sum(compared(seed, correlation=0.5).worse for seed in range(200)) / 200
    assert alarms <= 0.12  # without looking at neighbours 0.15 and more


def test_a_loss_is_seen():
    found = [compared(seed, worse=1.5) for seed in range(40)]
    assert sum(one.worse for one in found) >= 36
    assert "worse" in found[0].reason
    assert found[0].loss.value == pytest.approx(found[0].current.value - found[0].reference.value)


@pytest.fixture
def reference():
    return fit_reference(HeldOutRows(*values(np.random.default_rng(1), 14)), "regression", "mae", Columns())


def test_what_is_tolerated_is_no_loss(reference):
    now = values(np.random.default_rng(2), 14, worse=1.6)
    assert realised_loss(reference, asked(14), *now).worse
    tolerant = realised_loss(reference, asked(14, tolerance=1.0), *now)
    assert not tolerant.worse
    assert "by more than 1" in tolerant.reason


@pytest.mark.parametrize(
    ("days", "labelled", "said"),
    [(14, 500, "60% of the answers have their label"), (5, None, "5 days with rows"), (0, None, "nobody was answered")],
)
def test_too_little_is_no_evidence_and_says_what_is_missing(reference, days, labelled, said):
    found = realised_loss(reference, asked(days, labelled=labelled), *values(np.random.default_rng(2), days, worse=3.0))
    assert (found.p_value, found.worse, found.loss) == (1.0, False, None)
    assert said in found.reason


def test_few_held_out_days_or_none_with_times_are_no_evidence():
    now = values(np.random.default_rng(2), 14, worse=3.0)
    few = fit_reference(HeldOutRows(*values(np.random.default_rng(1), 4)), "regression", "mae", Columns())
    assert "4 held-out days" in realised_loss(few, asked(14), *now).reason
    rows = values(np.random.default_rng(1), 14)
    timeless = fit_reference(HeldOutRows(*rows, timed=False), "regression", "mae", Columns())
    assert "have no times" in realised_loss(timeless, asked(14), *now).reason


def chances(seed, days, rows=100):
    generator = np.random.default_rng(seed)
    given = generator.uniform(0.1, 0.9, days * rows)
    return (generator.uniform(size=len(given)) < given).astype(int), given, np.repeat(np.arange(days), rows)


def test_a_metric_that_is_not_defined_is_not_called_too_few_days():
    reference = fit_reference(HeldOutRows(*chances(1, 14)), "binary", "auc", Columns())
    truth, given, days = chances(2, 14)
    one = asked(14, metric="auc")
    assert realised_loss(reference, one, truth, given, days).reason.startswith("auc was ")
    said = realised_loss(reference, one, np.zeros_like(truth), given, days).reason
    assert said == "auc is not defined on these rows"
    once = realised_loss(reference, one, np.where(days == 3, truth, 0), given, days)
    assert once.reason.startswith("auc was "), "one day with both is what the others are compared with"
    held_out, scores, when = chances(3, 14)
    alike = fit_reference(HeldOutRows(np.zeros_like(held_out), scores, when), "binary", "auc", Columns())
    assert realised_loss(alike, one, truth, given, days).reason == "auc is not defined on the held-out rows"


def test_held_out_days_of_few_rows_cannot_tell_how_far_estimates_are_off():
    reference = fit_reference(HeldOutRows(*chances(4, 14, rows=20)), "binary", "auc", Columns())
    _, given, days = chances(5, 14)
    found = expected_loss(reference, asked(14, metric="auc"), estimate_rows(reference, given, {}), days)
    assert (found.p_value, found.worse) == (1.0, False)
    assert found.reason.startswith("fewer than two held-out days have 30 rows")


def test_inputs_that_make_errors_larger_are_an_expected_loss():
    generator = np.random.default_rng(4)
    hard, days = generator.uniform(0, 1, 28 * 100), np.repeat(np.arange(28), 100)
    truth = generator.normal(size=len(hard)) * (0.5 + 2 * hard)
    columns = Columns(("hard",), ((),))
    held = HeldOutRows(truth, np.zeros(len(hard)), days, values={"hard": hard})
    reference = fit_reference(held, "regression", "mae", columns)
    for moved, worse in ((generator.uniform(0.6, 1, 1400), True), (generator.uniform(0, 1, 1400), False)):
        estimates = estimate_rows(reference, np.zeros(1400), {"hard": moved})
        found = expected_loss(reference, asked(14), estimates, np.repeat(np.arange(14), 100))
        assert (found.worse, found.basis) == (worse, "expected"), found.reason
    nothing = expected_loss(reference, asked(0), estimates, np.array([]))
    assert not nothing.worse
