"""The chore that asks whether to retrain. Each answer is a ledger row, and each alarm gets one.

What holds the question back (a cooldown, a freeze) is written down once, when it begins to: a row a change, not a row a tick.
The question stays open meanwhile and is asked when nothing holds it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from mainspring.domain.decision import Decision
from mainspring.domain.rollout import Rollout
from mainspring.domain.time import duration_in_words
from mainspring.loop import runs
from mainspring.loop.freeze import freeze_of
from mainspring.loop.outcome import MOVED, STILL, Outcome
from mainspring.loop.platform import Platform
from mainspring.loop.state import ALARM, ASKED_AT, POLICY, RUN, RunRequest, dump, read, rollout_of
from mainspring.retrain.loss import loss_test
from mainspring.retrain.policy import Held, RetrainEvidence, RetrainVerdict, decide, held_back, needs
from mainspring.retrain.windows import choose_window
from mainspring.settings.retrain import ALL, SINCE_CHANGE

HELD, ANSWERED = "retrain_held", "alarm_answered"


def turn(platform: Platform) -> Outcome:
    """Ask the policy whether to retrain: as often as it wants to be asked, and at once on a new drift alarm that it goes by.

    An alarm that it does not go by is no reason to look at the same days once more: it is answered when the question is due.
    """
    policy, now = platform.settings.retrain, platform.clock.now()
    rollout = rollout_of(platform.ledger)
    if not rollout.stable:
        return STILL
    asked = read(platform.ledger, ASKED_AT, datetime)
    next_at = now if asked is None else asked + policy.ask_every
    due = bool(policy.triggers) and now >= next_at
    if not due and not platform.ledger.state(ALARM):
        return STILL
    evidence = gather(platform, rollout.stable)
    news = evidence.alarm_id if platform.ledger.state(ANSWERED) != evidence.alarm_id else ""
    if not due and not news:
        return STILL
    held = _held(platform, rollout, evidence, now, next_at)
    if held is not None:
        return _wait(platform, evidence, held, news)
    evidence = _measured(platform, evidence, now)
    verdict = decide(evidence, policy, now)
    state = {ASKED_AT: dump(now), HELD: "", ANSWERED: evidence.alarm_id}
    if verdict.retrain:
        return _retrain(platform, verdict, rollout.stable, state)
    return _stay(platform, evidence.champion, f"{now:%Y-%m-%dT%H:%M}", verdict.reason, verdict.numbers, state)


def gather(platform: Platform, champion: str) -> RetrainEvidence:
    """What the ledger knows about a champion's age, earlier retrainings and standing alarms."""
    decisions = platform.ledger.decisions()
    trained = [one.at for one in decisions if one.kind in ("gate_passed", "adopted") and one.version == champion]
    since = trained[-1] if trained else decisions[0].at
    asked = tuple(one.at for one in decisions if one.kind == "trigger" and not one.id.startswith("trigger:first"))
    # Which began with this champion, and stands.
    alarms = [one for one in decisions if one.kind == "alarm" and one.version == champion]
    if platform.ledger.state(ALARM) != champion or not alarms:
        alarm, alarm_id = "", ""
    else:
        alarm, alarm_id = alarms[-1].why, alarms[-1].id
    running = read(platform.ledger, RUN, RunRequest) is not None
    return RetrainEvidence(champion, since, asked, running, alarm, alarm_id=alarm_id)


@dataclass(frozen=True, slots=True)
class TrainOn:
    """The window that a run trains on: its name, from when (None: all there is), and how it was chosen."""

    window: str = ALL
    train_from: datetime | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


def window_to_train_on(platform: Platform, now: datetime) -> TrainOn:
    """The window of `retrain.windows` that a challenger of some time ago did best with since.

    One window needs no comparison. A window that reaches as far as the first is not compared with it.
    """
    policy = platform.settings.retrain
    known_at = now - policy.ask_window
    starts = {_name(one): _start(platform, one, known_at) for one in policy.windows}
    first = next(iter(starts))
    if len(starts) == 1:
        return _from(platform, first, starts[first], now, {})
    scores: dict[str, Mapping[str, float]] = {}
    left_out = {}
    for name, start in starts.items():
        if name == SINCE_CHANGE and start is None:
            left_out[name] = f"no drift alarm is older than {duration_in_words(policy.ask_window)}"
            continue
        challenger = platform.challengers.fit(known_at, start)
        blocks = platform.challengers.scores(challenger, rollout_of(platform.ledger).stable, now)
        scores[name] = {one.block: one.challenger for one in blocks}
    found = choose_window(scores, platform.settings.metric, alpha=policy.window_alpha)
    numbers = {"why": found.why, **found.numbers} | ({"left_out": left_out} if left_out else {})
    return _from(platform, found.window, starts[found.window], now, numbers)


