"""`EnvoyRouter`: the laptop's `TrafficRouter`. Routes are files that Envoy watches, and are read back from Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from mainspring.adapters.envoy import routes
from mainspring.adapters.envoy.process import EnvoyProcess, free_port
from mainspring.domain.errors import MainspringError, TemporaryError
from mainspring.domain.rollout import Arm, Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

ACCESS_LOG = "access.log"
_CONFIRM_SECONDS = 10.0
_DRAIN_SECONDS = 2.0
_LARGEST_LOG = 64 * 1024 * 1024


class EnvoyRouter:
    """Envoy with file xDS: only an atomic rename into its folder is picked up, so that it never sees half a file."""

    def __init__(self, settings: ProjectSettings, paths: ProjectPaths) -> None:
        self._port = settings.serving.port
        self._timeout = settings.serving.timeout.total_seconds()
        self._folder = paths.proxy
        self._envoy = EnvoyProcess(paths.proxy)
        self._confirmed: tuple[str, str] | None = None
        self._clusters: list[dict[str, Any]] = []

    def apply(self, rollout: Rollout, endpoints: Sequence[Endpoint]) -> None:
        """Write the routes; returns once they were read back from the proxy.

        Clusters come before the routes that need them and go after them. Errors: `MainspringError` with Envoy's reason
        when it refuses an update, `TemporaryError` when it does not take it in time.
        """
        wanted = routes.clusters(rollout, endpoints)
        route = routes.routes(rollout, timeout_seconds=self._timeout)
        target = (routes.discovery(wanted)[0], routes.discovery([route])[0])
        alive = self._envoy.alive()
        if alive and target == self._confirmed:
            return
        if not alive:
            self._start(wanted, route)
        else:
            if self._confirmed is None:
                self._envoy.await_up()  # a former loop may have started it just now
            named = {one["name"]: one for one in wanted}
            before = self._known_clusters()
            self._put("clusters", [*wanted, *(one for one in before if one["name"] not in named)])
            self._put("routes", [route])
            if any(one["name"] not in named for one in before):
                self._drain(before, named)
                self._put("clusters", wanted)
        self._clusters = wanted
        self._await_routes(target[1])
        self._confirmed = target
        self._rotate()

    def observed(self) -> Mapping[Arm, int]:
        """The weights in percent that Envoy itself reports; empty when it serves nothing yet."""
        if not self._envoy.alive():
            return {}
        return cast(Mapping[Arm, int], routes.weights(self._reported_routes().get("route_config", {})))

    def address(self) -> str:
        """The base URL that callers use; a free port is chosen once and kept."""
        return f"http://127.0.0.1:{self._callers_port()}"

    def prepare(self) -> None:
        """Find out, before there is anything to route, whether callers could be served.

        Errors: `ConfigError` when somebody else has the port.
        """
        self._envoy.check_port(self._callers_port())

    def close(self) -> None:
        """Drain and stop Envoy."""
        self._envoy.stop()
        self._confirmed = None

    def _start(self, wanted: list[dict[str, Any]], route: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write("clusters", wanted)
        self._write("routes", [route])
        self._envoy.start(
            routes.bootstrap(
                self._callers_port(),
                free_port(),
                str(self._file("clusters").resolve()),
                str(self._file("routes").resolve()),
                str((self._folder / ACCESS_LOG).resolve()),
            )
        )

    def _callers_port(self) -> int:
        if self._port:
            return self._port
        chosen = self._folder / "port"
        if not chosen.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            part = chosen.with_suffix(".part")
            part.write_text(str(free_port()), encoding="ascii")
            part.replace(chosen)
        return int(chosen.read_text(encoding="ascii"))

    def _known_clusters(self) -> list[dict[str, Any]]:
        path = self._file("clusters")
        return list(json.loads(path.read_bytes())["resources"]) if path.exists() else []

    def _put(self, name: str, resources: list[dict[str, Any]]) -> None:
        """Write and wait until Envoy says that it took it."""
        version, changed = self._write(name, resources)
        if not changed:
            return
        key = "cds_config" if name == "clusters" else "rds"
        until = time.monotonic() + _CONFIRM_SECONDS
        while time.monotonic() < until:
            if name == "routes" and self._reported_routes().get("version_info") == version:
                return
            if name == "clusters" and self._reported_clusters() >= {one["name"] for one in resources}:
                return
            self._refused(name)
            time.sleep(0.005)
        raise TemporaryError(
            f"Envoy did not take the {name} in {_CONFIRM_SECONDS:g} s", where=f"{key}: {self._file(name)}"
        )

    def _write(self, name: str, resources: list[dict[str, Any]]) -> tuple[str, bool]:
        version, raw = routes.discovery(resources)
        path = self._file(name)
        if path.exists() and json.loads(path.read_bytes())["version_info"] == version:
            return version, False
        part = self._folder / f".{name}.part"
        part.write_bytes(raw)
        part.replace(path)
        return version, True

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _await_routes(self, version: str) -> None:
        until = time.monotonic() + _CONFIRM_SECONDS
        while time.monotonic() < until:
            if self._reported_routes().get("version_info") == version:
                return
            self._refused("routes")
            time.sleep(0.005)
        raise TemporaryError("Envoy does not report the routes that were written", where=str(self._file("routes")))

    def _reported_routes(self) -> dict[str, Any]:
        dump = json.loads(self._envoy.ask("/config_dump?resource=dynamic_route_configs"))
        return next(iter(dump.get("configs", [])), {})

    def _reported_clusters(self) -> set[str]:
        dump = json.loads(self._envoy.ask("/config_dump?resource=dynamic_active_clusters&mask=cluster.name"))
        return {one["cluster"]["name"] for one in dump.get("configs", []) if "cluster" in one}

    def _refused(self, name: str) -> None:
        """Envoy keeps the old configuration when it refuses a new one, and says why."""
        dump = json.loads(self._envoy.ask("/config_dump?include_eds"))
        for part in dump.get("configs", []):
            for one in [*part.get("dynamic_route_configs", []), *part.get("dynamic_warming_clusters", [])]:
                if "error_state" in one:
                    raise MainspringError(
                        f"Envoy refused the {name}: {one['error_state'].get('details', '')}",
                        where=str(self._file(name)),
                    )

    def _drain(self, before: Sequence[dict[str, Any]], named: Mapping[str, Any]) -> None:
        gone = [one["name"] for one in before if one["name"] not in named]
        until = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() < until:
            text = self._envoy.ask("/stats?filter=upstream_rq_active")
            active = dict(line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)
            if all(int(active.get(f"cluster.{name}.upstream_rq_active", 0)) == 0 for name in gone):
                return
            time.sleep(0.01)

    def _rotate(self) -> None:
        log = self._folder / ACCESS_LOG
        if log.exists() and log.stat().st_size > _LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
            self._envoy.ask("/reopen_logs", post=True)
