"""What was said, and when: the newest known counts, corrections leave the past as it was, doubles say nothing."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mainspring.labels.statements import (
    ENTITY,
    UTC_TIME,
    as_key,
    contradicted,
    in_force,
    nearest,
    new_among,
    none,
    together,
)

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def days(*numbers):
    return pa.array([None if one is None else DAY + timedelta(days=one) for one in numbers], UTC_TIME)


def said(*rows):
    """(request, label, known on day) each."""
    ids, labels, known = zip(*rows, strict=True) if rows else ((), (), ())
    return together(
        [
            pa.table(
                {
                    "request_id": pa.array(ids, pa.string()),
                    "label": pa.array(labels, pa.string()),
                    "known_at": days(*known),
                }
            )
        ]
    )


def labels_at(statements, day):
    found = in_force(statements, DAY + timedelta(days=day))
    return dict(zip(found.column("request_id").to_pylist(), found.column("label").to_pylist(), strict=True))


def test_the_newest_known_counts_at_each_instant():
    history = said(("a", "0", 1), ("b", "1", 2), ("a", "1", 3))
    assert labels_at(history, 0) == {}
    assert labels_at(history, 1) == {"a": "0"}
    assert labels_at(history, 2) == {"a": "0", "b": "1"}
    assert labels_at(history, 3) == {"a": "1", "b": "1"}
    assert (contradicted(history, DAY + timedelta(days=2)), contradicted(history, DAY + timedelta(days=3))) == (0, 1)


def test_of_two_that_became_known_together_the_later_row_counts():
    assert labels_at(said(("a", "0", 1), ("a", "1", 1)), 1) == {"a": "1"}


def test_what_says_nothing_new_is_a_double_and_what_says_otherwise_a_correction():
    recorded = said(("a", "0", 1), ("b", "0", 1))
    rows = said(("a", "0", 2), ("b", "1", 2), ("c", "1", 2), ("c", "1", 2))
    new, doubles, corrections = new_among(rows, recorded, stated=False)
    assert list(zip(new.column("request_id").to_pylist(), new.column("label").to_pylist(), strict=True)) == [
        ("b", "1"),
        ("c", "1"),
    ]
    assert (doubles, corrections) == (2, 1)


def test_the_same_label_known_earlier_is_new():
    new, doubles, corrections = new_among(said(("a", "1", 1)), said(("a", "1", 2)), stated=True)
    assert (new.num_rows, doubles, corrections) == (1, 0, 0)


def test_a_double_that_was_known_later_outlives_what_turns_out_to_have_been_known_in_between():
    recorded = said(("a", "0", 0))
    again, doubles, _ = new_among(said(("a", "0", 2)), recorded, stated=True)
    late, _, corrections = new_among(said(("a", "1", 1)), together([recorded, again]), stated=True)
    history = together([recorded, again, late])
    assert (doubles, corrections) == (1, 1)
    assert [labels_at(history, day)["a"] for day in range(3)] == ["0", "1", "0"]


def test_an_exact_double_of_what_was_corrected_at_the_same_instant_brings_nothing_back():
    new, doubles, _ = new_among(said(("a", "0", 1)), said(("a", "0", 1), ("a", "1", 1)), stated=True)
    assert (new.num_rows, doubles) == (0, 1)


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("01"), st.integers(0, 5)), max_size=8, unique=True)


@given(ROWS, ROWS)
def test_leaving_exact_doubles_out_changes_no_label_at_any_instant(first, second):
    second = [one for one in second if one not in first]
    recorded = new_among(said(*first), none(), stated=True)[0]
    new, doubles, _ = new_among(said(*second), recorded, stated=True)
    kept, all_of_it = together([recorded, new]), together([said(*first), said(*second)])
    for day in range(6):
        assert labels_at(kept, day) == labels_at(all_of_it, day)
    assert doubles <= len(second)
    again, doubles, corrections = new_among(said(*second), kept, stated=True)
    assert (again.num_rows, doubles, corrections) == (0, len(second), 0)


@given(ROWS, st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("01"), st.just(7)), max_size=6))
def test_doubles_of_now_are_left_out_and_what_counts_now_stays(first, second):
    recorded, rows = said(*first), said(*second)
    new, doubles, _ = new_among(rows, recorded, stated=False)
    assert new.num_rows + doubles == len(second)
    if len(set(second)) == len(second):
        assert labels_at(together([recorded, new]), 7) == labels_at(together([recorded, rows]), 7)


def keyed(*rows):
    """(town, instant in minutes, label, known on day) each."""
    towns, minutes, labels, known = zip(*rows, strict=True)
    at = pa.array([DAY + timedelta(minutes=one) for one in minutes], UTC_TIME)
    return together(
        [pa.table({f"{ENTITY}town": list(towns), "event_at": at, "label": list(labels), "known_at": days(*known)})]
    )


def asked(*rows):
    names, towns, minutes = zip(*rows, strict=True)
    at = pa.array([DAY + timedelta(minutes=one) for one in minutes], UTC_TIME)
    return pa.table({"request_id": list(names), "town": list(towns), "at": at})


def test_a_prediction_takes_the_nearest_label_of_its_keys_within_the_tolerance():
    statements = keyed(("Ulm", 0, "0", 1), ("Ulm", 10, "1", 1), ("Kiel", 4, "1", 1))
    rows = asked(
        ("a", "Ulm", 4), ("b", "Ulm", 6), ("c", "Ulm", 16), ("d", "Bonn", 0), ("e", "Kiel", 9), ("f", "Ulm", 15)
    )
    found = nearest(rows, "at", statements, {"town": "town"}, timedelta(minutes=5))
    assert dict(zip(found.column("request_id").to_pylist(), found.column("label").to_pylist(), strict=True)) == {
        "a": "0", "b": "1", "e": "1", "f": "1",
    }  # fmt: skip
    assert sorted(set(found.column("said").to_pylist())) == [0, 1, 2]


def test_keys_and_instants_are_told_apart_and_corrected():
    statements = keyed(("Ulm", 0, "0", 1), ("Ulm", 0, "1", 2), ("Kiel", 0, "0", 1), ("Ulm", 1, "0", 1))
    assert in_force(statements, DAY + timedelta(days=2)).column("label").to_pylist() == ["1", "0", "0"]
    assert contradicted(statements, DAY + timedelta(days=2)) == 1


def test_numbers_are_keys_without_a_decimal_point():
    assert as_key(pa.chunked_array([[12.0, None]])).to_pylist() == ["12", None]
    assert as_key(pa.chunked_array([pa.array([7], pa.int64())])).to_pylist() == ["7"]
    assert as_key(pa.chunked_array([pa.array(["x"]).dictionary_encode()])).to_pylist() == ["x"]
    assert as_key(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
