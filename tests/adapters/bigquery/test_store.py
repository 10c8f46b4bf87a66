"""The log in BigQuery, against its emulator: the same as in any other sink, and what only a table has to do."""

import socket
import uuid
from datetime import timedelta

import pytest
from tests import bigquery_emulator
from tests.adapters.sinks.sending import AT, Project, row

from mainspring.adapters.bigquery.rest import BigQueryRest
from mainspring.adapters.bigquery.store import BigQueryHours
from mainspring.adapters.sinks.check import check
from mainspring.adapters.sinks.history import SunkPredictionLog
from mainspring.domain.errors import NotFound, TemporaryError
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.settings.log_sink import SinkSettings

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def emulator():
    with bigquery_emulator.running() as found:
        found.dataset("ds")
        yield found


@pytest.fixture
def opened(tmp_path, emulator):
    table = f"log_{uuid.uuid4().hex[:8]}"

    def project(name="project", dataset="ds", endpoint=emulator.endpoint, **more):
        sink = {"url": f"bigquery://p/{dataset}/{table}", "endpoint": endpoint, **more}
        return Project(tmp_path / name, sink, store=BigQueryHours(SinkSettings.model_validate(sink)))

    return project


def test_rows_are_there_once_by_hour_as_they_were_and_are_replaced_whole(opened):
    one = opened()
    assert one.store.hours() == []
    one.answer(row("a"), row("b", minutes=70, outcome=1, reason='it\'s "broken"\nhere'))
    one.shipper.turn(AT + 2 * HOUR)
    assert [hour.at for hour in one.store.hours()] == [AT, AT + HOUR]
    here = one.log.read().to_pylist()
    there = [found for hour in one.store.hours() for found in one.store.get(hour).to_pylist()]
    assert there == [{name: value for name, value in found.items() if name in there[0]} for found in here]
    one.answer(row("late", minutes=3), row("b", minutes=71))
    one.shipper.turn(AT + 3 * HOUR)
    assert one.there() == ["a", "b", "late"]
    assert check(one.log, one.store, one.shipper.state, rows=True).fine
    assert one.shipper.remove_older(AT + HOUR)
    assert one.there() == ["b"]


def test_other_features_odd_names_and_a_type_that_changed(opened):
    one = opened()
    header = SegmentHeader("1", "", ("Größe (cm)", "größe (CM)", "temp"), ("number", "number", "number"), (), ())
    one.answer(LogRow("a", 0, 0, 0, microseconds(AT), 1, (0.1, 0.9), (1.5, float("nan"), 2.0)), header=header)
    one.shipper.turn(AT + HOUR)
    other = SegmentHeader("2", "", ("temp", "rain"), ("text", "number"), (), ())
    one.answer(LogRow("b", 0, 0, 0, microseconds(AT + HOUR), 1, (0.2,), ("mild", None)), header=other)
    one.answer(LogRow("c", 0, 0, 0, microseconds(AT), 1, (0.2,), ("cold", 1.0)), header=other)
    one.shipper.turn(AT + 3 * HOUR)
    first, second = (one.store.get(hour).to_pylist() for hour in one.store.hours())
    found = {rows["request_id"]: rows for rows in first}
    assert found["a"]["feature.Größe (cm)"] == 1.5
    assert str(found["a"]["feature.größe (CM)"]) == "nan"
    assert [found[name]["feature.temp"] for name in ("a", "c")] == ["2", "cold"]
    assert (found["a"]["feature.rain"], found["c"]["feature.rain"]) == (None, 1.0)
    assert second[0]["feature.temp"] == "mild"
    assert check(one.log, one.store, one.shipper.state, rows=True).fine


def test_two_writers_share_a_table_and_a_check_finds_what_was_changed(opened):
    one, other = opened("one"), opened("other")
    one.answer(row("a"), row("b"))
    other.answer(row("c"))
    for project in (one, other, one):
        project.shipper.turn(AT + HOUR, everything=True)
    assert one.there() == ["a", "b", "c"]
    one.store._rest.run(f"DELETE FROM {one.store._name} WHERE request_id = 'a'")
    done = check(one.log, one.store, one.shipper.state, rows=False)
    assert [(flaw.problem, flaw.rows) for flaw in done.flaws] == [("other", 1)]
    assert one.shipper.turn(AT + 2 * HOUR).mended == 1
    one.shipper.turn(AT + 2 * HOUR)
    assert one.there() == ["a", "b", "c"]


def test_ended_between_loading_and_replacing_the_next_one_goes_on(opened):
    one = opened()
    one.answer(row("a"))

    def ends(sql):
        raise KeyboardInterrupt

    run, one.store._rest.run = one.store._rest.run, ends
    with pytest.raises(KeyboardInterrupt):
        one.shipper.turn(AT + HOUR)
    one.store._rest.run = run
    begin = one.store._table
    assert len(one.store._staged(f"{begin}_load_")) == 1
    one.answer(row("b"))
    one.shipper.turn(AT + HOUR)
    assert one.there() == ["a", "b"]
    assert one.store._staged(f"{begin}_load_") == []


def test_away_and_back_and_read_again_when_it_is_not_here_any_more(opened, emulator):
    one = opened(local="1h")
    one.answer(row("a"))
    one.shipper.turn(AT + HOUR)
    emulator.kill()
    one.answer(row("b", minutes=61))
    with pytest.raises(TemporaryError, match="does not answer"):
        one.shipper.turn(AT + 2 * HOUR)
    emulator.start()
    for hours in range(2, 6):
        one.shipper.turn(AT + hours * HOUR)
    assert one.there() == ["a", "b"]
    assert one.log.read().num_rows == 0
    whole = SunkPredictionLog(one.log, one.store, one.shipper.state)
    assert whole.read(columns=["request_id"]).column("request_id").to_pylist() == ["a", "b"]
    assert whole.newest(1).column("request_id").to_pylist() == ["b"]


def test_what_is_not_there_is_said(opened):
    assert opened().store.try_out()
    with pytest.raises(NotFound, match="nods"):
        opened(dataset="nods").store.try_out()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(TemporaryError, match="does not answer"):
            opened(endpoint=f"http://127.0.0.1:{free.getsockname()[1]}").store.try_out()


def test_results_that_are_not_there_at_once_are_asked_for_where_the_job_ran(monkeypatch):
    rest = BigQueryRest(SinkSettings.model_validate({"url": "bigquery://p/ds/log"}))
    asked = []

    def ask(method, path, *, body=None, query=None):
        asked.append((method, path, (query or {}).get("location")))
        job = {"jobReference": {"jobId": "j", "location": "europe-west3"}, "jobComplete": len(asked) > 1}
        return job if len(asked) == 1 else {**job, "schema": {"fields": []}, "rows": []}

    monkeypatch.setattr(rest, "ask", ask)
    assert rest.rows("SELECT 1") == ([], [])
    assert asked == [("POST", "/queries", None), ("GET", "/queries/j", "europe-west3")]
