"""What is kept of what was replaced: warm predictors, versions, and the files of both.

A version that goes is written down first, in the transaction of its decision; then it goes from the registry, so that nothing
can refer to it any more, then its files. Killed in between, the next tick goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from mainspring.domain.decision import Decision
from mainspring.domain.errors import TemporaryError
from mainspring.domain.model_version import ModelVersion
from mainspring.loop.champions import former_champions, untried
from mainspring.loop.freeze import frozen
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Doomed, Platform
from mainspring.loop.requests import pending
from mainspring.loop.state import COLLECT_WANTED as WANTED
from mainspring.loop.state import POLICY, dump, read, rollout_of
from mainspring.ports import Ledger
from mainspring.settings.keeping import KeepSettings

COLLECTING, COLLECTED_AT = "collecting", "collected_at"


def reasons(
    versions: Sequence[ModelVersion], ledger: Ledger, keep: KeepSettings, running: Collection[str]
) -> dict[str, str]:
    """Why each version stays; one that is not among them may go. `running`: versions with a predictor."""
    rollout = rollout_of(ledger)
    if rollout.stable and rollout.stable not in {one.version for one in versions}:
        raise TemporaryError(f"the registry does not have version {rollout.stable}, which is in service: nothing goes")
    next_ones = {one.version for one in untried(versions, ledger, rollout.stable)}
    former = former_champions(ledger, rollout)[:1]
    asked = {one.version for one in pending(ledger)}
    found: dict[str, str] = {}
    for one in versions:
        facts = {
            "in service": one.version == rollout.stable,
            "in a rollout or its guard": one.version in (rollout.candidate,) and bool(rollout.candidate),
            f"alias {', '.join(one.aliases)}": bool(one.aliases),
            f"approved by {one.approver}": one.approver not in (POLICY, ""),
            "asked for": one.version in asked,
            "may be rolled out": one.version in next_ones,
            "the champion before": one.version in former,
            "its predictor runs": one.version in running,
        }
        why = next((name for name, holds in facts.items() if holds), "")
        if why:
            found[one.version] = why
    others = [one.version for one in reversed(versions) if one.version not in found]
    return found | dict.fromkeys(others[: keep.versions], f"one of the newest {keep.versions} that are not in use")


def doomed(
    versions: Sequence[ModelVersion], ledger: Ledger, keep: KeepSettings, running: Collection[str]
) -> list[Doomed]:
    """Versions that go, oldest first."""
    stay = reasons(versions, ledger, keep, running)
    return [
        Doomed(
            one.version,
            one.run_id,
            tuple(filter(None, dict.fromkeys((one.evaluated_run, one.shipped_run)))),
            f"{one.verdict}, not in use, and older than the newest {keep.versions} of those",
        )
        for one in versions
        if one.version not in stay
    ]


def turn(platform: Platform) -> Outcome:
    """Delete at most one version, or what files are left over; nothing where nobody asks for it."""
    ledger, keep = platform.ledger, platform.settings.keep
    left = read(ledger, COLLECTING, Doomed)
    if platform.collector is None or (left is None and not _wanted(platform)):
        return STILL
    now, running = platform.clock.now(), {one.version for one in platform.server.endpoints()}
    if left is None:
        left = next(iter(doomed(platform.registry.versions(), ledger, keep, running)), None)
        if left is None:
            platform.collector.sweep(now)
            ledger.put_state({WANTED: "", COLLECTED_AT: dump(now)})
            return MOVED
        what = f"version {left.version} is deleted"
        actor = ledger.state(WANTED) or POLICY
        row = Decision(
            f"retired:{left.version}:{left.run_id}", "retired", what, left.why, actor, now, left.version, left.run_id
        )
        ledger.append(row, state={COLLECTING: dump(left)})
    else:
        why = reasons(platform.registry.versions(), ledger, keep, running).get(left.version)
        if why is not None:
            # Somebody needs it since it was written down, and it is there still.
            what, row_id = f"version {left.version} stays after all", f"stays:{left.version}:{now.isoformat()}"
            row = Decision(row_id, "collected", what, why, "loop", now, left.version, left.run_id)
            ledger.append(row, state={COLLECTING: ""})
            return MOVED
    platform.collector.collect(left)
    ledger.put_state({COLLECTING: ""})
    return MOVED


def _wanted(platform: Platform) -> bool:
    every = platform.settings.keep.every
    if platform.ledger.state(WANTED):
        return True
    if every is None or not rollout_of(platform.ledger).stable or frozen(platform):
        return False
    last = read(platform.ledger, COLLECTED_AT, datetime)
    return last is None or platform.clock.now() - last >= every
