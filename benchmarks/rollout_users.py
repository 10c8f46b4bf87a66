"""Rollouts whose users keep their arm: some ask a thousand times, some fail always. Users counted, requests counted, z-tests.

A user makes Zipf-distributed many requests, spread over a day; how often he fails is his own (most never, a few always).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ndtri

from mainspring.domain.rollout import Arm, ArmCounts, UserRound
from mainspring.rollout.evidence.business import Bet, BusinessLimits, gains
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess
from mainspring.rollout.evidence.quality import running_mean_log_e
from mainspring.rollout.evidence.users import judge_users
from report import Row
from rollout_worlds import Numbers

ALPHA, LIMITS = 0.05, ErrorLimits(ratio=1.5, margin=0.005)
USERS, HOURS, LOOK, BATCH = 1_500, 24, 500, 100
_MOST_REQUESTS = 2_000
BUYERS, BROUGHT = 20_000, BusinessLimits(0, 500, margin=0.02)


def sticky_rollbacks(rng: Any, rollouts: int) -> list[Row]:
    """At the limit, where every user fails 1.5 times as often with the candidate; equal; a ramp; and a candidate that breaks."""
    rows = []
    cases = (
        ("heavy users at the limit, 10%", LIMITS.ratio, 0.1, False),
        ("heavy users at the limit, 50%", LIMITS.ratio, 0.5, False),
        ("heavy users equal, 10%", 1.0, 0.1, False),
        ("one client in 200 always fails, 10%", 1.0, 0.1, True),
    )
    for name, times, weight, clients in cases:
        worse = lambda p, _, times=times: np.minimum(1, times * p)  # noqa: E731
        drawn = [Day(rng, worse, weight, clients=clients) for _ in range(rollouts)]
        ends = np.array([(one.by_user(LOOK), one.by_request(), one.z_test()) for one in drawn])
        ours, by_request, z = np.isfinite(ends).mean(axis=0).tolist()
        rows.append(Row(f"false rollbacks, {name} / stated", ours, ALPHA, 1.0, at_most=True))
        rows.append(Row(f"false rollbacks, {name} / by request", ours, by_request, 0.5, at_most=True))
        rows.append(Row(f"false rollbacks, {name} / z-test of requests", ours, z, 0.5, at_most=True))
    ramps = [Day(rng, lambda p, _: np.minimum(1, LIMITS.ratio * p), 0.1, 0.3, 0.5) for _ in range(rollouts)]
    ours = float(np.mean([math.isfinite(one.by_user(LOOK)) for one in ramps]))
    rows.append(Row("false rollbacks, heavy users at the limit, ramp / stated", ours, ALPHA, 1.0, at_most=True))
    for name, begins, goal in (("from the start", 0.0, 150), ("at noon", 0.5, 400)):
        broken = lambda p, at, begins=begins: np.where(at >= begins, np.maximum(p, 0.2), p)  # noqa: E731
        found = [Day(rng, broken, 0.5).by_user(BATCH, begins) for _ in range(rollouts // 4)]
        told = f"20% errors {name}, half the users: users / goal"
        rows.append(Row(told, float(np.median(found)), goal, 1.0, at_most=True))
    return rows


def business(rng: Any, runs: int) -> list[Row]:
    """What users bring, 20,000 of them: no better, a loss at the margin (at a share of alpha), and real differences."""
    rows = []
    cases: tuple[tuple[str, float, Bet, float], ...] = (
        ("false promotions, business, no better", 1.0, "beat", ALPHA),
        ("false rollbacks, business, at the margin", 1 - BROUGHT.margin, "harm", ALPHA / 4),
    )
    for told, lift, bet, stated in cases:
        drawn = [_bought(rng, lift) for _ in range(runs)]
        ours = float(np.mean([_first(_log_e(*one, bet), -math.log(stated)) < math.inf for one in drawn]))
        z = float(np.mean([_first(_z(*one, bet)[LOOK - 1 :: LOOK], ndtri(1 - stated)) < math.inf for one in drawn]))
        rows.append(Row(f"{told} / stated", ours, stated, 1.0, at_most=True))
        rows.append(Row(f"{told} / z-test's", ours, z, 0.5, at_most=True))
    real: tuple[tuple[float, Bet, float], ...] = ((1.3, "beat", ALPHA), (0.7, "harm", ALPHA / 5))
    for lift, bet, stated in real:
        waits = [_first(_log_e(*_bought(rng, lift), bet), -math.log(stated)) for _ in range(max(1, runs // 5))]
        waited = min(float(np.median(waits)), BUYERS)
        rows.append(Row(f"business, {lift - 1:+.0%}: users / goal", waited, BUYERS, 1.0, at_most=True))
    return rows


def _log_e(values: Numbers, arm: Any, bet: Bet) -> Numbers:
    return running_mean_log_e(gains(values, arm, 0.5, BROUGHT, bet), 1.0)


def _first(seen: Numbers, needed: float) -> float:
    """The number of looks until the first that is enough; infinite where none is."""
    over = seen >= needed
    return float(over.argmax() + 1) if over.any() else math.inf


def _bought(rng: Any, lift: float) -> tuple[Numbers, Any]:
    """What each user brought, clipped, and whether the candidate had him. One in ten buys, for 20 in the median, half to half as
    many again by the day."""
    arm = rng.random(BUYERS) < 0.5
    day = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(BUYERS) / BUYERS * 7 + rng.random()))
    buys = rng.random(BUYERS) < 0.1 * day * np.where(arm, lift, 1.0)
    return np.where(buys, np.minimum(rng.lognormal(3.0, 1.0, BUYERS), BROUGHT.high), 0.0), arm


def _z(values: Numbers, arm: Any, bet: Bet) -> Numbers:
    """The z after each user of "the candidate brings more", or less by more than the margin."""
    kept = values if bet == "beat" else np.where(arm, values, values * (1 - BROUGHT.margin))
    sums = [np.cumsum(np.where(side, one, 0.0)) for side in (arm, ~arm) for one in (np.ones(BUYERS), kept, kept**2)]
    (n_c, s_c, q_c), (n_s, s_s, q_s) = sums[:3], sums[3:]
    n_c, n_s = np.maximum(n_c, 2), np.maximum(n_s, 2)
    spread = np.sqrt((q_c / n_c - (s_c / n_c) ** 2) / n_c + (q_s / n_s - (s_s / n_s) ** 2) / n_s)
    return (1 if bet == "beat" else -1) * (s_c / n_c - s_s / n_s) / np.maximum(spread, 1e-9)


class Day:
    """A day of one rollout: of each request its user, his arm, and whether it failed, in order. Weights share the day.

    With `clients` one in 200 makes 200 requests that always fail, and nobody else fails, or makes more than ten.
    """

    def __init__(self, rng: Any, worse: Any, *weights: float, clients: bool = False) -> None:
        each = np.minimum(rng.zipf(1.7, USERS), _MOST_REQUESTS)
        habit = rng.beta(0.1, 9.9, USERS)
        habit[rng.random(USERS) < 1 / 400] = 1.0
        if clients:
            habit = (rng.random(USERS) < 1 / 200).astype(np.float64)
            each = np.where(habit > 0, 200, each.clip(max=10))
        self.weights, place = weights, rng.random(USERS)
        self.user = rng.permutation(np.repeat(np.arange(USERS), each))
        self.at = np.arange(len(self.user)) / len(self.user)
        self.step = (self.at * len(weights)).astype(int)
        self.arm = place[self.user] < np.array(weights)[self.step]
        chance = np.where(self.arm, worse(habit[self.user], self.at), habit[self.user])
        self.failed = rng.random(len(self.user)) < chance

    def by_user(self, every: int, begins: float = 0.0) -> float:
        """How many users had come since `begins` (a share of the day) when they send the candidate back; infinite when never."""
        requests, hours = len(self.user), (self.at * HOURS).astype(int)
        closed, step, hour = [], 0, 0
        whole, current = self._events(self.step, step), self._events(hours, hour)
        for look in np.arange(every, requests + every, every).clip(max=requests):
            while hour < hours[look - 1]:
                closed.append(self._round("hour", current, requests))
                hour += 1
                current = self._events(hours, hour)
                if self.step[current[0][0]] > step:
                    closed.append(self._round("step", whole, requests))
                    step += 1
                    whole = self._events(self.step, step)
            now = [self._round("step", whole, look), self._round("hour", current, look)]
            if judge_users([*closed, *now], LIMITS, ALPHA).outcome == "REJECT":
                return float(len(np.unique(self.user[int(begins * requests) : look])))
        return math.inf

    def by_request(self) -> float:
        """Requests after which the test of requests sends it back."""
        process = ErrorProcess(LIMITS)
        for start in range(0, len(self.arm), BATCH):
            ours, wrong = (one[start : start + BATCH] for one in (self.arm, self.failed))
            counts = ((~ours).sum(), (wrong & ~ours).sum(), ours.sum(), (wrong & ours).sum())
            process = process.after(ErrorBatch(*map(int, counts), self.weights[0]))
            if process.log_e >= -math.log(ALPHA):
                return float(start + BATCH)
        return math.inf

    def z_test(self) -> float:
        """The same for a z-test of `q_c - q_s > margin`, looked at every 500 requests."""
        n_c, k_c, n_s, k_s = (
            np.cumsum(one)[LOOK - 1 :: LOOK]
            for one in (self.arm, self.arm & self.failed, ~self.arm, ~self.arm & self.failed)
        )
        q_c, q_s = k_c / np.maximum(n_c, 1), k_s / np.maximum(n_s, 1)
        error = np.sqrt(q_s * (1 - q_s) / np.maximum(n_s, 1) + q_c * (1 - q_c) / np.maximum(n_c, 1))
        return _first(q_c - q_s - LIMITS.margin - ndtri(1 - ALPHA) * error, 0.0) * LOOK

    def _events(self, stretches: Any, stretch: int) -> tuple[Any, Any]:
        """Places of each user's first request in the stretch, and of each one's first failed."""
        places = np.flatnonzero(stretches == stretch)
        _, first = np.unique(self.user[places], return_index=True)
        wrong = places[self.failed[places]]
        _, first_failed = np.unique(self.user[wrong], return_index=True)
        return np.sort(places[first]), np.sort(wrong[first_failed])

    def _round(self, kind: Any, events: tuple[Any, Any], look: int) -> UserRound:
        weight = self.weights[self.step[events[0][0]]]
        came, met = (one[: np.searchsorted(one, look)] for one in events)
        first: dict[Arm, ArmCounts] = {}
        failed: dict[Arm, int] = {}
        sides: tuple[tuple[Arm, Any], ...] = (("stable", ~self.arm), ("candidate", self.arm))
        for name, side in sides:
            here = side[came]
            first[name] = ArmCounts(int(here.sum()), int(self.failed[came][here].sum()))
            failed[name] = int(side[met].sum())
        return UserRound(round(weight * 100), kind, first, failed)
