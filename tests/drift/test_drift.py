"""Profiles, statistics against scipy's, reports, and what must never abort or stay silent."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.model_version import Feature
from mainspring.domain.time import TimeWindow
from mainspring.drift.page import page
from mainspring.drift.profile import MOST_EDGES, Profile, add_up, count_window, fit_profile
from mainspring.drift.report import drifted, report
from mainspring.drift.statistics import difference_of_shares, distances
from mainspring.settings.project import DriftSettings

FEATURES = (Feature("temp", "float"), Feature("town", "category"), Feature("rain", "bool"))
GENERATOR = np.random.default_rng(4)
AT = datetime(2013, 3, 2, tzinfo=UTC)
DAY = TimeWindow(AT - timedelta(days=1), AT)


def window(count, shift=0.0, towns=("Ulm", "Bonn"), nulls=0.0):
    temp = GENERATOR.normal(10 + shift, 5, count)
    missing = GENERATOR.uniform(size=count) < nulls
    return pa.table(
        {
            "temp": pa.array(temp, mask=missing),
            "town": pa.array(GENERATOR.choice(towns, count)).dictionary_encode(),
            "rain": pa.array(GENERATOR.uniform(size=count) < 0.3),
        }
    )


def columns(table, predictions=None):
    found = {name: table.column(name) for name in table.column_names}
    if predictions is not None:
        found["prediction"] = pa.chunked_array([pa.array(predictions)])
    return found


PROFILE = fit_profile(window(20_000), FEATURES, GENERATOR.uniform(size=4000))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.5, 2.0]) | st.floats(-50, 50), min_size=30, max_size=400),
    st.lists(st.sampled_from([0.0, 1.5]) | st.floats(-80, 80), min_size=5, max_size=300),
)
def test_ks_from_counts_equals_scipys_up_to_one_cell(before, now):
    table, other = pa.table({"temp": before}), pa.table({"temp": now})
    profile = fit_profile(table, FEATURES[:1], [0.5])
    ks = distances(profile.cells["temp"], profile.counts["temp"], count_window(profile, columns(other))["temp"]).ks
    exact = stats.ks_2samp(before, now).statistic
    assert ks == pytest.approx(exact, abs=1 / MOST_EDGES + 1e-9) or ks <= exact <= ks + _outside(profile, now)


def _outside(profile, now):
    """Values beyond the reference's ends share one cell, in which the distance may be larger."""
    edges = profile.cells["temp"].edges
    return sum(value < edges[0] or value > edges[-1] for value in now) / len(now) + 1e-9


def test_windows_add_up_and_profiles_survive_json():
    one, two = window(500), window(300)
    both = add_up([count_window(PROFILE, columns(one)), count_window(PROFILE, columns(two))])
    assert both == count_window(PROFILE, columns(pa.concat_tables([one, two], promote_options="permissive")))
    assert from_json(Profile, to_json(PROFILE)) == PROFILE


def test_no_drift_is_small_and_a_shift_is_large():
    def psi(table):
        counts = count_window(PROFILE, columns(table))
        return {name: distances(PROFILE.cells[name], PROFILE.counts[name], counts[name]).psi for name in counts}

    quiet, shifted = psi(window(2000)), psi(window(2000, shift=5))
    assert max(quiet.values()) < 0.05
    assert shifted["temp"] > 0.5
    assert shifted["town"] < 0.05


@pytest.mark.parametrize(
    "values",
    [[None] * 50, [float("inf")] * 50, [float("nan")] * 50, [], [1e9, *[0.0] * 60], [3.0] * 50],
    ids=["nulls", "infinities", "nans", "empty", "one huge", "constant"],
)
def test_nothing_aborts(values):
    column = pa.table({"temp": pa.array(values, pa.float64())})
    for reference, current in ((column, window(200)), (window(200), column), (column, column)):
        profile = fit_profile(reference, FEATURES[:1], [0.5])
        counts = count_window(profile, {"temp": current.column("temp")})
        found = report("1", AT, DAY, profile, counts, {}, DriftSettings(reference="training"))
        assert found.verdict in ("alarm", "warning", "quiet", "no_data")
        assert "Drift of version 1" in page(found)


def test_a_lasting_shift_alarms_and_a_single_one_warns():
    policy = DriftSettings(reference="training")
    counts = count_window(PROFILE, columns(window(1000, shift=6)))
    first = report("1", AT, DAY, PROFILE, counts, {}, policy)
    assert (first.verdict, drifted(first)) == ("warning", {"temp"})
    second = report("1", AT, DAY, PROFILE, counts, {}, policy, [first])
    assert second.verdict == "alarm"
    assert second.reason.startswith("temp (psi ")
    assert second.reason.endswith(") above 0.2 in 2 windows")
    moved = next(one for one in second.features if one.feature == "temp").moved
    assert moved[0].label.startswith("> ")
    assert moved[0].current_share > moved[0].reference_share


def test_too_few_rows_are_no_evidence_and_never_quiet():
    counts = count_window(PROFILE, columns(window(20, shift=30)))
    found = report("1", AT, DAY, PROFILE, counts, {}, DriftSettings(reference="training"))
    assert found.verdict == "no_data"
    assert report("1", AT, DAY, PROFILE, {}, {}, DriftSettings()).verdict == "no_data"


def test_nulls_and_new_categories_are_findings_of_their_own():
    counts = count_window(PROFILE, columns(window(1000, towns=("Ulm", "Kiel"), nulls=0.2)))
    found = report("1", AT, DAY, PROFILE, counts, PROFILE.counts, DriftSettings())
    texts = {one.feature: "; ".join(one.findings) for one in found.features if one.reference == "trailing"}
    assert "missing values: 0.0% then" in texts["temp"]
    assert "categories that training never saw" in texts["town"]
    assert texts["rain"] == ""


def test_shares_are_compared_with_their_sampling_error():
    assert difference_of_shares(10, 1000, 12, 1000) > 0.5
    assert difference_of_shares(10, 1000, 60, 1000) < 1e-6
    assert difference_of_shares(0, 0, 0, 5) == 1.0
