"""`log: {drop, hash}` and `logs forget` on a project: names, predictors, drift, the ledger."""

import json
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pyarrow as pa
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.server import LaptopModelServer, wait_ready
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.concealment import Concealment
from mainspring.domain.errors import ConfigError
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.domain.model_version import Feature
from mainspring.drift.page import page
from mainspring.drift.profile import fit_profile
from mainspring.drift.storage import write_profile
from mainspring.platforms.check import check_project
from mainspring.platforms.drift import LaptopDrift
from mainspring.platforms.forget import forget
from mainspring.platforms.personal import refuse_strange_columns_of
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import effective, load_project
from mainspring.settings.log_key import log_key
from tests.cli.running import mainspring
from tests.platforms.towns import edit
from tests.serving.models import RAIN, version, write_model

pytestmark = pytest.mark.filterwarnings("ignore")
AT = datetime(2026, 3, 2, tzinfo=UTC)
HEADER = SegmentHeader("1", "", ("temp", "town"), ("number", "text"), ("user",), ())


def with_log(project, text):
    edit(project, "mainspring.yaml", "", f"\nlog: {text}\n")
    return load_project(project)


def row(name, user, temp=1.0, at=AT - timedelta(hours=1)):
    return LogRow(name, 0, 0, 0, microseconds(at), 1, (0.5,), (temp, "Ulm"), (user,))


def logged(loaded, *rows, **more):
    writer = SegmentWriter(loaded.paths.segments, HEADER, **more)
    writer.append(rows)
    writer.rotate()
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    return log


