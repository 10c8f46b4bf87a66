"""`KfpLocalRunner`: pipeline runs on this machine, each in a process of its own that outlives its caller."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.execute import LOCK, OUTPUT, REQUEST, RESULT, STEP_LOCK
from mainspring.adapters.kfp.worker import ask
from mainspring.adapters.processes.locks import held
from mainspring.domain.codec import from_json
from mainspring.domain.errors import NotFound
from mainspring.domain.run import STEPS, Run, Step
from mainspring.settings.paths import ProjectPaths

PlanKeys = Callable[[Mapping[str, str]], Mapping[str, str]]
"""The cache key of each task, from the run's parameters; empty: nothing is cached."""

_START_SECONDS = 20.0
_MOST_STARTS = 5
"""A run whose process ends so often without finishing a step would do so for ever: out of memory, most likely."""
_STARTS = "starts.json"


class KfpLocalRunner:
    """`PipelineRunner` on `kfp.local`. A run is a folder: `request.json`, a record for each step, `result.json`.

    Where a warm worker answers for the project, it runs there; otherwise in a process of its own.
    """

    def __init__(self, paths: ProjectPaths, entry: str, plan: PlanKeys) -> None:
        self._paths = paths
        self._entry = entry
        self._plan = plan
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, run_id: str, trigger: str, parameters: Mapping[str, str]) -> None:
        """Start the run, or go on with one that was interrupted; a run that lives or has ended stays as it is."""
        folder = self._paths.runs / run_id
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RESULT).exists() or _alive(folder):
            return
        if not (folder / REQUEST).exists():
            state = self._paths.state.resolve()
            request = {
                "run_id": run_id,
                "trigger": trigger,
                "project": str(self._paths.root.resolve()),
                "entry": self._entry,
                "parameters": dict(parameters),
                "artifacts": str(state / "artifacts"),
                "cache": str(self._paths.steps.resolve()),
                "cache_keys": dict(self._plan(parameters)),
                "started_at": datetime.now(UTC).isoformat(),
            }
            _write(folder / REQUEST, request)
        starts = _count_start(folder)
        if starts > _MOST_STARTS:
            reason = f"its process ended {_MOST_STARTS} times within one step; what it said last: {_last_words(folder)}"
            _write(folder / RESULT, _result(reason))
            return
        self._children = {name: child for name, child in self._children.items() if child.poll() is None}
        answer = ask(self._paths.state, "mainspring.adapters.kfp.execute:start", [str(folder)], output=folder / OUTPUT)
        if answer is None or "error" in answer:
            with (folder / OUTPUT).open("ab") as output:
                self._children[run_id] = subprocess.Popen(
                    [sys.executable, "-m", "mainspring.adapters.kfp.execute", str(folder)],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        # Until it holds its lock nobody could tell that it lives, and a second one would be started.
        until = time.monotonic() + _START_SECONDS
        child = self._children.get(run_id)
        while time.monotonic() < until and not _alive(folder) and not (folder / RESULT).exists():
            if child is not None and child.poll() is not None:
                break
            time.sleep(0.01)

    def status(self, run_id: str) -> Run | None:
        """The run as it stands; one whose process died has the status `requested`: start it again to go on."""
        folder = self._paths.runs / run_id
        if not (folder / REQUEST).exists():
            return None
        request = json.loads((folder / REQUEST).read_bytes())
        if run_id in self._children:
            self._children[run_id].poll()  # an ended child is collected
        alive = _alive(folder)
        result = json.loads((folder / RESULT).read_bytes()) if (folder / RESULT).exists() else None
        records = {name: _record(folder, name) for name in STEPS}
        run = Run(
            run_id,
            request["trigger"],
            "running" if alive else "requested",
            tuple(_step(name, record, ended=result is not None) for name, record in records.items()),
            {"folder": str(folder), "artifacts": request["artifacts"]},
            datetime.fromisoformat(request["started_at"]),
        )
        if result is None:
            return run
        failed = next((step for step in run.steps if step.status == "failed"), None)
        reason = failed.reason if failed is not None else str(result["reason"])
        status: Any = "cancelled" if result.get("cancelled") else "succeeded" if result["succeeded"] else "failed"
        return replace(
            run, status=status, ended_at=datetime.fromisoformat(result["ended_at"]), reason=reason, **_outcome(records)
        )

    def wait(self, run_id: str, timeout_seconds: float) -> Run:
        """Wait until the run ended, or the time is over."""
        until = time.monotonic() + timeout_seconds
        while True:
            run = self.status(run_id)
            if run is None:
                raise NotFound(f"there is no run {run_id!r}", where=str(self._paths.runs))
            if run.ended or run.status == "requested" or time.monotonic() > until:
                return run
            time.sleep(0.1)

    def cancel(self, run_id: str) -> None:
        """Stop the run's processes; an ended run stays as it is."""
        folder = self._paths.runs / run_id
        if (folder / RESULT).exists() or not (folder / REQUEST).exists():
            return
        holder = _holder(folder)
        if holder is not None:
            os.killpg(holder, signal.SIGKILL)
        step = held(folder / STEP_LOCK)
        if step:
            # In the warm worker it is no child of the run's process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(step[0], signal.SIGKILL)
        _write(folder / RESULT, {**_result("cancelled"), "cancelled": True})


def _result(reason: str) -> dict[str, Any]:
    return {"succeeded": False, "reason": reason, "ended_at": datetime.now(UTC).isoformat()}


def _write(path: Path, value: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2), encoding="utf-8")
    part.replace(path)


def _count_start(folder: Path) -> int:
    """Starts since the last step that was finished, this one included."""
    path = folder / _STARTS
    known = json.loads(path.read_bytes()) if path.exists() else {"done": 0, "starts": 0}
    records = (_record(folder, name) for name in STEPS)
    done = sum(record is not None and record["step"]["status"] in ("succeeded", "cached") for record in records)
    starts = known["starts"] + 1 if done == known["done"] else 1
    _write(path, {"done": done, "starts": starts})
    return starts


def _last_words(folder: Path) -> str:
    path = folder / OUTPUT
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "nothing")


def _outcome(records: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    evaluated, registered = records["evaluate"], records["register"]
    found: dict[str, Any] = {}
    if evaluated is not None and "passed" in evaluated["numbers"]:
        found["passed"] = bool(evaluated["numbers"]["passed"])
    if registered is not None and "version" in registered["numbers"]:
        found["version"] = str(int(registered["numbers"]["version"]))
    return found


def _record(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_bytes()) if path.exists() else None


def _step(name: str, record: dict[str, Any] | None, *, ended: bool) -> Step:
    if record is None:
        return Step(name, "skipped" if ended else "pending")
    return from_json(Step, json.dumps(record["step"]))


def _alive(folder: Path) -> bool:
    return held(folder / LOCK) is not None


def _holder(folder: Path) -> int | None:
    """The process that runs it: it holds the lock, and wrote its pid there."""
    signed = held(folder / LOCK)
    return signed[0] if signed else None
