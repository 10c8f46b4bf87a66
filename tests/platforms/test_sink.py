"""A project whose log goes to a sink: check, doctor, status, the thread beside the loop, and the verbs."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.adapters.clock import WallClock
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import ConfigError
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.loop.reconcile import CHORES
from mainspring.platforms.check import check_project
from mainspring.platforms.doctor import examine
from mainspring.platforms.forget import forget
from mainspring.platforms.sending import CHORE, Sending
from mainspring.platforms.sink import required_shipper, shipper, whole_log
from mainspring.platforms.status import lines, look
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.cli.running import mainspring
from tests.platforms.towns import edit

pytestmark = pytest.mark.filterwarnings("ignore")
HEADER = SegmentHeader("1", "", ("temp",), ("number",), ("user",), ())
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=60)


def with_sink(project, text, more=""):
    edit(project, "mainspring.yaml", "", f"\nlog: {{sink: {text}}}\n{more}")
    return load_project(project)


def logged(loaded, *rows):
    found = [LogRow(name, 0, 0, 0, microseconds(at), 1, (0.5,), (1.0,), (user,)) for name, user, at in rows]
    writer = SegmentWriter(loaded.paths.segments, HEADER)
    writer.append(found)
    writer.rotate()
    ParquetPredictionLog(loaded.paths).compact()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "mounted"


def test_a_sink_that_is_not_there_is_said_by_check_and_doctor(project, place):
    loaded = with_sink(project, f"file://{place}")
    failed = next(one for one in check_project(project, lambda name: None, lambda one: None) if one.status == "failed")
    assert (failed.name, failed.what) == ("sink", "there is no such folder")
    found = next(one for one in examine(loaded) if one.part.startswith("log sink"))
    assert (found.fine, found.found) == (False, "there is no such folder")
    place.mkdir()
    edit(project, "mainspring.yaml", "column: rain", "column: no_such")  # what comes after is another test's
    logged(loaded, ("a", "eva", NOW))
    assert (
        next(one for one in check_project(project, lambda name: None, lambda one: None) if one.name == "sink").status
        == "passed"
    )
    found = next(one for one in examine(loaded) if one.part.startswith("log sink"))
    assert (found.fine, found.found) == (True, "written, read and deleted; 1 rows wait")
    assert list(place.rglob("*")) == []


def test_settings_that_say_nothing_possible_are_refused(project):
    before = (project / "mainspring.yaml").read_text()
    for text, said in [
        ("ftp://x/y", "is no place for a log"),
        ("s3://UPPER/x", "is no place for a log"),
        ("{url: 's3://bucket/x', location: EU}", "are for a bigquery:// URL"),
        ("{url: 's3://bucket/x', local: 1d}", "it cannot stay for less"),
        ("{url: 's3://bucket/x', s3: {secret: hunter2hunter2, access_key: a}}", "password in plain text"),
        ("{url: 's3://bucket/x', s3: {access_key: a}}", "belong together"),
    ]:
        with pytest.raises(ConfigError, match=said):
            with_sink(project, text)
        (project / "mainspring.yaml").write_text(before)
    with pytest.raises(ConfigError, match="goes to no sink"):
        required_shipper(load_project(project))


def test_it_is_sent_beside_the_loop_and_status_says_what_waits(project, place):
    place.mkdir()
    loaded = with_sink(project, f"{{url: 'file://{place}', every: 2s}}")
    logged(loaded, ("a", "eva", NOW))
    assert any("1 wait" in text for name, text in lines(look(loaded)) if name == "log sink")
    sending = Sending(shipper(loaded), WallClock())
    sending.start()
    until = time.monotonic() + 20
    while sending.looked().hours and time.monotonic() < until:
        time.sleep(0.1)
        sending._looked = None
    logged(loaded, ("b", "eva", NOW))
    assert sending.close(20)
    assert sending.counted()[0].rows >= 2
    assert any("all 2 rows" in text for name, text in lines(look(loaded)) if name == "log sink")
    assert sending.news() == []


def test_a_sink_that_fails_is_tried_again_and_told_and_ends_with_the_loop(project):
    sink = "{url: 's3://bucket/x', every: 1s, s3: {endpoint: 'http://127.0.0.1:1', timeout: 1s, access_key: a, secret: '${S}'}}"
    edit(project, "mainspring.yaml", "", f"\nlog: {{sink: {sink}}}\n")
    loaded = load_project(project, {"S": "x"})
    logged(loaded, ("a", "eva", NOW))
    sending = Sending(shipper(loaded), WallClock())
    sending.start()
    told, until = [], time.monotonic() + 20
    while not told and time.monotonic() < until:
        told += sending.news()
        time.sleep(0.1)
    assert told[0].chore == CHORE
    assert CHORE not in CHORES
    assert "S3 does not answer" in told[0].text
    assert sending.counted()[1] >= 3
    began = time.monotonic()
    assert not sending.close(5)
    assert time.monotonic() - began < 11


def test_what_only_the_sink_has_is_listed_checked_forgotten_and_deleted(project, place, capsys):
    place.mkdir()
    loaded = with_sink(project, f"{{url: 'file://{place}', local: 45d}}", "keep: {log: 100d}\n")
    logged(
        loaded,
        ("old", "eva", OLD),
        ("older", "ida", OLD),
        ("new", "eva", NOW),
        ("first", "ida", NOW - timedelta(days=120)),
    )
    for minutes in (0, 11):
        shipper(loaded).turn(NOW + timedelta(minutes=minutes))
    assert ParquetPredictionLog(loaded.paths).read().column("request_id").to_pylist() == ["new"]
    assert whole_log(loaded).read().num_rows == 4
    shown = json.loads(mainspring(project, "logs", "--json")[1])
    assert [one["request_id"] for one in shown] == ["first", "old", "older", "new"] or len(shown) == 4
    assert mainspring(project, "logs", "check", "--rows")[0] == 0
    done = forget(loaded, ["user=eva"], by="dpo", dry_run=True)
    assert (done.rows, done.in_sink) == (1, 2)
    done = forget(loaded, ["user=eva"], by="dpo")
    assert (done.rows, done.in_sink) == (1, 2)
    assert SqliteLedger(loaded.paths.ledger).decisions(kind="forgotten")[0].numbers["in_sink"] == 2
    assert sorted(whole_log(loaded).read().column("request_id").to_pylist()) == ["first", "older"]
    going = json.loads(mainspring(project, "gc", "--dry-run", "--json")[1])["going"]
    assert [one["name"] for one in going if one["kind"] == "log"] == [
        f"{NOW - timedelta(days=120):%Y-%m-%d %H}:00 in the sink"
    ]
    assert mainspring(project, "gc", "--yes")[0] == 0
    assert whole_log(loaded).read().column("request_id").to_pylist() == ["older"]
    next(place.rglob("*.parquet")).unlink()
    done = mainspring(project, "logs", "check")
    assert done[0] == 1
    assert "missing" in done[1]
