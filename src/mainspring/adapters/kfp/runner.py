"""`KfpLocalRunner`: pipeline runs on this machine, each in a process of its own that outlives its caller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.kfp.execute import LOCK, OUTPUT, REQUEST, RESULT, STARTS
from mainspring.adapters.kfp.worker import ask
from mainspring.adapters.processes.locks import held
from mainspring.domain.codec import from_json
from mainspring.domain.errors import ConflictError, NotFound
from mainspring.domain.run import STEPS, Run, Step
from mainspring.settings.paths import ProjectPaths

PlanKeys = Callable[[Mapping[str, str]], Mapping[str, str]]
"""The cache key of each task, from the run's parameters; empty: nothing is cached."""

_START_SECONDS = 20.0


class KfpLocalRunner:
    """`PipelineRunner` on `kfp.local`. A run is a folder: `request.json`, a record for each step, `result.json`.

    Where a warm worker answers for the project, it runs there; otherwise in a process of its own. `entry` is what a task
    calls, `on_failure` what is called with project, run id and reason when a run failed; both are `module:function`.
    `modules` are those that each step takes seconds to import.
    """

    def __init__(
        self,
        paths: ProjectPaths,
        entry: str,
        plan: PlanKeys,
        *,
        on_failure: str,
        modules: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._paths = paths
        self._entry = entry
        self._plan = plan
        self._on_failure = on_failure
        self._modules = modules or {}
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
                "on_failure": self._on_failure,
                "modules": {step: list(names) for step, names in self._modules.items()},
                "state": str(state),
                "parameters": dict(parameters),
                "artifacts": str(state / "artifacts"),
                "cache": str(self._paths.steps.resolve()),
                "cache_keys": dict(self._plan(parameters)),
                "started_at": datetime.now(UTC).isoformat(),
            }
            _replace(folder / REQUEST, request)
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

    def interrupt(self, run_id: str) -> None:
        """Stop the run's processes without ending it: `start` goes on with it."""
        folder = self._paths.runs / run_id
        holder = _holder(folder)
        if holder is not None:
            os.killpg(holder, signal.SIGKILL)
            (folder / STARTS).unlink(missing_ok=True)  # it did not end by itself

    def cancel(self, run_id: str) -> None:
        """Stop the run's processes; an ended run stays as it is."""
        folder = self._paths.runs / run_id
        if (folder / RESULT).exists() or not (folder / REQUEST).exists():
            return
        self.interrupt(run_id)
        ended_at = datetime.now(UTC).isoformat()
        result = {"succeeded": False, "cancelled": True, "reason": "cancelled", "ended_at": ended_at}
        _replace(folder / RESULT, result)

    def resume(self, run_id: str) -> None:
        """Go on with a run that failed, was cancelled or was interrupted, behind the steps that it finished.

        What the project's files say now counts: a step whose code or data changed since runs again. Errors: `NotFound`,
        and `ConflictError` for a run that succeeded.
        """
        folder = self._paths.runs / run_id
        run = self.status(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id!r}", where=str(self._paths.runs), next_step="mainspring run")
        if run.status == "succeeded":
            raise ConflictError(f"run {run_id} has succeeded: there is nothing left to do", next_step="mainspring run")
        # One that has written its result is about to let its lock go; one that has not is at work.
        until = time.monotonic() + _START_SECONDS
        while _alive(folder):
            if not run.ended or time.monotonic() > until:
                return
            time.sleep(0.01)
        request = json.loads((folder / REQUEST).read_bytes())
        _replace(folder / REQUEST, {**request, "cache_keys": dict(self._plan(request["parameters"]))})
        for step in run.steps:
            if step.status != "succeeded":
                (folder / f"{step.name}.json").unlink(missing_ok=True)
        (folder / STARTS).unlink(missing_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
        self.start(run_id, run.trigger, request["parameters"])


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2), encoding="utf-8")
    part.replace(path)


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
