"""The spine: which questions there are, which labels are known, and what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.time import TimeWindow
from mainspring.features.questions import LabelCounts, first_asked, labelled, questions
from mainspring.settings.load import load_project
from mainspring.sources.open import OpenedSource, open_sources

DAY = datetime(2013, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
ROWS = """\
id,asked,booked,airport,distance,late,settled
c,2013-01-03,2012-12-01,JFK,3.5,1,2013-01-04
a,2013-01-01,2012-12-01,EWR,1.5,0,2013-01-02
b,2013-01-02,2012-12-01,LGA,2.5,,
"""
TARGET = "source: flights, column: late, time: asked, id: id, available_at: settled"


def spine(folder: Path, rows: str = ROWS, target: str = TARGET, features: str = "") -> tuple[Any, OpenedSource]:
    (folder / "flights.csv").write_text(rows)
    (folder / "mainspring.yaml").write_text(
        "name: x\ntask: binary\nsources:\n  flights: {path: flights.csv, time: asked, available_at: booked}\n"
        f"target: {{{target}}}\nfeatures: {{{features}}}\n"
    )
    settings = load_project(folder, {}).settings
    return settings, open_sources(settings.sources, folder)["flights"]


def test_questions_come_in_their_order_with_the_labels_known_by_then(tmp_path: Path) -> None:
    settings, source = spine(tmp_path)
    asked = questions(settings, source, [], known_at=LATER)
    assert asked.column_names == [
        "event_timestamp", "request_id", "label", "label_known_at", "airport", "distance",
    ]  # fmt: skip
    assert asked.column("request_id").to_pylist() == ["a", "b", "c"]
    assert asked.column("label").to_pylist() == [0, None, 1]
    then = questions(settings, source, [], known_at=DAY + timedelta(days=2))
    assert then.column("request_id").to_pylist() == ["a", "b", "c"], "c is asked at this very instant"
    assert then.column("label").to_pylist() == [0, None, None]
    assert questions(settings, source, [], known_at=DAY + timedelta(hours=23)).column("label").to_pylist() == [None]


def test_labels_that_are_not_there_are_counted_and_left_out(tmp_path: Path) -> None:
    settings, source = spine(tmp_path)
    then = DAY + timedelta(days=2)
    rows, counts = labelled(questions(settings, source, [], known_at=then), then)
    assert rows.column("request_id").to_pylist() == ["a"]
    assert counts == LabelCounts(asked=3, labelled=1, waiting=1, never=1)
    assert labelled(questions(settings, source, [], known_at=LATER), LATER)[1] == LabelCounts(3, 2, 0, 1)


def test_a_delay_says_when_a_label_is_known(tmp_path: Path) -> None:
    settings, source = spine(tmp_path, target="source: flights, column: late, delay: 36h")
    then = questions(settings, source, [], known_at=DAY + timedelta(hours=36))
    assert then.column("label").to_pylist() == [0, None]
    assert then.column("label_known_at").to_pylist()[0] == DAY + timedelta(hours=36)


def test_a_window_holds_questions_by_their_own_time(tmp_path: Path) -> None:
    settings, source = spine(tmp_path)
    window = TimeWindow(DAY, DAY + timedelta(days=1))
    assert questions(settings, source, [], known_at=LATER, window=window).column("request_id").to_pylist() == ["a"]
    assert first_asked(settings, source) == DAY


def test_entity_keys_come_from_the_columns_that_the_project_names(tmp_path: Path) -> None:
    settings, source = spine(tmp_path, features="request: [distance], entities: {origin: airport}")
    asked = questions(settings, source, ["origin"], known_at=LATER)
    assert asked.column_names[4:] == ["origin", "distance"]
    assert asked.column("origin").to_pylist() == ["EWR", "LGA", "JFK"]
    with pytest.raises(ConfigError, match=r"no column for features.entities.dest \(dest\)"):
        questions(settings, source, ["dest"], known_at=LATER)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS + "a,2013-01-05,2012-12-01,JFK,1,0,\n", r"1 ids are there more than once \(a\)"),
        (ROWS + ",2013-01-05,2012-12-01,JFK,1,0,\n", "1 questions have no id"),
        (ROWS.replace("2013-01-04", "soon"), "`settled` is not a time"),
    ],
)
def test_rows_without_identity_or_time_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    settings, source = spine(tmp_path, rows)
    with pytest.raises(DataError, match=message) as error:
        questions(settings, source, [], known_at=LATER)
    assert "sources.flights" in str(error.value)


def test_a_question_without_its_instant_is_not_dropped_silently(tmp_path: Path) -> None:
    rows = ROWS.replace("c,2013-01-03,2012-12-01,JFK,3.5,1,2013-01-04", "c,2013-01-03,2012-12-01,JFK,3.5,1,")
    settings, source = spine(tmp_path, rows, target="source: flights, column: late, time: settled")
    with pytest.raises(DataError, match="2 questions have no time"):
        questions(settings, source, [], known_at=LATER)


def test_the_target_is_no_input(tmp_path: Path) -> None:
    settings, source = spine(tmp_path, features="request: [distance, late]")
    with pytest.raises(ConfigError, match="'late' is among the inputs"):
        questions(settings, source, [], known_at=LATER)


def test_a_table_without_times_has_questions_and_labels(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,0\n2,1\n3,\n")
    (tmp_path / "mainspring.yaml").write_text(
        "name: x\ntask: binary\nsources: {rows: {path: rows.csv}}\ntarget: {source: rows, column: y}\n"
    )
    settings = load_project(tmp_path, {}).settings
    asked = questions(settings, open_sources(settings.sources, tmp_path)["rows"], [], known_at=LATER)
    assert asked.column_names == ["label", "label_known_at", "x"]
    assert labelled(asked, LATER)[1] == LabelCounts(asked=3, labelled=2, waiting=0, never=1)


@pytest.mark.parametrize("features", ["request: [distance, label]", ""])
def test_an_input_cannot_have_a_name_of_the_platform(tmp_path: Path, features: str) -> None:
    rows = ROWS.replace("airport", "label")
    settings, source = spine(tmp_path, rows, features=features)
    with pytest.raises(ConfigError, match="`label` is a name of the platform's own"):
        questions(settings, source, [], known_at=LATER)
    settings, source = spine(tmp_path, rows, features="request: [distance]")
    assert questions(settings, source, [], known_at=LATER).column("label").to_pylist() == [0, None, 1]
