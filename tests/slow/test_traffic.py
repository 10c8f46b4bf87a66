"""A candidate that crashes, hangs and fails under load, and a thousand changes of weight: no caller notices."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.processes.ports import free_port
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from tests.adapters.traffic.backends import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
FAULTS, CHANGES = 50, 1_000
CANARY = Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=50)


class Process:
    """A backend in a process of its own, always on the same port."""

    def __init__(self, name):
        self.name = name
        self.port = free_port()
        self.start()

    def start(self):
        self.process = _python("tests.slow.backend", self.name, str(self.port), pipes=None)
        self.await_answer()

    def send(self, number):
        os.kill(self.process.pid, number)

    def await_answer(self):
        """Wait until it answers with 200."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
            try:
                connection.request("POST", "/", b"{}")
                if connection.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                time.sleep(0.02)
            finally:
                connection.close()
        raise AssertionError(f"{self.name} does not answer")

    def endpoint(self):
        return Endpoint(self.name, "127.0.0.1", self.port, True)

    def close(self):
        self.process.kill()
        self.process.wait()


class Traffic:
    """Two backends behind a router, callers who ask all the time, and what was counted of them."""

    def __init__(self, folder):
        paths = ProjectPaths(folder)
        self.router, self.evidence = EnvoyRouter(SETTINGS, paths), EnvoyEvidence(paths)
        self.stable, self.candidate = Process("1"), Process("2")
        self.apply(CANARY)
        self.call()

    def call(self):
        """Let callers begin."""
        self.callers = _python("tests.slow.load", *self.router.address().removeprefix("http://").split(":"))

    def apply(self, rollout):
        self.router.apply(rollout, [self.stable.endpoint(), self.candidate.endpoint()])

    def errors(self):
        counts = self.evidence.counts(CANARY.id)
        return counts["candidate"].upstream_errors if "candidate" in counts else 0

    def stop(self):
        """End the callers; what they saw."""
        return json.loads(self.callers.communicate(timeout=30)[0])

    def close(self):
        if self.callers.returncode is None:
            self.callers.kill()
            self.callers.communicate()
        self.router.close()
        self.stable.close()
        self.candidate.close()


def _python(*words, pipes=subprocess.PIPE):
    command = [sys.executable, "-m", *words]
    folder = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=pipes, stdout=pipes, text=True, cwd=folder)


@pytest.fixture
def traffic(tmp_path):
    found = Traffic(tmp_path)
    yield found
    found.close()


FAULT = {
    "crashes": (lambda candidate: candidate.close(), lambda candidate: candidate.start()),
    "hangs": (lambda candidate: candidate.send(signal.SIGSTOP), lambda candidate: candidate.send(signal.SIGCONT)),
    "fails": (lambda candidate: candidate.send(signal.SIGUSR1), lambda candidate: candidate.send(signal.SIGUSR2)),
}


@pytest.mark.parametrize("fault", sorted(FAULT))
def test_no_caller_sees_what_the_candidate_does_and_all_of_it_is_in_the_evidence(traffic, fault):
    begin, end = FAULT[fault]
    began = time.monotonic()
    for number in range(FAULTS):
        before = traffic.errors()
        begin(traffic.candidate)
        until = time.monotonic() + 10
        while traffic.errors() == before:
            assert time.monotonic() < until, f"nothing was counted of fault {number}"
            time.sleep(0.02)
        end(traffic.candidate)
        traffic.candidate.await_answer()
        time.sleep(0.05)
    seen = traffic.stop()
    print(f"\n{FAULTS} {fault} in {time.monotonic() - began:.0f} s: {seen}")
    assert seen["failed"] == {}
    counts = _settled(traffic, seen["requests"])
    hidden = seen["answered"]["candidate 1"]
    assert counts["candidate"].requests == hidden + seen["answered"]["candidate 2"]
    assert counts["stable"].requests == seen["answered"]["stable 1"]
    assert hidden >= FAULTS
    assert counts["candidate"].upstream_errors == hidden
    assert sum(traffic.evidence.failed_attempts(CANARY.id)["candidate"].values()) == hidden
    assert counts["stable"].upstream_errors == counts["candidate"].user_errors == 0


def test_a_thousand_changes_of_weight_lose_no_request(traffic):
    began, took = time.monotonic(), []
    for change in range(CHANGES):
        weight = change * 37 % 101
        rollout = replace(CANARY, weight_percent=weight)
        if change % 10 == 9:
            rollout = replace(CANARY, phase="shadow", mirror_percent=weight)
        at = time.perf_counter()
        traffic.apply(rollout)
        took.append(time.perf_counter() - at)
        share = weight if rollout.splits else 0
        assert traffic.router.observed() == ({"candidate": share} if share else {}) | {"stable": 100 - share}
    seen = traffic.stop()
    took.sort()
    print(f"\n{CHANGES} changes in {time.monotonic() - began:.0f} s, median {took[CHANGES // 2] * 1000:.0f} ms: {seen}")
    assert seen["failed"] == {}
    assert seen["requests"] > 5 * CHANGES
    counts = _settled(traffic, seen["requests"])
    assert sum(one.requests for one in counts.values()) == seen["requests"]
    assert sum(one.upstream_errors for one in counts.values()) == 0
    assert "candidate 1" not in seen["answered"]


@pytest.mark.parametrize("hangs", [False, True])
def test_callers_do_not_wait_for_shadows(traffic, hangs):
    traffic.stop()
    alone, mirrored = [], []
    for turn in range(6):
        shadow = replace(CANARY, id=f"turn-{turn}", phase="shadow", mirror_percent=100 if turn % 2 else 0)
        traffic.apply(shadow)
        if hangs and turn % 2:
            traffic.candidate.send(signal.SIGSTOP)
        traffic.call()
        time.sleep(4)
        seen = traffic.stop()
        assert seen["failed"] == {}
        assert set(seen["answered"]) == {"stable 1"}
        (mirrored if turn % 2 else alone).append(seen["ms"])
        time.sleep(2.5)  # a copy is waited for two seconds at most
        traffic.candidate.send(signal.SIGCONT)
        copies = traffic.evidence.shadows(shadow.id)
        print(f"\nmirror {shadow.mirror_percent} %, hangs {hangs}: {seen['requests']} requests, {seen['ms']}, {copies}")
        if turn % 2:
            assert copies.upstream_errors == (copies.requests if hangs else 0)
            assert copies.requests == seen["requests"] or hangs
    # The candidate works on the same cores, so a copy costs something; but nobody waits for one.
    assert min(one["p50"] for one in mirrored) < 2 * min(one["p50"] for one in alone) + 1
    assert min(one["p99"] for one in mirrored) < 3 * min(one["p99"] for one in alone) + 10


def _settled(traffic, requests):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        counts = traffic.evidence.counts(CANARY.id)
        if sum(one.requests for one in counts.values()) >= requests:
            return counts
        time.sleep(0.05)
    raise AssertionError(f"{requests} requests were answered, and counted: {counts}")
