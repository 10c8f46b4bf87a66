"""The whole loop as a person runs it: one `mainspring up`, asked over HTTP, killed, started again, and ended."""

import getpass
import json
import os
import signal
import socket
import time
from urllib.request import urlopen

import grpc
import pyarrow.parquet as pq
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.serving import open_inference_pb2 as oip
from mainspring.settings.paths import ProjectPaths
from mainspring.telemetry.registry import DEFINITIONS
from tests.cli.running import Callers, Up, days, mainspring, processes, typed, write_project


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_project(tmp_path_factory.mktemp("towns"))
    (folder / "sink").mkdir()
    with (folder / "mainspring.yaml").open("a") as settings:
        settings.write(f'log: {{sink: {{url: "file://{folder / "sink"}", every: 2s}}}}\n')
    return folder


@pytest.fixture(scope="module")
def service(folder):
    """A loop that serves version 1; whatever a test leaves is killed."""
    held = {"up": Up(folder)}
    held["address"] = held["up"].wait("serving")[0].split()[4]
    yield held
    if held["up"].process.poll() is None:
        held["up"].process.kill()
        held["up"].ended()
    for one in processes(folder):
        os.kill(int(one.split()[0]), signal.SIGKILL)


def status(folder):
    code, out, errors = mainspring(folder, "status", "--json")
    assert code == 0, errors
    return json.loads(out)


def exposed(address):
    with urlopen(address) as answer:
        lines = answer.read().decode().splitlines()
    types = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    return types, samples


def test_the_first_model_is_trained_and_answers_and_what_it_answered_is_logged(folder, service):
    kinds = [line["kind"] for line in service["up"].lines]
    assert kinds[0] == "start"
    for one in ("trigger", "run_started", "step", "gate_passed", "promoted"):
        assert one in kinds, kinds
    code, out, errors = mainspring(folder, "predict", "--id", "d7", "--json")
    assert code == 0, errors
    answer = json.loads(out)
    assert (answer["version"], answer["request_id"], answer["flags"]) == ("1", "d7", [])
    assert 0 < answer["outputs"]["probability"] < 1
    code, out, errors = mainspring(folder, "logs", "--labels", "--json")
    assert code == 0, errors
    (row,) = json.loads(out)
    assert (row["request_id"], row["version"], row["outcome"]) == ("d7", "1", "answered")
    assert row["output"] == [answer["outputs"]["probability"]]
    assert row["label"] in (0, 1)
    assert set(row) >= {"feature.temp", "feature.town"}


def test_the_same_address_answers_over_grpc_and_says_so(folder, service):
    asked = oip.ModelInferRequest(model_name="towns", id="by-grpc")
    asked.inputs.add(name="town", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"Ulm")
    asked.inputs.add(name="temp", datatype="FP64", shape=[1]).contents.fp64_contents.append(7.5)
    with grpc.insecure_channel(service["address"].removeprefix("http://")) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = oip.ModelInferResponse.FromString(ask(asked.SerializeToString(), timeout=10))
    assert (answer.id, answer.model_version) == ("by-grpc", "1")
    code, out, errors = mainspring(folder, "logs", "--json")
    assert code == 0, errors
    assert "by-grpc" in [row["request_id"] for row in json.loads(out)]
    code, out, errors = mainspring(folder, "status")
    assert code == 0, errors
    assert f"{service['address']}, over gRPC at the same port" in out
    assert "gRPC port" in out


def test_a_question_with_a_wrong_column_is_refused_by_name(folder, service):
    code, _, errors = mainspring(folder, "predict", "--data", '{"temp": 3.5, "twon": "Ulm"}')
    assert code == 2
    assert "twon" in errors
    assert "did you mean 'town'" in errors


def test_a_second_up_says_who_holds_the_lease(folder, service):
    code, _, errors = typed(folder, "up")
    assert code == 2
    assert f"another loop runs for this project (process {service['up'].process.pid})" in errors


def test_every_registered_metric_is_exposed_and_no_other(folder, service):
    callers = Callers(service["address"])
    try:
        until = time.monotonic() + 60
        metrics = status(folder)["loop"]["metrics"]
        while "mainspring_drift_statistic" not in exposed(metrics)[1] and time.monotonic() < until:
            time.sleep(0.5)
    finally:
        callers.stop()
    assert not callers.failed
    port = status(folder)["serving"]["predictors"][0]["port"]
    for process, address in (("loop", metrics), ("predictor", f"http://127.0.0.1:{port}/metrics")):
        types, samples = exposed(address)
        registered = {one.name: one for one in DEFINITIONS.values() if one.process == process}
        assert types == set(registered)
        emitted = {name + ("_sum" if one.kind == "histogram" else "") for name, one in registered.items()}
        # What is measured by whole days of questions is not there on the first.
        later = {name for name in emitted if name.startswith("mainspring_performance_")}
        parts = {f"{one.name}_{part}" for one in registered.values() for part in ("bucket", "sum", "count")}
        assert emitted - later <= samples
        assert samples <= emitted | parts
    code, out, errors = mainspring(folder, "drift")
    assert code == 0, errors
    assert "temp" in out
    assert "drift-1-" in out.splitlines()[-1]


