"""Real predictors over gRPC behind a real Envoy: a candidate that crashes and hangs under load, and no caller notices."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.processes.ports import free_port
from mainspring.domain.codec import to_json
from mainspring.domain.rollout import Endpoint, Rollout
from mainspring.serving.config import ServeConfig
from mainspring.settings.paths import ProjectPaths
from tests.adapters.traffic.backends import SETTINGS
from tests.serving.models import write_model
from tests.serving.real import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FAULTS = 10
CANARY = Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=50)


class Predictor:
    """A predictor that always comes back at its ports."""

    def __init__(self, folder, version):
        self._folder = folder / version
        self._folder.mkdir()
        model, segments = folder / "model", folder / "segments"
        self.config = ServeConfig(
            "rain", version, str(model), str(segments), free_port(), grpc_port=free_port(), drain_seconds=0.0
        )
        (self._folder / "serve.json").write_bytes(to_json(self.config))
        self.start()

    def start(self):
        command = [sys.executable, "-m", "mainspring.serving.process", str(self._folder / "serve.json")]
        with (self._folder / "output.log").open("ab") as told:
            self.child = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
        self.await_ready()

    def await_ready(self):
        until = time.monotonic() + 30
        while not Process(self.config, self.child).ready():
            assert time.monotonic() < until, (self._folder / "output.log").read_text()
            time.sleep(0.02)

    def send(self, number):
        os.kill(self.child.pid, number)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def endpoint(self):
        return Endpoint(self.config.version, "127.0.0.1", self.config.port, True, grpc_port=self.config.grpc_port)


@pytest.fixture
def versions(tmp_path):
    write_model(tmp_path / "model")
    found = [Predictor(tmp_path, "1"), Predictor(tmp_path, "2")]
    yield found
    for one in found:
        one.kill()


@pytest.fixture
def router(tmp_path, versions):
    found = EnvoyRouter(SETTINGS, ProjectPaths(tmp_path))
    found.apply(CANARY, [one.endpoint() for one in versions])
    yield found
    found.close()


FAULT = {
    "crashes": (lambda candidate: candidate.kill(), lambda candidate: candidate.start()),
    "hangs": (lambda candidate: candidate.send(signal.SIGSTOP), lambda candidate: candidate.send(signal.SIGCONT)),
}


@pytest.mark.parametrize("fault", sorted(FAULT))
def test_no_caller_sees_what_the_candidate_does_and_all_of_it_is_in_the_evidence(tmp_path, router, versions, fault):
    begin, end = FAULT[fault]
    evidence, candidate = EnvoyEvidence(ProjectPaths(tmp_path)), versions[1]
    command = [sys.executable, "-m", "tests.slow.grpc_load", router.address().removeprefix("http://")]
    callers = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        for number in range(FAULTS):
            before = _errors(evidence)
            begin(candidate)
            until = time.monotonic() + 15
            while _errors(evidence) == before:
                assert time.monotonic() < until, f"nothing was counted of fault {number}"
                time.sleep(0.02)
            end(candidate)
            candidate.await_ready()
            time.sleep(0.5)  # so that it is killed while it answers
        seen = json.loads(callers.communicate(timeout=60)[0])
    finally:
        callers.kill()
    print(f"\n{FAULTS} {fault}: {seen}")
    assert seen["failed"] == {}
    asked, answered = sum(seen["answered"].values()), seen["answered"]
    until = time.monotonic() + 10
    while sum(one.requests for one in evidence.counts(CANARY.id).values()) < asked and time.monotonic() < until:
        time.sleep(0.05)
    counts = evidence.counts(CANARY.id)
    assert sum(one.requests for one in counts.values()) == asked
    assert counts["candidate"].requests - counts["candidate"].upstream_errors == answered["2"]
    assert counts["stable"].upstream_errors == sum(one.user_errors for one in counts.values()) == 0
    assert evidence.record_failures() == 0


def _errors(evidence):
    counts = evidence.counts(CANARY.id)
    return counts["candidate"].upstream_errors if "candidate" in counts else 0
