"""What a person asks of the loop: a run, or a word about the rollout.

Whoever asks only writes a ledger row. The loop, which alone writes triggers, weights and aliases, answers the oldest row
without an answer: by the decision that was asked for, in the person's name, or by a refusal with its reason. How many
rows were answered is state, written in the transaction of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mainspring.domain.decision import Decision, DecisionKind
from mainspring.domain.errors import ConflictError, DataError
from mainspring.domain.rollout import RolloutPhase
from mainspring.loop.grants import Granting, grant, objection, objection_of_registry
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import rollout_of
from mainspring.loop.wishes import EXTERNAL, PersonRequest, Wish, request_in
from mainspring.ports import Ledger

ANSWERED = "requests_answered"
_ALIAS_RESTS: tuple[RolloutPhase, ...] = ("idle", "deploying", "shadow", "canary", "guard")
_ANSWERED_BY: dict[Wish, DecisionKind] = {
    "retrain": "trigger",
    "start": "rollout_started",
    "abort": "rolled_back",
    "promote": "promoted",
    "approve": "approved",
    "pause": "paused",
    "resume": "resumed",
    "undo": "rolled_back",
    "freeze": "frozen",
    "unfreeze": "unfrozen",
    "collect": "collected",
}


def ask(ledger: Ledger, request: PersonRequest) -> str:
    """Write a request; returns the row's id, or that of a like one which waits for its answer.

    Errors: `ConflictError` when the ledger alone tells that it cannot be granted; the refusal is written, too.
    """
    for row in pending(ledger):
        if request_in(row).like(request):
            return row.id
    why = objection(ledger, request, request.at)
    if why:
        _refuse(ledger, request, request.id, request.at, why, {})
        raise ConflictError(f"refused: {why}", next_step="mainspring status")
    ledger.append(request.row())
    return request.id


def answer(ledger: Ledger, request_id: str) -> Decision | None:
    """The decision that answered a request, None while it waits."""
    rows = ledger.decisions(kind="requested")
    place = next((place for place, row in enumerate(rows) if row.id == request_id), None)
    if place is None or place >= _answered(ledger):
        return None
    later = [
        one
        for kind in (_ANSWERED_BY[request_in(rows[place]).wish], "request_refused")
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
    row, now = waiting[0], platform.clock.now()
    place = _answered(platform.ledger)
    done = {ANSWERED: str(place + 1)}
    try:
        request = request_in(row)
    except DataError as error:
        _refuse(platform.ledger, None, row.id, now, str(error), done)
        return MOVED
    why = objection(platform.ledger, request, now) or objection_of_registry(platform, request)
    if why:
        _refuse(platform.ledger, request, row.id, now, why, done)
        return MOVED
    return grant(platform, Granting(request, row.id, place, done))


def _hear_alias(platform: Platform) -> None:
    """An alias `champion` that somebody moved is put back: it says what serves. To another version it is a request.

    To a candidate it asks for its promotion, to the old version that a guard keeps warm for that one back, to any other for a
    rollout. Its row's id is the same until something was answered, so that a kill before the alias is back makes no second
    row. In all other phases the loop itself moves the alias.
    """
    rollout = rollout_of(platform.ledger)
    if rollout.phase not in _ALIAS_RESTS or not rollout.stable:
        return
    named = next((one.version for one in platform.registry.versions() if "champion" in one.aliases), "")
    if named == rollout.stable:
        return
    now, place = platform.clock.now(), _answered(platform.ledger)
    if named:
        wish: Wish = "start"
        if named == rollout.candidate and not rollout.candidate_build:
            wish = "undo" if rollout.phase == "guard" else "promote"
        version = named if wish == "start" else ""
        request = PersonRequest(wish, EXTERNAL, now, version, "the alias `champion` was moved in the registry")
        platform.ledger.append(request.row(f"requested:alias:{named}:{place}"))
    else:
        what = f"the alias `champion` is put back to version {rollout.stable}"
        why = "it was removed in the registry"
        row = f"alias:{rollout.id}:{now:%Y-%m-%dT%H:%M:%S.%f}"
        platform.ledger.append(Decision(row, "alias", what, why, "loop", now, rollout.stable))
    platform.registry.set_alias("champion", rollout.stable)


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
