"""Pipeline runs, from request to what became of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mainspring.domain.decision import Alert, Decision, DecisionKind
from mainspring.domain.run import Run
from mainspring.loop.alerts import owed
from mainspring.loop.outcome import MOVED, STILL, WAITING, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import POLICY, RUN, RunRequest, dump, read, rollout_of


def request_first(platform: Platform) -> Outcome:
    """Ask for the first model of a project that has none and is training none."""
    if read(platform.ledger, RUN, RunRequest) is not None or rollout_of(platform.ledger).stable:
        return STILL
    if any(version.verdict == "accepted" for version in platform.registry.versions()):
        return STILL
    if platform.ledger.decisions(kind="run_started"):
        return STILL  # It was tried; the reason is in the ledger, and a person has to change something first.
    return request(platform, "first", "the project has no model yet", "trigger:first", {})


def request(
    platform: Platform,
    trigger: str,
    reason: str,
    decision_id: str,
    state: dict[str, str],
    numbers: dict[str, Any] | None = None,
    actor: str = POLICY,
    *,
    window: str = "all",
    train_from: datetime | None = None,
) -> Outcome:
    """Write the trigger and the run it asks for in one transaction; the same trigger twice is one run."""
    now = platform.clock.now()
    name = f"run-{decision_id.split(':', 1)[1].replace(':', '-')}"
    run = RunRequest(name, trigger, reason, now, actor, window, train_from)
    if window != "all":
        numbers = (numbers or {}) | {"window": window, "train_from": train_from.isoformat() if train_from else ""}
    decision = Decision(
        decision_id,
        "trigger",
        f"{trigger}: run the pipeline",
        reason,
        actor,
        now,
        run_id=run.id,
        numbers=numbers or {},
    )
    return MOVED if platform.ledger.append(decision, state={RUN: dump(run), **state}) else STILL


def turn(platform: Platform) -> Outcome:
    """Start the requested run, or find out what became of it."""
    asked = read(platform.ledger, RUN, RunRequest)
    if asked is None:
        return STILL
    run = platform.runner.status(asked.id)
    if run is None:
        platform.ledger.append(
            Decision(
                f"run_started:{asked.id}",
                "run_started",
                f"run {asked.id} started",
                asked.reason,
                "loop",
                platform.clock.now(),
                run_id=asked.id,
            )
        )
        _start(platform, asked)
        return MOVED
    if not run.ended:
        if run.status == "requested":
            _start(platform, asked)  # It was interrupted, and goes on where it was.
        return WAITING
    return _close(platform, asked, run)


def _start(platform: Platform, asked: RunRequest) -> None:
    champion = rollout_of(platform.ledger).stable
    parameters = {"known_at": asked.known_at.isoformat(), "champion": champion}
    if asked.train_from is not None:
        parameters |= {"window": asked.window, "train_from": asked.train_from.isoformat()}
    if asked.actor != POLICY:
        parameters["by"] = asked.actor
    platform.runner.start(asked.id, asked.trigger, parameters)


def _close(platform: Platform, asked: RunRequest, run: Run) -> Outcome:
    now = platform.clock.now()
    kind, what, why = _outcome(run)
    version = next((one for one in platform.registry.versions() if run.version and one.version == run.version), None)
    numbers: dict[str, object] = {"trigger": asked.trigger, "steps": {step.name: step.status for step in run.steps}}
    if version is not None:
        numbers |= {"metrics": version.metrics}
        why = version.reason or why
    decision = Decision(f"{kind}:{asked.id}", kind, what, why, "loop", now, run.version, asked.id, numbers)
    state = {RUN: ""}
    if kind == "run_failed":
        alert = Alert(
            decision.id,
            what,
            now,
            "critical",
            f"mainspring ledger --kind run_failed, then mainspring run --resume {asked.id}",
            "keep serving the champion and wait for the next trigger",
            since=asked.known_at,
            sure="certain: the run has ended",
            # What an error says may quote rows.
            detail=why,
        )
        state |= owed(alert)
    if kind == "gate_refused":
        looks = "mainspring ledger --kind gate_refused"
        sure = "as sure as the gate's window lets it be: its interval is in the ledger"
        state |= owed(Alert(decision.id, what, now, "info", looks, "keep serving the champion", sure=sure, detail=why))
    platform.ledger.append(decision, state=state)
    return MOVED


def _outcome(run: Run) -> tuple[DecisionKind, str, str]:
    if run.status != "succeeded":
        failed = next((step for step in run.steps if step.status == "failed"), None)
        return "run_failed", f"run {run.id} {run.status}" + (f" in {failed.name}" if failed else ""), run.reason
    if run.passed:
        return "gate_passed", f"version {run.version} passed the gate", run.reason
    return "gate_refused", f"version {run.version} was refused by the gate", run.reason
