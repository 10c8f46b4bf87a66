"""What the loop waits for, in words: read from the ledger and the project's policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from mainspring.domain.run import Run
from mainspring.domain.time import duration_in_words, floor_to
from mainspring.loop.freeze import freeze_of
from mainspring.loop.grants import in_words
from mainspring.loop.requests import pending
from mainspring.loop.state import ASKED_AT, read, rollout_of
from mainspring.ports import Ledger
from mainspring.settings.load import LoadedProject


def waiting_for(
    loaded: LoadedProject, ledger: Ledger, *, running: bool, failing: Mapping[str, str], run: Run | None, verdict: str
) -> Iterator[str]:
    """Each thing that has to happen before the loop goes on; what comes first, first."""
    if not running:
        yield "a loop: mainspring up"
    for chore, text in failing.items():
        yield f"{chore} to work again: {text.splitlines()[0]}"
    if any((loaded.paths.segments.parent / "forgetting").glob("*.json")):
        yield "`mainspring logs forget` to be called again: what was to be forgotten is not yet"
    if pending(ledger):
        yield "the next tick, to answer what was asked for"
    rollout, settings = rollout_of(ledger), loaded.settings
    freeze = freeze_of(ledger, datetime.now(UTC))
    if freeze is not None:
        yield f"the end of the freeze ({freeze.words}): mainspring freeze --end"
    if rollout.paused_by:
        yield f"{rollout.paused_by} or somebody else to let the rollout go on: mainspring rollout resume"
    if run is not None:
        yield f"run {run.id} to end"
    if rollout.phase in ("shadow", "canary"):
        yield f"evidence on {in_words(rollout)} ({verdict})"
    elif rollout.phase != "idle":
        yield in_words(rollout)
    if run is not None or rollout.phase != "idle":
        return
    yield from _a_person(loaded, ledger, rollout.stable)
    if not rollout.stable:
        return
    now = datetime.now(UTC)
    yield f"the next drift report, at {floor_to(now, settings.drift.every) + settings.drift.every:%Y-%m-%d %H:%M} UTC"
    policy = settings.retrain
    asked = read(ledger, ASKED_AT, datetime)
    if policy.triggers:
        at = (
            f"at {asked + policy.ask_every:%Y-%m-%d %H:%M} UTC"
            if asked is not None
            else "as soon as cooldown and budget allow"
        )
        yield f"the question whether to retrain ({policy.words}, every {duration_in_words(policy.ask_every)}): {at}"


def _a_person(loaded: LoadedProject, ledger: Ledger, stable: str) -> Iterator[str]:
    passed = [one for one in ledger.decisions() if one.kind in ("gate_passed", "adopted")]
    tried = {one.version for kind in ("rollout_started", "approved") for one in ledger.decisions(kind=kind)}
    if loaded.settings.rollout.approval == "person" and passed and passed[-1].version not in tried:
        version = passed[-1].version
        yield f"a person's approval of version {version}: mainspring approve {version}"
    failed = ledger.decisions(kind="run_failed")
    if not stable and failed and not passed:
        reason = failed[-1].why.splitlines()
        yield f"a person: the first run failed ({reason[0] if reason else failed[-1].what}); then: mainspring retrain"
