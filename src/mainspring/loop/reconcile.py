"""`reconcile`: one tick. It looks at the world, compares, and takes at most the next step.

Chores are looked at in a fixed order, and the first that moves something ends the tick: what comes next depends on what
is, never on how far the process came that was killed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainspring.domain.errors import TemporaryError
from mainspring.loop import alerts, keep, monitoring, performing, requests, rollouts, runs
from mainspring.loop.outcome import MOVED, WAITING, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.setbacks import Setbacks
from mainspring.telemetry.logs import Log

Chore = Callable[[Platform], Outcome]


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did: `moved` says tick again at once, `waiting` says that a process has to get ready or end.

    `outcomes` has the chores that were looked at.
    """

    moved: bool
    waiting: bool
    outcomes: dict[str, Outcome]


def _features(platform: Platform) -> Outcome:
    """Views are brought up to the present before anything asks for them."""
    platform.features.advance(platform.clock.now())
    return "still"


CHORES: dict[str, Chore] = {
    "alerts": alerts.send,
    "features": _features,
    # A window is reported on for the version that served in it, before a rollout puts another one there.
    "log": monitoring.log,
    "drift": monitoring.drift,
    "performance": performing.performance,
    "requests": requests.turn,
    "first": runs.request_first,
    "run": runs.turn,
    "rollout": rollouts.turn,
    "retrain": monitoring.retrain,
    "keep": keep.turn,
}


def _take(platform: Platform, name: str, chore: Chore, setbacks: Setbacks | None) -> Outcome:
    """One chore that cannot go on for now does not keep the others from theirs."""
    if setbacks is not None:
        return setbacks.take(name, lambda: chore(platform))
    try:
        return chore(platform)
    except TemporaryError as error:
        Log().warning("a chore waits", chore=name, why=str(error))
        return WAITING


def reconcile(platform: Platform, setbacks: Setbacks | None = None) -> Tick:
    """Take the next step, if there is one. Safe to call at any time, any number of times, after any crash.

    With `setbacks` an error of one chore leaves the others alone; without, only a temporary one does.
    """
    outcomes: dict[str, Outcome] = {}
    for name, chore in CHORES.items():
        outcomes[name] = _take(platform, name, chore, setbacks)
        if outcomes[name] == MOVED:
            break
    return Tick(MOVED in outcomes.values(), WAITING in outcomes.values(), outcomes)
