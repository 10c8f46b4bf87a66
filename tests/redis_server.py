"""A real Redis: Debian's package, with a password, started for the tests that ask for one."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

PASSWORD = "red=is:1"


class Server:
    """A Redis on a port of its own, that can be stopped, killed and started again; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            reason = "Redis is not installed: apt-get install redis-server"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [
            binary, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "",
            "--appendonly", "no", "--dir", str(folder),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """Feast's connection string."""
        return f"127.0.0.1:{self.port},password={PASSWORD}"

    def client(self) -> redis.Redis:
        """A client of its own."""
        return redis.Redis(port=self.port, password=PASSWORD)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < until
                    assert self.process.poll() is None
                    time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: everything in it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
