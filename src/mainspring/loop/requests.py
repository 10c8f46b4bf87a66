"""What a person asks of the loop: a run, or a word about the rollout.

Whoever asks only writes a ledger row. The loop, which alone writes triggers, weights and aliases, answers the oldest row
without an answer: by the decision that was asked for, in the person's name, or by a refusal with its reason. How many
rows were answered is state, written in the transaction of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConflictError, DataError
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Rollout
from mainspring.loop import rollouts, runs
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import POLICY, RUN, RunRequest, read, rollout_of
from mainspring.ports import Ledger

Wish = Literal["retrain", "start", "abort", "promote"]
ANSWERED = "requests_answered"
EXTERNAL = "external"
"""The actor of a request that came by another tool."""


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """What is asked for, by whom and when. `version` belongs to `start`."""

    wish: Wish
    actor: str
    at: datetime
    version: str = ""
    reason: str = ""

    @property
    def id(self) -> str:
        """The ledger row's id."""
        return f"requested:{self.wish}:{self.version}:{self.at:%Y-%m-%dT%H:%M:%S.%f}:{self.actor}"

    @property
    def words(self) -> str:
        """What is asked for, in words."""
        return {
            "retrain": "a run of the pipeline",
            "start": f"a rollout of version {self.version}",
            "abort": "the end of the rollout",
            "promote": "all traffic for the candidate",
        }[self.wish]


def ask(ledger: Ledger, request: PersonRequest) -> str:
    """Write a request; returns the row's id, or that of a like one which waits for its answer.

    Errors: `ConflictError` when the ledger alone tells that it cannot be granted; the refusal is written, too.
    """
    for row in pending(ledger):
        waiting = _request(row)
        if (waiting.wish, waiting.version) == (request.wish, request.version):
            return row.id
    why = objection(ledger, request)
    if why:
        _refuse(ledger, request, request.id, request.at, why, {})
        raise ConflictError(f"refused: {why}", next_step="mainspring status")
    ledger.append(_row(request, request.id))
    return request.id


def answer(ledger: Ledger, request_id: str) -> Decision | None:
    """The decision that answered a request, None while it waits."""
    rows = ledger.decisions(kind="requested")
    place = next((place for place, row in enumerate(rows) if row.id == request_id), None)
    if place is None or place >= _answered(ledger):
        return None
    request = _request(rows[place])
    kinds = {"retrain": "trigger", "start": "rollout_started", "abort": "rolled_back", "promote": "promoted"}
    later = [
        one
        for kind in (kinds[request.wish], "request_refused")
        for one in ledger.decisions(kind=kind)
        if one.numbers.get("request") == request_id
    ]
    return later[-1] if later else None


def pending(ledger: Ledger) -> Sequence[Decision]:
    """Requests without an answer, oldest first."""
    return ledger.decisions(kind="requested")[_answered(ledger) :]


def turn(platform: Platform) -> Outcome:
    """Answer the oldest request."""
    _hear_alias(platform)
    waiting = pending(platform.ledger)
    if not waiting:
        return STILL
    row = waiting[0]
    place = _answered(platform.ledger)
    done = {ANSWERED: str(place + 1)}
    try:
        request = _request(row)
    except DataError as error:
        _refuse(platform.ledger, None, row.id, platform.clock.now(), str(error), done)
        return MOVED
    why = objection(platform.ledger, request) or (
        _not_to_start(platform, request.version) if request.wish == "start" else ""
    )
    if why:
        _refuse(platform.ledger, request, row.id, platform.clock.now(), why, done)
        return MOVED
    return _grant(platform, request, row.id, place, done)


def objection(ledger: Ledger, request: PersonRequest) -> str:
    """Why a request cannot be granted as things stand, "" when nothing in the ledger speaks against it."""
    rollout, run = rollout_of(ledger), read(ledger, RUN, RunRequest)
    under_way = f"a rollout is under way ({in_words(rollout)})" if rollout.phase != "idle" else ""
    if request.wish in ("retrain", "start"):
        if run is not None:
            return f"a run is under way ({run.id})"
        if under_way:
            return under_way
        if request.wish == "start" and request.version == rollout.stable:
            return f"version {request.version} is in service"
        return ""
    if rollout.phase == "idle":
        return "no rollout is under way"
    possible = ("deploying", "canary") if request.wish == "abort" else ("canary",)
    return "" if rollout.phase in possible else under_way