def test_a_name_that_is_no_column_is_refused_wherever_it_would_be_logged(project):
    loaded = with_log(project, "{drop: [tmp], hash: [town]}")
    done = check_project(project, lambda name: None, lambda one: None)
    failed = next(one for one in done if one.status == "failed")
    assert failed.name == "features"
    assert "did you mean 'temp'?" in failed.what
    assert failed.where == "mainspring.yaml: log.drop"
    with pytest.raises(ConfigError, match="did you mean 'temp'"):
        refuse_strange_columns_of(loaded, [])
    code, _, errors = mainspring(project, "up")
    assert code == 2
    assert "did you mean 'temp'?" in errors
    edit(project, "mainspring.yaml", "[tmp]", "[temp]")
    (said,) = [one.found for one in check_project(project, str, str) if one.name == "features"]
    assert "temp not logged; town hashed: not watched for drift" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{drop: [temp], hash: [temp]}", "temp cannot be both dropped and hashed"),
        ("{hash: [temp], secret: hunter2hunter2hunter2}", "holds a password in plain text"),
        ("{hash: [temp], secret: '${SHORT}'}", "shorter than 16 characters"),
        ("{drops: [temp]}", "did you mean `drop`?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(project, monkeypatch, text, says):
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(ConfigError) as refused:
        with_log(project, text)
    assert says in str(refused.value)
    assert "abc" not in str(refused.value)


def ask(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/v2/models/towns/infer", RAIN, {"content-type": "application/json"})
    assert connection.getresponse().status == 200


def test_a_predictor_is_told_the_secret_by_no_file_and_started_again_when_the_policy_changes(project, monkeypatch):
    model = project / "model"
    write_model(model)
    assert {one.value for one in effective(load_project(project)) if one.key == "log.secret"} == {"null"}
    monkeypatch.setenv("LOG_SECRET", "a secret of the project")
    loaded = with_log(project, "{drop: [wind], hash: [town], secret: '${LOG_SECRET}'}")
    assert {one.value for one in effective(loaded) if one.key == "log.secret"} == {"********"}
    first = LaptopModelServer(load_project(project).settings, loaded.paths, replayed=False, online=lambda: None)
    first._settings = first._settings.model_copy(update={"log": type(loaded.settings.log)()})
    first.start(version(), model)
    server = LaptopModelServer(loaded.settings, loaded.paths, replayed=False, online=lambda: None)
    assert server.logging_otherwise() == [("1", "")]
    server.stop("1")
    server.start(version(), model)
    try:
        assert server.logging_otherwise() == []
        endpoint = wait_ready(server, "1")
        assert endpoint.ready, endpoint.reason
        ask(endpoint.port)
    finally:
        server.stop("1")
    texts = [path.read_bytes() for path in loaded.paths.state.rglob("*") if path.is_file()]
    assert not any(b"a secret of the project" in text for text in texts)
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    (found,) = log.read().to_pylist()
    assert "feature.wind" not in found
    key = log_key(loaded.settings.log, loaded.paths)
    assert found["feature.town"] == Concealment((), (), key).hashed("town", "Ulm")


class _Registry:
    def __init__(self, folder):
        self.folder = folder

    def fetch(self, version):
        return self.folder


def test_drift_says_what_it_does_not_watch_and_alarms_of_none_of_it(project):
    loaded = with_log(project, "{drop: [temp]}\ndrift: {reference: training}")
    rows = pa.table({"temp": [float(n % 7) for n in range(500)], "town": ["Ulm"] * 500})
    columns = {name: rows.column(name) for name in rows.column_names} | {"prediction": pa.chunked_array([[0.5] * 500])}
    write_profile(fit_profile(columns, (Feature("temp", "float"), Feature("town", "str"))), project)
    one = Concealment(["temp"], [], b"k" * 32)
    log = logged(loaded, *(row(f"q{n}", "eva") for n in range(200)), concealment=one)
    report = LaptopDrift(loaded, _Registry(project), log).run("1", AT)
    assert {each.feature for each in report.features} == {"town", "prediction"}
    assert report.verdict == "quiet"
    assert report.unwatched == ("temp",)
    assert "not watched, for log.drop or log.hash keeps it out of the log: temp" in page(report)


def test_a_person_is_forgotten_by_a_command_and_the_ledger_names_nobody(project):
    loaded = with_log(project, "{hash: [user]}")
    one = Concealment((), ("user",), log_key(loaded.settings.log, loaded.paths))
    log = logged(loaded, row("a", "eva-4711"), row("b", "ida"), row("c", "eva-4711"), concealment=one)
    code, out, errors = mainspring(project, "logs", "forget", "--entity", "user=eva-4711", "--dry-run")
    assert code == 0, errors
    assert "2 rows in 1 files would be forgotten, by user; nothing was done" in out
    assert log.read().num_rows == 3
    code, out, errors = mainspring(project, "logs", "forget", "--entity", "user=eva-4711", "--by", "ida", "--json")
    assert code == 0, errors
    assert json.loads(out)["rows"] == 2
    assert log.read().column("request_id").to_pylist() == ["b"]
    (decision,) = SqliteLedger(loaded.paths.ledger).decisions(kind="forgotten")
    assert (decision.actor, decision.numbers["rows"], decision.numbers["by"]) == ("ida", 2, ["user"])
    files = [path for path in loaded.paths.state.rglob("*") if path.is_file() and path.name != "loop.log"]
    assert not any(b"eva-4711" in path.read_bytes() for path in files)
    assert "1 open" not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--entity", "user"], "'user' names no entity"),
        (["--entity", "usr=eva"], "nothing was logged by usr"),
    ],
)
def test_what_nobody_can_be_found_by_is_refused(project, words, says):
    logged(load_project(project), row("a", "eva"))
    code, _, errors = mainspring(project, "logs", "forget", *words)
    assert code == 2
    assert says in errors


def test_a_dry_run_writes_nothing_not_even_a_key(project):
    loaded = load_project(project)
    logged(loaded, row("a", "eva"))
    before = sorted(path.name for path in loaded.paths.segments.parent.rglob("*"))
    assert forget(loaded, ["user=eva"], by="ida", dry_run=True).rows == 1
    assert sorted(path.name for path in loaded.paths.segments.parent.rglob("*")) == before


def test_what_was_killed_is_finished_by_the_next_and_said_by_status(project):
    from mainspring.adapters.parquet.forgetting import LogForgetting

    loaded = load_project(project)
    log = logged(loaded, row("a", "eva"), row("b", "ida"), row("c", "uma"))
    key = log_key(loaded.settings.log, loaded.paths)
    one = LogForgetting(log, loaded.paths.predictions, loaded.paths.segments, Concealment((), (), key))
    one.ask(one.hashed({"user": ["eva"]}), actor="uma", why="she asked")  # and killed here
    assert "what was to be forgotten is not yet" in mainspring(project, "status")[1]
    forget(loaded, ["user=ida"], by="ida")
    assert log.read().column("request_id").to_pylist() == ["c"]
    assert [one.actor for one in SqliteLedger(loaded.paths.ledger).decisions(kind="forgotten")] == ["uma", "ida"]
    assert "forgotten is not yet" not in mainspring(project, "status")[1]
