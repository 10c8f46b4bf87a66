"""Retraining policies: what holds a retraining back, what asks for one, and how often it asks for nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from mainspring.retrain.policy import RetrainEvidence, decide, may_ask, positive_gain_p_value
from mainspring.settings.retrain import RetrainSettings

NOW = datetime(2013, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=60)
BETTER = tuple([0.02, 0.01, 0.03, 0.02, 0.0, 0.01, 0.02] * 2)
EVIDENCE = RetrainEvidence("3", OLD, daily_gains=BETTER)


def settings(**changes: object) -> RetrainSettings:
    return RetrainSettings.model_validate(changes)


def test_a_challenger_that_is_better_asks_and_the_same_question_has_the_same_trigger() -> None:
    verdict = decide(EVIDENCE, settings(), NOW)
    assert verdict.retrain
    assert "gained +0.0157 a day over 14 days" in verdict.reason
    assert verdict.trigger == decide(EVIDENCE, settings(), NOW + timedelta(hours=3)).trigger


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"running": True}, "a run is under way"),
        ({"champion_since": NOW - timedelta(days=13)}, "the cooldown is 14 days"),
        ({"asked_at": tuple(NOW - timedelta(days=20 + place) for place in range(6))}, "the budget of 6"),
        ({"daily_gains": tuple(-gain for gain in BETTER)}, "a challenger gained -0.0157"),
        ({"daily_gains": ()}, "over 0 days"),
    ],
)
def test_what_holds_it_back_is_said(change: dict[str, object], because: str) -> None:
    verdict = decide(replace(EVIDENCE, **change), settings(), NOW)
    assert not verdict.retrain
    assert because in verdict.reason
    assert verdict.reason.startswith("not retraining, because")


def test_no_challenger_is_fitted_when_the_answer_could_not_matter() -> None:
    assert may_ask(EVIDENCE, settings(), NOW)
    assert not may_ask(replace(EVIDENCE, running=True), settings(), NOW)
    assert not may_ask(EVIDENCE, settings(policy="on_alarm"), NOW)


def test_the_other_policies() -> None:
    assert decide(replace(EVIDENCE, alarm="temp moved"), settings(policy="on_alarm"), NOW).retrain
    assert not decide(EVIDENCE, settings(policy="on_alarm"), NOW).retrain
    assert decide(EVIDENCE, settings(policy="on_schedule"), NOW).retrain
    assert not decide(EVIDENCE, settings(policy="on_schedule", schedule="61d"), NOW).retrain
    assert not decide(EVIDENCE, settings(policy="never"), NOW).retrain
    assert decide(replace(EVIDENCE, daily_gains=()), settings(max_age="60d"), NOW).retrain


def test_the_p_value_is_scipys() -> None:
    gains = np.random.default_rng(7).normal(0.01, 0.03, 14)
    expected = stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue
    assert positive_gain_p_value(gains.tolist()) == pytest.approx(expected)


def test_a_challenger_that_is_no_better_asks_at_the_stated_rate() -> None:
    random = np.random.default_rng(7)
    asked = sum(
        decide(replace(EVIDENCE, daily_gains=tuple(days)), settings(), NOW).retrain
        for days in random.normal(0.0, 0.03, (2_000, 14)).tolist()
    )
    low, high = stats.binom.interval(0.999, 2_000, 0.1)
    assert low <= asked <= high
