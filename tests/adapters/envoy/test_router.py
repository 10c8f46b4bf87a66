"""What is Envoy's own: adoption, restarts, its access log, its port. What any router does is in `tests/adapters/traffic`."""

import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from tests.adapters.traffic.backends import RAW, SETTINGS, Backend, ask, many

from mainspring.adapters.envoy.clusters import clusters
from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.envoy.routes import discovery
from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.domain.log_record import decode_row, frames, read_header, to_prediction
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths


@pytest.fixture
def predictors():
    servers = [Backend("1"), Backend("2")]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path)


@pytest.fixture
def router(paths):
    found = EnvoyRouter(SETTINGS, paths)
    yield found
    found.close()


def endpoints(servers):
    return [one.endpoint() for one in servers]


def idle():
    return Rollout("none", "1")


def canary(weight=10, name="1-to-2-1"):
    return Rollout(name, "1", "2", phase="canary", weight_percent=weight)


def settle(evidence, rollout, requests):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        counts = evidence.counts(rollout)
        if sum(one.requests for one in counts.values()) >= requests:
            return counts
        time.sleep(0.02)
    raise AssertionError(counts)


def test_what_callers_saw_fail_is_written_to_the_log_once(router, predictors, paths):
    predictors[0].status = 503
    router.apply(idle(), endpoints(predictors[:1]))
    assert ask(router, "lost", mainspring_event_at="2013-03-01T12:00:00+00:00")[0] == 503
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


def test_an_envoy_of_another_bootstrap_is_replaced(router, predictors, paths):
    router.apply(idle(), endpoints(predictors))
    longer = SETTINGS.serving.model_copy(update={"timeout": timedelta(seconds=3)})
    other = EnvoyRouter(SETTINGS.model_copy(update={"serving": longer}), paths)
    before = router._envoy.admin_port()
    other.apply(canary(100), endpoints(predictors))
    assert other.address() == router.address()
    assert other._envoy.admin_port() != before
    assert ask(router, "q1")[1]["name"] == "2"


def test_an_envoy_that_refuses_what_it_starts_with_does_not_stay(router, predictors):
    with pytest.raises(MainspringError, match="not an address"):
        router.apply(idle(), [*endpoints(predictors), Endpoint("3", "not an address", 1, True)])
    with pytest.raises(ConnectionRefusedError):
        ask(router, "q1")
    router.apply(idle(), endpoints(predictors))
    assert ask(router, "q1")[0] == 200


def test_a_failure_of_a_shadow_is_none_that_a_caller_saw(router, predictors, paths):
    predictors[1].status = 503
    router.apply(Rollout("1-to-2-1", "1", "2", phase="shadow", mirror_percent=100), endpoints(predictors))
    many(router, 5)
    evidence = EnvoyEvidence(paths)
    until = time.monotonic() + 5
    while evidence.shadows("1-to-2-1").requests < 5 and time.monotonic() < until:
        time.sleep(0.02)
    assert evidence.shadows("1-to-2-1").upstream_errors == 5
    assert evidence.record_failures() == 0


def test_evidence_of_a_rotated_log_is_found_by_who_starts_from_nothing(router, predictors, paths, monkeypatch):
    monkeypatch.setattr("mainspring.adapters.envoy.router._LARGEST_LOG", 0)
    watching = EnvoyEvidence(paths)
    router.apply(canary(50), endpoints(predictors))
    many(router, 20)
    settle(watching, "1-to-2-1", 20)
    router.apply(canary(60), endpoints(predictors))  # rotates
    many(router, 20, "r")
    settle(watching, "1-to-2-1", 40)
    fresh = EnvoyEvidence(paths)
    assert fresh.counts("1-to-2-1") == watching.counts("1-to-2-1")
    assert fresh.batches("1-to-2-1") == watching.batches("1-to-2-1")


def test_what_a_killed_loop_wrote_and_envoy_did_not_take_is_written_again(router, predictors, paths):
    router.apply(idle(), endpoints(predictors))
    bad = [*endpoints(predictors), Endpoint("3", "not an address", 1, True)]
    written = router._clusters._path
    written.write_bytes(discovery(clusters(canary(100), bad))[1])  # not renamed: Envoy does not look
    with pytest.raises(MainspringError, match="not an address"):
        router.apply(canary(100), bad)
    written.write_bytes(discovery(clusters(canary(100), endpoints(predictors)))[1])
    EnvoyRouter(SETTINGS, paths).apply(canary(100), endpoints(predictors))
    assert ask(router, "q1")[1]["name"] == "2"
