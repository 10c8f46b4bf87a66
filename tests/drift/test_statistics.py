"""Statistics from counts against scipy's from rows, on every kind of number that there is."""

import math
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mainspring.drift.cells import MOST_EDGES, Cells, Counts
from mainspring.drift.counting import count
from mainspring.drift.fitting import edges_of, fit_cells
from mainspring.drift.statistics import (
    MOST_GROUPS,
    chi_squared,
    covered,
    difference_of_shares,
    distances,
    grouped,
    jensen_shannon,
    ks_exact,
    merged,
    smoothed,
)

NUMBERS = (
    st.sampled_from([0.0, 0.0, 0.0, 1.5, 2.0]) | st.floats(-50, 50) | st.floats(allow_nan=False, allow_infinity=False)
)
COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=20)


def column(values):
    return pa.chunked_array([pa.array(values, pa.float64())])


def scipys_ks(before, now):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its p-value, which is not looked at
        return stats.ks_2samp(before, now, method="asymp").statistic


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=400), st.lists(NUMBERS, min_size=1, max_size=300))
def test_the_true_ks_lies_in_the_interval(before, now):
    cells = fit_cells(column(before))
    found = distances(cells, count(cells, column(before)), count(cells, column(now)))
    exact = scipys_ks(before, now)
    assert found.ks_low - 1e-12 <= exact <= found.ks_high + 1e-12
    assert ks_exact(np.array(before), np.array(now)) == pytest.approx(exact, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ks_and_wasserstein_are_exact_where_values_are_the_references_or_beyond_its_ends(data):
    before = data.draw(st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=200))
    beyond = st.floats(21, 1e6) | st.floats(-1e6, -21)
    now = data.draw(st.lists(st.sampled_from(before) | beyond, min_size=1, max_size=200))
    cells = fit_cells(column(before))
    found = distances(cells, count(cells, column(before)), count(cells, column(now)))
    exact = scipys_ks(before, now)
    assert found.ks_low == pytest.approx(exact, abs=1e-12)
    assert found.ks_high == pytest.approx(exact, abs=1e-12)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(before, now), rel=1e-9, abs=1e-9)


def test_the_interval_is_as_narrow_as_a_cell_and_heavy_values_do_not_widen_it():
    generator = np.random.default_rng(5)
    heavy = generator.uniform(size=100_000) < 0.6
    before = np.where(heavy, 0.0, generator.lognormal(size=100_000))
    now = np.where(heavy[:50_000], 0.0, generator.lognormal(0.01, size=50_000))
    cells = fit_cells(column(before))
    found = distances(cells, count(cells, column(before)), count(cells, column(now)))
    assert found.ks_high - found.ks_low <= 2 / (MOST_EDGES - 1) + 1e-12
    assert found.ks_low <= scipys_ks(before, now) <= found.ks_high


def test_one_huge_value_hides_nothing():
    generator = np.random.default_rng(6)
    before, now = generator.normal(size=20_000), generator.normal(0.5, size=20_000)
    before[0] = 1e9
    cells = fit_cells(column(before))
    found = distances(cells, count(cells, column(before)), count(cells, column(now)))
    assert found.ks_low == pytest.approx(scipys_ks(before, now), abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=300))
def test_edges_begin_just_below_the_least_value_and_end_at_the_largest(values):
    edges = edges_of(np.array(values))
    assert len(edges) <= MOST_EDGES
    assert (np.diff(edges) > 0).all()
    assert edges[-1] == max(values)
    below = math.nextafter(min(values), -math.inf)
    assert edges[0] == below or below == -math.inf
    counts = count(Cells("number", edges), column(values))
    assert counts.cells[-1] == 0
    assert counts.cells[0] == 0 or below == -math.inf
    assert counts.rows == len(values)


