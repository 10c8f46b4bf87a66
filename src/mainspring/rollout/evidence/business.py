"""Whether the candidate costs the business something, or brings more: bets on what each user (or request) brought.

A unit is one draw of the split; its value is fixed before it is looked at, and lies in a stated range. With A = 1 for the candidate,
`(u - c) (A/w - (1-A)/(1-w))` has a mean of `m_c - m_s`, whatever `c` is chosen from the units before: the mean of those takes most of
the noise away. A margin is a share of stable's mean: `k u (1-A)/(1-w)` has the mean `k m_s`. So each of

- *harm*, H0 "it brings no less than stable, by more than the margin",
- *beat*, H0 "it brings no more than stable", and *match*, H0 "it brings less, by more than the margin",

is a bet on a gain whose mean the null says is at most 0 and whose least value is known beforehand. The e-value is the mean over fixed
stakes (`quality.running_mean_log_e`): valid while those means sum to at most 0, however much they change from day to day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mainspring.rollout.evidence.mixture import Numbers
from mainspring.rollout.evidence.quality import STAKES, running_mean_log_e
from mainspring.rollout.evidence.verdict import Evidence, odds

Asked = Literal["no_harm", "match", "beat"]
Bet = Literal["harm", "match", "beat"]
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class BusinessLimits:
    """What is stated before the first unit: the range of a value, its direction, and the share of stable's mean that may be lost."""

    low: float
    high: float
    higher_is_better: bool = True
    margin: float = 0.02

    def __post_init__(self) -> None:
        if not self.low <= 0 <= self.high or self.low == self.high:
            raise ValueError(f"a range has 0 in it, not [{self.low}, {self.high}]")
        if self.margin and self.low < 0:
            raise ValueError("a margin is a share of what stable brings: it needs a range that begins at 0")


def gains(values: ArrayLike, on_candidate: ArrayLike, weight: float, limits: BusinessLimits, bet: Bet) -> Numbers:
    """What a bet at stake 1 wins on each unit [units], as a share of the most that it can lose on it: at least -1.

    `values` [units], clipped to the range, are in an order that the arms do not change.

    >>> gains([0.0, 1.0], [True, False], 0.5, BusinessLimits(0, 1, margin=0.0), "beat").tolist()
    [0.0, -1.0]
    """
    u = np.asarray(values, np.float64) / (limits.high - limits.low)
    low, high = limits.low / (limits.high - limits.low), limits.high / (limits.high - limits.low)
    ours = np.asarray(on_candidate, np.bool_)
    before = np.arange(len(u))
    middle = np.divide(np.cumsum(u) - u, before, out=np.zeros_like(u), where=before > 0)
    better = 1.0 if limits.higher_is_better else -1.0
    sign = -better if bet == "harm" else better
    margin = {"harm": -limits.margin, "match": limits.margin, "beat": 0.0}[bet]

    def gain(value: Numbers | float, candidate: Flags | bool) -> Numbers:
        pull = np.where(candidate, 1 / weight, -1 / (1 - weight))
        won: Numbers = sign * (value - middle) * pull + margin * value * np.where(candidate, 0.0, 1 / (1 - weight))
        return won

    # A gain is linear in the value: its least is at an end of the range, in one of the arms.
    worst = -np.min([gain(end, arm) for end in (low, high) for arm in (True, False)], axis=0)
    found: Numbers = gain(u, ours) / worst
    return found


def judge_business(
    values: ArrayLike,
    on_candidate: ArrayLike,
    weight: float,
    limits: BusinessLimits,
    *,
    asked: Asked = "no_harm",
    alpha_to_reject: float,
    alpha_to_accept: float,
    unit: str = "users",
) -> Evidence:
    """The verdict on what the units so far brought, in the order in which they were complete.

    ACCEPT when `match` or `beat` is asked for and shown, at error rate `alpha_to_accept`; REJECT when harm beyond the margin is, at
    `alpha_to_reject`; else INCONCLUSIVE, with how many more units it takes at the effect seen so far.

    >>> rng = np.random.default_rng(1)
    >>> arm = rng.random(4000) < 0.5
    >>> bought = rng.random(4000) < np.where(arm, 0.1, 0.2)
    >>> print(judge_business(bought, arm, 0.5, BusinessLimits(0, 1), alpha_to_reject=0.01, alpha_to_accept=0.05))
    REJECT: users of the candidate brought 0.106 each (2015), of stable 0.183 (1985): 42.1% less, over a million to 1 for a loss of \
more than 2%. Odds against chance: harm over a million to 1 (needs 100 to 1).
    """
    seen, ours = np.asarray(values, np.float64), np.asarray(on_candidate, np.bool_)
    if not ours.any() or ours.all():
        return Evidence("INCONCLUSIVE", f"no {unit} of both arms whose time is over yet: no evidence", unit=unit)
    names: tuple[Bet, ...] = ("harm",) if asked == "no_harm" else (asked, "harm")
    needed: dict[str, float] = {
        name: -math.log(alpha_to_reject if name == "harm" else alpha_to_accept) for name in names
    }
    won = {name: gains(seen, ours, weight, limits, name) for name in names}
    found: dict[str, float] = {name: float(running_mean_log_e(one, 1.0)[-1]) for name, one in won.items()}
    told = _means(seen, ours, unit)
    if asked != "no_harm" and found[asked] >= needed[asked]:
        wanted = f"no loss of more than {limits.margin:.0%}" if asked == "match" else "better than stable"
        return Evidence("ACCEPT", f"{told}, shown to be {wanted}", found, needed, unit=unit)
    if found["harm"] >= needed["harm"]:
        lost = f"{odds(found['harm'])} for {'a loss' if limits.higher_is_better else 'a cost'} of more than {limits.margin:.0%}"
        return Evidence("REJECT", f"{told}, {lost}", found, needed, unit=unit)
    waits = [_still(won[name], found[name], needed[name]) for name in names]
    soonest = min((one for one in waits if one is not None), default=None)
    shown = {"no_harm": "not shown", "match": "not shown to be a match, nor", "beat": "not shown to be better, nor"}[
        asked
    ]
    return Evidence("INCONCLUSIVE", f"{told}, {shown} to be harm", found, needed, soonest, unit)


def _means(values: Numbers, ours: Flags, unit: str) -> str:
    candidate, stable = float(values[ours].mean()), float(values[~ours].mean())
    told = (
        f"{unit} of the candidate brought {candidate:.3g} each ({ours.sum()}), of stable {stable:.3g} ({(~ours).sum()})"
    )
    if not stable:
        return told
    return f"{told}: {abs(candidate / stable - 1):.1%} {'less' if candidate < stable else 'more'}"


def _still(won: Numbers, found: float, needed: float) -> int | None:
    """How many more units, if the best stake so far goes on to win as it did; None where none wins."""
    rates = [float(np.log1p(stake * won).mean()) for stake in STAKES]
    best = max(rates)
    return math.ceil((needed - found) / best) if best > 0 else None
