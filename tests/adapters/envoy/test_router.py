"""Routes on a real Envoy: weights, sticky assignment, fail-over, evidence, adoption, refusals."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.domain.errors import ConfigError
from mainspring.domain.log_record import decode_row, frames, read_header, to_prediction
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

RAW = {
    "name": "rain",
    "task": "binary",
    "sources": {"s": {"path": "s.csv"}},
    "target": {"source": "s", "column": "y"},
    "serving": {"port": 0, "timeout": "2s"},
}
SETTINGS = ProjectSettings.model_validate(RAW)


class Predictor(BaseHTTPRequestHandler):
    """Answers with its name and the headers it got, or with its server's status."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"name": self.server.name, **{k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    """Says nothing of connections that Envoy dropped when it ended."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def predictors():
    servers = []
    for name in ("1", "2"):
        server = Server(("127.0.0.1", 0), Predictor)
        server.name, server.status = name, 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path)


@pytest.fixture
def router(paths):
    found = EnvoyRouter(SETTINGS, paths)
    yield found
    found.close()


def endpoints(servers):
    return [Endpoint(one.name, "127.0.0.1", one.server_address[1], True) for one in servers]


def idle():
    return Rollout("none", "1")


def canary(weight=10, name="1-to-2-1"):
    return Rollout(name, "1", "2", phase="canary", weight_percent=weight)


def ask(router, name, **headers):
    host = router.address().removeprefix("http://")
    connection = HTTPConnection(host, timeout=5)
    try:
        connection.request("POST", "/v2/models/rain/infer", b"{}", {"x-request-id": name, **headers})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body.startswith(b"{") else body
    finally:
        connection.close()


def many(router, count, prefix="q"):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda place: ask(router, f"{prefix}{place}"), range(count)))


def settle(evidence, rollout, requests):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        counts = evidence.counts(rollout)
        if sum(one.requests for one in counts.values()) >= requests:
            return counts
        time.sleep(0.02)
    raise AssertionError(counts)


def test_a_tenth_goes_to_the_candidate_and_an_id_stays_where_it_is(router, predictors, paths):
    router.apply(idle(), endpoints(predictors[:1]))
    assert router.observed() == {"stable": 100}
    router.apply(canary(), endpoints(predictors))
    assert router.observed() == {"candidate": 10, "stable": 90}
    first = [answer["name"] for _, answer in many(router, 500)]
    assert 25 <= first.count("2") <= 80
    assert first == [answer["name"] for _, answer in many(router, 500)]
    router.apply(canary(50), endpoints(predictors))
    ramped = [answer["name"] for _, answer in many(router, 500)]
    assert all(now == "2" for now, before in zip(ramped, first, strict=True) if before == "2")
    counts = settle(EnvoyEvidence(paths), "1-to-2-1", 1500)
    assert counts["candidate"].requests == 2 * first.count("2") + ramped.count("2")
    assert counts["candidate"].upstream_errors == 0


def test_a_failing_candidate_is_counted_by_assignment_and_no_caller_sees_it(router, predictors, paths):
    predictors[1].status = 500
    router.apply(canary(30), endpoints(predictors))
    found = many(router, 300)
    assert {status for status, _ in found} == {200}
    assert {answer["name"] for _, answer in found} == {"1"}
    stamped = Counter(answer["mainspring-arm"] for _, answer in found)
    counts = settle(EnvoyEvidence(paths), "1-to-2-1", 300)
    assert counts["candidate"].requests == counts["candidate"].upstream_errors == stamped["candidate"]
    assert counts["candidate"].user_errors == counts["stable"].upstream_errors == 0
    assert EnvoyEvidence(paths).counts("another") == {}


def test_a_dead_candidate_fails_over_and_forged_headers_do_not_survive(router, predictors, paths):
    nobody = Endpoint("2", "127.0.0.1", 1, True)
    router.apply(canary(50), [*endpoints(predictors[:1]), nobody])
    assert {status for status, _ in many(router, 60)} == {200}
    forged = {"mainspring-arm": "shadow", "mainspring-rollout": "mine", "mainspring-role": "shadow"}
    _, answer = ask(router, "q1", **forged)
    assert answer["mainspring-arm"] in ("stable", "candidate")
    assert answer["mainspring-rollout"] == "1-to-2-1"
    assert "mainspring-role" not in answer
    assert answer["x-request-id"] == "q1"


def test_what_callers_saw_fail_is_written_to_the_log_once(router, predictors, paths):
    predictors[0].status = 503
    router.apply(idle(), endpoints(predictors[:1]))
    assert ask(router, "lost", **{"mainspring-event-at": "2013-03-01T12:00:00+00:00"})[0] == 503
    evidence = EnvoyEvidence(paths)
    settle(evidence, "none", 1)
    assert (evidence.record_failures(), evidence.record_failures()) == (1, 0)
    assert EnvoyEvidence(paths).record_failures() == 0
    (segment,) = paths.segments.iterdir()
    header, position = read_header(segment.read_bytes())
    (row,) = [to_prediction(header, decode_row(raw)) for _, raw in frames(segment.read_bytes(), position)]
    assert (row.request_id, row.outcome, row.event_at.hour) == ("lost", "failed", 12)
    assert row.reason.startswith("503")


