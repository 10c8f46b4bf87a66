"""One sentence about what happened, from bins alone."""

from mainspring.domain.drift_report import Bin
from mainspring.drift.words import beyond_limit, categories_moved, missing_moved, numbers_moved, value_moved


def bins(edges, before, now):
    lows, highs = [None, *edges], [*edges, None]
    return [Bin("", *shares, low, high) for *shares, low, high in zip(before, now, lows, highs, strict=True)]


def test_a_shift_up_is_told_by_the_share_above():
    found = bins([10.0, 20.0, 30.0], [0.3, 0.3, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4])
    assert numbers_moved("`weight_kg`", found, "kg") == (
        "`weight_kg` moved to higher values: 70 % are above 20 kg, was 40 %"
    )


def test_numbers_that_spread_out_have_not_moved_one_way():
    found = bins([10.0, 20.0, 30.0], [0.1, 0.4, 0.4, 0.1], [0.3, 0.2, 0.2, 0.3])
    assert numbers_moved("`wind`", found) == "`wind` spread out: 40 % are between 10 and 30, was 80 %"
    found = bins([10.0, 20.0, 30.0], [0.3, 0.2, 0.2, 0.3], [0.1, 0.4, 0.4, 0.1])
    assert numbers_moved("`wind`", found) == "`wind` drew together: 80 % are between 10 and 30, was 40 %"


def test_one_value_that_became_common_is_named():
    assert (
        value_moved("`delay`", Bin("0", 0.101, 0.0, -5e-324, 0.0), "min")
        == "`delay` has fewer of one value: 0 % are 0 min, was 10 %"
    )


def test_dates_are_later_or_earlier_not_higher():
    found = bins([1.6e15], [0.9, 0.1], [0.2, 0.8])
    assert numbers_moved("`booked`", found, dates=True) == (
        "`booked` moved to later values: 80 % are above 2020-09-13 12:26, was 10 %"
    )


def test_why_a_feature_is_named_is_a_number_beyond_its_limit_or_what_else_there_was():
    assert beyond_limit("T", 1933.8, 214.2) == "T 1,934, limit 214"
    assert (
        beyond_limit("ks", 0.09, 0.1, ["30 % are missing, was 0 %"]) == "ks 0.09, limit 0.1; 30 % are missing, was 0 %"
    )
    assert beyond_limit("T", 9.0, 9.5) == "T 9.00, limit 9.5 for it alone; others moved, too"


def test_nothing_moved_is_no_sentence():
    assert numbers_moved("`x`", bins([1.0], [0.5, 0.5], [0.5, 0.5])) == ""
    assert numbers_moved("`x`", []) == ""
    assert categories_moved("`x`", [Bin("a", 1.0, 1.0)]) == ""


def test_categories_that_trade_places():
    found = [Bin("AA", 0.5, 0.2), Bin("UA", 0.3, 0.6), Bin("DL", 0.2, 0.2)]
    assert categories_moved("`carrier`", found) == "`carrier`: 60 % are UA, was 30 %; 20 % are AA, was 50 %"


def test_new_categories_are_told_where_they_are_what_moved():
    found = [Bin("AA", 0.5, 0.4), Bin("UA", 0.5, 0.4)]
    assert categories_moved("`carrier`", found, (0.0, 0.2)) == (
        "`carrier`: 20 % are categories that were not there before, was 0 %"
    )
    few = (0.0, 0.01)
    assert categories_moved("`carrier`", [Bin("AA", 0.5, 0.2), Bin("UA", 0.5, 0.79)], few).startswith(
        "`carrier`: 79 % are UA"
    )


def test_missing_values():
    assert missing_moved("`wind`", 0.0, 0.00004) == "`wind` is missing in under 0.1 %, was 0 %"
