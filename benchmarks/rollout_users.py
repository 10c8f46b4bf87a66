"""Rollouts whose users keep their arm: some ask a thousand times, some fail always. Users counted, requests counted, z-tests.

A user makes Zipf-distributed many requests, spread over a day; how often he fails is his own (most never, a few always).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ndtri

from mainspring.domain.rollout import Arm, ArmCounts, UserRound
from mainspring.rollout.evidence.business import BusinessLimits, gains, judge_business
from mainspring.rollout.evidence.errors import ErrorBatch, ErrorLimits, ErrorProcess
from mainspring.rollout.evidence.quality import running_mean_log_e
from mainspring.rollout.evidence.users import judge_users
from report import Row
from rollout_worlds import Numbers

ALPHA, LIMITS = 0.05, ErrorLimits(ratio=1.5, margin=0.005)
USERS, HOURS, LOOK, BATCH = 1_500, 24, 500, 100
_MOST_REQUESTS = 2_000


def sticky_rollbacks(rng: Any, rollouts: int) -> list[Row]:
    """At the limit, where every user fails 1.5 times as often with the candidate; equal; and broken from the start or at noon."""
    rows = []
    for name, times, weight in (
        ("at the limit", LIMITS.ratio, 0.1),
        ("at the limit", LIMITS.ratio, 0.5),
        ("equal", 1.0, 0.1),
    ):
        drawn = [Day(rng, weight, lambda p, _, times=times: np.minimum(1, times * p)) for _ in range(rollouts)]
        ends = np.array([(one.by_user(LOOK), one.by_request(), one.z_test()) for one in drawn])
        ours, by_request, z = np.isfinite(ends).mean(axis=0).tolist()
        told = f"false rollbacks, heavy users {name}, {weight:.0%}"
        rows.append(Row(f"{told} / stated", ours, ALPHA, 1.0, at_most=True))
        rows.append(Row(f"{told} / by request", ours, by_request, 0.5, at_most=True))
        rows.append(Row(f"{told} / z-test of requests", ours, z, 0.5, at_most=True))
    for name, begins, goal in (("from the start", 0.0, 150), ("at noon", 0.5, 400)):
        broken = lambda p, at, begins=begins: np.where(at >= begins, np.maximum(p, 0.2), p)  # noqa: E731
        ends = np.array([Day(rng, 0.5, broken).by_user(BATCH, begins) for _ in range(rollouts // 4)])
        rows.append(
            Row(f"20% errors {name}, half the users: users / goal", float(np.median(ends)), goal, 1.0, at_most=True)
        )
    return rows


def business(rng: Any, runs: int) -> list[Row]:
    """What users bring: a tenth buys, for 1 to 500 (log-normal), on good and bad days. No better, a loss at the margin, and a real gain."""
    limits, n = BusinessLimits(0, 500, margin=0.02), 20_000
    looked = slice(499, None, 500)
    rows = []
    for name, lift, bet, stated in (
        ("no better", 1.0, "beat", ALPHA),
        ("a loss of the margin", 0.98, "harm", ALPHA / 4),
    ):
        found = [_bought(rng, n, lift) for _ in range(runs)]
        ours = [
            running_mean_log_e(gains(v, arm, 0.5, limits, bet), 1.0)[looked].max() >= -math.log(stated)
            for v, arm in found
        ]
        sign = 1 if bet == "beat" else -1
        z = [
            (_z(v * (1.0 if bet == "beat" else np.where(arm, 1, 0.98)), arm, sign)[looked] > ndtri(1 - stated)).any()
            for v, arm in found
        ]
        told = "false promotions" if bet == "beat" else "false rollbacks"
        rows.append(Row(f"{told}, business, {name} / stated", float(np.mean(ours)), stated, 1.0, at_most=True))
        rows.append(
            Row(f"{told}, business, {name} / z-test's", float(np.mean(ours)), float(np.mean(z)), 0.5, at_most=True)
        )
    for lift, asked, bet, goal in ((1.3, "beat", "beat", 20_000), (0.7, "no_harm", "harm", 20_000)):
        waits = []
        for _ in range(max(1, runs // 5)):
            v, arm = _bought(rng, n, lift)
            needed = -math.log(ALPHA if bet == "beat" else ALPHA / 5)
            over = running_mean_log_e(gains(v, arm, 0.5, limits, bet), 1.0) >= needed
            waits.append(float(over.argmax() + 1) if over.any() else np.inf)
        v, arm = _bought(rng, n, lift)
        judge_business(v, arm, 0.5, limits, asked=asked, alpha_to_reject=ALPHA / 5, alpha_to_accept=ALPHA)
        rows.append(
            Row(f"business, {lift - 1:+.0%}: users / goal", min(float(np.median(waits)), n), goal, 1.0, at_most=True)
        )
    return rows


def _bought(rng: Any, users: int, lift: float) -> tuple[Numbers, Any]:
    """What each user brought, clipped, and whether the candidate had him. Days differ: up to twice as many buy."""
    arm = rng.random(users) < 0.5
    day = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(users) / users * 7 + rng.random()))
    buys = rng.random(users) < 0.1 * day * np.where(arm, lift, 1.0)
    return np.where(buys, np.minimum(rng.lognormal(3.0, 1.0, users), 500), 0.0), arm


def _z(values: Numbers, arm: Any, sign: int) -> Numbers:
    """The z of a difference of means after each user."""
    sums = [
        np.cumsum(np.where(side, one, 0.0)) for side in (arm, ~arm) for one in (np.ones(len(arm)), values, values**2)
    ]
    (n_c, s_c, q_c), (n_s, s_s, q_s) = sums[:3], sums[3:]
    n_c, n_s = np.maximum(n_c, 2), np.maximum(n_s, 2)
    spread = np.sqrt((q_c / n_c - (s_c / n_c) ** 2) / n_c + (q_s / n_s - (s_s / n_s) ** 2) / n_s)
    return sign * (s_c / n_c - s_s / n_s) / np.maximum(spread, 1e-9)


class Day:
    """A day of one rollout: of each request its user, his arm, and whether it failed, in order."""

    def __init__(self, rng: Any, weight: float, worse: Any) -> None:
        each = np.minimum(rng.zipf(1.7, USERS), _MOST_REQUESTS)
        habit = rng.beta(0.1, 9.9, USERS)
        habit[rng.random(USERS) < 1 / 400] = 1.0
        ours = rng.random(USERS) < weight
        self.weight = weight
        self.user = rng.permutation(np.repeat(np.arange(USERS), each))
        self.at = np.arange(len(self.user)) / len(self.user)
        self.arm = ours[self.user]
        chance = np.where(self.arm, worse(habit[self.user], self.at), habit[self.user])
        self.failed = rng.random(len(self.user)) < chance

    def by_user(self, every: int, begins: float = 0.0) -> float:
        """How many users had come since `begins` (a share of the day) when they send the candidate back; infinite when never."""
        requests, hours = len(self.user), (self.at * HOURS).astype(int)
        step, hour = self._events(np.zeros_like(hours), 0), 0
        current, closed = self._events(hours, hour), []
        for look in np.arange(every, requests + every, every).clip(max=requests):
            while hour < hours[look - 1]:
                closed.append(self._round("hour", current, requests))
                hour += 1
                current = self._events(hours, hour)
            rounds = [self._round("step", step, look), *closed, self._round("hour", current, look)]
            if judge_users(rounds, LIMITS, ALPHA).outcome == "REJECT":
                return float(len(np.unique(self.user[int(begins * requests) : look])))
        return math.inf

    def by_request(self) -> float:
        """Requests after which the test of requests sends it back."""
        process = ErrorProcess(LIMITS)
        for start in range(0, len(self.arm), BATCH):
            ours, wrong = (one[start : start + BATCH] for one in (self.arm, self.failed))
            counts = ((~ours).sum(), (wrong & ~ours).sum(), ours.sum(), (wrong & ours).sum())
            process = process.after(ErrorBatch(*map(int, counts), self.weight))
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
        beyond = q_c - q_s - LIMITS.margin > ndtri(1 - ALPHA) * error
        return float((beyond.argmax() + 1) * LOOK) if beyond.any() else math.inf

    def _events(self, hours: Any, hour: int) -> tuple[Any, Any]:
        """Places of each user's first request in the hour, and of each one's first failed."""
        places = np.flatnonzero(hours == hour)
        _, first = np.unique(self.user[places], return_index=True)
        wrong = places[self.failed[places]]
        _, first_failed = np.unique(self.user[wrong], return_index=True)
        return np.sort(places[first]), np.sort(wrong[first_failed])

    def _round(self, kind: Any, events: tuple[Any, Any], look: int) -> UserRound:
        came, met = (one[: np.searchsorted(one, look)] for one in events)
        first: dict[Arm, ArmCounts] = {}
        failed: dict[Arm, int] = {}
        sides: tuple[tuple[Arm, Any], ...] = (("stable", ~self.arm), ("candidate", self.arm))
        for name, side in sides:
            here = side[came]
            first[name] = ArmCounts(int(here.sum()), int(self.failed[came][here].sum()))
            failed[name] = int(side[met].sum())
        return UserRound(round(self.weight * 100), kind, first, failed)
