"""Kinds of skew, from values and from the rows behind them."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.features.skew import Served, compare, same

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VALUES = np.random.default_rng(1).normal(10, 3, 50)


def rows(served, offline=VALUES, **more):
    return [
        Served(f"r{place}", AT, one, other, **more)
        for place, (one, other) in enumerate(zip(served, offline, strict=True))
    ]


def found(served, offline=VALUES, **more):
    return compare("temp", "weather", rows(served, offline, **more), 1e-6)


@pytest.mark.parametrize(
    ("served", "offline", "kind", "said"),
    [
        (VALUES * 1.8, VALUES, "factor", "1.8 times"),
        (VALUES + 273.15, VALUES, "offset", "+273.15"),
        (VALUES.round(2), VALUES, "rounding", "2 decimals"),
        ((VALUES * 1000).round(-2), VALUES * 1000, "rounding", "-2 decimals"),
        (np.floor(VALUES), VALUES, "rounding", "cut off"),
        (VALUES * 1e8 + 7200, VALUES * 1e8, "time zone", "+2 h"),
        ((np.arange(50) + 22) % 24.0, np.arange(50) % 24.0, "time zone", "-2 h"),
        (VALUES[::-1], VALUES, "other", "nothing explains"),
        (np.array(["Ulm"] * 50), np.array(["ulm"] * 50), "other", "nothing explains"),
    ],
)
def test_one_thing_that_explains_all_is_named(served, offline, kind, said):
    one = found(served.tolist(), offline.tolist())
    assert list(one.kinds) == [kind]
    assert said in one.said


def test_three_values_are_no_pattern():
    one = found((VALUES[:3] * 2).tolist(), VALUES[:3].tolist())
    assert one.kinds == {"other": 3}


def test_missing_on_one_side_is_skew_and_on_both_is_none():
    served = [None, math.nan, 1.0, None]
    one = found(served, [1.0, None, None, None])
    assert one.kinds == {"missing in serving": 1, "missing offline": 1}
    assert found([None], [1.0], flags=frozenset({"unavailable"})).differing == 0
    assert found([None], [1.0], flags=frozenset({"unavailable"})).explained == {"unavailable": 1}
    assert found([None], [1.0], flags=frozenset({"stale"})).kinds == {"stale": 1}


def test_rows_behind_a_value_say_whether_it_is_stale_late_or_ahead():
    at = AT.timestamp()
    old = {"served_row_at": at - 7200, "offline_row_at": at - 3600}
    assert found([1.0], [2.0], **old, before=1.0).kinds == {"stale": 1}
    assert found([1.0], [2.0], **old, before=9.0).kinds == {"other": 1}
    assert found([1.0], [2.0], **old, before=1.0, offline_known_at=at + 60).kinds == {"late": 1}
    assert found([1.0], [2.0], served_row_at=at - 60, offline_row_at=at - 3600).kinds == {"ahead": 1}
    assert found([2.0], [2.0], offline_known_at=at + 60).late_unseen == 1


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none() | st.text(max_size=3), min_size=1, max_size=20)
)
def test_nothing_differs_from_itself_and_nothing_is_unsortable(values):
    assert found(values, values).differing == 0
    other = found(values, values[::-1])
    assert sum(other.kinds.values()) == other.differing <= other.compared == len(values)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_what_went_through_32_bits_is_the_same(value):
    assert same(float(np.float32(value)), value * (1 + 1e-8), 1e-6)
