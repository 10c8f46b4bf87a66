"""Profiles and counts as files: nothing is lost, nothing is code, and what cannot be read is said."""

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.errors import DataError
from mainspring.drift.cells import NULL, Cells
from mainspring.drift.counting import count
from mainspring.drift.placing import windowed
from mainspring.drift.profile import Profile, fit_profile
from mainspring.drift.statistics import distances
from mainspring.drift.storage import (
    FIRST_FILE,
    counts_bytes,
    counts_of,
    hours_table,
    merged_bytes,
    profile_bytes,
    profile_of,
    read_profile,
    write_profile,
)

GENERATOR = np.random.default_rng(11)


def profile_of_everything(rows=3000):
    columns = {
        "x": pa.chunked_array([np.append(GENERATOR.normal(size=rows - 2), [np.inf, np.nan])]),
        "town": pa.chunked_array([GENERATOR.choice(["Ulm", "Bonn", ""], rows)]),
        "user": pa.chunked_array([[f"u{place}" for place in range(rows)]]),
        "rain": pa.chunked_array([GENERATOR.uniform(size=rows) < 0.5]),
        "nothing": pa.chunked_array([pa.nulls(rows)]),
    }
    times = np.datetime64("2020-01-01") + np.arange(rows).astype("timedelta64[m]")
    return fit_profile(columns, (), times, timedelta(hours=6))


def test_a_profile_survives_its_file_and_the_same_profile_is_the_same_bytes(tmp_path):
    profile = profile_of_everything()
    write_profile(profile, tmp_path)
    assert read_profile(tmp_path) == profile
    assert len(profile.windows["x"]) == 9
    assert profile_bytes(read_profile(tmp_path)) == profile_bytes(profile)


CELLS = Cells("number", np.arange(3.0))
HOURS = st.lists(st.lists(st.floats(-2, 5) | st.none() | st.just(float("nan")), max_size=8), min_size=1, max_size=5)


def table_of(first, hours, name="a"):
    """Counts of hours whose rows are given, with the hours' numbers."""
    window = np.repeat(np.arange(len(hours)), [len(one) for one in hours])
    column = pa.chunked_array([pa.array([value for one in hours for value in one], pa.float64())])
    numbers = list(range(first, first + len(hours)))
    return hours_table(numbers, {name: windowed(CELLS, column, window.astype(np.int64), len(hours))})


def counts_of_rows(rows):
    return count(CELLS, pa.chunked_array([pa.array(rows, pa.float64())]))


@settings(max_examples=50, deadline=None)
@given(HOURS, st.data())
def test_kept_counts_add_up_to_what_was_kept(hours, data):
    found = counts_of(counts_bytes(table_of(0, hours), {"version": "1"}), "here")
    assert found.about["version"] == "1"
    some = data.draw(st.sets(st.sampled_from(range(len(hours)))))
    assert found.total() == {"a": counts_of_rows([value for one in hours for value in one])}
    kept = [value for hour in some for value in hours[hour]]
    assert found.total(some) == ({"a": counts_of_rows(kept)} if some else {})


def test_an_hour_that_is_counted_again_replaces_what_was_kept_of_it():
    kept = counts_of(counts_bytes(table_of(0, [[0.5], [0.5, 1.5]]), {"tokens": {}}), "here")
    again = counts_of(merged_bytes(kept, table_of(1, [[9.0], [-7.0]]), {"tokens": {"x": "y"}}), "here")
    assert again.total() == {"a": counts_of_rows([0.5, 9.0, -7.0])}
    assert again.about["tokens"] == {"x": "y"}


@pytest.mark.parametrize("raw", [b"", b"no parquet", b"PAR1" * 10])
def test_what_is_no_profile_is_refused(raw):
    with pytest.raises(DataError, match="no counts of drift"):
        profile_of(raw, "profile.parquet")


def test_any_other_parquet_and_a_later_format_are_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no counts of drift"):
        profile_of((tmp_path / "other.parquet").read_bytes(), "other.parquet")
    later = pa.table({"x": [1]}).replace_schema_metadata({"mainspring.profile": json.dumps({"format": 3})})
    pq.write_table(later, tmp_path / "later.parquet")
    with pytest.raises(DataError, match="format 3") as refused:
        profile_of((tmp_path / "later.parquet").read_bytes(), "later.parquet")
    assert "newer" in refused.value.next_step


def test_a_damaged_profile_is_refused_and_none_is_missed(tmp_path):
    raw = profile_bytes(profile_of_everything(100))
    for cut in (10, len(raw) // 2, len(raw) - 1):
        with pytest.raises(DataError):
            profile_of(raw[:cut], "profile.parquet")
    with pytest.raises(DataError, match="has no profile"):
        read_profile(tmp_path)


def first_format(values):
    """What versions of the first format have: cell 0 is all up to the first edge, which is the least value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 33), method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {
        "cells": {
            "x": {"edges": edges.tolist(), "categories": [], "text": False},
            "town": {"edges": [], "categories": ["Ulm", "Bonn"], "text": True},
            "void": {"edges": [], "categories": [], "text": False},
        },
        "counts": {
            "x": {"cells": counts.tolist(), "nulls": 7},
            "town": {"cells": [60, 40, 0], "nulls": 0},
            "void": {"cells": [0], "nulls": 100},
        },
        "rows": len(values),
        "about": {},
    }


def test_a_profile_of_the_first_format_is_read(tmp_path):
    values = GENERATOR.normal(size=2000)
    (tmp_path / FIRST_FILE).write_text(json.dumps(first_format(values)))
    profile = read_profile(tmp_path)
    assert isinstance(profile, Profile)
    assert profile.cells["town"].categories == ("Ulm", "Bonn")
    assert profile.counts["x"].apart(NULL) == 7
    assert profile.cells["void"].size == 1
    column = pa.chunked_array([values])
    again = count(profile.cells["x"], column)
    assert again.cells.tolist() == profile.counts["x"].cells.tolist()
    assert again.cells[0] == 0
    assert distances(profile.cells["x"], profile.counts["x"], again).ks_low == 0


@pytest.mark.parametrize("text", ["{", "{}", '{"cells": {"x": {}}, "counts": {}}', "[1]"])
def test_a_damaged_profile_of_the_first_format_is_refused(tmp_path, text):
    (tmp_path / FIRST_FILE).write_text(text)
    with pytest.raises(DataError, match="first format"):
        read_profile(tmp_path)
