"""Predictor processes: started, found again, killed, drained, and what they acknowledged."""

import json
import os
import signal
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest
from tests.serving.models import RAIN, version, write_model

from mainspring.adapters.processes.alive import is_same, start_time
from mainspring.adapters.processes.server import LaptopModelServer, look, wait_ready
from mainspring.domain.log_record import decode_row, frames, read_header
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings, ServingSettings

SETTINGS = ProjectSettings.model_validate(
    {"name": "rain", "task": "binary", "sources": {"s": {"path": "s.csv"}}, "target": {"source": "s", "column": "y"}}
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    write_model(folder)
    return folder


@pytest.fixture
def server(tmp_path):
    found = make(tmp_path)
    yield found
    for one in found.endpoints():
        found.stop(one.version, build=one.build)


def make(tmp_path, settings=SETTINGS):
    return LaptopModelServer(
        settings, ProjectPaths(tmp_path), replayed=False, online=lambda: None, error_shares={"broken": 1.0}
    )


def ask(port, name="q1"):
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"content-type": "application/json", "x-request-id": name}
        connection.request("POST", "/v2/models/rain/infer", RAIN, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def logged(tmp_path):
    ids = []
    for path in ProjectPaths(tmp_path).segments.iterdir():
        data = path.read_bytes()
        found = read_header(data)
        if found is not None:
            ids += [decode_row(payload).request_id for _, payload in frames(data, found[1])]
    return ids


def test_a_version_and_its_broken_build_run_beside_each_other_and_stop(server, model, tmp_path):
    server.start(version(), model)
    server.start(version(), model)
    server.start(version(), model, build="broken")
    whole, broken = wait_ready(server, "1"), wait_ready(server, "1", "broken")
    assert whole.ready
    assert broken.ready
    assert ask(whole.port)[0] == 200
    assert ask(broken.port)[0] == 500
    server.stop("1", build="broken")
    assert [(one.version, one.build) for one in server.endpoints()] == [("1", "")]
    assert start_time(broken.pid) == ""


def test_another_loop_finds_what_runs_and_an_orphan_is_adopted(server, model, tmp_path):
    server.start(version(), model)
    first = wait_ready(server, "1")
    (ProjectPaths(tmp_path).serving / "1" / "endpoint.json").unlink()  # as if killed before it was written
    other = make(tmp_path)
    other.start(version(), model)
    found = wait_ready(other, "1")
    assert (found.pid, found.port) == (first.pid, first.port)


def test_a_killed_predictor_comes_back_and_what_it_acknowledged_is_logged_once(server, model, tmp_path):
    server.start(version(), model)
    before = wait_ready(server, "1")
    acknowledged = []

    def load(name):
        try:
            for place in range(10_000):
                if ask(before.port, f"{name}-{place}")[0] == 200:
                    acknowledged.append(f"{name}-{place}")
        except OSError:
            return

    callers = [threading.Thread(target=load, args=(name,)) for name in "abc"]
    for caller in callers:
        caller.start()
    time.sleep(0.5)
    os.kill(before.pid, signal.SIGKILL)
    for caller in callers:
        caller.join()
    ids = logged(tmp_path)
    assert len(acknowledged) > 50
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
    after = wait_ready(server, "1")
    assert after.ready
    assert after.pid != before.pid
    assert ask(after.port)[0] == 200


def test_a_predictor_answers_over_grpc_where_the_project_says_so_also_when_it_came_back(model, tmp_path):
    server = make(tmp_path, SETTINGS.model_copy(update={"serving": ServingSettings(grpc=True)}))

    def answers(endpoint):
        with grpc.insecure_channel(f"127.0.0.1:{endpoint.grpc_port}") as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            return live(b"", timeout=10) == b"\x08\x01"

    server.start(version(), model)
    first = wait_ready(server, "1")
    assert answers(first)
    assert look(ProjectPaths(tmp_path)) == [first]
    (ProjectPaths(tmp_path).serving / "1" / "endpoint.json").unlink()  # as if killed before it was written
    server.start(version(), model)
    assert wait_ready(server, "1") == first
    os.kill(first.pid, signal.SIGKILL)
    while is_same(first.pid, start_time(first.pid)):
        time.sleep(0.01)
    again = wait_ready(server, "1")
    assert again.pid != first.pid
    assert answers(again)
    server.stop("1")


def serving(tmp_path):
    """Predictor processes of this project that live."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if str(tmp_path).encode() in words and start_time(int(name)):
            found.append(int(name))
    return found


def test_two_starters_of_whom_the_first_was_killed_make_one_predictor(server, model, tmp_path):
    server.start(version(), model)
    (ProjectPaths(tmp_path).serving / "1" / "endpoint.json").unlink()  # killed before it could write that
    other = make(tmp_path)
    other.start(version(), model)  # the first one has not come as far as its lock
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = wait_ready(other, "1")
        if serving(tmp_path) == [found.pid]:
            break
        time.sleep(0.05)  # either of them may be the one that came to its lock first
    assert found.ready
    assert ask(found.port)[0] == 200
    assert serving(tmp_path) == [found.pid]
    assert json.loads((ProjectPaths(tmp_path).serving / "1" / "endpoint.json").read_text())["starts"] == 1
    other.stop("1")
    server._collect()


@pytest.mark.parametrize("written_down", [True, False])
def test_a_stop_that_was_killed_half_way_is_finished(server, model, tmp_path, written_down):
    server.start(version(), model)
    wait_ready(server, "1")
    folder = ProjectPaths(tmp_path).serving / "1"
    if not written_down:
        (folder / "endpoint.json").unlink()
    folder.rename(folder.with_name(".1.gone"))
    assert make(tmp_path).endpoints() == []
    assert serving(tmp_path) == []
    assert list(folder.parent.iterdir()) == []
    server._collect()


def test_who_lived_long_or_was_given_up_long_ago_is_started_again(server, model, tmp_path, monkeypatch):
    server.start(version(), model)
    first = wait_ready(server, "1")
    path = ProjectPaths(tmp_path).serving / "1" / "endpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "starts": 5}))
    os.kill(first.pid, signal.SIGKILL)
    given_up = wait_ready(server, "1")
    assert "given up after 5 starts" in given_up.reason
    monkeypatch.setattr("mainspring.adapters.processes.restarts.LONG_SECONDS", 0.0)
    server.endpoints()
    monkeypatch.undo()
    again = wait_ready(server, "1")
    assert again.ready
    assert json.loads(path.read_text())["starts"] == 1


def test_who_keeps_ending_is_started_less_and_less_often_then_given_up(server, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    path = ProjectPaths(tmp_path).serving / "7" / "endpoint.json"
    server.start(version("7"), empty)
    seen = {}
    while True:
        (one,) = server.endpoints()
        known = json.loads(path.read_text())
        seen[known["starts"]] = known
        if one.reason:
            break
        time.sleep(0.02)
    assert "given up after 5 starts" in one.reason
    assert "the model folder has no card" in one.reason
    assert sorted(seen) == [1, 2, 3, 4, 5]
    waits = [seen[starts + 1]["at"] - seen[starts]["ended_at"] for starts in (1, 2, 3, 4) if "ended_at" in seen[starts]]
    assert all(waited >= least for waited, least in zip(waits[-3:], (0.5, 1.0, 2.0), strict=True))
    assert make(tmp_path).endpoints() == [one]  # another loop does not try again


def test_who_hangs_is_killed_and_started_again(server, model, monkeypatch):
    server.start(version(), model)
    before = wait_ready(server, "1")
    os.kill(before.pid, signal.SIGSTOP)
    (one,) = server.endpoints()
    assert (one.ready, one.pid) == (False, before.pid)  # it may come back
    monkeypatch.setattr("mainspring.adapters.processes.server.SILENT_SECONDS", 0.1)
    server.endpoints()
    until = time.monotonic() + 20
    while time.monotonic() < until and (one.pid == before.pid or not one.ready):
        (one,) = server.endpoints()
        time.sleep(0.05)
    assert one.ready
    assert one.pid != before.pid


def test_sigterm_answers_what_is_open_and_closes_the_segment(server, model, tmp_path):
    server.start(version(), model)
    one = wait_ready(server, "1")
    failed = []
    stopping = threading.Event()

    def load():
        while not stopping.is_set():
            status, _ = ask(one.port)
            if status != 200:
                failed.append(status)

    caller = threading.Thread(target=load)
    caller.start()
    time.sleep(0.2)
    os.kill(one.pid, signal.SIGTERM)
    time.sleep(0.15)
    stopping.set()
    caller.join()
    assert failed == []
    until = time.monotonic() + 5
    while is_same(one.pid, start_time(one.pid)) and time.monotonic() < until:
        time.sleep(0.02)
        server._collect()
    assert [path.suffix for path in ProjectPaths(tmp_path).segments.iterdir()] == [".closed"]


def test_what_cannot_be_served_says_why(server, tmp_path, model):
    empty = tmp_path / "empty"
    empty.mkdir()
    server.start(version("7"), empty)
    found = wait_ready(server, "7")
    assert not found.ready
    assert "the model folder has no card" in found.reason
