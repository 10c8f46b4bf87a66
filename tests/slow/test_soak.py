"""Real predictors behind a real Envoy for a while: weight changes and a killed candidate under load, and memory."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.server import LaptopModelServer, wait_ready
from mainspring.domain.rollout import Rollout
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings
from tests.serving.models import version, write_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
REQUESTS, CHANGES, WARM_CHANGES = 20_000, 100, 25
MOST_GROWTH_MIB = 12
SETTINGS = ProjectSettings.model_validate(
    {
        "name": "rain",
        "task": "binary",
        "sources": {"s": {"path": "s.csv"}},
        "target": {"source": "s", "column": "y"},
        "serving": {"port": 0, "timeout": "10s"},
    }
)


class Service:
    """Two versions behind Envoy, and what the loop does with them."""

    def __init__(self, folder):
        self.paths = ProjectPaths(folder)
        self.server = LaptopModelServer(SETTINGS, self.paths, replayed=True, online=lambda: None)
        self.router = EnvoyRouter(SETTINGS, self.paths)
        self.evidence = EnvoyEvidence(self.paths)
        self.log = ParquetPredictionLog(self.paths)
        write_model(folder / "model")
        for name in ("1", "2"):
            self.server.start(version(name), folder / "model")
        for name in ("1", "2"):
            assert wait_ready(self.server, name).ready

    def turn(self, weight):
        """What a tick of the loop does during a canary."""
        rollout = Rollout("1-to-2-1", "1", "2", phase="canary", weight_percent=weight)
        self.router.apply(rollout, self.server.endpoints())
        self.evidence.record_failures()
        self.log.compact()
        return sum(one.requests for one in self.evidence.counts(rollout.id).values())

    def call(self, prefix, count):
        """Callers in a process of their own."""
        words = [sys.executable, "-m", "tests.slow.callers", self.router.address(), prefix, str(count)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])

    def memory(self):
        """Resident MiB by process, the loop being this one."""
        gc.collect()
        pids = {f"predictor {one.version}": one.pid for one in self.server.endpoints()}
        pids |= {"envoy": self.router._envoy._pid, "loop": os.getpid()}
        return {name: _resident(pid) for name, pid in pids.items()}

    def logged(self):
        """How often each request was answered, by the log."""
        self.log.compact()
        rows = self.log.read(columns=["request_id", "outcome"]).to_pylist()
        assert {row["outcome"] for row in rows} == {"answered"}
        return Counter(row["request_id"] for row in rows)

    def close(self):
        """Stop everything."""
        self.router.close()
        for one in self.server.endpoints():
            self.server.stop(one.version)


@pytest.fixture
def service(tmp_path):
    found = Service(tmp_path)
    yield found
    found.close()


def test_weights_change_under_load_and_nobody_notices_and_memory_stays_flat(service):
    began = time.monotonic()
    service.turn(50)
    callers = service.call("q", REQUESTS)
    warm = {}
    for change in range(1, CHANGES + 1):
        weight = (10, 90, 50, 25, 75)[change % 5]
        while service.turn(weight) < change * REQUESTS // (CHANGES + 1) and callers.poll() is None:
            time.sleep(0.02)
        assert service.router.observed() == {"candidate": weight, "stable": 100 - weight}
        if change == WARM_CHANGES:
            warm = service.memory()
        if change % 20 == 0:
            print(f"soak: {change} changes in {time.monotonic() - began:.0f} s, MiB {service.memory()}")
    tally = json.loads(callers.communicate(timeout=300)[0])
    assert (tally["requests"], tally["failed"]) == (REQUESTS, 0), tally
    end = service.memory()
    assert service.logged() == Counter(f"q{place}" for place in range(REQUESTS))
    assert {name: end[name] - mib for name, mib in warm.items() if end[name] - mib > MOST_GROWTH_MIB} == {}


def test_a_candidate_killed_under_load_costs_no_caller_an_answer(service):
    service.turn(50)
    callers = service.call("k", 6_000)
    killed = 0
    while callers.poll() is None:
        asked = service.turn(50)
        candidate = next(one for one in service.server.endpoints() if one.version == "2")
        if asked > (killed + 1) * 1_000 and candidate.ready and killed < 4:
            os.kill(candidate.pid, signal.SIGKILL)
            killed += 1
        time.sleep(0.05)
    tally = json.loads(callers.communicate(timeout=60)[0])
    assert (tally["requests"], tally["failed"]) == (6_000, 0), tally
    assert killed >= 2
    # Eight callers at most were being answered when it died: the row was written, the answer came from stable.
    logged = service.logged()
    assert set(logged) == {f"k{place}" for place in range(6_000)}
    assert sum(logged.values()) <= 6_000 + 8 * killed
    counts = service.evidence.counts("1-to-2-1")["candidate"]
    assert counts.upstream_errors > 0
    assert counts.user_errors == 0


def _resident(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(text.split("VmRSS:")[1].split()[0]) / 1024, 1)
