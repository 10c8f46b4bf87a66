"""One row, OIP v2 JSON, 200 trees, one core: our predictor's command line beside KServe's SDK server.

Each server has a core of its own and the load another one (wrk, closed loop, 32 connections). The product is the command
line that `mainspring up` starts: validation, log append, metrics and ids on. `python benchmarks/serving.py [--json]
[--repetitions 5] [--seconds 5]`; wrk is Debian's package.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from peers.environment import python_of
from report import Row, report

TREES, FEATURES, CONNECTIONS = 200, 20, 32
_HERE = Path(__file__).parent


def main() -> None:
    """Run the benchmark."""
    arguments = options(__doc__)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        bodies = {"one tensor": question(folder, named=False), f"{FEATURES} tensors": question(folder, named=True)}
        rows: list[Row] = []
        for kind, body in bodies.items():
            rows += compare(folder, kind, body, arguments.repetitions, arguments.seconds)
    report(rows, as_json=arguments.json)


def options(about: str | None) -> argparse.Namespace:
    """The command line of a benchmark that loads servers; without wrk there is none."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    return parser.parse_args()


def compare(folder: Path, kind: str, body: Path, repetitions: int, seconds: int) -> list[Row]:
    """All three servers in turn, again and again; medians."""
    found: dict[str, list[tuple[float, float]]] = {"product": [], "peer": [], "without": []}
    for _ in range(repetitions):
        for server, command in commands(folder).items():
            with started(command(port := free_port()), port):
                load(port, body, 1)
                found[server].append(load(port, body, seconds))
            last = found[server][-1]
            print(f"  {kind}, {server}: {last[0]:,.0f}/s, p99 {last[1] * 1e3:.2f} ms", file=sys.stderr)
    rate = {name: median([one for one, _ in runs]) for name, runs in found.items()}
    p99 = {name: median([one for _, one in runs]) for name, runs in found.items()}
    return [
        Row(
            f"{kind}: requests/s beside KServe's SDK server", rate["product"], rate["peer"], 12.0, rate=True, unit="/s"
        ),
        Row(
            f"{kind}: requests/s beside itself without the model",
            rate["product"],
            rate["without"],
            0.5,
            rate=True,
            unit="/s",
        ),
        Row(f"{kind}: p99 of KServe's SDK server / ours", p99["product"], p99["peer"], 8.0),
    ]


def write_models(folder: Path) -> None:
    """The same booster twice: as KServe's documentation serves it, and as our registry exports it."""
    import numpy as np
    import pandas as pd
    import xgboost

    from mainspring.domain.model_card import ModelCard
    from mainspring.domain.model_version import Feature, Signature
    from mainspring.registry.export import Trained, export
    from mainspring.serving.runtime import load_runtime

    generator = np.random.default_rng(4)
    names = [f"f{place}" for place in range(FEATURES)]
    X = pd.DataFrame(generator.normal(size=(20_000, FEATURES)), columns=names)
    y = (X.f0 + X.f1 * X.f2 + generator.normal(size=len(X)) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=TREES, max_depth=6, random_state=4).fit(X, y)
    model.get_booster().save_model(folder / "trees.ubj")
    card = ModelCard("trees", "binary", "onnx", Signature("binary", tuple(Feature(name, "float") for name in names)))
    rows = X.head(500).to_numpy().tolist()

    def replay(at: Path, one: ModelCard, given: Any) -> Any:
        return np.array(load_runtime(at, one).predict(given))[:, 0]

    done = export(Trained(model, rows, model.predict_proba(X.head(500))[:, 1]), card, folder / "model", replay)
    assert done.card.format == "onnx", done.passed_over


def question(folder: Path, *, named: bool) -> Path:
    """A wrk script that asks for one row: in one tensor, or in a named tensor for each column."""
    values = [round(place / 7 - 1, 3) for place in range(FEATURES)]
    inputs = [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": values}]
    if named:
        inputs = [
            {"name": f"f{place}", "shape": [1], "datatype": "FP64", "data": [value]}
            for place, value in enumerate(values)
        ]
    script = folder / f"ask-{len(inputs)}.lua"
    body = json.dumps({"inputs": inputs})
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        f"wrk.body = [[{body}]]\nwrk.path = '/v2/models/trees/infer'\n"
    )
    return script


def commands(folder: Path) -> dict[str, Any]:
    """How each server is started on a port."""

    def ours(program: list[str], port: int) -> list[str]:
        place = folder / f"serve-{port}"
        place.mkdir()
        config = {"name": "trees", "version": "1", "model": str(folder / "model"), "segments": str(place), "port": port}
        (place / "serve.json").write_text(json.dumps(config))
        return [sys.executable, *program, str(place / "serve.json")]

    peer = str(python_of("kserve"))
    return {
        "product": lambda port: ours(["-m", "mainspring.serving.process"], port),
        "peer": lambda port: [peer, str(_HERE / "peers/kserve/server.py"), str(folder / "trees.ubj"), str(port)],
        "without": lambda port: ours([str(_HERE / "without_model.py")], port),
    }


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    """The server on the first core, until it was asked enough."""
    process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/trees/ready", timeout=1) as answer,
            ):
                if answer.status == 200:
                    break
            assert process.poll() is None, f"{command} ended"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def load(port: int, script: Path, seconds: int) -> tuple[float, float]:
    """Requests a second and the 99th percentile in seconds, from the second core."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    text = subprocess.run([*command, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, text
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", text)
    assert rate, text
    assert p99, text
    return float(rate[1]), float(p99[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[p99[2]]


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
