"""BigQuery's emulator (PyPI `bqemulator`) in an environment of its own: its pins do not fit beside ours."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from tests.engines.environment import python_of

HERE = Path(__file__).parent


class Emulator:
    """One on a port of its own, that can be killed and started again; it keeps everything on its disk."""

    def __init__(self, folder, project="p"):
        self._folder, self._project = folder, project
        self._python = python_of("bqemulator")
        self.port, self._grpc = _free_port(), _free_port()
        self.process = None
        self.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def _datasets(self):
        return f"{self.endpoint}/bigquery/v2/projects/{self._project}/datasets"

    def dataset(self, name):
        """A new data set of the project."""
        body = {"datasetReference": {"projectId": self._project, "datasetId": name}}
        requests.post(self._datasets, json=body, timeout=10).raise_for_status()
        return name

    def start(self):
        """Start, and wait until it answers."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [
            self._python, HERE / "start.py", "start", "--rest-port", str(self.port), "--grpc-port", str(self._grpc),
            "--project", self._project, "--persistent", "--data-dir", self._folder / "data", "--log-level", "error",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        until = time.monotonic() + 90
        while True:
            try:
                requests.get(self._datasets, timeout=5).raise_for_status()
                return
            except requests.RequestException:
                said = (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < until, said
                assert self.process.poll() is None, said
                time.sleep(0.1)

    def kill(self):
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def running():
    """An emulator in a folder of its own, until the end."""
    folder = Path(tempfile.mkdtemp(prefix="mainspring-bq-"))
    emulator = None
    try:
        emulator = Emulator(folder)
        yield emulator
    finally:
        if emulator is not None:
            emulator.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
