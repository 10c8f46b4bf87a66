"""What was acknowledged is in the sink exactly once, whatever happened to the sink, to the sender, or to the rows."""

import multiprocessing
import signal
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from tests import object_store
from tests.adapters.sinks import sending
from tests.adapters.sinks.sending import AT, Project, row

from mainspring.adapters.clock import ReplayedClock
from mainspring.adapters.sinks import shipper as module
from mainspring.adapters.sinks.check import check
from mainspring.adapters.sinks.history import SunkPredictionLog
from mainspring.adapters.sinks.hours import HeldHour
from mainspring.domain.errors import ConfigError, NotFound, TemporaryError
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.domain.time import TimeWindow

ROOT = Path(__file__).parents[3]
LATER = AT + timedelta(minutes=80)
HOUR = timedelta(hours=1)


def test_rows_are_in_the_sink_by_hour_as_they_were(project):
    project.answer(row("a"), row("b", minutes=70))
    shipped = project.shipper.turn(LATER)
    assert (shipped.rows, shipped.hours) == (2, 2)
    assert project.there() == ["a", "b"]
    assert [hour.at.hour for hour in project.store.hours()] == [12, 13]
    here = project.log.read().to_pylist()
    there = [one for hour in project.store.hours() for one in project.store.get(hour).to_pylist()]
    assert sorted(there[0]) == sorted(here[0])
    assert there == here
    assert project.shipper.turn(LATER).hours == 0
    assert project.shipper.backlog().hours == 0


def test_an_hour_is_sent_as_often_as_asked_and_at_once_when_it_is_over(project):
    project.answer(row("a"))
    now = AT + timedelta(minutes=1)
    assert project.shipper.turn(now).rows == 1
    project.answer(row("b", minutes=2))
    assert project.shipper.turn(now + timedelta(minutes=1)).rows == 0
    assert project.shipper.backlog().rows == 1
    assert project.shipper.turn(now + timedelta(minutes=57)).rows == 2
    project.answer(row("c", minutes=59))
    assert project.shipper.turn(AT + HOUR).rows == 0
    assert project.shipper.turn(AT + HOUR + timedelta(minutes=1)).rows == 3
    assert project.there() == ["a", "b", "c"]


def test_a_large_hour_is_sent_again_only_when_it_has_grown_by_a_quarter(project, monkeypatch):
    monkeypatch.setattr(module, "_LARGE_BYTES", 1)
    now = AT + timedelta(minutes=1)
    project.answer(*(row(uuid.uuid4().hex) for _ in range(5000)))
    project.shipper.turn(now)
    project.answer(row("b"))
    assert project.shipper.turn(now + timedelta(minutes=10)).rows == 0
    project.answer(*(row(uuid.uuid4().hex) for _ in range(5000)))
    assert project.shipper.turn(now + timedelta(minutes=20)).rows == 10_001


def test_a_late_row_goes_to_its_hour_and_an_answer_takes_a_failures_place(project):
    project.answer(row("a"), row("b", outcome=1))
    project.shipper.turn(LATER)
    project.answer(row("late", minutes=5), row("b"))
    project.shipper.turn(LATER + HOUR)
    assert project.there() == ["a", "b", "late"]
    (hour,) = project.store.hours()
    rows = project.store.get(hour).to_pylist()
    assert {one["request_id"]: one["outcome"] for one in rows} == dict.fromkeys(["a", "b", "late"], "answered")


def test_a_model_with_other_features_and_a_type_that_changed_share_an_hour(project):
    project.answer(row("a"))
    other = SegmentHeader("2", "", ("temp", "rain"), ("text", "number"), ("user",), ())
    project.answer(LogRow("b", 0, 1, 0, microseconds(AT), 1, (0.1,), ("mild", 2.0), ("eva",), ()), header=other)
    project.answer(LogRow("c", 0, 1, 0, microseconds(AT + HOUR), 1, (0.1,), ("mild", 2.0), ("eva",), ()), header=other)
    project.shipper.turn(AT + 2 * HOUR)
    first, second = (project.store.get(hour).to_pylist() for hour in project.store.hours())
    assert [(one["feature.temp"], one["feature.rain"]) for one in first] == [("1.5", None), ("mild", 2.0)]
    assert "feature.user" not in second[0]
    assert check(project.log, project.store, project.shipper.state, rows=True).fine


