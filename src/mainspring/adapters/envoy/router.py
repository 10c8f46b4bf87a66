"""`EnvoyRouter`: the laptop's `TrafficRouter`. Routes are files that Envoy watches, and are read back from Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mainspring.adapters.envoy import routes
from mainspring.adapters.envoy.access_log import ACCESS_LOG
from mainspring.adapters.envoy.bootstrap import bootstrap
from mainspring.adapters.envoy.clusters import cluster_name, clusters, destinations, needed, wires
from mainspring.adapters.envoy.process import EnvoyProcess
from mainspring.adapters.envoy.watched import WatchedFile
from mainspring.adapters.processes.ports import free_port
from mainspring.domain.errors import MainspringError, TemporaryError
from mainspring.domain.rollout import Arm, Endpoint, Rollout
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.project import ProjectSettings

_DRAIN_SECONDS = 2.0
_LARGEST_LOG = 64 * 1024 * 1024


class EnvoyRouter:
    """Envoy with file xDS."""

    def __init__(self, settings: ProjectSettings, paths: ProjectPaths) -> None:
        self._port = settings.serving.port
        self._workers = settings.serving.workers
        self._timeout = settings.serving.timeout.total_seconds()
        self._folder = paths.proxy
        self._envoy = EnvoyProcess(paths.proxy)
        self._clusters = WatchedFile(self._envoy, "clusters", "cluster_manager.cds", self._other_clusters)
        self._routes = WatchedFile(self._envoy, "routes", f"http.callers.rds.{routes.ROUTES}", self._other_routes)
        self._confirmed: tuple[str, str] | None = None

    def apply(self, rollout: Rollout, endpoints: Sequence[Endpoint]) -> None:
        """Write the routes; returns once they were read back from the proxy.

        Clusters come before the routes that need them and go after them. Errors: `MainspringError` with Envoy's reason
        when it refuses an update, `TemporaryError` when it does not take it in time, or when a version that is to get
        requests has no endpoint. After an error requests go where they went before.
        """
        _have_endpoints(rollout, endpoints)
        wanted = clusters(rollout, endpoints, workers=self._workers)
        route = routes.routes(rollout, wires(rollout, endpoints), timeout_seconds=self._timeout)
        target = (routes.discovery(wanted)[0], routes.discovery([route])[0])
        alive = self._envoy.alive()
        if alive and target == self._confirmed:
            return
        if alive and self._confirmed is None:
            self._envoy.await_up()  # a former loop may have started it just now
            if self._envoy.bootstrap() != self._bootstrap(self._envoy.admin_port()):
                self._envoy.stop()
                alive = False
        self._confirmed = None
        if alive:
            self._change(wanted, route)
        else:
            self._start(wanted, route)
        self._confirmed = target
        self._rotate()

    def observed(self) -> Mapping[Arm, int]:
        """The weights in percent that Envoy itself reports; empty when it serves nothing yet."""
        if not self._envoy.alive():
            return {}
        return cast(Mapping[Arm, int], routes.weights(self._reported_routes()))

    def address(self) -> str:
        """The base URL that callers use, over gRPC its host and port; a free port is chosen once and kept."""
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

    def _change(self, wanted: list[dict[str, Any]], route: dict[str, Any]) -> None:
        named = {one["name"] for one in wanted}
        before = self._clusters.resources()
        gone = [one for one in before if one["name"] not in named]
        self._clusters.put([*wanted, *gone])
        try:
            self._routes.put([route])
        except MainspringError:
            self._clusters.put(before)
            raise
        if gone:
            self._drain([one["name"] for one in gone])
            self._clusters.put(wanted)

    def _start(self, wanted: list[dict[str, Any]], route: dict[str, Any]) -> None:
        self._clusters.write(wanted)
        self._routes.write([route])
        self._envoy.start(self._bootstrap(free_port()))
        try:
            self._clusters.confirm(wanted)
            self._routes.confirm([route])
        except MainspringError:
            self._envoy.stop()  # It would answer callers with errors, and has nothing to go back to.
            raise

    def _bootstrap(self, admin_port: int) -> dict[str, Any]:
        folder, port = self._folder.resolve(), self._callers_port()
        return bootstrap(folder, port=port, admin_port=admin_port, timeout_seconds=self._timeout)

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

    def _reported_routes(self) -> dict[str, Any]:
        dump = json.loads(self._envoy.ask("/config_dump?resource=dynamic_route_configs"))
        configs: list[dict[str, Any]] = dump.get("configs", [])
        return dict(configs[0]["route_config"]) if configs else {}

    def _other_routes(self, resources: Sequence[dict[str, Any]]) -> str:
        return "" if routes.all_weights(self._reported_routes()) == routes.all_weights(resources[0]) else "a weight"

    def _other_clusters(self, resources: Sequence[dict[str, Any]]) -> str:
        dump = json.loads(self._envoy.ask("/config_dump?resource=dynamic_active_clusters"))
        reported = destinations([one["cluster"] for one in dump.get("configs", [])])
        other = [name for name, place in destinations(resources).items() if reported.get(name) != place]
        return f"the destination of {', '.join(other)}" if other else ""

    def _drain(self, gone: Sequence[str]) -> None:
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


def _have_endpoints(rollout: Rollout, endpoints: Sequence[Endpoint]) -> None:
    """Envoy takes a route to a cluster that is not there, and answers its requests with 503."""
    known = {(one.version, one.build) for one in endpoints}
    missing = [cluster_name(*one) for one in needed(rollout) if one not in known]
    if missing:
        raise TemporaryError(f"no predictor for {', '.join(missing)}; requests go where they went", where=rollout.id)
