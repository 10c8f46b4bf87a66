"""What speaks against a person's request, and what it takes to grant it: a table wish -> functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from mainspring.domain.decision import Decision, DecisionKind
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Rollout, RolloutPhase
from mainspring.loop import retraining, rollouts, runs
from mainspring.loop.freeze import FREEZE, Freeze, freeze_of
from mainspring.loop.outcome import MOVED, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import COLLECT_WANTED as WANTED
from mainspring.loop.state import POLICY, ROLLOUT, RUN, RunRequest, dump, read, rollout_of
from mainspring.loop.wishes import PersonRequest, Wish
from mainspring.ports import Ledger


@dataclass(frozen=True, slots=True)
class Granting:
    """A request on its way to being granted: its row, its place among all requests, and the state that answers it."""

    request: PersonRequest
    row: str
    place: int
    done: dict[str, str]

    @property
    def why(self) -> str:
        """The reason that stands in the ledger."""
        one = self.request
        return f"asked for by {one.actor}" + (f": {one.reason}" if one.reason else "")

    @property
    def numbers(self) -> dict[str, object]:
        """What the answering row refers to."""
        return {"request": self.row}


def in_words(rollout: Rollout) -> str:
    """A rollout that is under way."""
    if rollout.phase == "guard":
        return f"version {rollout.stable}, guarded: version {rollout.candidate} is warm"
    if rollout.phase == "canary" and rollout.steps and rollout.steps[rollout.step].kind == "ab":
        paused = f", paused by {rollout.paused_by}" if rollout.paused_by else ""
        return f"version {rollout.candidate}, A/B with {rollout.weight_percent} % of the users{paused}"
    share = {
        "canary": f" at {rollout.weight_percent} %",
        "shadow": f" of {rollout.mirror_percent} % of the traffic",
    }.get(rollout.phase, "")
    paused = f", paused by {rollout.paused_by}" if rollout.paused_by else ""
    return f"version {rollout.candidate or rollout.stable}, {rollout.phase.replace('_', ' ')}{share}{paused}"


def objection(ledger: Ledger, request: PersonRequest, now: datetime) -> str:
    """Why a request cannot be granted as the ledger stands, "" when nothing in it speaks against."""
    rollout = rollout_of(ledger)
    freeze = freeze_of(ledger, now)
    if freeze is not None and request.wish in ("retrain", "start", "promote"):
        return f"{freeze.words}; it ends early by: mainspring freeze --end"
    return _OBJECTIONS[request.wish](ledger, rollout, request, now)


def objection_of_registry(platform: Platform, request: PersonRequest) -> str:
    """Why the registry's facts speak against a request for a version."""
    if request.wish not in ("start", "approve"):
        return ""
    found = version_of(platform, request.version)
    if found is None:
        there = ", ".join(one.version for one in platform.registry.versions())
        return f"there is no version {request.version}; there are {there or 'none yet'}"
    if found.verdict == "refused":
        return f"the gate refused version {request.version}: {found.reason}"
    approves = request.wish == "approve" or _waits_for_approval(platform, found)
    if approves and request.actor == found.trained_by:
        return f"{request.actor} trained version {request.version}: somebody else has to approve it"
    if request.wish == "approve" and found.approver not in (POLICY, request.actor):
        return f"{found.approver} approved version {request.version} already"
    return ""


def grant(platform: Platform, granting: Granting) -> Outcome:
    """Do what was asked for, in the person's name."""
    return _GRANTS[granting.request.wish](platform, granting)


def version_of(platform: Platform, version: str) -> ModelVersion | None:
    """A version of the registry, None when there is none of that name."""
    return next((one for one in platform.registry.versions() if one.version == version), None)


def _under_way(rollout: Rollout) -> str:
    return f"a rollout is under way ({in_words(rollout)})" if rollout.phase != "idle" else ""


def _against_a_run(ledger: Ledger, rollout: Rollout, request: PersonRequest, now: datetime) -> str:
    run = read(ledger, RUN, RunRequest)
    if run is not None:
        return f"a run is under way ({run.id})"
    if _under_way(rollout):
        return _under_way(rollout)
    if request.wish == "start" and request.version == rollout.stable:
        return f"version {request.version} is in service"
    return ""


def _against_a_word(ledger: Ledger, rollout: Rollout, request: PersonRequest, now: datetime) -> str:
    """A word about the rollout needs one, in a phase that it can change."""
    if rollout.phase == "idle":
        return "no rollout is under way"
    if request.wish == "resume":
        return "" if rollout.paused_by else f"the rollout is not paused ({in_words(rollout)})"
    if request.wish == "pause" and rollout.paused_by:
        return f"it is paused already ({in_words(rollout)})"
    if rollout.phase in _POSSIBLE.get(request.wish, ("deploying", "shadow", "canary")):
        return ""
    if request.wish == "undo":
        return f"no promotion is guarded ({in_words(rollout)}); mainspring rollout start brings an old version back"
    return _under_way(rollout)


def _against_a_freeze(ledger: Ledger, rollout: Rollout, request: PersonRequest, now: datetime) -> str:
    if request.wish == "unfreeze":
        return "" if freeze_of(ledger, now) is not None else "nothing is frozen"
    if request.until is None or request.until <= now:
        return f"a freeze needs an end later than now, {now:%Y-%m-%d %H:%M} UTC"
    return ""