def test_two_projects_that_send_to_one_place_do_not_touch_each_other(project, tmp_path, s3):
    other = Project(tmp_path / "other", project.settings.url, s3.settings())
    project.answer(row("a"))
    other.answer(row("b"))
    for one in (project, other, project, other):
        one.shipper.turn(LATER)
    assert project.there() == ["a", "b"]
    assert check(project.log, project.store, project.shipper.state, rows=True).others == 1


@pytest.fixture
def processes(monkeypatch):
    """New ones: a fork of this one would have half of the client's threads."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # They need nothing of what runs the tests.
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.adapters.sinks.sending"])
    return found


@pytest.mark.slow
def test_two_processes_of_one_project_send_each_row_once(project, s3, processes):
    project.answer(*(row(f"a{one}", minutes=one * 7) for one in range(10)))
    both = [
        processes.Process(
            target=sending.turns, args=(project.paths.root, project.settings.url, s3.settings(), LATER, 3)
        )
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert project.there() == sorted(f"a{one}" for one in range(10))


def _sweep(project, s3, attempt):
    """First sending, later ones, looking again and letting go; `attempt(n, after, now)` ends at the n-th write of a turn."""
    sink = {"url": project.settings.url, "local": "1h"}
    project.answer(row("a"), row("b", minutes=70))
    expected, ended, now = ["a", "b"], 0, LATER
    for place, after in [(place, after) for _ in range(2) for place in (1, 2, 3, 4) for after in (False, True)]:
        now += timedelta(minutes=12)
        project.answer(row(f"late{len(expected)}", minutes=1), row(f"later{len(expected)}", minutes=75))
        expected += [f"late{len(expected)}", f"later{len(expected)}"]
        ended += attempt(sink, place, after, now)
    assert ended >= 14
    one = Project(project.paths.root, sink, s3.settings())
    for hours in range(4):
        one.shipper.turn(now + hours * HOUR)
    assert one.there() == sorted(expected)
    assert check(one.log, one.store, one.shipper.state, rows=True).fine
    assert one.log.read().num_rows == 0
    assert SunkPredictionLog(one.log, one.store, one.shipper.state).read().num_rows == len(expected)


def test_ended_before_and_after_every_write_the_next_one_goes_on(project, s3):
    def attempt(sink, place, after, now):
        try:
            sending.killed(project.paths.root, sink, s3.settings(), place, after, now, sending.interrupt)
        except KeyboardInterrupt:
            return True
        return False

    _sweep(project, s3, attempt)


@pytest.mark.slow
def test_killed_before_and_after_every_write_the_next_one_goes_on(project, s3, processes):
    def attempt(sink, place, after, now):
        process = processes.Process(
            target=sending.killed, args=(project.paths.root, sink, s3.settings(), place, after, now)
        )
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0

    _sweep(project, s3, attempt)


@pytest.fixture
def wire(s3):
    found = object_store.Wire(s3.port)
    yield found
    found.close()


def behind(wire, project, s3, **more):
    return Project(project.paths.root, project.settings.url, s3.settings(endpoint=wire.endpoint, timeout="1s", **more))


def test_a_sink_that_does_it_and_answers_too_late_has_it_once(project, wire, s3):
    one = behind(wire, project, s3)
    one.answer(row("a"))
    wire.fault = lambda head: "deaf"
    with pytest.raises(TemporaryError, match="S3 does not answer"):
        one.shipper.turn(LATER)
    assert one.shipper.backlog().rows == 1
    wire.fault = lambda head: None
    one.answer(row("b"))
    one.shipper.turn(LATER)
    assert one.there() == ["a", "b"]


def test_half_an_upload_is_never_seen(project, wire, s3):
    one = behind(wire, project, s3)
    one.answer(row("a"))
    one.shipper.turn(LATER)
    one.answer(*(row(f"b{place}") for place in range(2000)))
    wire.fault = lambda head: "cut"
    with pytest.raises(TemporaryError):
        one.shipper.turn(LATER + HOUR)
    assert project.there() == ["a"]
    wire.fault = lambda head: None
    one.shipper.turn(LATER + HOUR)
    assert len(project.there()) == 2001


@pytest.mark.slow
def test_a_write_that_comes_through_after_the_next_one_is_mended(project, wire, s3, capsys):
    """The network keeps a request and delivers it later: S3 takes it, and an old hour stands in the new one's place."""
    one = behind(wire, project, s3)
    one.answer(row("a"))
    wire.fault = lambda head: "hold"
    with pytest.raises(TemporaryError):
        one.shipper.turn(LATER)
    wire.fault = lambda head: None
    one.answer(row("b"))
    one.shipper.turn(LATER)
    assert one.there() == ["a", "b"]
    wire.release()
    assert one.there() == ["a"]
    assert one.shipper.turn(LATER + timedelta(minutes=5)).mended == 0
    assert one.shipper.turn(LATER + timedelta(minutes=11)).mended == 1
    assert "does not have what was sent" in capsys.readouterr().err
    one.shipper.turn(LATER + timedelta(minutes=12))
    assert one.there() == ["a", "b"]
    one.shipper.turn(LATER + timedelta(minutes=23))
    assert check(one.log, one.store, one.shipper.state, rows=True).fine


