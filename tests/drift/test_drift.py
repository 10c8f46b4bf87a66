"""Profiles, reports, and what must never abort or stay silent."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.domain.model_version import Feature, Signature
from mainspring.domain.time import TimeWindow
from mainspring.drift.page import page
from mainspring.drift.profile import add_up, count_window, fit_profile, prediction_columns
from mainspring.drift.report import drifted, report
from mainspring.settings.drift import DriftSettings

FEATURES = (Feature("temp", "float"), Feature("town", "category"), Feature("rain", "bool"))
GENERATOR = np.random.default_rng(4)
AT = datetime(2013, 3, 2, tzinfo=UTC)
DAY = TimeWindow(AT - timedelta(days=1), AT)
TRAINING = DriftSettings(reference="training")


def window(count, shift=0.0, towns=("Ulm", "Bonn"), nulls=0.0):
    temp = GENERATOR.normal(10 + shift, 5, count)
    missing = GENERATOR.uniform(size=count) < nulls
    return {
        "temp": pa.chunked_array([pa.array(temp, mask=missing)]),
        "town": pa.chunked_array([pa.array(GENERATOR.choice(towns, count)).dictionary_encode()]),
        "rain": pa.chunked_array([pa.array(GENERATOR.uniform(size=count) < 0.3)]),
        "prediction": pa.chunked_array([pa.array(GENERATOR.uniform(size=count))]),
    }


PROFILE = fit_profile(window(20_000), FEATURES)


def one_column(values, kind=None):
    return {"temp": pa.chunked_array([pa.array(values, kind or pa.float64())])}


def findings(found, name, reference="training"):
    return {
        finding.name: finding.text
        for one in found.features
        if (one.feature, one.reference) == (name, reference)
        for finding in one.findings
    }


def test_windows_add_up():
    one, two = window(500), window(300)
    both = add_up(PROFILE, [count_window(PROFILE, one), count_window(PROFILE, two)])
    joined = {name: pa.chunked_array([*one[name].chunks, *two[name].chunks]) for name in one}
    assert both == count_window(PROFILE, joined)
    assert both["temp"].rows == 800


def test_no_drift_is_small_and_a_shift_is_large():
    def psi(columns):
        found = report("1", AT, DAY, PROFILE, count_window(PROFILE, columns), {}, TRAINING)
        return {one.feature: one.psi for one in found.features}

    quiet, shifted = psi(window(2000)), psi(window(2000, shift=5))
    assert max(quiet.values()) < 0.05
    assert shifted["temp"] > 0.5
    assert shifted["town"] < 0.05


@pytest.mark.parametrize(
    "values",
    [
        [None] * 50,
        [float("inf")] * 50,
        [float("nan")] * 50,
        [],
        [1e9, *[0.0] * 60],
        [3.0] * 50,
        [-1.7976931348623157e308, 1.7976931348623157e308] * 25,
        [5e-324, -0.0, 0.0] * 20,
    ],
    ids=["nulls", "infinities", "nans", "empty", "one huge", "constant", "largest", "smallest"],
)
def test_nothing_aborts(values):
    column = one_column(values)
    for reference, current in ((column, window(200)), (window(200), column), (column, column)):
        profile = fit_profile({"temp": reference["temp"]}, FEATURES[:1])
        counts = count_window(profile, {"temp": current["temp"]})
        found = report("1", AT, DAY, profile, counts, profile.counts, DriftSettings(reference="training", min_rows=1))
        assert found.verdict in ("alarm", "warning", "quiet", "no_data")
        assert "Drift of version 1" in page(found)
        assert counts["temp"].rows == len(current["temp"])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([None] * 200, "all_null"),
        ([1.0, float("nan")] * 100, "missing"),
        ([10.0, float("-inf")] * 100, "infinite"),
        ([3.0] * 200, "constant"),
        ([10.0, 5000.0] * 100, "outside"),
        ([10.0, -5000.0] * 100, "outside"),
        ([], "empty_window"),
    ],
)
def test_each_oddity_of_a_number_has_its_name(values, name):
    counts = count_window(PROFILE, one_column(values))
    assert name in findings(report("1", AT, DAY, PROFILE, counts, {}, TRAINING), "temp")


def test_a_column_that_comes_as_another_type_is_a_finding_and_has_drifted():
    wrong = {**window(500), "temp": pa.chunked_array([["warm"] * 500]), "town": pa.chunked_array([[1.5] * 500])}
    found = report("1", AT, DAY, PROFILE, count_window(PROFILE, wrong), {}, TRAINING)
    assert "type_changed" in findings(found, "temp")
    assert "type_changed" in findings(found, "town")
    assert drifted(found) == {"temp", "town"}
    assert "another type" in found.reason


def test_all_null_has_drifted_unless_the_reference_was_so():
    gone = count_window(PROFILE, {**window(500), "temp": pa.chunked_array([pa.nulls(500)])})
    found = report("1", AT, DAY, PROFILE, gone, gone, TRAINING)
    assert {(one.reference, one.drifted) for one in found.features if one.feature == "temp"} == {
        ("training", True),
        ("trailing", False),
    }


def test_a_lasting_shift_alarms_and_a_single_one_warns():
    counts = count_window(PROFILE, window(1000, shift=6))
    first = report("1", AT, DAY, PROFILE, counts, {}, TRAINING)
    assert (first.verdict, drifted(first)) == ("warning", {"temp"})
    second = report("1", AT, DAY, PROFILE, counts, {}, TRAINING, [first])
    assert second.verdict == "alarm"
    assert second.reason.startswith("temp (psi ")
    assert ") in 2 of the last 3 windows; thresholds are set for false alarms in 5.0% of windows" in second.reason
    assert "30 windows too short" in second.reason
    assert second.since == DAY.start
    temp = next(one for one in second.features if one.feature == "temp")
    assert temp.moved[0] in temp.histogram
    assert sum(one.reference_share for one in temp.histogram) == pytest.approx(1)
    assert sum(one.current_share for one in temp.histogram) == pytest.approx(1)
    assert temp.histogram[-1].current_share > temp.histogram[-1].reference_share
    assert 5 < temp.wasserstein < 7
    assert temp.ks_interval[0] <= temp.ks <= temp.ks_interval[1]
    assert temp.chi_squared_p < 1e-9


def test_rows_are_asked_only_where_the_threshold_lies_inside_the_interval():
    counts = count_window(PROFILE, window(1000, shift=0.7))
    ks = next(one for one in report("1", AT, DAY, PROFILE, counts, {}, TRAINING).features if one.feature == "temp")
    low, high = ks.ks_interval
    asked = []

    def exact(name, where):
        asked.append((name, where))
        return high

    def drifted_at(threshold):
        policy = DriftSettings(reference="training", statistic="ks", threshold=threshold)
        return "temp" in drifted(report("1", AT, DAY, PROFILE, counts, {}, policy, exact=exact))

    assert (drifted_at(low - 1e-6), drifted_at(high + 1e-6), asked) == (True, False, [])
    assert drifted_at((low + high) / 2)
    assert asked == [("temp", "training")]


def test_too_few_rows_are_no_evidence_and_never_quiet():
    counts = count_window(PROFILE, window(20, shift=30))
    found = report("1", AT, DAY, PROFILE, counts, {}, TRAINING)
    assert found.verdict == "no_data"
    assert report("1", AT, DAY, PROFILE, {}, {}, DriftSettings()).verdict == "no_data"


def test_nulls_and_new_categories_are_findings_and_no_bins_of_psi():
    counts = count_window(PROFILE, window(1000, towns=("Ulm", "Bonn", "Kiel"), nulls=0.2))
    found = report("1", AT, DAY, PROFILE, counts, PROFILE.counts, DriftSettings())
    assert "missing values: 0.0% then" in findings(found, "temp", "trailing")["missing"]
    assert "categories that the reference never had" in findings(found, "town", "trailing")["new_category"]
    assert findings(found, "rain", "trailing") == {}
    shown = {one.feature: one for one in found.features if one.reference == "trailing"}
    assert max(shown["temp"].psi, shown["town"].psi) < 0.05
    assert shown["town"].histogram[-1].label == "new category"


def test_several_classes_are_watched_as_the_class_and_its_chance():
    signature = Signature("multiclass", (), classes=("a", "b", "c"))
    outputs = GENERATOR.dirichlet((1, 1, 1), 500)
    profile = fit_profile(prediction_columns(outputs, signature))
    assert {name: cells.kind for name, cells in profile.cells.items()} == {
        "prediction": "category",
        "prediction.confidence": "number",
    }
    other = count_window(profile, prediction_columns(np.eye(3)[[0] * 300], signature))
    found = report("1", AT, DAY, profile, other, {}, TRAINING)
    assert drifted(found) == {"prediction", "prediction.confidence"}


def test_the_references_own_windows_add_up_to_it():
    rows = window(3000)
    hours = np.arange(3000) % 30
    times = np.datetime64("2013-02-01T00:30") + hours.astype("timedelta64[h]")
    profile = fit_profile(rows, FEATURES, times, timedelta(days=1))
    temp = profile.windows["temp"]
    assert temp.starts.astype(str).tolist() == ["2013-02-01T00:00:00.000000", "2013-02-02T00:00:00.000000"]
    assert temp.counts.sum(axis=0).tolist() == profile.counts["temp"].vector.tolist()
    days = pa.array(np.flatnonzero(hours < 24))
    first = count_window(profile, {name: column.take(days) for name, column in rows.items()})
    assert first["town"].vector.tolist() == profile.windows["town"].counts[0].tolist()
