"""Chores that look at what was served: the log is compacted, and drift is reported."""

from __future__ import annotations

from datetime import datetime

from mainspring.domain.decision import Alert, Decision
from mainspring.domain.time import duration_in_words, floor_to
from mainspring.loop.alerts import owed
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import ALARM, dump, read, rollout_of

DRIFT_AT = "drift_at"


def log(platform: Platform) -> Outcome:
    """What callers saw fail joins the log, and segments become Parquet."""
    platform.record_failures()
    platform.log.compact()
    return STILL


def drift(platform: Platform) -> Outcome:
    """Report on the newest whole window, once; an alarm that begins is a ledger row and a message.

    An alarm stands until a window without one: the same drift, told again every day, would only be unlearnt to be heard.

    A loop that slept reports on the newest window only: what was not looked at in time is history, not news.
    """
    stable, every = rollout_of(platform.ledger).stable, platform.settings.drift.every
    # What was asked before the window's end is answered, and logged, within the longest that a caller waits.
    at = floor_to(platform.clock.now() - min(platform.settings.serving.timeout, every / 10), every)
    done = read(platform.ledger, DRIFT_AT, datetime)
    if not stable or (done is not None and at <= done):
        return STILL
    if done is None:
        # The first window began before anything was served.
        platform.ledger.put_state({DRIFT_AT: dump(at)})
        return STILL
    report = platform.drift.run(stable, at)
    alarming = report.verdict == "alarm"
    standing = platform.ledger.state(ALARM) == stable
    state = {DRIFT_AT: dump(at), ALARM: stable if alarming or (standing and report.verdict == "no_data") else ""}
    if not alarming or standing:
        platform.ledger.put_state(state)
        return STILL
    drifted = [one for one in report.features if one.drifted and one.reference == report.acted_on]
    numbers = {
        one.feature: {
            "psi": one.psi,
            "ks": one.ks,
            "kl": one.kl,
            "t": one.t,
            "limit": one.threshold,
            "rows": one.current_rows,
        }
        for one in drifted
    }
    what = f"drift alarm for version {stable}"
    decision = Decision(f"alarm:{report.id}", "alarm", what, report.reason, "loop", at, stable, "", numbers)
    alert = Alert(
        decision.id,
        # Names alone: a reason may name values, and those of a text column may be a person's.
        f"{what}: {', '.join(sorted({one.feature for one in drifted}))} drifted",
        at,
        "warning",
        "mainspring drift",
        _will(platform),
        since=report.since or report.current.start,
        sure=report.sure_in_words,
        detail=report.reason,
    )
    platform.ledger.append(decision, state=state | owed(alert))
    return MOVED


def _will(platform: Platform) -> str:
    """What the loop does about an alarm, whatever holds it back for now."""
    policy = platform.settings.retrain
    if not policy.triggers:
        return "do nothing: only a person asks for a retraining (mainspring retrain)"
    if policy.policy == "on_alarm":
        return "retrain, when cooldown and budget allow"
    if "on_alarm" in policy.triggers:
        return f"ask its policy ({policy.words}) whether to retrain, when cooldown and budget allow; the answer is in the ledger"
    return f"go by its policy ({policy.words}), asked every {duration_in_words(policy.ask_every)}; the answer is in the ledger"
