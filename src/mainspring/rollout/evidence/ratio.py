"""The processes of the ratio test: how their wealth is counted, settled at a new weight, and thinned with age.

Each is the likelihood ratio of a Beta above `p0` to `p0`, on the errors since it was begun; `errors` says what is tested and why
the sum of them is an e-process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from mainspring.rollout.evidence.mixture import Numbers, log_sum_exp, log_upper_beta

_MOST_STARTS = 24
_PRIOR = 0.5
# What was learnt at one weight counts at the next as so many errors at most: things change.
_MOST_KNOWN = 100.0


@dataclass(frozen=True, slots=True)
class RatioStart:
    """A process: the log of its wealth when its counts were 0, and its counts since.

    `restart` is when it was begun, in restarts; the priors are those of the Beta, in errors.
    """

    log_wealth: float
    restart: int
    errors: int = 0
    errors_candidate: int = 0
    prior_candidate: float = _PRIOR
    prior_stable: float = _PRIOR


def ratio_log_e(
    errors_candidate: ArrayLike,
    errors: ArrayLike,
    weight: ArrayLike,
    ratio: float,
    prior_candidate: ArrayLike = _PRIOR,
    prior_stable: ArrayLike = _PRIOR,
) -> Numbers:
    """Log e-value against `q_c <= ratio * q_s` from `errors` of which `errors_candidate` were the candidate's; all broadcast.

    >>> round(float(ratio_log_e(1000, 10_000, 0.1, 1.5)), 2)
    -7.98
    """
    k, n = np.asarray(errors_candidate, np.float64), np.asarray(errors, np.float64)
    a, b = np.asarray(prior_candidate, np.float64), np.asarray(prior_stable, np.float64)
    w = np.asarray(weight, np.float64)
    p0 = w * ratio / (w * ratio + 1 - w)
    above = log_upper_beta(k + a, n - k + b, p0) - log_upper_beta(a, b, p0)
    found: Numbers = above - k * np.log(p0) - (n - k) * np.log1p(-p0)
    return found


def log_wealth(starts: tuple[RatioStart, ...], weight: float, ratio: float) -> Numbers:
    """The log wealth [starts] of each process now; `weight` is that since they were settled, 0 before the first request."""
    begun = np.array([start.log_wealth for start in starts])
    if not weight:
        return begun
    columns = ("errors_candidate", "errors", "prior_candidate", "prior_stable")
    ours, both, a, b = (np.array([getattr(start, name) for start in starts]) for name in columns)
    return begun + ratio_log_e(ours, both, weight, ratio, a, b)


def settled(
    starts: tuple[RatioStart, ...], before: float, weight: float, ratio: float, restart: int
) -> tuple[RatioStart, ...]:
    """The processes with which the wealth won at the weight `before` goes on at the new `weight`."""
    each = log_wealth(starts, before, ratio)
    fresh = RatioStart(log_sum_exp(each), restart)
    leader = starts[int(np.argmax(each))]
    a = leader.prior_candidate + leader.errors_candidate
    b = leader.prior_stable + leader.errors - leader.errors_candidate
    # The ratio of the arms' rates is what stays; the candidate's share of the errors follows from it and the weight.
    found = (a / b) * (1 - before) / before
    if found <= ratio:
        return (fresh,)
    share = weight * found / (weight * found + 1 - weight)
    known, half = min(a + b, _MOST_KNOWN), fresh.log_wealth - math.log(2)
    learnt = RatioStart(half, restart, prior_candidate=known * share, prior_stable=known * (1 - share))
    return learnt, replace(fresh, log_wealth=half)


def thinned(starts: tuple[RatioStart, ...], restarts: int, weight: float, ratio: float) -> tuple[RatioStart, ...]:
    """The same, or one process fewer where they are too many: the one whose neighbours are closest for its age.

    So ages stay spread geometrically. Its wealth goes to the next younger one.
    """
    if len(starts) <= _MOST_STARTS:
        return starts
    begun = np.array([start.restart for start in starts])
    gone = int(np.argmin((begun[2:] - begun[:-2]) / (restarts - begun[1:-1] + 1))) + 1
    wealth, heir = log_wealth(starts, weight, ratio), starts[gone + 1]
    # The heir's wealth is counted from its beginning: divided by what it has gained since.
    inherited = np.logaddexp(wealth[gone], wealth[gone + 1]) - (wealth[gone + 1] - heir.log_wealth)
    return (*starts[:gone], replace(heir, log_wealth=float(inherited)), *starts[gone + 2 :])
