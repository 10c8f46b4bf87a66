"""Reports that say how sure they are: from training's windows on the first day, through served ones, an alarm, and after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow
from mainspring.drift.page import page, rows_of
from mainspring.drift.profile import count_window, fit_profile
from mainspring.drift.report import drifted, report
from mainspring.drift.sureness import trailing_with_training
from mainspring.drift.windows import group_windows, past_of
from mainspring.settings.drift import DriftSettings

EVERY = timedelta(days=1)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SERVED_FROM = 60
ROWS = 400


def day(rng, shift=0.0, nulls=0.0, town="Ulm"):
    """A day's rows: its weather is its own, so days differ by far more than their rows do."""
    weather = rng.normal(0, 1.5)
    temp = rng.normal(10 + weather + shift, 4, ROWS)
    temp[rng.uniform(size=ROWS) < nulls] = np.nan
    towns = np.where(rng.uniform(size=ROWS) < 0.3 + 0.05 * rng.normal(), town, "Bonn")
    return {"temp": pa.chunked_array([pa.array(temp)]), "town": pa.chunked_array([pa.array(towns.tolist())])}


@pytest.fixture(scope="module")
def profile():
    rng = np.random.default_rng(1)
    days = [day(rng) for _ in range(SERVED_FROM)]
    columns = {name: pa.chunked_array([chunk for one in days for chunk in one[name].chunks]) for name in days[0]}
    times = np.repeat(moment(0) + np.arange(SERVED_FROM) * np.timedelta64(1, "D"), ROWS)
    return fit_profile(columns, (), times, EVERY)


def moment(place):
    return np.datetime64((FIRST + place * EVERY).replace(tzinfo=None), "us")


def live(profile, days, settings):
    """Reports of served days, one after the other, as the job makes them."""
    reports, served, counted = [], [], []
    for place, rows in enumerate(days, SERVED_FROM):
        window = TimeWindow(FIRST + place * EVERY, FIRST + (place + 1) * EVERY)
        counts = count_window(profile, rows)
        trailing = {}
        for one in counted[-28:]:
            trailing = {name: trailing[name] + one[name] if name in trailing else one[name] for name in one}
        earlier = reports[-settings.persistence - 2 :]
        past = past_of(served[-100:])
        trailing = trailing_with_training(profile, trailing, past, window, settings)
        found = report("1", window.end, window, profile, counts, trailing, settings, earlier, past=past)
        reports.append(from_json(DriftReport, to_json(found)))
        counted.append(counts)
        grouped = {
            name: group_windows(profile.cells[name], profile.counts[name], one.vector) for name, one in counts.items()
        }
        served.append((moment(place), grouped))
    return reports


def sure(found, reference="trailing"):
    return next(one for one in found.sureness if one.reference == reference)


def test_the_first_served_day_is_held_against_trainings_own_windows(profile):
    rng = np.random.default_rng(2)
    quiet, shifted = (live(profile, [one], DriftSettings())[0] for one in (day(rng), day(rng, shift=9)))
    assert quiet.verdict == "quiet"
    assert drifted(shifted) == {"temp"}
    for found, windows in ((sure(shifted), 44), (sure(shifted, "training"), 60)):
        assert (found.windows, found.windows_needed, found.uncalibrated) == (windows, 0, ())
        assert found.p_value == pytest.approx(1 / (windows + 1))
        assert found.named
    temp = next(one for one in shifted.features if one.feature == "temp" and one.reference == "trailing")
    assert (temp.statistic, temp.method) == ("t", "calibrated")
    assert temp.t > temp.threshold
    assert shifted.false_alarm_rate == 0.05
    assert "1 of 45 windows without known drift, this one included, are as unusual" in shifted.reason
    assert "5.0% of windows" in page(shifted)
    assert any("T " in str(cell) for row in rows_of(shifted) for cell in row)


def test_a_project_without_windows_says_what_it_is_short_of(profile):
    bare = fit_profile({"temp": day(np.random.default_rng(3))["temp"]})
    rng = np.random.default_rng(4)
    reports = live(bare, [{"temp": day(rng)["temp"]} for _ in range(50)], DriftSettings())
    needed = [sure(one).windows_needed for one in reports[2:]]
    assert "the trailing reference has no rows yet" in reports[0].reason
    assert needed == [max(46 - served, 0) for served in range(2, 50)]
    young = reports[5]
    assert f"{sure(young).windows_needed} windows too short" in young.reason
    assert {one.method for one in young.features} == {"minimum_effect"}
    # Days differ by more than a tolerated PSI: what a young project is told is no calibrated alarm, and it says so.
    assert "there the rate is for windows within PSI 0.01 of the reference" in young.reason
    assert {one.method for one in reports[-1].features if one.reference == "trailing"} == {"calibrated"}


def test_an_alarm_begins_stands_and_ends(profile):
    rng = np.random.default_rng(5)
    days = [day(rng) for _ in range(6)] + [day(rng, shift=12) for _ in range(6)] + [day(rng) for _ in range(5)]
    reports = live(profile, days, DriftSettings())
    verdicts = [one.verdict for one in reports]
    assert verdicts[6:12] == ["warning", *["alarm"] * 5]
    began = FIRST + (SERVED_FROM + 6) * EVERY
    assert {one.since for one in reports[7:12]} == {began}
    assert reports[6].since is None
    assert verdicts[-1] != "alarm"
    assert reports[-1].since is None
    # While it stands its windows do not calibrate: the last one of before has the same number of them.
    assert {sure(one).windows for one in reports[8:12]} == {sure(reports[8]).windows}


