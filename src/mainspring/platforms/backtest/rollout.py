"""What stands in for rollouts: an accepted version takes its least time, is promoted, and guarded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mainspring.domain.decision import Decision
from mainspring.domain.rollout import Rollout
from mainspring.loop.champions import untried
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import ROLLOUT, dump, rollout_of
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    from mainspring.platforms.backtest.world import World


def rollout_time(loaded: LoadedProject) -> timedelta:
    """The least event time from a passed gate to a promotion."""
    return timedelta(seconds=sum(one.seconds for one in loaded.settings.rollout.strategy()))


def turn_rollout(world: World, platform: Platform) -> Outcome:
    """The chore that stands in for rollouts: an accepted version takes its least time, is promoted, and guarded."""
    now, ledger = platform.clock.now(), platform.ledger
    rollout = rollout_of(ledger)
    since = rollout.phase_since or now
    guard = world.loaded.settings.rollout.guard.time
    if rollout.phase == "guard":
        if now - since < guard:
            return STILL
        ledger.put_state({ROLLOUT: dump(replace(rollout, phase="idle", candidate="", phase_since=now))})
        return MOVED
    if rollout.phase == "canary":
        if now - since < rollout_time(world.loaded):
            return STILL
        return _promoted(world, platform, rollout, rollout.candidate, guard)
    fresh = untried(platform.registry.versions(), ledger, rollout.stable)
    if not fresh:
        return STILL
    name = fresh[-1].version
    if not rollout.stable:
        return _promoted(world, platform, rollout, name, timedelta(0))
    begun = replace(rollout, id=f"rollout-{name}", candidate=name, phase="canary", phase_since=now)
    what = f"version {name} is rolled out"
    row = Decision(f"rollout_started:{name}", "rollout_started", what, "it passed the gate", "loop", now, name)
    ledger.append(row, state={ROLLOUT: dump(begun)})
    return MOVED


def _promoted(world: World, platform: Platform, rollout: Rollout, name: str, guard: timedelta) -> Outcome:
    now = platform.clock.now()
    phase: Any = "guard" if guard else "idle"
    done = replace(
        rollout,
        id=f"rollout-{name}",
        stable=name,
        candidate=rollout.stable if guard else "",
        phase=phase,
        phase_since=now,
    )
    row = Decision(f"promoted:{name}", "promoted", f"version {name} is champion", "replayed", "loop", now, name)
    platform.ledger.append(row, state={ROLLOUT: dump(done)})
    world.served.append((now, name))
    return MOVED