def test_a_broken_training_and_a_missing_source_leave_callers_alone(folder, service):
    up, place = service["up"], len(service["up"].lines)
    callers = Callers(service["address"])
    try:
        text = (folder / "training.py").read_text()
        (folder / "training.py").write_text("def train(data, params):\n    raise ValueError('no such column')\n")
        code, out, errors = mainspring(folder, "retrain", "--why", "a try", "--by", "eva")
        assert (code, "asked for by eva: a try" in out) == (0, True), errors
        told, place = up.wait("alert", "run run-person-1 failed in train", after=place)
        assert "no such column" in told
        (folder / "training.py").write_text(text)

        (folder / "days.csv").rename(folder / "away.csv")
        assert mainspring(folder, "retrain")[0] == 0
        told, place = up.wait("setback", "run does not work: source 'days'", after=place)
        assert "there is no such file" in status(folder)["loop"]["failing"]["run"]
        assert "run to work again" in mainspring(folder, "status")[1]
        code, _, errors = mainspring(folder, "retrain")
        assert (code, "a run is under way (run-person-2)" in errors) == (2, True), errors
        more = days(1760, 240).to_csv(index=False, header=False)
        (folder / "days.csv").write_text((folder / "away.csv").read_text() + more)
        _, place = up.wait("setback", "run works again", after=place)
    finally:
        callers.stop()
    assert not callers.failed
    assert status(folder)["serving"]["version"] == "1"
    _, place = up.wait("gate_passed", "version 2", after=place)
    up.wait("weight", "10 % of traffic to version 2", after=place)


def test_a_person_promotes_what_is_in_canary_or_is_refused(folder, service):
    code, _, errors = mainspring(folder, "retrain")
    assert (code, "a rollout is under way (version 2, canary at 10 %)" in errors) == (2, True), errors
    found = json.loads(mainspring(folder, "rollout", "status", "--json")[1])
    assert (found["phase"], found["weight_percent"]) == ("canary", 10)
    code, out, errors = mainspring(folder, "rollout", "start", "9")
    assert code == 2, out
    callers = Callers(service["address"])
    code, out, errors = mainspring(folder, "rollout", "promote", "--by", "eva")
    assert (code, "version 2 is the champion" in out) == (0, True), errors
    until = time.monotonic() + 20
    while status(folder)["rollout"]["phase"] != "idle" and time.monotonic() < until:
        time.sleep(0.2)
    callers.stop()
    assert not callers.failed
    found = status(folder)
    assert (found["serving"]["version"], [one["version"] for one in found["serving"]["predictors"]]) == ("2", ["2"])
    code, out, errors = mainspring(folder, "rollout", "start", "9")
    assert (code, "there is no version 9; there are 1, 2" in out) == (1, True), errors


def test_killed_and_started_again_it_goes_on_with_what_serves(folder, service):
    before = status(folder)
    callers = Callers(service["address"])
    service["up"].process.kill()
    service["up"].ended()
    down = status(folder)
    assert not down["loop"]["running"]
    assert "a loop: mainspring up" in down["waiting_for"]
    assert down["serving"]["address"] == service["address"]
    service["up"] = Up(folder)
    told, _ = service["up"].wait("serving")
    assert service["address"] in told
    callers.stop()
    assert not callers.failed
    after = status(folder)
    assert after["serving"]["predictors"] == before["serving"]["predictors"]
    assert after["rollout"] == before["rollout"]
    ids = [one.id for one in SqliteLedger(ProjectPaths(folder).ledger).decisions()]
    assert len(ids) == len(set(ids))
    assert ids.count("trigger:first") == 1


def test_at_the_end_everything_is_ended_and_every_acknowledged_prediction_is_logged(folder, service):
    up = service["up"]
    training = (folder / "training.py").read_text()
    (folder / "training.py").write_text(
        "import time\n" + training.replace("    columns", "    time.sleep(300)\n    columns")
    )
    assert mainspring(folder, "retrain")[0] == 0
    up.wait("step", "train running")
    callers = Callers(service["address"])
    time.sleep(1)
    assert len(callers.acknowledged) > 20
    assert up.end(signal.SIGINT) == 0
    callers.stop()
    assert up.lines[-1]["text"].startswith("stopped")
    assert processes(folder) == []
    log = ParquetPredictionLog(ProjectPaths(folder)).read(columns=["request_id"])
    assert set(callers.acknowledged) <= set(log.column("request_id").to_pylist())
    sunk = pq.read_table(folder / "sink").column("request_id").to_pylist()
    assert sorted(sunk) == sorted(log.column("request_id").to_pylist())
    assert list(ProjectPaths(folder).segments.glob("*.open")) == []
    down = status(folder)
    assert (down["serving"]["address"], down["serving"]["predictors"]) == ("", [])
    assert down["run"]["status"] == "requested"  # the next start goes on with it
    code, _, errors = mainspring(folder, "predict", "--id", "d7")
    assert (code, "nothing is served" in errors) == (2, True)


def test_a_port_in_use_is_said_before_anything_is_trained(tmp_path):
    folder = write_project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = (folder / "mainspring.yaml").read_text().replace("port: 0", f"port: {port}", 1)
        (folder / "mainspring.yaml").write_text(text)
        code, _, errors = typed(folder, "up")
    assert (code, f"port {port} is in use" in errors) == (2, True), errors
    assert "serving.port" in errors
    assert processes(folder) == []
    assert SqliteLedger(ProjectPaths(folder).ledger).decisions() == []
    code, out, errors = mainspring(folder, "retrain")
    assert (code, "the next `mainspring up` takes it up" in out) == (0, True), errors
    assert mainspring(folder, "retrain")[0] == 0
    assert status(folder)["requests"] == [f"{getpass.getuser()} asks for a run of the pipeline"]