def test_changing_routes_under_load_loses_no_request(router, predictors):
    router.apply(idle(), endpoints(predictors))
    statuses, stopping = [], threading.Event()

    def load(name):
        place = 0
        while not stopping.is_set():
            statuses.append(ask(router, f"{name}{place}")[0])
            place += 1

    callers = [threading.Thread(target=load, args=(name,)) for name in "ab"]
    for caller in callers:
        caller.start()
    for change in range(30):
        rollout = canary(10 + change, f"r{change}") if change % 2 else idle()
        router.apply(rollout, endpoints(predictors if change % 2 else predictors[:1]))
        time.sleep(0.02)
    stopping.set()
    for caller in callers:
        caller.join()
    assert len(statuses) > 100
    assert set(statuses) == {200}


STARTER = """
import os, signal
from pathlib import Path
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings
settings = ProjectSettings.model_validate({settings!r})
router = EnvoyRouter(settings, ProjectPaths(Path({root!r})))
router.apply(Rollout("none", "1"), [Endpoint("1", "127.0.0.1", {port}, True)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_envoy_outlives_a_killed_loop_and_the_next_one_adopts_it(router, predictors, paths):
    code = STARTER.format(
        settings=RAW,
        root=str(paths.root),
        port=predictors[0].server_address[1],
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert ask(router, "q1")[0] == 200
    before = router._envoy._pid
    router.apply(canary(), endpoints(predictors))
    assert router.observed() == {"candidate": 10, "stable": 90}
    assert before in (0, router._envoy._pid)
    router.close()
    with pytest.raises(ConnectionRefusedError):
        ask(router, "q1")


def test_an_unchanged_rollout_costs_nothing_and_a_killed_envoy_comes_back(router, predictors):
    router.apply(canary(), endpoints(predictors))
    began = time.perf_counter()
    for _ in range(100):
        router.apply(canary(), endpoints(predictors))
    assert time.perf_counter() - began < 1.0
    import os
    import signal

    os.kill(router._envoy._pid, signal.SIGKILL)
    time.sleep(0.1)
    router.apply(canary(), endpoints(predictors))
    assert ask(router, "q1")[0] == 200


def test_an_envoy_whose_starter_was_killed_before_it_was_up_is_the_only_one(paths, predictors):
    class Killed(BaseException):
        pass

    first = EnvoyRouter(SETTINGS, paths)
    spawn = first._envoy._spawn

    def die(*arguments):
        spawn(*arguments)
        raise Killed

    first._envoy._spawn = die
    with pytest.raises(Killed):
        first.apply(idle(), endpoints(predictors[:1]))
    router = EnvoyRouter(SETTINGS, paths)
    try:
        router.apply(canary(), endpoints(predictors))
        assert router.observed() == {"candidate": 10, "stable": 90}
        assert ask(router, "q1")[0] == 200
        words = ["pgrep", "-f", f"envoy.*{paths.proxy}/bootstrap.json"]
        running = subprocess.run(words, capture_output=True, text=True, check=True)
        assert running.stdout.split() == [str(router._envoy._pid)]
    finally:
        router.close()


def test_half_a_line_of_a_killed_envoy_is_left_out_and_what_is_behind_it_counts(router, predictors, paths):
    router.apply(canary(), endpoints(predictors))
    log = paths.proxy / "access.log"
    many(router, 3)
    settle(EnvoyEvidence(paths), "1-to-2-1", 3)
    with log.open("a") as file:
        file.write('{"at":"2026-03-01T00:0\n')
    many(router, 2, "r")
    assert sum(one.requests for one in settle(EnvoyEvidence(paths), "1-to-2-1", 5).values()) == 5


def test_nothing_is_written_down_where_nothing_was_asked(router, predictors, paths):
    evidence = EnvoyEvidence(paths)
    evidence.record_failures()
    position = paths.proxy / "failures.json"
    assert not position.exists()
    router.apply(idle(), endpoints(predictors))
    ask(router, "q1")
    settle(EnvoyEvidence(paths), "none", 1)
    evidence.record_failures()
    before = position.stat().st_mtime_ns
    evidence.record_failures()
    assert position.stat().st_mtime_ns == before


def test_a_port_in_use_is_named_with_the_key_that_changes_it(paths, predictors):
    port = predictors[1].server_address[1]
    serving = SETTINGS.serving.model_copy(update={"port": port})
    taken = EnvoyRouter(SETTINGS.model_copy(update={"serving": serving}), paths)
    with pytest.raises(ConfigError, match=f"port {port} is in use") as error:
        taken.apply(idle(), endpoints(predictors[:1]))
    assert "serving.port" in error.value.where
