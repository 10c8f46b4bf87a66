"""What a shadow costs the callers whose requests are copied: latency through Envoy, without a shadow and with one of 100 %.

Two real predictors of 200 trees; 200 requests a second from 8 callers. The shadow answers as stable does, or hangs (its
process is stopped): neither may be felt. `python benchmarks/shadow_latency.py [--json] [--repetitions 5] [--seconds 5]`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from report import Row, report
from serving import FEATURES, write_models

CALLERS, A_SECOND = 8, 200
KINDS = ("none", "answers", "hangs")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with TemporaryDirectory() as name, Service(Path(name)) as service:
        service.measure(2)
        for _ in range(arguments.repetitions):
            for kind in KINDS:
                with service.shadow(kind):
                    found[kind].append(service.measure(arguments.seconds))
                p50, p99 = found[kind][-1]
                print(f"  shadow {kind}: median {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms", file=sys.stderr)
    rows = []
    for place, which in enumerate(("median", "p99")):
        without = median(one[place] for one in found["none"])
        for kind in KINDS[1:]:
            rows.append(
                Row(
                    f"{which}, a shadow that {kind} / no shadow",
                    median(one[place] for one in found[kind]) * 1e3,
                    without * 1e3,
                    1.25,
                    at_most=True,
                    unit=" ms",
                )
            )
    report(rows, as_json=arguments.json)


class Service:
    """Stable and candidate behind Envoy."""

    def __init__(self, folder: Path) -> None:
        from mainspring.adapters.envoy.router import EnvoyRouter
        from mainspring.adapters.processes.server import LaptopModelServer, wait_ready
        from mainspring.domain.model_version import ModelVersion, Signature
        from mainspring.settings.paths import ProjectPaths
        from mainspring.settings.project import ProjectSettings

        settings = ProjectSettings.model_validate(
            {
                "name": "trees",
                "task": "binary",
                "sources": {"s": {"path": "s.csv"}},
                "target": {"source": "s", "column": "y"},
                "serving": {"port": 0, "timeout": "10s"},
            }
        )
        paths = ProjectPaths(folder)
        write_models(folder)
        self._server = LaptopModelServer(settings, paths, replayed=False, online=lambda: None)
        self._router = EnvoyRouter(settings, paths)
        for version in ("1", "2"):
            model = ModelVersion("trees", version, "run", "", "", True, "", "onnx", Signature("binary", ()))
            self._server.start(model, folder / "model")
        for version in ("1", "2"):
            assert wait_ready(self._server, version).ready
        self._apply(0)
        values = [round(place / 7 - 1, 3) for place in range(FEATURES)]
        inputs = [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": values}]
        self._body = json.dumps({"inputs": inputs}).encode()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self._router.close()
        for one in self._server.endpoints():
            self._server.stop(one.version)

    @contextlib.contextmanager
    def shadow(self, kind: str) -> Iterator[None]:
        """Copies of all requests to the candidate, or none."""
        pid = next(one.pid for one in self._server.endpoints() if one.version == "2")
        self._apply(0 if kind == "none" else 100)
        if kind == "hangs":
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self._apply(0)
            time.sleep(0.5)

    def measure(self, seconds: float) -> tuple[float, float]:
        """Median and 99th percentile of what callers wait, in seconds; every one of them was answered."""
        waited: list[float] = []
        threads = [threading.Thread(target=self._ask, args=(place, seconds, waited)) for place in range(CALLERS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(waited) >= A_SECOND * seconds * 0.9, "callers were not answered"
        return median(waited), quantiles(waited, n=100)[98]

    def _ask(self, place: int, seconds: float, waited: list[float]) -> None:
        connection = http.client.HTTPConnection(self._router.address().removeprefix("http://"), timeout=10)
        step = CALLERS / A_SECOND
        due = time.perf_counter() + step * place / CALLERS
        until = due + seconds
        while due < until:
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            connection.request("POST", "/v2/models/trees/infer", self._body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            waited.append(time.perf_counter() - began)
            due += step
        connection.close()

    def _apply(self, mirror: int) -> None:
        from mainspring.domain.rollout import Rollout

        rollout = Rollout("1-to-2-1", "1", "2", phase="shadow" if mirror else "idle", mirror_percent=mirror)
        self._router.apply(rollout, self._server.endpoints())


if __name__ == "__main__":
    main()
