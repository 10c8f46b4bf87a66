"""A predictor as a process of its own, as a platform starts it."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mainspring.domain.codec import to_json
from mainspring.domain.log_record import decode_row, frames, read_header, to_prediction
from mainspring.serving.config import ServeConfig


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Process:
    config: ServeConfig
    child: subprocess.Popen

    @property
    def url(self):
        return f"http://127.0.0.1:{self.config.port}"

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.config.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def ready(self):
        with contextlib.suppress(OSError):
            return self.ask("GET", "/v2/health/ready")[0] == 200
        return False

    def metrics(self):
        return self.ask("GET", "/metrics")[2].decode()

    def count(self, series):
        """The number of a series, named with its labels."""
        return int(float(self.metrics().partition(f"\n{series} ")[2].split()[0]))

    def logged(self):
        """Rows of all segments, also of the one that is still written."""
        rows = []
        for path in sorted(Path(self.config.segments).iterdir()):
            data = path.read_bytes()
            header, position = read_header(data)
            rows += [to_prediction(header, decode_row(payload)) for _, payload in frames(data, position)]
        return rows


@contextlib.contextmanager
def running(model, folder, segments=None, killed=False, **options):
    """A predictor of `model`, ready; ended by SIGTERM, unless the test says that it kills it.

    What it wrote to its output is shown when it did not start.
    """
    config = ServeConfig("rain", "1", str(model), str(segments or folder / "segments"), free_port(), **options)
    path = folder / "serve.json"
    path.write_bytes(to_json(config))
    output = folder / "output.log"
    with output.open("wb") as told:
        child = subprocess.Popen(
            [sys.executable, "-m", "mainspring.serving.process", str(path)], stdout=told, stderr=subprocess.STDOUT
        )
    one = Process(config, child)
    try:
        until = time.monotonic() + 30
        while not one.ready():
            assert child.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.05)
        yield one
        # A test may have told it to end.
        assert child.poll() in (None, -9 if killed else 0), output.read_text()
    finally:
        child.terminate()
        assert child.wait(20) == (-9 if killed else 0), output.read_text()
    # Nothing that a caller sent was a surprise.
    assert "Traceback" not in output.read_text(), output.read_text()


def body_of(answer):
    return json.loads(answer[2])
