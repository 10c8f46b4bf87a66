"""`LaptopModelServer`: predictor processes on this machine, one for each version and build.

A predictor is a folder with `serve.json` and `endpoint.json`; its process outlives the loop, and the next loop finds it by
what is written there, or by the lock that the process holds and signs with its id and ports. A predictor that died is
started again, each time after a longer wait (`restarts`); then it is given up, and its end is its reason until some time
has passed. One that hangs is killed, and so started again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from mainspring.adapters.feast import ON_DEMAND
from mainspring.adapters.processes.alive import end, is_same, kill, start_time
from mainspring.adapters.processes.locks import held
from mainspring.adapters.processes.ports import free_port
from mainspring.adapters.processes.restarts import start_due
from mainspring.domain.codec import to_json
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Endpoint
from mainspring.serving.config import OnlineStoreConfig, ServeConfig
from mainspring.serving.process import LOCK
from mainspring.settings.log_key import environment, key_file, log_key
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings
from mainspring.telemetry.logs import Log

CONFIG, ENDPOINT, OUTPUT = "serve.json", "endpoint.json", "output.log"
_PROBE_SECONDS = 1.0
SILENT_SECONDS = 30.0
"""A predictor that was ready once hangs when it said nothing for so long, to several probes: a loop that was itself away
for long has asked only once."""
_SILENT_PROBES = 3


class LaptopModelServer:
    """`ModelServer` on processes.

    `online` gives the online store's configuration; `error_shares` the share of requests that a rehearsed build of that
    name fails.
    """

    def __init__(
        self,
        settings: ProjectSettings,
        paths: ProjectPaths,
        *,
        replayed: bool,
        online: Callable[[], OnlineStoreConfig | None],
        error_shares: Mapping[str, float] | None = None,
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._replayed = replayed
        self._online = online
        self._error_shares = dict(error_shares or {})
        self._children: list[subprocess.Popen[bytes]] = []
        self._silent: dict[int, list[float]] = {}

    def start(self, version: ModelVersion, model: Path, *, build: str = "") -> None:
        """Start a predictor unless one runs; returns before it is ready."""
        folder = self._folder(version.version, build)
        if (folder / ENDPOINT).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        signed = held(folder / LOCK)
        if signed is not None:
            # Started, but its starter was killed before it wrote that down.
            if signed:
                self._put(folder, version.version, build, signed, 1)
            return
        serving, features = self._settings.serving, self._settings.features
        config = ServeConfig(
            self._settings.name,
            version.version,
            str(model.resolve()),
            str(self._paths.segments.resolve()),
            free_port(),
            build=build,
            workers=serving.workers,
            online=self._online(),
            missing=features.missing,
            missing_by=dict(features.missing_by),
            defaults=dict(features.defaults),
            on_demand=ON_DEMAND,
            replayed_clock=self._replayed,
            timeout_seconds=serving.timeout.total_seconds(),
            fsync=serving.fsync,
            on_log_failure=serving.on_log_failure,
            error_share=self._error_shares.get(build, 0.0),
            grpc_port=free_port() if serving.grpc else 0,
            **self._log_policy(),
        )
        _write(folder / CONFIG, to_json(config, indent=2))
        self._spawn(folder, config.version, build, [config.port, config.grpc_port], 1)

    def endpoints(self) -> Sequence[Endpoint]:
        """The predictors that should run, whether they are ready, and why not."""
        if not self._paths.serving.is_dir():
            return []
        found = []
        for folder in sorted(self._paths.serving.iterdir()):
            if folder.name.startswith("."):
                self._clear(folder)
                continue
            known = _read(folder / ENDPOINT)
            if known is not None:
                found.append(self._endpoint(folder, known))
        return found

    def stop(self, version: str, *, build: str = "") -> None:
        """Drain and stop a predictor."""
        folder = self._folder(version, build)
        gone = folder.with_name(f".{folder.name}.gone")
        self._clear(gone)
        if folder.exists():
            # From here on it should not run, and is ended even when this process is killed before it is.
            folder.rename(gone)
            self._clear(gone)

    def logging_otherwise(self) -> list[tuple[str, str]]:
        """Version and build of predictors that were started when the project's `log:` said something else."""
        wanted = json.loads(to_json(self._log_policy()))
        found = []
        for folder in self._paths.serving.iterdir() if self._paths.serving.is_dir() else []:
            known, config = _read(folder / ENDPOINT), _read(folder / CONFIG)
            if known and config and any((config.get(key) or type(value)()) != value for key, value in wanted.items()):
                found.append((known["version"], known["build"]))
        return sorted(found)

    def _log_policy(self) -> dict[str, Any]:
        log = self._settings.log
        if not log.unwatched:
            return {"log_drop": (), "log_hash": (), "log_key_file": ""}
        log_key(log, self._paths)  # so that it is there
        drop, hashed = self._settings.concealed
        return {"log_drop": drop, "log_hash": hashed, "log_key_file": key_file(log, self._paths)}

    def _clear(self, gone: Path) -> None:
        known = _read(gone / ENDPOINT)
        if known is not None:
            self._end(known["pid"], known["started"])
        signed = held(gone / LOCK)
        if signed:
            self._end(signed[0], start_time(signed[0]))
        shutil.rmtree(gone, ignore_errors=True)

    def _endpoint(self, folder: Path, known: dict[str, Any]) -> Endpoint:
        self._collect()
        reason = ""
        ready = False
        alive = is_same(known["pid"], known["started"])
        signed = None if alive else held(folder / LOCK)
        if alive:
            ready = _is_ready(known["port"])
            self._watch(known, ready)
        elif signed is not None:
            # Two were started, because the first could not be written down in time: who holds the lock is the one.
            if signed:
                known = self._put(folder, known["version"], known["build"], signed, known["starts"])
        else:
            known, reason = self._supervise(folder, known)
        return _known_endpoint(known, ready, reason)

    def _watch(self, known: dict[str, Any], ready: bool) -> None:
        """Kill a predictor that was ready and then said nothing for long: what hangs never ends by itself."""
        now, pid = time.monotonic(), known["pid"]
        if ready:
            self._silent[pid] = []
        elif pid in self._silent:
            probes = self._silent[pid]
            probes.append(now)
            if len(probes) >= _SILENT_PROBES and now - probes[0] > SILENT_SECONDS:
                seconds = round(now - probes[0])
                Log().warning("a predictor that hangs is killed", version=known["version"], silent_seconds=seconds)
                del self._silent[pid]
                kill(pid, known["started"])

    def _supervise(self, folder: Path, known: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Start again what ended, once that is due; the reason why it was given up, while it is."""
        if "ended_at" not in known:
            known = {**known, "ended_at": time.time()}
            _write(folder / ENDPOINT, json.dumps(known).encode())
        due, starts = start_due(known["starts"], known["at"], known["ended_at"])
        if time.time() >= due:
            return self._again(folder, known, starts), ""
        if starts > 1:
            return known, ""
        return known, f"given up after {known['starts']} starts; {_last_words(folder / OUTPUT)}"

    def _again(self, folder: Path, known: dict[str, Any], starts: int) -> dict[str, Any]:
        config = json.loads((folder / CONFIG).read_bytes())
        # The port may have gone to somebody else in the meantime.
        config["port"] = free_port()
        config["grpc_port"] = free_port() if config.get("grpc_port") else 0
        config |= self._log_policy()
        _write(folder / CONFIG, json.dumps(config, indent=2).encode())
        ports = [config["port"], config["grpc_port"]]
        return self._spawn(folder, known["version"], known["build"], ports, starts)

    def _spawn(self, folder: Path, version: str, build: str, ports: list[int], starts: int) -> dict[str, Any]:
        with (folder / OUTPUT).open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "mainspring.serving.process", str(folder / CONFIG)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment(self._settings.log),
            )
        self._children.append(child)
        return self._put(folder, version, build, [child.pid, *ports], starts)

    def _put(self, folder: Path, version: str, build: str, signed: list[int], starts: int) -> dict[str, Any]:
        pid, port, grpc_port = (*signed, 0)[:3]  # a predictor of an earlier Mainspring signs without the last
        known = {
            "version": version,
            "build": build,
            "port": port,
            "grpc_port": grpc_port,
            "pid": pid,
            "started": start_time(pid),
            "starts": starts,
            "at": time.time(),
        }
        _write(folder / ENDPOINT, json.dumps(known).encode())
        return known

    def _end(self, pid: int, started: str) -> None:
        limit = self._settings.serving.timeout.total_seconds() + 2.0
        end(pid, started, within_seconds=limit)
        self._collect()

    def _collect(self) -> None:
        """Take the exit status of children of this process that ended, so that none stays as a zombie."""
        self._children = [child for child in self._children if child.poll() is None]

    def _folder(self, version: str, build: str) -> Path:
        return self._paths.serving / (f"{version}-{build}" if build else version)


def look(paths: ProjectPaths) -> list[Endpoint]:
    """The predictors as another process finds them: looked at, not started again."""
    folders = sorted(paths.serving.iterdir()) if paths.serving.is_dir() else []
    found = []
    for folder in folders:
        known = _read(folder / ENDPOINT)
        if known is None or folder.name.startswith("."):
            continue
        lives = is_same(known["pid"], known["started"])
        ready = lives and _is_ready(known["port"])
        reason = "" if lives else "its process ended"
        found.append(_known_endpoint(known, ready, reason))
    return found


def wait_ready(server: LaptopModelServer, version: str, build: str = "", *, within_seconds: float = 20.0) -> Endpoint:
    """Wait for a predictor; the endpoint as it stands when it is ready, ended, or the time is over."""
    until = time.monotonic() + within_seconds
    while True:
        one = next(one for one in server.endpoints() if (one.version, one.build) == (version, build))
        if one.ready or one.reason or time.monotonic() > until:
            return one
        time.sleep(0.05)


def _known_endpoint(known: dict[str, Any], ready: bool, reason: str) -> Endpoint:
    return Endpoint(
        known["version"],
        "127.0.0.1",
        known["port"],
        ready,
        known["pid"],
        known["build"],
        reason,
        known.get("grpc_port", 0),  # an earlier Mainspring wrote none
    )


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _last_words(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1][:500] if lines else "it said nothing"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return found


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
