"""How many requests, and how long, until a candidate that fails a fifth of its requests is gone: on the running system.

`mainspring up` on a project of its own, real predictors, a real Envoy; the candidate has 10 % of the traffic. It is broken
from the start, or after 100,000 healthy requests. Requests are counted from the first that the broken candidate could get to
the last that it was assigned; seconds from the end of the request with which the evidence sufficed, found by asking
the same test after each line of Envoy's access log. `python benchmarks/rollback.py [--json] [--repetitions 5]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from report import Row, report

HEALTHY, A_SECOND, WEIGHT = 100_000, 100, 10
_SETTINGS = """
name: fifths
task: binary
sources: {asked: {path: asked.csv, columns: {x: float, y: int}}}
target: {source: asked, column: y}
params: {home: HOME, name: first}
rollout: {steps: [{canary: {weight: 10, time: 1h}}]}
retrain: {policy: never}
serving: {port: 0, timeout: 10s}
"""
_TRAINING = '''
"""A model that fails a fifth of its questions while its name stands in the file `broken`."""
import json
from pathlib import Path

from sklearn.linear_model import LogisticRegression

def train(data, params):
    model = LogisticRegression().fit(data.X, data.y)
    return {"home": params["home"], "name": params["name"], "a": float(model.coef_[0, 0]), "b": float(model.intercept_[0])}

def save(model, folder):
    (Path(folder) / "fifths.json").write_text(json.dumps(model))

def load(folder):
    return json.loads((Path(folder) / "fifths.json").read_text())

def predict(model, X):
    import numpy as np

    if (Path(model["home"]) / "broken").read_text() == model["name"] and (np.floor(X["x"] * 1e6) % 5 == 1).any():
        raise RuntimeError("what it depends on is gone")
    return 1 / (1 + np.exp(-model["a"] * X["x"].to_numpy() - model["b"]))
'''


@dataclass
class Found:
    """One rollback: requests of both arms, and seconds behind the evidence."""

    requests: int
    seconds: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[str, list[Found]] = {"from the start": [], f"after {HEALTHY:,} healthy requests": []}
    with TemporaryDirectory() as name, running(Path(name)) as loop:
        for _ in range(arguments.repetitions):
            for kind, ones in found.items():
                ones.append(loop.roll_back(healthy=HEALTHY if "healthy" in kind else 0))
                print(f"  {kind}: {ones[-1]}", file=sys.stderr)
    rows = []
    for (kind, ones), most in zip(found.items(), (400, 700), strict=True):
        rows.append(
            Row(f"broken {kind}: requests", median(one.requests for one in ones), most, 1, at_most=True, unit="")
        )
        rows.append(
            Row(f"broken {kind}: seconds after the evidence", median(one.seconds for one in ones), 2, 1, at_most=True)
        )
    report(rows, as_json=arguments.json)


class Loop:
    """`mainspring up` with version 1 in service, and version 2 that can be broken."""

    def __init__(self, folder: Path) -> None:
        from mainspring.adapters.sql.ledger import SqliteLedger
        from mainspring.settings.paths import ProjectPaths

        self._folder = folder
        self._paths = ProjectPaths(folder)
        self._ledger = SqliteLedger(self._paths.ledger)
        self._random = random.Random(5)
        self._asked = 0

    def prepare(self) -> None:
        """Train version 1 by the loop, version 2 beside it."""
        from mainspring.demo.client import Callers

        self._wait(lambda: self._rollout().stable == "1" and self._rollout().phase == "idle", 180)
        settings = self._folder / "mainspring.yaml"
        settings.write_text(settings.read_text().replace("name: first", "name: second"))
        self._mainspring("run", "--without-champion")
        # The loop begins the first rollout of a version that passed by itself; the others are asked for.
        self._wait(lambda: self._rollout().phase != "idle", 60)
        self._callers = Callers(self._address(), "/v2/models/fifths/infer", connections=16)

    def roll_back(self, *, healthy: int) -> Found:
        """Begin version 2's rollout, break it after so many requests, ask until it is gone."""
        (self._folder / "broken").write_text("" if healthy else "second")
        if self._rollout().phase == "idle":
            self._mainspring("rollout", "start", "2", "--by", "benchmark")
        self._wait(lambda: self._rollout().phase == "canary" and self._rollout().weight_percent == WEIGHT, 60)
        rollout = self._rollout().id
        time.sleep(1)
        for _ in range(0, healthy, 1000):
            self._ask(1000)
        (self._folder / "broken").write_text("second")
        began, asked = time.monotonic(), 0
        while self._rollout().phase == "canary":
            self._ask(10)
            asked += 10
            time.sleep(max(0.0, began + asked / A_SECOND - time.monotonic()))
            assert asked < 20_000, "it is still there"
        self._wait(lambda: self._rollout().phase == "idle", 60)
        assert self._callers.tally.failed == 0, self._callers.tally
        return _counted(self._paths.proxy / "access.log", rollout, healthy)

    def _ask(self, count: int) -> None:
        from mainspring.demo.client import Question

        questions = []
        for _ in range(count):
            self._asked += 1
            inputs = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [self._random.random()]}]
            questions.append(Question(f"q{self._asked}", "", json.dumps({"inputs": inputs}).encode()))
        self._callers.ask(questions)

    def _rollout(self) -> Any:
        from mainspring.loop.state import rollout_of

        return rollout_of(self._ledger)

    def _address(self) -> str:
        from mainspring.adapters.envoy.router import EnvoyRouter
        from mainspring.settings.load import load_project

        return EnvoyRouter(load_project(self._folder).settings, self._paths).address()

    def _mainspring(self, *words: str) -> None:
        command = [sys.executable, "-m", "mainspring", *words, "-C", str(self._folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr, (self._folder / "up.log").read_text()[-3000:])

    def _wait(self, what: Any, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, (self._folder / "up.log").read_text()[-3000:]
            time.sleep(0.02)


def _counted(access_log: Path, rollout: str, healthy: int) -> Found:
    """From the lines of one rollout, in the order in which Envoy wrote them."""
    from mainspring.adapters.envoy.access_log import user_error
    from mainspring.rollout.evidence.budget import Budget
    from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess, judge_errors
    from mainspring.settings.rollout import RolloutSettings

    settings = RolloutSettings()
    limits = ErrorLimits(settings.errors.ratio, settings.errors.margin_percent / 100)
    alpha = Budget(settings.alpha, dict(settings.budget)).alpha_of("errors")
    parts = [access_log.with_suffix(".log.1"), access_log]
    lines = [json.loads(line) for part in parts if part.exists() for line in part.read_text().splitlines()]
    own = [
        one
        for one in lines
        if one["rollout"] == rollout and one["weight"] == str(WEIGHT) and "failed_attempt" not in one
    ]
    process, sufficed = ErrorProcess(limits), 0.0
    for one in own:
        ours = one["arm"] == "candidate"
        failed = int(user_error(one) or (one["attempts"] or 0) > 1)
        process = process.after(
            ErrorBatch(int(not ours), 0 if ours else failed, int(ours), failed if ours else 0, WEIGHT / 100)
        )
        if not sufficed and judge_errors(process, alpha).outcome == "REJECT":
            sufficed = _ended(one)
    last = max(place for place, one in enumerate(own) if one["arm"] == "candidate")
    return Found(last + 1 - healthy, _ended(own[last]) - sufficed)


def _ended(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["at"]).timestamp() + (line["us"] or 0) / 1e6


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Loop]:
    """The project, and its loop until it was asked enough."""
    generator = random.Random(3)
    rows = [(x := generator.gauss(0, 1), int(generator.random() < 1 / (1 + 2.718 ** (-2 * x)))) for _ in range(4000)]
    (folder / "asked.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    (folder / "mainspring.yaml").write_text(_SETTINGS.replace("HOME", str(folder)))
    (folder / "training.py").write_text(_TRAINING)
    (folder / "broken").write_text("")
    with (folder / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "mainspring", "up", "-C", str(folder)]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        loop = Loop(folder)
        loop.prepare()
        yield loop
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


if __name__ == "__main__":
    main()