def test_many_heavy_values_stay_within_the_edges_and_each_is_a_cell():
    values = np.repeat(np.arange(2000.0), 3)
    cells = Cells("number", edges_of(values))
    assert len(cells.edges) <= MOST_EDGES
    assert count(cells, column(values)).cells[cells.single].tolist() == [3] * 2000
    assert len(edges_of(np.repeat(np.arange(4000.0), 3))) <= MOST_EDGES
    assert len(edges_of(np.arange(1e6))) <= MOST_EDGES


@given(COUNTS, st.data())
def test_psi_kl_js_and_chi_squared_are_scipys(before, data):
    now = data.draw(st.lists(st.integers(0, 500), min_size=len(before), max_size=len(before)))
    left, right = np.array(before), np.array(now)
    p, q = smoothed(left), smoothed(right)
    assert p.sum() == pytest.approx(1)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)
    cells = Cells("category", categories=tuple(f"c{place:02}" for place in range(len(before))))
    counts = [Counts(np.array([*one, 0, 0, 0, 0, 0, 0])) for one in (before, now)]
    if left.sum() and right.sum():
        found = distances(cells, *counts, groups=np.arange(len(before)))
        assert found.kl == pytest.approx(stats.entropy(q, p), abs=1e-9)
        assert found.psi == pytest.approx(stats.entropy(q, p) + stats.entropy(p, q), abs=1e-9)
        there = left + right > 0
        if there.sum() > 1:
            exact = stats.chi2_contingency([left[there], right[there]], correction=False)
            assert chi_squared(left, right) == pytest.approx((exact.statistic, exact.pvalue), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000) | st.just(0), min_size=1, max_size=300), st.booleans())
def test_groups_hold_every_cell_once_and_are_few(mass, numbers):
    kind = (
        Cells("number", np.arange(len(mass) - 1.0))
        if numbers
        else Cells("category", categories=tuple(map(str, range(len(mass)))))
    )
    counts = np.zeros(kind.width, np.int64)
    counts[: len(mass)] = mass
    groups = grouped(kind, Counts(counts))
    assert groups[0] == 0
    assert (np.diff(groups) > 0).all()
    assert len(groups) <= MOST_GROUPS
    assert merged(kind, counts, groups).sum() == counts[: covered(kind)].sum()
    windows = np.stack([counts, counts])
    assert merged(kind, windows, groups)[1].tolist() == merged(kind, counts, groups).tolist()


def test_groups_of_a_smooth_column_are_tenths_and_a_heavy_value_stands_alone():
    generator = np.random.default_rng(7)
    values = generator.normal(size=40_000)
    cells = fit_cells(column(values))
    counts = count(cells, column(values))
    shares = merged(cells, counts.vector, grouped(cells, counts)) / len(values)
    assert shares == pytest.approx([0.1] * 10, abs=0.001)
    values[:12_000] = 0.25
    cells = fit_cells(column(values))
    counts = count(cells, column(values))
    assert 12_000 in merged(cells, counts.vector, grouped(cells, counts))


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(1, 2000), st.integers(0, 40), st.integers(1, 2000))
def test_shares_are_compared_with_their_sampling_error(one, of_one, two, of_two):
    of_one, of_two = of_one + one, of_two + two
    found = difference_of_shares(one, of_one, two, of_two)
    table = [[one, of_one - one], [two, of_two - two]]
    exact = stats.fisher_exact(table).pvalue
    pooled = (one + two) / (of_one + of_two)
    if min(pooled, 1 - pooled) * min(of_one, of_two) < 10:
        assert found == pytest.approx(exact, rel=1e-9) or pooled in (0, 1)
    else:
        assert found == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-6)


def test_one_null_among_a_thousand_is_no_proof_and_sixty_are():
    assert difference_of_shares(10, 1000, 12, 1000) > 0.5
    assert difference_of_shares(10, 1000, 60, 1000) < 1e-6
    assert difference_of_shares(0, 0, 0, 5) == 1.0
    assert difference_of_shares(0, 1_000_000, 1, 1001) > 9e-4
