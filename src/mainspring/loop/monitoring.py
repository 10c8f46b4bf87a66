"""Chores that look at what was served: the log is compacted, drift is reported, and a retraining is asked for or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mainspring.domain.decision import Alert, Decision
from mainspring.domain.time import floor_to
from mainspring.loop import runs
from mainspring.loop.alerts import owed
from mainspring.loop.freeze import frozen
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import RUN, RunRequest, dump, read, rollout_of
from mainspring.retrain.policy import RetrainEvidence, decide, may_ask

DRIFT_AT, ALARM, ASKED_AT = "drift_at", "alarm", "asked_at"


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
    will = {
        "on_alarm": "retrain, when cooldown and budget allow",
        "on_regret": "ask whether a retraining would pay, as every week",
    }
    alert = Alert(
        decision.id,
        # Names alone: a reason may name values, and those of a text column may be a person's.
        f"{what}: {', '.join(sorted({one.feature for one in drifted}))} drifted",
        at,
        "warning",
        "mainspring drift",
        will.get(platform.settings.retrain.policy, "do nothing: the policy does not act on alarms"),
        since=report.since or report.current.start,
        sure=report.sure_in_words,
        detail=report.reason,
    )
    platform.ledger.append(decision, state=state | owed(alert))
    return MOVED


def retrain(platform: Platform) -> Outcome:
    """Ask the policy whether to retrain, as often as it wants to be asked; every answer is a ledger row."""
    policy, now = platform.settings.retrain, platform.clock.now()
    rollout = rollout_of(platform.ledger)
    asked = read(platform.ledger, ASKED_AT, datetime)
    if not rollout.stable or policy.policy == "never" or (asked is not None and now - asked < policy.ask_every):
        return STILL
    if frozen(platform):
        return STILL  # The question waits; it is asked when the freeze ends.
    evidence = gather(platform, rollout.stable)
    if evidence.running or rollout.phase != "idle":
        return STILL  # What is under way may answer the question.
    if may_ask(evidence, policy, now):
        evidence = replace(evidence, daily_gains=_gains(platform, rollout.stable, now))
    verdict = decide(evidence, policy, now)
    state = {ASKED_AT: dump(now)}
    if verdict.retrain:
        return runs.request(platform, policy.policy, verdict.reason, verdict.trigger, state, verdict.numbers)
    if not verdict.numbers:
        # Held back by cooldown or budget: nothing was measured, so there is nothing to write down. Look again soon.
        return STILL
    decision = Decision(
        f"no_trigger:{policy.policy}:{rollout.stable}:{now:%Y-%m-%dT%H:%M}",
        "no_trigger",
        f"version {rollout.stable} stays as it is",
        verdict.reason,
        "policy:auto",
        now,
        rollout.stable,
        "",
        verdict.numbers,
    )
    platform.ledger.append(decision, state=state)
    return MOVED


def gather(platform: Platform, champion: str) -> RetrainEvidence:
    """What the ledger knows about a champion's age, earlier retrainings and standing alarms."""
    decisions = platform.ledger.decisions()
    trained = [one.at for one in decisions if one.kind in ("gate_passed", "adopted") and one.version == champion]
    since = trained[-1] if trained else decisions[0].at
    asked = tuple(one.at for one in decisions if one.kind == "trigger" and not one.id.startswith("trigger:first"))
    # Which began with this champion, and stands.
    alarms = [one for one in decisions if one.kind == "alarm" and one.version == champion]
    if platform.ledger.state(ALARM) != champion:
        alarms = []
    running = read(platform.ledger, RUN, RunRequest) is not None
    return RetrainEvidence(champion, since, asked, running, alarms[-1].why if alarms else "")


def _gains(platform: Platform, champion: str, now: datetime) -> tuple[float, ...]:
    challenger = platform.challengers.fit(now - platform.settings.retrain.ask_window)
    metric = platform.settings.metric
    blocks = platform.challengers.scores(challenger, champion, now)
    return tuple(metric.gain(one.challenger, one.champion) for one in blocks)
