"""Retraining policies: what holds a retraining back, what asks for one, and how often it asks for nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from mainspring.domain.metric import METRICS
from mainspring.retrain.loss import loss_test
from mainspring.retrain.policy import RetrainEvidence, decide, held_back, may_ask, needs, positive_gain_p_value
from mainspring.retrain.windows import choose_window
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


@pytest.mark.parametrize(
    ("policy", "evidence", "retrain", "needed"),
    [
        ("on_loss", {}, False, {"on_loss"}),
        ({"any": ["on_alarm", "on_regret"]}, {"alarm": "moved"}, True, set()),
        ({"any": ["on_alarm", "on_regret"]}, {}, False, {"on_regret"}),
        ({"all": ["on_alarm", "on_regret"]}, {}, False, set()),
        ({"all": ["on_alarm", "on_regret"]}, {"alarm": "moved"}, False, {"on_regret"}),
        ({"all": ["on_alarm", {"any": ["on_loss", "on_schedule"]}]}, {"alarm": "moved"}, True, set()),
    ],
)
def test_a_combination_asks_for_evidence_only_where_it_decides(policy, evidence, retrain, needed) -> None:
    given = RetrainEvidence("3", OLD, **evidence)
    assert needs(given, settings(policy=policy), NOW) == needed
    assert decide(given, settings(policy=policy), NOW).retrain == retrain


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": "on_regrett"}, "did you mean 'on_regret'"),
        ({"policy": {"any": ["on_loss"]}}, "at least two"),
        ({"policy": {"any": ["on_loss", "never"]}}, "cannot be combined"),
        ({"policy": {"all": ["on_loss", "on_loss"]}}, "the same trigger twice"),
        ({"policy": {"any": ["on_loss", "on_alarm"], "all": []}}, "nothing beside it"),
        ({"policy": "on_schedule", "schedule": "7d"}, "shorter than the cooldown"),
        ({"policy": "on_loss", "max_age": "90d"}, "belongs to on_regret"),
        ({"ask_window": "5d"}, "fewer blocks say nothing"),
        ({"windows": ["all", "all"]}, "the same window twice"),
        ({"windows": ["newest"]}, "is no window"),
        ({"quiet": {"hours": ["sat-sun 25:00-26:00"]}}, "24 hours"),
        ({"quiet": {"hours": ["mon-sun"]}}, "the whole week"),
        ({"quiet": {"hours": ["22:00-06:00"], "time_zone": "Mars"}}, "no time zone"),
    ],
)
def test_nonsense_is_refused_in_words(change, said) -> None:
    with pytest.raises(ValueError, match=said):
        settings(**change)


@pytest.mark.parametrize(
    ("hours", "at", "quiet"),
    [
        (
            "22:00-06:00",
            datetime(2026, 3, 29, 3, 59, tzinfo=UTC),
            True,
        ),  # 05:59 in Berlin, on the day the clocks went on
        ("22:00-06:00", datetime(2026, 3, 29, 4, 0, tzinfo=UTC), False),
        ("fri 22:00-06:00", datetime(2026, 3, 7, 4, 59, tzinfo=UTC), True),  # Saturday morning belongs to Friday
        ("fri 22:00-06:00", datetime(2026, 3, 6, 4, 59, tzinfo=UTC), False),
        ("sun 22:00-06:00", datetime(2026, 3, 2, 4, 0, tzinfo=UTC), True),  # over the end of the week
        ("sat-sun", datetime(2026, 3, 7, 12, 0, tzinfo=UTC), True),
        ("fri-mon", datetime(2026, 3, 3, 12, 0, tzinfo=UTC), False),
    ],
)
def test_quiet_hours_are_those_of_the_stated_clocks(hours, at, quiet) -> None:
    found = settings(policy="on_schedule", quiet={"hours": [hours], "time_zone": "Europe/Berlin"})
    held = held_back(replace(EVIDENCE, champion_since=OLD), found, at)
    assert (held is not None and held.by == "quiet") == quiet


@given(st.integers(0, 2**32), st.floats(0.5, 0.9), st.floats(0.005, 0.05))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_loss_is_welchs_t_at_its_first_look(seed, level, spread) -> None:
    random = np.random.default_rng(seed)
    held, served = random.normal(level, spread, 14).tolist(), random.normal(level, spread, 7).tolist()
    found = loss_test(held, served, higher_is_better=True, alpha=0.05)
    expected = stats.ttest_ind(held, served, equal_var=False, alternative="greater").pvalue
    assert found.numbers["p_value"] == pytest.approx(expected)
    assert found.worse == (expected < found.numbers["level"])


def test_a_version_that_is_as_good_is_said_to_be_worse_at_no_more_than_the_stated_rate_over_a_whole_year() -> None:
    random = np.random.default_rng(3)
    worse = sum(
        loss_test(row[:14], row[14:], higher_is_better=True, alpha=0.1).worse
        for row in random.normal(0.7, 0.03, (250, 14 + 364)).tolist()
    )
    assert worse <= stats.binom.ppf(0.999, 250, 0.1)


def test_a_loss_is_found_and_its_verdict_stands() -> None:
    random = np.random.default_rng(4)
    held, bad = random.normal(0.2, 0.01, 14).tolist(), random.normal(0.25, 0.01, 14).tolist()
    found = loss_test(held, [*bad, *held * 5], higher_is_better=False, alpha=0.05)
    assert (found.worse, found.from_block) == (True, 7)
    assert not loss_test(held, bad, higher_is_better=False, alpha=0.05, margin=0.2).worse


def test_a_window_that_is_as_good_takes_the_firsts_place_at_the_stated_rate() -> None:
    random = np.random.default_rng(5)
    taken = 0
    for _ in range(400):
        days = random.normal(0.7, 0.02, (3, 14))
        scores = {name: dict(enumerate(days[place])) for place, name in enumerate(("all", "90d", "30d"))}
        taken += choose_window(scores, METRICS["auc"], alpha=0.1).window != "all"
    assert taken <= stats.binom.ppf(0.999, 400, 0.1)
