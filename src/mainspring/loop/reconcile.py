"""`reconcile`: one tick. It looks at the world, compares, and takes at most the next step of each chore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainspring.loop import rollouts, runs
from mainspring.loop.outcome import MOVED, WAITING, Outcome
from mainspring.loop.platform import Platform

Chore = Callable[[Platform], Outcome]


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did: `moved` says tick again at once, `waiting` says that a process has to get ready or end."""

    moved: bool
    waiting: bool
    outcomes: dict[str, Outcome]


def _features(platform: Platform) -> Outcome:
    """Views are brought up to the present before anything asks for them."""
    platform.features.advance(platform.clock.now())
    return "still"


CHORES: dict[str, Chore] = {
    "features": _features,
    "first": runs.request_first,
    "run": runs.turn,
    "rollout": rollouts.turn,
}


def reconcile(platform: Platform) -> Tick:
    """Take the next step, if there is one. Safe to call at any time, any number of times, after any crash."""
    outcomes = {name: chore(platform) for name, chore in CHORES.items()}
    return Tick(MOVED in outcomes.values(), WAITING in outcomes.values(), outcomes)
