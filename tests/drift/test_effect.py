"""A feature moved back to where it was: as little as it takes, and no further."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from mainspring.drift.effect import Numbers, categories_as_before, change_of, numbers_as_before


def reference_of(values, missing=0.0):
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 201), method="inverted_cdf"))
    edges = np.unique(np.concatenate([[np.nextafter(edges[0], -np.inf)], edges]))
    masses = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).astype(float)
    return Numbers(edges, masses, missing)


def test_a_shift_is_taken_back_and_the_order_stays():
    generator = np.random.default_rng(1)
    before = generator.normal(50, 10, 5000)
    now = generator.normal(20, 5, 1000)
    moved = numbers_as_before(now, reference_of(before), seed=3)
    assert ks_2samp(moved, before).statistic < 0.02
    assert (np.argsort(moved) == np.argsort(now)).all()


def test_what_did_not_drift_is_hardly_moved():
    generator = np.random.default_rng(2)
    before, now = generator.gamma(2, 9, 20000), generator.gamma(2, 9, 2000)
    moved = numbers_as_before(now, reference_of(before), seed=3)
    assert np.abs(moved - now).mean() < 0.05 * np.std(now)


def test_a_heavy_value_goes_and_others_come_in_its_place():
    generator = np.random.default_rng(4)
    before = generator.normal(100, 10, 5000)
    now = np.where(generator.random(2000) < 0.3, 0.0, generator.normal(100, 10, 2000))
    moved = numbers_as_before(now, reference_of(before), seed=5)
    assert (moved == 0).sum() == 0
    assert ks_2samp(moved, before).statistic < 0.02


def test_missing_values_become_as_many_as_there_were():
    before = np.random.default_rng(6).normal(0, 1, 900)
    all_there = numbers_as_before(np.where(np.arange(1000) < 300, np.nan, 0.5), reference_of(before), seed=1)
    assert not np.isnan(all_there).any()
    a_tenth = numbers_as_before(np.zeros(1000), reference_of(before, missing=100.0), seed=1)
    assert np.isnan(a_tenth).sum() == 100
    none_there = numbers_as_before(np.full(50, np.nan), reference_of(before), seed=1)
    assert abs(none_there.mean()) < 0.2


@given(
    st.lists(st.sampled_from(["a", "b", "c", "new", None]), min_size=1, max_size=200),
    st.dictionaries(st.sampled_from(["a", "b", "c", None]), st.integers(1, 50), min_size=1),
)
def test_categories_get_the_shares_that_they_had(values, reference):
    moved = categories_as_before(values, reference, seed=1)
    total = sum(reference.values())
    for name in {*values, *reference}:
        assert abs(moved.count(name) - reference.get(name, 0) / total * len(values)) <= 3
        kept = sum(one == two == name for one, two in zip(values, moved, strict=True))
        # As many stay as may.
        assert kept >= min(values.count(name), reference.get(name, 0) / total * len(values)) - 1


def test_nothing_is_done_without_rows_or_without_a_reference():
    empty = Numbers(np.array([]), np.array([0.0]))
    assert numbers_as_before(np.array([1.0, np.nan]), empty, seed=1)[0] == 1.0
    assert numbers_as_before(np.array([]), reference_of(np.arange(9.0)), seed=1).size == 0
    assert categories_as_before([], {"a": 1}, seed=1) == []


def test_the_change_has_a_sign_where_answers_have_one():
    assert change_of(np.array([1.0, 3.0]), np.array([2.0, 1.0])) == (1.5, -0.5)