def in_words(rollout: Rollout) -> str:
    """A rollout that is under way."""
    share = f" at {rollout.weight_percent} %" if rollout.phase == "canary" else ""
    return f"version {rollout.candidate or rollout.stable}, {rollout.phase.replace('_', ' ')}{share}"


def _grant(platform: Platform, request: PersonRequest, row: str, place: int, done: dict[str, str]) -> Outcome:
    rollout, numbers = rollout_of(platform.ledger), {"request": row}
    why = f"asked for by {request.actor}" + (f": {request.reason}" if request.reason else "")
    actor = request.actor
    if request.wish == "retrain":
        return runs.request(platform, "person", why, f"trigger:person:{place + 1}", done, numbers, actor)
    if request.wish == "start":
        _approve(platform, request, why)
        return rollouts.begin(platform, rollout, request.version, "", why, numbers, actor=actor, more=done)
    if request.wish == "abort":
        return rollouts.roll_back(platform, rollout, why, numbers, actor=actor, more=done)
    return rollouts.promote(platform, rollout, why, numbers, actor=actor, more=done)


def _approve(platform: Platform, request: PersonRequest, why: str) -> None:
    """Where versions wait for a person, starting one is the approval."""
    version = _version(platform, request.version)
    if platform.settings.rollout.approval != "person" or version is None or version.approver != POLICY:
        return
    what = f"version {version.version} is approved"
    platform.ledger.append(
        Decision(f"approved:{version.version}", "approved", what, why, request.actor, request.at, version.version)
    )
    platform.registry.annotate(version.version, {"mainspring.approver": request.actor})


def _not_to_start(platform: Platform, version: str) -> str:
    found = _version(platform, version)
    if found is None:
        there = ", ".join(one.version for one in platform.registry.versions())
        return f"there is no version {version}; there are {there or 'none yet'}"
    return f"the gate refused version {version}: {found.reason}" if found.verdict == "refused" else ""


def _version(platform: Platform, version: str) -> ModelVersion | None:
    return next((one for one in platform.registry.versions() if one.version == version), None)


def _hear_alias(platform: Platform) -> None:
    """An alias `champion` that somebody moved is put back: it says what serves. To another version it is a request.

    Its row's id is the same until something was answered, so that a kill before the alias is back makes no second row.
    """
    rollout = rollout_of(platform.ledger)
    if rollout.phase != "idle" or not rollout.stable:
        return
    named = next((one.version for one in platform.registry.versions() if "champion" in one.aliases), "")
    if named == rollout.stable:
        return
    now, place = platform.clock.now(), _answered(platform.ledger)
    if named:
        request = PersonRequest("start", EXTERNAL, now, named, "the alias `champion` was moved in the registry")
        platform.ledger.append(_row(request, f"requested:alias:{named}:{place}"))
    else:
        what = f"the alias `champion` is put back to version {rollout.stable}"
        why = "it was removed in the registry"
        row = f"alias:{rollout.id}:{now:%Y-%m-%dT%H:%M:%S.%f}"
        platform.ledger.append(Decision(row, "alias", what, why, "loop", now, rollout.stable))
    platform.registry.set_alias("champion", rollout.stable)


def _row(request: PersonRequest, row: str) -> Decision:
    numbers: dict[str, Any] = {"wish": request.wish}
    what = f"{request.actor} asks for {request.words}"
    return Decision(row, "requested", what, request.reason, request.actor, request.at, request.version, "", numbers)


def _request(row: Decision) -> PersonRequest:
    wish = row.numbers.get("wish")
    if wish not in ("retrain", "start", "abort", "promote"):
        raise DataError(f"{wish!r} is nothing that can be asked for")
    return PersonRequest(wish, row.actor, row.at, row.version, row.why)


def _answered(ledger: Ledger) -> int:
    return int(ledger.state(ANSWERED) or 0)


def _refuse(
    ledger: Ledger, request: PersonRequest | None, row: str, at: datetime, why: str, state: dict[str, str]
) -> None:
    what = f"{request.words} is refused" if request is not None else "a request is refused"
    version = request.version if request is not None else ""
    decision = Decision(
        f"request_refused:{row}", "request_refused", what, why, "loop", at, version, "", {"request": row}
    )
    ledger.append(decision, state=state)