def _held(
    platform: Platform, rollout: Rollout, evidence: RetrainEvidence, now: datetime, next_at: datetime
) -> Held | None:
    policy = platform.settings.retrain
    freeze = freeze_of(platform.ledger, now)
    if freeze is not None:
        return Held("freeze", f"the loop is {freeze.words}")
    if rollout.phase != "idle":
        return Held("rollout", f"a rollout is under way (version {rollout.candidate or rollout.stable})")
    held = held_back(evidence, policy, now)
    if held is None and policy.triggers and "on_alarm" not in policy.triggers and now < next_at:
        why = (
            f"an alarm alone decides nothing under {policy.words}, which is asked next on {next_at:%Y-%m-%d %H:%M} UTC"
        )
        return Held("schedule", why)
    return held


def _wait(platform: Platform, evidence: RetrainEvidence, held: Held, news: str) -> Outcome:
    """Write down what holds the question back, unless that is written already for it."""
    question = f"{held.by}:{evidence.champion}:{news}"
    if platform.ledger.state(HELD) == question:
        return STILL
    why = f"not retraining, because {held.why}"
    numbers = {"held_by": held.by} | ({"alarm": news} if news else {})
    at = f"{platform.clock.now():%Y-%m-%dT%H:%M:%S}"
    return _stay(platform, evidence.champion, f"held:{held.by}:{at}", why, numbers, {HELD: question})


def _stay(
    platform: Platform, champion: str, name: str, why: str, numbers: Mapping[str, Any], state: Mapping[str, str]
) -> Outcome:
    decision = Decision(
        f"no_trigger:{platform.settings.retrain.words}:{champion}:{name}",
        "no_trigger",
        f"version {champion} stays as it is",
        why,
        POLICY,
        platform.clock.now(),
        champion,
        "",
        dict(numbers),
    )
    if not platform.ledger.append(decision, state=state):
        platform.ledger.put_state(state)
    return MOVED


def _retrain(platform: Platform, verdict: RetrainVerdict, champion: str, state: dict[str, str]) -> Outcome:
    train_on = window_to_train_on(platform, platform.clock.now())
    numbers = verdict.numbers | ({"windows": train_on.numbers} if train_on.numbers else {})
    outcome = runs.request(
        platform,
        verdict.asked_by,
        verdict.reason,
        verdict.trigger,
        state,
        numbers,
        window=train_on.window,
        train_from=train_on.train_from,
    )
    if outcome != MOVED:  # The same trigger on the same day: it was answered.
        platform.ledger.put_state(state)
    return outcome


def _measured(platform: Platform, evidence: RetrainEvidence, now: datetime) -> RetrainEvidence:
    """The evidence with what has to be measured, as far as it can decide: losses first, a challenger costs a training."""
    policy = platform.settings.retrain
    if "on_loss" in needs(evidence, policy, now):
        found = platform.losses.blocks(evidence.champion, now) if platform.losses is not None else None
        held_out, realised = ((), ()) if found is None else (found.held_out, found.realised)
        loss = loss_test(
            held_out,
            realised,
            higher_is_better=platform.settings.metric.higher_is_better,
            alpha=policy.loss_alpha,
            margin=policy.loss_margin,
        )
        evidence = replace(evidence, loss=loss)
    if "on_regret" in needs(evidence, policy, now):
        evidence = replace(evidence, daily_gains=_gains(platform, evidence.champion, now))
    return evidence


def _gains(platform: Platform, champion: str, now: datetime) -> tuple[float, ...]:
    challenger = platform.challengers.fit(now - platform.settings.retrain.ask_window)
    metric = platform.settings.metric
    blocks = platform.challengers.scores(challenger, champion, now)
    return tuple(metric.gain(one.challenger, one.champion) for one in blocks)


def _name(window: str | timedelta) -> str:
    return window if isinstance(window, str) else duration_in_words(window)


def _start(platform: Platform, window: str | timedelta, known_at: datetime) -> datetime | None:
    """Where a window begins, seen from an instant; None: it has no beginning, or there is no such window."""
    if isinstance(window, timedelta):
        return known_at - window
    if window == ALL:
        return None
    alarms = [one.at for one in platform.ledger.decisions(kind="alarm") if one.at <= known_at]
    # It alarmed at the window's end; what changed began with the first of the windows that it lasted.
    drift = platform.settings.drift
    return alarms[-1] - drift.every * drift.persistence if alarms else None


def _from(platform: Platform, name: str, start: datetime | None, now: datetime, numbers: dict[str, Any]) -> TrainOn:
    """The chosen window as the pipeline will use it: a length counts from now, a change stays where it was."""
    length = next((one for one in platform.settings.retrain.windows if _name(one) == name), ALL)
    if isinstance(length, timedelta):
        return TrainOn(name, now - length, numbers)
    if name == SINCE_CHANGE and start is None:
        return TrainOn(ALL, None, {**numbers, "why": "no drift alarm says since when: all there is"})
    return TrainOn(name, start, numbers)