def _nothing_against(ledger: Ledger, rollout: Rollout, request: PersonRequest, now: datetime) -> str:
    return ""


_POSSIBLE: dict[Wish, tuple[RolloutPhase, ...]] = {"promote": ("shadow", "canary"), "undo": ("guard",)}
_OBJECTIONS: dict[Wish, Callable[[Ledger, Rollout, PersonRequest, datetime], str]] = {
    "retrain": _against_a_run,
    "start": _against_a_run,
    "abort": _against_a_word,
    "promote": _against_a_word,
    "pause": _against_a_word,
    "resume": _against_a_word,
    "undo": _against_a_word,
    "approve": _nothing_against,
    "freeze": _against_a_freeze,
    "unfreeze": _against_a_freeze,
    "collect": _nothing_against,
}


def _retrain(platform: Platform, one: Granting) -> Outcome:
    trigger, now = f"trigger:person:{one.place + 1}", platform.clock.now()
    # Without a champion there is nothing whose days a window could be compared on.
    stable = rollout_of(platform.ledger).stable
    window = retraining.window_to_train_on(platform, now) if stable else retraining.TrainOn()
    numbers = one.numbers | ({"windows": window.numbers} if window.numbers else {})
    return runs.request(
        platform,
        "person",
        one.why,
        trigger,
        one.done,
        numbers,
        one.request.actor,
        window=window.window,
        train_from=window.train_from,
    )


def _start(platform: Platform, one: Granting) -> Outcome:
    """Where versions wait for a person, starting one is the approval."""
    request = one.request
    found = version_of(platform, request.version)
    if found is not None and _waits_for_approval(platform, found):
        platform.ledger.append(_approval(request, one.why, {}))
        platform.registry.annotate(request.version, {"mainspring.approver": request.actor})
    return rollouts.begin(
        platform,
        rollout_of(platform.ledger),
        request.version,
        "",
        one.why,
        one.numbers,
        actor=request.actor,
        more=one.done,
    )


def _abort(platform: Platform, one: Granting) -> Outcome:
    rollout = rollout_of(platform.ledger)
    return rollouts.roll_back(platform, rollout, one.why, one.numbers, actor=one.request.actor, more=one.done)


def _promote(platform: Platform, one: Granting) -> Outcome:
    rollout = rollout_of(platform.ledger)
    return rollouts.promote(platform, rollout, one.why, one.numbers, actor=one.request.actor, more=one.done)


def _undo(platform: Platform, one: Granting) -> Outcome:
    rollout = rollout_of(platform.ledger)
    return rollouts.undo(platform, rollout, one.why, one.numbers, actor=one.request.actor, more=one.done)


def _approve(platform: Platform, one: Granting) -> Outcome:
    # Answered last: killed before, it is granted again, which changes nothing.
    platform.ledger.append(_approval(one.request, one.why, one.numbers, row=one.row))
    tags = {"mainspring.approver": one.request.actor, "mainspring.approval": one.request.reason}
    platform.registry.annotate(one.request.version, tags)
    platform.ledger.put_state(one.done)
    return MOVED


def _pause(platform: Platform, one: Granting) -> Outcome:
    paused_by = one.request.actor if one.request.wish == "pause" else ""
    rollout = replace(rollout_of(platform.ledger), paused_by=paused_by)
    kind: DecisionKind = "paused" if paused_by else "resumed"
    what = f"the rollout of version {rollout.candidate} {'is paused' if paused_by else 'goes on'}"
    return _answer(platform, one, kind, what, {ROLLOUT: dump(rollout)})


def _freeze(platform: Platform, one: Granting) -> Outcome:
    if one.request.wish == "unfreeze":
        return _answer(platform, one, "unfrozen", "the freeze ends", {FREEZE: ""})
    assert one.request.until is not None
    freeze = Freeze(one.request.until, one.request.reason, one.request.actor)
    return _answer(platform, one, "frozen", freeze.words, {FREEZE: dump(freeze)})


def _collect(platform: Platform, one: Granting) -> Outcome:
    what = "what is not kept any more is being deleted"
    return _answer(platform, one, "collected", what, {WANTED: one.request.actor})


def _answer(platform: Platform, one: Granting, kind: DecisionKind, what: str, state: dict[str, str]) -> Outcome:
    now = platform.clock.now()
    row = f"{kind}:{one.row}"
    version = rollout_of(platform.ledger).candidate if kind in ("paused", "resumed") else ""
    decision = Decision(row, kind, what, one.why, one.request.actor, now, version, "", one.numbers)
    platform.ledger.append(decision, state={**state, **one.done})
    return MOVED


_GRANTS: dict[Wish, Callable[[Platform, Granting], Outcome]] = {
    "retrain": _retrain,
    "start": _start,
    "abort": _abort,
    "promote": _promote,
    "approve": _approve,
    "pause": _pause,
    "resume": _pause,
    "undo": _undo,
    "freeze": _freeze,
    "unfreeze": _freeze,
    "collect": _collect,
}


def _waits_for_approval(platform: Platform, version: ModelVersion) -> bool:
    return platform.settings.rollout.approval == "person" and version.approver == POLICY


def _approval(request: PersonRequest, why: str, numbers: dict[str, object], row: str = "") -> Decision:
    what, row_id = f"version {request.version} is approved", f"approved:{row or request.version}"
    return Decision(row_id, "approved", what, why, request.actor, request.at, request.version, "", numbers)