def test_an_hour_that_is_not_what_was_sent_is_sent_again(project):
    project.answer(row("a"), row("b"))
    project.shipper.turn(LATER)
    (hour,) = project.store.hours()
    project.store.put(hour, project.store.get(hour).slice(0, 1), "an older one")
    assert project.shipper.turn(LATER + timedelta(minutes=11)).mended == 1
    assert project.shipper.backlog().hours == 1
    project.shipper.turn(LATER + timedelta(minutes=12))
    assert project.there() == ["a", "b"]


@pytest.mark.slow
def test_away_for_an_hour_of_replayed_time_killed_and_started_again(tmp_path):
    """The store's process is killed while rows go on to come, and comes back an hour of event time later."""
    with object_store.running() as store:
        bucket = store.bucket("away")
        one = Project(tmp_path, f"s3://{bucket}/log", store.settings(timeout="1s"))
        clock, count, refused = ReplayedClock(AT), 0, 0
        for minute in range(150):
            clock.advance(AT + timedelta(minutes=minute))
            one.answer(*(row(f"m{minute:03}-{place}", minutes=minute) for place in range(3)))
            count += 3
            if minute == 30:
                store.kill()
            if minute == 90:
                assert one.shipper.backlog().rows >= 170
                assert one.shipper.backlog().seconds(clock.now()) >= 3600
                store.start()
            try:
                one.shipper.turn(clock.now())
            except TemporaryError:
                refused += 1
        assert refused > 50
        one.shipper.turn(clock.now() + HOUR)
        one.shipper.turn(clock.now() + HOUR + timedelta(minutes=11))
        assert len(one.there()) == len(set(one.there())) == count
        done = check(one.log, one.store, one.shipper.state, rows=True)
        assert (done.fine, done.rows, done.gaps) == (True, count, ())


def test_what_the_sink_has_for_sure_leaves_this_disk_and_is_read_from_there(project, s3):
    sink = {"url": project.settings.url, "local": "1h"}
    one = Project(project.paths.root, sink, s3.settings())
    one.answer(row("a"), row("b", minutes=70), row("c", minutes=190))
    one.shipper.turn(AT + timedelta(minutes=200))
    assert one.log.read().num_rows == 3  # sent, and not looked at again yet
    assert one.shipper.turn(AT + timedelta(minutes=211)).let_go == 2
    assert one.log.read().column("request_id").to_pylist() == ["c"]
    whole = SunkPredictionLog(one.log, one.store, one.shipper.state)
    assert whole.read().column("request_id").to_pylist() == ["a", "b", "c"]
    window = TimeWindow(AT + HOUR, AT + 2 * HOUR)
    assert whole.read(window, ["request_id", "feature.temp"]).to_pylist() == [{"request_id": "b", "feature.temp": 1.5}]
    assert whole.newest(2).column("request_id").to_pylist() == ["b", "c"]
    # A late row of an hour that only the sink has any more joins it.
    one.answer(row("late", minutes=3))
    assert whole.read().num_rows == 4
    one.shipper.turn(AT + timedelta(minutes=212))
    assert one.there() == ["a", "b", "c", "late"]
    one.shipper.turn(AT + timedelta(minutes=223))
    assert one.log.read().column("request_id").to_pylist() == ["c"]