def test_the_level_moves_by_what_was_named_some_windows_ago(profile):
    rng = np.random.default_rng(6)
    days = [*[day(rng) for _ in range(3)], day(rng, shift=12), *[day(rng) for _ in range(5)]]
    reports = live(profile, days, DriftSettings())
    levels = [sure(one).level for one in reports]
    named = [sure(one).named for one in reports]
    assert levels[:3] == [0.05] * 3
    for place in range(3, len(levels)):
        expected = levels[place - 1] + 0.02 * (0.05 - named[place - 3])
        assert levels[place] == pytest.approx(min(max(expected, 0.01), 0.05))
    assert named[3]
    assert levels[6] == pytest.approx(0.031)


def test_windows_under_an_alarm_lower_the_level_too_and_not_below_a_fifth(profile):
    rng = np.random.default_rng(5)
    days = [day(rng) for _ in range(6)] + [day(rng, shift=12) for _ in range(8)]
    reports = live(profile, days, DriftSettings())
    assert reports[-1].verdict == "alarm"
    levels = [sure(one).level for one in reports]
    assert levels[7] == 0.05  # what is about to be confirmed is held against a level that it has not lowered
    assert levels[9:12] == pytest.approx([0.031, 0.012, 0.01])
    assert levels[-1] == pytest.approx(0.01)


def test_a_window_without_rows_enough_moves_no_level(profile):
    rng = np.random.default_rng(5)
    few = {name: pa.chunked_array([pa.array(one.to_pylist()[:20])]) for name, one in day(rng).items()}
    days = [day(rng) for _ in range(6)] + [day(rng, shift=12) for _ in range(5)] + [few, day(rng, shift=12)]
    reports = live(profile, days, DriftSettings())
    assert reports[11].verdict == "no_data"
    assert reports[11].sureness == ()
    assert sure(reports[10]).level == pytest.approx(0.012)
    assert sure(reports[12]).level == pytest.approx(0.01)


def test_a_window_of_another_length_is_not_held_against_windows_of_a_day(profile):
    rng = np.random.default_rng(12)
    weeks = [day(rng) for _ in range(28)]
    rows = {name: pa.chunked_array([chunk for one in weeks for chunk in one[name].chunks]) for name in weeks[0]}
    window = TimeWindow(FIRST + 60 * EVERY, FIRST + 88 * EVERY)
    settings = DriftSettings(reference="training")
    found = report("1", window.end, window, profile, count_window(profile, rows), {}, settings)
    assert (sure(found, "training").windows, sure(found, "training").p_value) == (0, None)
    assert {one.method for one in found.features} == {"minimum_effect"}
    assert drifted(found) == set()


def test_weeks_before_a_window_whose_days_are_not_known_are_a_sum(profile):
    rng = np.random.default_rng(13)
    weeks = [day(rng, shift=12) for _ in range(28)]
    rows = {name: pa.chunked_array([chunk for one in weeks for chunk in one[name].chunks]) for name in weeks[0]}
    window = TimeWindow(FIRST + 62 * EVERY, FIRST + 63 * EVERY)
    counts, before = count_window(profile, day(rng, shift=12)), count_window(profile, rows)
    found = report("1", window.end, window, profile, counts, before, DriftSettings())
    assert sure(found, "training").windows == 60
    assert (sure(found).windows, sure(found).p_value) == (0, None)
    methods = {(one.reference, one.method) for one in found.features}
    assert methods == {("training", "calibrated"), ("trailing", "minimum_effect")}
    temp = {one.reference: one for one in found.features if one.feature == "temp"}
    assert temp["training"].drifted
    # The days before were as warm: what is left is that days differ.
    assert temp["trailing"].psi < temp["training"].psi / 4


def test_another_rate_begins_anew(profile):
    rng = np.random.default_rng(7)
    first = live(profile, [day(rng) for _ in range(5)], DriftSettings())
    window = TimeWindow(first[-1].current.end, first[-1].current.end + EVERY)
    counts = count_window(profile, day(rng))
    found = report("1", window.end, window, profile, counts, counts, DriftSettings(rate=0.1), first, past=past_of([]))
    assert sure(found).level == 0.1


def test_missing_values_are_named_with_their_share(profile):
    rng = np.random.default_rng(8)
    found = live(profile, [day(rng, nulls=0.3)], DriftSettings())[0]
    assert drifted(found) == {"temp"}
    renamed = live(profile, [day(rng, town="ULM")], DriftSettings())[0]
    assert drifted(renamed) == {"town"}


def test_training_windows_of_another_length_do_not_calibrate(profile):
    rng = np.random.default_rng(9)
    found = live(profile, [day(rng), day(rng)], DriftSettings(every=timedelta(hours=12), trailing=timedelta(days=14)))
    assert sure(found[1]).windows == 0
    assert sure(found[1], "training").uncalibrated == ("temp", "town")


def test_a_stated_limit_carries_no_rate(profile):
    found = live(profile, [day(np.random.default_rng(10), shift=9)], DriftSettings(statistic="psi", threshold=0.2))[0]
    assert (found.false_alarm_rate, found.sureness) == (None, ())
    assert {one.method for one in found.features} == {"convention"}
    assert "the threshold is a convention and carries no false-alarm rate" in found.reason
    assert "carries no false-alarm rate" in page(found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.2}, "statistic with a limit of its own"),
        ({"statistic": "ks"}, "needs a threshold"),
        ({"rate": 0.9}, "less than or equal"),
    ],
)
def test_a_limit_and_a_rate_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        DriftSettings(**settings)
