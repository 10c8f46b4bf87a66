"""Rollouts: the table phase -> function. Each function makes the world as its phase asks, then decides the next phase."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mainspring.domain.decision import Decision, DecisionKind
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import ArmCounts, Endpoint, Rollout, RolloutPhase, RolloutStep
from mainspring.loop.champions import keep_warm, untried, warm_versions
from mainspring.loop.freeze import frozen
from mainspring.loop.outcome import MOVED, STILL, WAITING, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.rollout_alerts import told_promoted, told_rolled_back
from mainspring.loop.state import POLICY, ROLLOUT, RUN, RunRequest, dump, read, rollout_of
from mainspring.rollout.rules import judge, over_the_limits
from mainspring.rollout.watch import tau_of


def turn(platform: Platform) -> Outcome:
    """Take the current rollout at most one step further."""
    rollout = rollout_of(platform.ledger)
    return PHASES[rollout.phase](platform, rollout)


def start_build(platform: Platform, version: str, build: str, reason: str) -> Outcome:
    """Roll out another build of a version; refused while a rollout is under way.

    It takes traffic at once: a build of what serves answers the same, and what is rehearsed is the canary.
    """
    current = rollout_of(platform.ledger)
    if current.phase != "idle":
        return STILL
    return begin(platform, current, version, build, reason)


def begin(
    platform: Platform,
    current: Rollout,
    version: str,
    build: str,
    reason: str,
    numbers: dict[str, Any] | None = None,
    *,
    actor: str = POLICY,
    more: Mapping[str, str] | None = None,
) -> Outcome:
    """Roll a version out over the one in service. `more` is state that is written in the same transaction."""
    now = platform.clock.now()
    name = f"{current.stable or 'none'}-to-{version}{'-' + build if build else ''}"
    began = len([one for one in platform.ledger.decisions(kind="rollout_started") if one.numbers.get("name") == name])
    sticky = platform.settings.rollout.sticky_header
    rollout = Rollout(
        f"{name}-{began + 1}",
        current.stable,
        version,
        build,
        phase="deploying",
        steps=_strategy(platform, build),
        sticky_header=sticky,
        salt=secrets.token_hex(16) if sticky else "",
        reason=reason,
        started_at=now,
        phase_since=now,
    )
    what = f"rollout of {rollout.named} began"
    numbers = {"name": name, **(numbers or {})}
    return _decide(platform, rollout, "rollout_started", what, reason, numbers, more, actor=actor)


def _strategy(platform: Platform, build: str) -> tuple[RolloutStep, ...]:
    steps = platform.settings.rollout.strategy()
    canaries = tuple(one for one in steps if one.kind == "canary")
    return canaries if build and canaries else steps


def _idle(platform: Platform, rollout: Rollout) -> Outcome:
    waiting = _keep(platform, rollout)
    if waiting is not STILL:
        return waiting
    keep_warm(platform, rollout)
    if read(platform.ledger, RUN, RunRequest) is not None:
        return STILL  # The run that makes a version is written down to its end before that version is rolled out.
    if rollout.stable and frozen(platform):
        return STILL
    candidate = next(reversed(untried(platform.registry.versions(), platform.ledger, rollout.stable)), None)
    if candidate is None:
        return STILL
    if platform.settings.rollout.approval == "person" and candidate.approver == POLICY:
        return STILL
    return begin(platform, rollout, candidate.version, "", f"version {candidate.version} passed the gate")


def _deploying(platform: Platform, rollout: Rollout) -> Outcome:
    # Callers are answered meanwhile: whatever died of what serves them is started again.
    _keep(platform, replace(rollout, candidate="", candidate_build=""))
    candidate = _version(platform, rollout.candidate)
    if not rollout.candidate_build:
        platform.registry.set_alias("challenger", rollout.candidate)
    platform.server.start(candidate, platform.registry.fetch(rollout.candidate), build=rollout.candidate_build)
    endpoint = _endpoint(platform, rollout.candidate, rollout.candidate_build)
    if endpoint is None or not endpoint.ready:
        if endpoint is not None and endpoint.reason:
            return roll_back(platform, rollout, f"its predictor does not start: {endpoint.reason}", {})
        return WAITING
    if not rollout.stable:
        return promote(platform, rollout, "the first model: nothing to compare with", {})
    if rollout.paused_by or frozen(platform):
        return STILL
    return _enter(platform, rollout, 0, "deployed and warmed up", {})


def _step(platform: Platform, rollout: Rollout) -> Outcome:
    """A shadow or a canary: judged by its evidence."""
    waiting = _keep(platform, rollout)
    if waiting is not STILL:
        return waiting
    endpoint = _endpoint(platform, rollout.candidate, rollout.candidate_build)
    if endpoint is not None and endpoint.reason:
        return roll_back(platform, rollout, f"its predictor does not run: {endpoint.reason}", {})
    now = platform.clock.now()
    verdict = judge(rollout, platform.tests.look(rollout, now), platform.settings.rollout, now)
    if verdict.action == "roll_back":
        return roll_back(platform, rollout, verdict.reason, verdict.numbers)
    if verdict.action == "continue" or rollout.paused_by or frozen(platform):
        return STILL
    if verdict.action == "promote":
        return promote(platform, rollout, verdict.reason, verdict.numbers)
    return _enter(platform, rollout, rollout.step + 1, verdict.reason, verdict.numbers)


def _enter(platform: Platform, rollout: Rollout, place: int, why: str, numbers: dict[str, Any]) -> Outcome:
    """The next step of the strategy; behind the last comes all of the traffic."""
    if place >= len(rollout.steps):
        return promote(platform, rollout, why, numbers)
    step = rollout.steps[place]
    shadow, past = step.kind == "shadow", dict(platform.tests.past(rollout))
    floor = platform.settings.rollout.latency.floor_seconds
    tau = 0.0 if shadow else rollout.tau_seconds or tau_of(past.get("stable", ArmCounts()), floor)
    entered = replace(
        rollout,
        evidence=past,
        tau_seconds=tau,
        phase="shadow" if shadow else "canary",
        step=place,
        # Who was given an arm keeps it.
        cohort_header=step.cohort_header or rollout.cohort_header,
        cohorts={**rollout.cohorts, **step.cohorts},
        weight_percent=0 if shadow else step.percent,
        mirror_percent=step.percent if shadow else 0,
        phase_since=platform.clock.now(),
        reason=why,
    )
    of = "users" if step.kind == "ab" or (rollout.sticky_header and not shadow) else "traffic"
    what = f"{step.percent} % of {of} {'copied ' if shadow else ''}to version {rollout.candidate}"
    return _decide(platform, entered, "shadow" if shadow else "weight", what, why, numbers)


def promote(
    platform: Platform,
    rollout: Rollout,
    why: str,
    numbers: dict[str, Any],
    *,
    actor: str = POLICY,
    more: Mapping[str, str] | None = None,
) -> Outcome:
    """The candidate becomes the champion."""
    now = platform.clock.now()
    step = replace(rollout, phase="promoting", weight_percent=100, mirror_percent=0, phase_since=now, reason=why)
    what = f"{rollout.named} is the champion"
    told = told_promoted(rollout, why, now)
    return _decide(platform, step, "promoted", what, why, numbers, {**(more or {}), **told}, actor=actor)


def roll_back(
    platform: Platform,
    rollout: Rollout,
    why: str,
    numbers: dict[str, Any],
    *,
    actor: str = POLICY,
    more: Mapping[str, str] | None = None,
) -> Outcome:
    """Stable gets all traffic back, and people are told."""
    now = platform.clock.now()
    step = replace(rollout, phase="rolling_back", weight_percent=0, mirror_percent=0, phase_since=now, reason=why)
    back = f"back to version {rollout.stable}" if rollout.stable else "nothing to go back to"
    what = f"{rollout.named} rolled back: {back}"
    told = told_rolled_back(
        platform.settings, rollout.id, (rollout.named, rollout.stable), why, now, actor=actor, tested=bool(numbers)
    )
    _decide(platform, step, "rolled_back", what, why, numbers, {**(more or {}), **told}, actor=actor)
    _rolling_back(platform, step)  # Callers first; whom it is told, next.
    return MOVED


def undo(
    platform: Platform,
    rollout: Rollout,
    why: str,
    numbers: dict[str, Any],
    *,
    actor: str = POLICY,
    more: Mapping[str, str] | None = None,
) -> Outcome:
    """In the guard: the old version, which is warm, gets all traffic back, and people are told."""
    now, new, old = platform.clock.now(), rollout.stable, rollout.candidate
    step = replace(rollout, phase="undoing", mirror_percent=0, phase_since=now, reason=why)
    what = f"version {new} rolled back: the promotion is undone, back to version {old}"
    decision = Decision(f"undone:{rollout.id}", "rolled_back", what, why, actor, now, new, "", numbers)
    told = told_rolled_back(
        platform.settings, rollout.id, (f"version {new}", old), why, now, actor=actor, tested=bool(numbers)
    )
    platform.ledger.append(decision, state={ROLLOUT: dump(step), **(more or {}), **told})
    _undoing(platform, step)
    return MOVED


def _promoting(platform: Platform, rollout: Rollout) -> Outcome:
    platform.registry.set_alias("champion", rollout.candidate)
    platform.registry.set_alias("challenger", "")
    guard = platform.settings.rollout.guard.time
    if not guard or not platform.settings.keep.warm or not rollout.stable or rollout.candidate_build:
        return _retire(platform, rollout, rollout.candidate)
    return _put(
        platform,
        replace(
            rollout,
            stable=rollout.candidate,
            candidate=rollout.stable,
            weight_percent=0,
            mirror_percent=100,
            phase="guard",
            paused_by="",
            evidence=dict(platform.tests.past(rollout)),
        ),
    )


def _guard(platform: Platform, rollout: Rollout) -> Outcome:
    """The new version has all traffic; the old one is warm, and shadows it."""
    waiting = _keep(platform, rollout)
    if waiting is not STILL:
        return waiting
    guard, now = platform.settings.rollout.guard, platform.clock.now()
    # An arm that fails beside nobody is measured by what was before.
    before, since = rollout.evidence.get("stable", ArmCounts()), _since_promotion(platform, rollout)
    broken = over_the_limits(since, before, guard.limits)
    if broken:
        return undo(platform, rollout, broken, {"requests": since.requests, "errors": since.upstream_errors})
    quality = platform.tests.look(rollout, now).quality
    if quality is not None and quality.outcome == "REJECT":
        return undo(platform, rollout, str(quality), {"log_e": quality.log_e_values})
    if rollout.phase_since is not None and now - rollout.phase_since < guard.time:
        return STILL
    return _retire(platform, rollout, rollout.stable)


def _since_promotion(platform: Platform, rollout: Rollout) -> ArmCounts:
    """What the arm `stable`, which is the new version since, was asked after the promotion."""
    now, then = (one.get("stable", ArmCounts()) for one in (platform.tests.past(rollout), rollout.evidence))
    return ArmCounts(
        max(0, now.requests - then.requests),
        max(0, now.upstream_errors - then.upstream_errors),
        max(0, now.user_errors - then.user_errors),
    )


def _undoing(platform: Platform, rollout: Rollout) -> Outcome:
    platform.registry.set_alias("champion", rollout.candidate)
    platform.registry.annotate(rollout.stable, {"mainspring.rolled_back": rollout.reason})
    return _retire(platform, rollout, rollout.candidate)


def _rolling_back(platform: Platform, rollout: Rollout) -> Outcome:
    if not rollout.candidate_build:
        platform.registry.set_alias("challenger", "")
        platform.registry.annotate(rollout.candidate, {"mainspring.rolled_back": rollout.reason})
    return _retire(platform, rollout, rollout.stable)


def _retire(platform: Platform, rollout: Rollout, stable: str) -> Outcome:
    """Give `stable` all traffic; what else runs is stopped in the next phase."""
    return _put(
        platform,
        replace(
            rollout,
            stable=stable,
            candidate="",
            candidate_build="",
            weight_percent=0,
            mirror_percent=0,
            phase="retiring",
            paused_by="",
        ),
    )


def _put(platform: Platform, rollout: Rollout) -> Outcome:
    """Make the world as a phase asks, then write the phase down."""
    step = replace(rollout, phase_since=platform.clock.now())
    waiting = _keep(platform, step)
    if waiting is not STILL:
        return waiting
    platform.ledger.put_state({ROLLOUT: dump(step)})
    return MOVED


def _retiring(platform: Platform, rollout: Rollout) -> Outcome:
    warm = {rollout.stable, *warm_versions(platform.ledger, rollout, platform.settings.keep)}
    for endpoint in platform.server.endpoints():
        if endpoint.version not in warm or endpoint.build:
            platform.server.stop(endpoint.version, build=endpoint.build)
    rested = replace(rollout, phase="idle", phase_since=platform.clock.now(), evidence={}, steps=(), step=0)
    # With the salt goes what ties hashes to people.
    rested = replace(rested, salt="", sticky_header="", cohort_header="", cohorts={})
    platform.ledger.put_state({ROLLOUT: dump(rested)})
    return MOVED


def _keep(platform: Platform, rollout: Rollout) -> Outcome:
    """Predictors run and routes stand as the rollout says; waits while one gets ready."""
    if not rollout.stable:
        return STILL
    wanted = [(rollout.stable, "")]
    if rollout.candidate:
        wanted.append((rollout.candidate, rollout.candidate_build))
    for version, build in wanted:
        if _endpoint(platform, version, build) is None:
            platform.server.start(_version(platform, version), platform.registry.fetch(version), build=build)
    stable = _endpoint(platform, rollout.stable, "")
    if stable is None or not stable.ready:
        return WAITING
    candidate = _endpoint(platform, rollout.candidate, rollout.candidate_build) if rollout.candidate else None
    if candidate is not None and not (candidate.ready or candidate.reason) and not platform.router.observed():
        return WAITING  # A loop that starts anew: what the candidate could not answer yet is nothing against it.
    platform.router.apply(rollout, platform.server.endpoints())
    return STILL


def _decide(
    platform: Platform,
    rollout: Rollout,
    kind: DecisionKind,
    what: str,
    why: str,
    numbers: dict[str, Any],
    more: Mapping[str, str] | None = None,
    *,
    actor: str = POLICY,
) -> Outcome:
    decision_id = f"{kind}:{rollout.id}" + (f":{rollout.weight_percent}" if kind == "weight" else "")
    decision = Decision(decision_id, kind, what, why, actor, platform.clock.now(), rollout.candidate, "", numbers)
    platform.ledger.append(decision, state={ROLLOUT: dump(rollout), **(more or {})})
    return MOVED


def _version(platform: Platform, version: str) -> ModelVersion:
    return next(one for one in platform.registry.versions() if one.version == version)


def _endpoint(platform: Platform, version: str, build: str) -> Endpoint | None:
    found = (one for one in platform.server.endpoints() if one.version == version and one.build == build)
    return next(found, None)


PHASES: dict[RolloutPhase, Callable[[Platform, Rollout], Outcome]] = {
    "idle": _idle,
    "deploying": _deploying,
    "shadow": _step,
    "canary": _step,
    "promoting": _promoting,
    "guard": _guard,
    "rolling_back": _rolling_back,
    "undoing": _undoing,
    "retiring": _retiring,
}