def test_files_that_were_lost_here_take_nothing_away_there(project):
    project.answer(row("a"))
    project.answer(row("b"))
    project.shipper.turn(LATER)
    next(project.paths.predictions.rglob("*.parquet")).unlink()
    project.answer(row("c"))
    project.shipper.turn(LATER + HOUR)
    assert project.there() == ["a", "b", "c"]


def test_a_check_finds_what_somebody_did_to_the_sink(project):
    for hours in range(4):
        project.answer(row(f"a{hours}", minutes=60 * hours), row(f"b{hours}", minutes=60 * hours))
    project.answer(row("new", minutes=60 * 6))
    project.shipper.turn(AT + timedelta(hours=6))
    project.answer(row("unsent", minutes=60 * 6 + 1))
    writer, store = project.shipper.state.writer, project.store
    hours = store.hours()
    table = store.get(hours[1])
    receipt = store.look(hours[1])
    store.remove(hours[0])
    store.put(hours[1], table.take([0, 0]), receipt.digest)
    store.put(hours[2], store.get(hours[2]).slice(1), "else")
    store.put(HeldHour(AT - 5 * HOUR, writer), table, "")
    done = check(project.log, store, project.shipper.state, rows=True)
    assert not done.fine
    found = {(one.hour.hour, one.problem) for one in done.flaws}
    assert found == {
        (7, "unknown"), (12, "missing"), (13, "other"), (13, "double"), (13, "misplaced"), (14, "other"), (18, "unsent"),
    } - {(13, "misplaced")}  # fmt: skip
    assert done.gaps == ((AT - 4 * HOUR, AT), (AT + 4 * HOUR, AT + 6 * HOUR))


def test_old_hours_go_there_as_well(project):
    project.answer(row("a"), row("b", minutes=70))
    project.shipper.turn(LATER)
    assert [one.at for one in project.shipper.remove_older(AT + HOUR)] == [AT]
    assert project.there() == ["b"]
    assert project.shipper.remove_older(AT + HOUR) == []


def test_who_misspells_the_bucket_or_has_no_rights_is_told(tmp_path, s3, bucket):
    settings = s3.settings()
    wrong = [
        (f"s3://{bucket}x/log", settings, NotFound, "there is no bucket"),
        (f"s3://{bucket}/log", {**settings, "access_key": "nobody"}, ConfigError, "does not know these keys"),
        (f"s3://{bucket}/log", {**settings, "secret": "guessed"}, ConfigError, "does not know these keys"),
        (
            f"s3://{bucket}/log",
            {**settings, "access_key": object_store.READER, "secret": object_store.READERS_SECRET},
            ConfigError,
            "S3 refuses to write",
        ),
        (f"s3://{bucket}/log", {**settings, "endpoint": "http://127.0.0.1:1"}, TemporaryError, "does not answer"),
    ]
    for sink, given, kind, text in wrong:
        one = Project(tmp_path, sink, given)
        with pytest.raises(kind, match=text) as error:
            one.store.try_out()
        assert sink in error.value.where
        assert "guessed" not in str(error.value)
    assert Project(tmp_path, f"s3://{bucket}/log", settings).store.try_out()
    assert Project(tmp_path, f"s3://{bucket}/log", settings).store.hours() == []


def test_a_folder_is_a_sink_as_well(tmp_path):
    place = tmp_path / "mounted"
    one = Project(tmp_path / "project", f"file://{place}")
    with pytest.raises(NotFound, match="no such folder"):
        one.store.try_out()
    place.mkdir()
    one.store.try_out()
    one.answer(row("a"), row("b", minutes=70))
    one.shipper.turn(LATER)
    assert one.there() == ["a", "b"]
    assert check(one.log, one.store, one.shipper.state, rows=True).fine
