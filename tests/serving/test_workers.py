"""Several processes for one version: callers are divided, one that dies or hangs is replaced, all end together."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mainspring.serving.config import ServeConfig
from mainspring.serving.process import _listen
from tests.serving.models import RAIN
from tests.serving.real import free_port, running

ANSWERED = 'mainspring_predictor_requests_total{protocol="v2",status="200"}'
INFER = "/v2/models/rain/infer"


class Callers:
    """Threads that ask without a pause, each request with its own id; a connection is kept as long as it is offered."""

    def __init__(self, port, prefix, threads=4):
        self.answered, self.lost, self.refused = Counter(), [], []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, f"{prefix}-{one}")) for one in range(threads)]

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *error):
        self._ending.set()
        for one in self._threads:
            one.join()

    def _ask(self, port, prefix):
        connection, place = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
        with contextlib.closing(connection):
            while not self._ending.is_set():
                try:
                    if connection.sock is None:
                        connection.connect()
                except OSError:
                    time.sleep(0.01)
                    continue
                self._once(connection, f"{prefix}-{place}")
                place += 1

    def _once(self, connection, name):
        try:
            connection.request("POST", INFER, RAIN, {"x-request-id": name})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.lost.append(name)
            return
        if answer.status == 200:
            self.answered[name] += 1
        else:
            self.refused.append((name, answer.status))


def workers_of(process):
    listed = Path(f"/proc/{process.child.pid}/task/{process.child.pid}/children").read_text()
    return [int(one) for one in listed.split()]


def logged(process):
    return Counter(row.request_id for row in process.logged())


def eventually(what, seconds=20):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def two(model, tmp_path):
    with running(model[0], tmp_path, workers=2, drain_seconds=0.5) as process:
        eventually(lambda: len(workers_of(process)) == 2)
        eventually(lambda: process.count("mainspring_predictor_ready") == 2)
        yield process


def test_both_answer_and_whoever_is_scraped_counts_for_all(two):
    with Callers(two.config.port, "a", threads=8) as callers:
        time.sleep(1)
    assert (callers.lost, callers.refused) == ([], [])
    # What another worker counted is brought in each second.
    eventually(lambda: two.count(ANSWERED) == len(callers.answered))
    assert logged(two) == callers.answered
    writers = {path.name.split("-")[2] for path in Path(two.config.segments).iterdir()}
    assert writers == {str(pid) for pid in workers_of(two)}


def test_a_worker_that_is_killed_is_replaced_and_costs_only_what_it_held(two):
    with Callers(two.config.port, "k", threads=8) as callers:
        for _ in range(3):
            time.sleep(0.5)
            before = workers_of(two)
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda before=before: len(workers_of(two)) == 2 and before[0] not in workers_of(two))
            eventually(lambda: two.count("mainspring_predictor_ready") == 2)
    assert callers.refused == []
    assert len(callers.lost) <= 3 * 8
    found = logged(two)
    assert {name: found[name] for name in callers.answered} == callers.answered
    assert set(found) - set(callers.answered) <= set(callers.lost)


def test_nobody_is_lost_who_asks_while_it_ends(two):
    with Callers(two.config.port, "e") as callers:
        time.sleep(0.5)
        two.child.terminate()
        assert two.child.wait(10) == 0
    assert (callers.lost, callers.refused) == ([], [])
    assert logged(two) == callers.answered
    assert {path.suffix for path in Path(two.config.segments).iterdir()} == {".closed"}


def test_workers_do_not_outlive_the_first_process(model, tmp_path):
    with running(model[0], tmp_path, workers=2, killed=True) as process:
        eventually(lambda: len(workers_of(process)) == 2)
        pids = workers_of(process)
        process.child.kill()
        process.child.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_what_no_worker_can_serve_ends_at_once_and_says_why(model, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    for path in model[0].iterdir():
        (broken / path.name).write_bytes(path.read_bytes() if path.suffix == ".json" else b"broken")
    with pytest.raises(AssertionError, match="a worker could not serve"), running(broken, tmp_path, workers=2):
        pass


def test_a_port_of_somebody_else_is_not_shared(tmp_path):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        config = ServeConfig("rain", "1", "m", "s", other.getsockname()[1], workers=2)
        with pytest.raises(Exception, match=r"port \d+ cannot be used: Address already in use"):
            _listen(config)
    own = _listen(ServeConfig("rain", "1", "m", "s", free_port(), workers=3))
    assert len({one.getsockname() for one in own}) == 1
    for one in own:
        one.close()


HANGS = """
import os, socket, time
from mainspring.serving.workers import Workers
from mainspring.telemetry.logs import Log

def serve(worker, listening, alive):
    alive()
    print(os.getpid(), flush=True)
    time.sleep(0.3)
    if os.path.exists("second"):
        while True:
            alive()
            time.sleep(0.1)
    open("second", "w").close()
    time.sleep(60)  # its loop does not turn

with socket.socket() as one:
    Workers(serve, [one], Log(), ending_seconds=0.5, silent_seconds=0.5).run()
"""


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path):
    words = [sys.executable, "-c", HANGS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as child:
        first, second = (int(_pid(child)) for _ in range(2))
        assert first != second
        assert not Path(f"/proc/{first}").exists()
        child.terminate()
        assert child.wait(10) == 0


CRASHES = """
import os, socket, sys, time
from mainspring.serving.workers import Workers
from mainspring.telemetry.logs import Log

def serve(worker, listening, alive):
    alive()
    os.abort() if worker == 0 else time.sleep(60)

with socket.socket() as one, socket.socket() as other:
    sys.exit(Workers(serve, [one, other], Log(), ending_seconds=0.5).run())
"""


def test_workers_that_keep_ending_end_all_so_that_their_supervisor_hears_of_it():
    words = [sys.executable, "-c", CRASHES]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.count("a worker ended and is started again") == 4
    assert "workers keep ending" in done.stderr.splitlines()[-1]


def _pid(child):
    while not (line := child.stdout.readline().strip()).isdigit():
        assert line, "ended"
    return line
