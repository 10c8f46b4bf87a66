"""Scores against scikit-learn's, weighted and not, and intervals that cover."""

import math

import numpy as np
import pytest
from sklearn import metrics

from mainspring.domain.metric import METRICS
from mainspring.domain.scoring import _SCORES, estimate, estimate_gain, score

GENERATOR = np.random.default_rng(3)
TRUTH = GENERATOR.integers(0, 2, 500).astype(float)
CHANCE = np.round(np.clip(GENERATOR.normal(0.35 + 0.3 * TRUTH, 0.2), 0.01, 0.99), 2)  # rounded, so that there are ties
WEIGHTS = GENERATOR.integers(0, 4, 500).astype(float)
VALUES = GENERATOR.normal(size=500)

PEERS = {
    "auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
    "brier": metrics.brier_score_loss,
    "log_loss": metrics.log_loss,
    "accuracy": lambda truth, chance, sample_weight: metrics.accuracy_score(
        truth, chance >= 0.5, sample_weight=sample_weight
    ),
}


def test_every_metric_has_a_score_and_every_score_a_metric():
    assert set(_SCORES) == set(METRICS)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", sorted(PEERS))
def test_binary_scores_equal_scikit_learns(name, weights):
    assert score(name, TRUTH, CHANCE, weights) == pytest.approx(PEERS[name](TRUTH, CHANCE, sample_weight=weights))


def test_scores_of_values_equal_scikit_learns():
    truth = VALUES * 2 + 1
    assert score("mae", truth, VALUES, WEIGHTS) == pytest.approx(
        metrics.mean_absolute_error(truth, VALUES, sample_weight=WEIGHTS)
    )
    assert score("r2", truth, VALUES, WEIGHTS) == pytest.approx(metrics.r2_score(truth, VALUES, sample_weight=WEIGHTS))
    assert score("rmse", truth, VALUES) == pytest.approx(metrics.root_mean_squared_error(truth, VALUES))


def test_scores_of_several_classes_equal_scikit_learns():
    truth = GENERATOR.integers(0, 3, 400)
    chances = GENERATOR.dirichlet([1, 1, 1], 400)
    assert score("log_loss", truth, chances) == pytest.approx(metrics.log_loss(truth, chances))
    assert score("macro_f1", truth, chances) == pytest.approx(
        metrics.f1_score(truth, chances.argmax(axis=1), average="macro")
    )
    assert score("accuracy", truth, chances) == pytest.approx(metrics.accuracy_score(truth, chances.argmax(axis=1)))


def test_calibration_error_is_small_for_true_chances_and_large_for_others():
    chance = GENERATOR.uniform(size=20_000)
    truth = (GENERATOR.uniform(size=20_000) < chance).astype(float)
    assert score("calibration_error", truth, chance) < 0.02
    assert score("calibration_error", truth, chance**4) > 0.2


def test_what_is_not_defined_is_not_a_number():
    assert math.isnan(score("auc", [1, 1], [0.1, 0.2]))
    assert math.isnan(score("auc", [], []))
    assert math.isnan(score("r2", [1.0, 1.0], [1.0, 2.0]))


def test_days_drawn_again_give_a_wider_interval_than_rows_where_days_differ():
    days = np.repeat(np.arange(30), 100)
    shift = np.repeat(GENERATOR.normal(0, 1.0, 30), 100)
    truth = VALUES.repeat(6) * 0
    outputs = shift + GENERATOR.normal(0, 0.1, 3000)
    by_day = estimate("mae", truth, outputs, days)
    by_row = estimate("mae", truth, outputs, np.arange(3000))
    assert by_day.blocks == 30
    assert by_day.high - by_day.low > 3 * (by_row.high - by_row.low)
    assert estimate("mae", truth, outputs, np.zeros(3000)).low is None


def test_a_gain_is_positive_whatever_the_direction():
    better, worse = VALUES, VALUES + 1
    days = np.repeat(np.arange(10), 50)
    gain = estimate_gain("mae", VALUES, better, worse, days, higher_is_better=False)
    assert gain.value == pytest.approx(1.0)
    assert gain.low == pytest.approx(1.0)
