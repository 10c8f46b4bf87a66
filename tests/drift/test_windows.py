"""Windows as counts over groups: nothing is lost, and what the reference never had is apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.drift.counting import count
from mainspring.drift.fitting import fit_cells
from mainspring.drift.windows import APART_GROUPS, group_windows, joined, past_of

VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-3, 3).map(float))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "c", "d"]))


def column(values, kind):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(("elements", "kind"), [(VALUES, pa.float64()), (TEXTS, pa.string())], ids=["numbers", "texts"])
def test_every_row_is_in_one_group(elements, kind):
    @given(st.lists(elements, max_size=60), st.lists(elements, max_size=60))
    def check(reference, current):
        then, now = column(reference, kind), column(current, kind)
        cells = fit_cells(then)
        counts = count(cells, then)
        groups = group_windows(cells, counts, count(cells, now).vector)
        assert groups.sum() == len(current)
        own = group_windows(cells, counts, counts.vector)
        assert own.sum() == len(reference)
        assert own[-1] == 0  # Of itself a reference has seen everything.
        assert own.shape == groups.shape

    check()


def test_a_zero_among_orders_is_what_the_reference_never_had():
    reference = column([1.0, 2.0, 3.0, -1.0] * 50, pa.float64())
    cells = fit_cells(reference)
    counts = count(cells, reference)
    now = count(cells, column([0.0] * 7 + [2.0] * 5 + [99.0, -99.0, 2.5, None, float("inf")], pa.float64()))
    assert group_windows(cells, counts, now.vector)[-APART_GROUPS:].tolist() == [1, 1, 10]


@given(st.integers(0, 10**6), st.sampled_from([30, 300, 3000, 30_000]))
@settings(max_examples=20, deadline=None)
def test_more_rows_of_the_same_source_are_nothing_new(seed, rows):
    """A reference of few rows has each value once, and a gap between any two of them."""
    rng = np.random.default_rng(seed)
    for draw in (
        rng.normal,
        lambda size: rng.poisson(3, size).astype(float),
        lambda size: rng.normal(size=size).round(2),
    ):
        reference = column(draw(size=rows), pa.float64())
        cells = fit_cells(reference)
        new = group_windows(cells, count(cells, reference), count(cells, column(draw(size=1000), pa.float64())).vector)
        assert new[-1] <= max(30, 4000 * 2 / rows)


def test_other_units_are_beyond_half_a_per_cent():
    reference = column(np.random.default_rng(0).lognormal(1, 1, 20_000), pa.float64())
    cells = fit_cells(reference)
    counts = count(cells, reference)
    groups = group_windows(cells, counts, counts.vector) / 20_000
    assert groups[[0, -1 - APART_GROUPS]] == pytest.approx([0.005, 0.005], abs=0.001)


def test_where_training_and_log_know_a_time_the_log_counts():
    def days(first, last, value):
        return past_of([(np.datetime64("2024-01-01") + day, {"a": np.array([value, 0])}) for day in range(first, last)])

    whole = joined(days(0, 10, 1), days(6, 12, 2))
    assert whole.counts["a"][:, 0].tolist() == [1] * 6 + [2] * 6
    assert (np.diff(whole.starts) == np.timedelta64(1, "D")).all()
    assert joined(days(0, 3, 1), past_of([])).counts["a"].shape == (3, 2)
    assert joined(past_of([]), past_of([])).counts == {}
