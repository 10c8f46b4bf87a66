"""Whether the candidate matches or beats stable, or is worse: bets on blocks of time.

ACCEPT, H0 `E[d] >= delta`: delta = 0 is "beats", delta > 0 "matches". REJECT, H0 `E[d] <= 0`: the same with the sign turned. `d` is
a block's difference in loss (`blocks`); what is bet on is a gain, `delta - d` or `d`, whose mean the null says is at most 0.

Three tests, by what the null says and what is taken for granted:

- `running_mean` (default): the mean over *these* blocks, each given its past, is at most 0; it may change from block to block. The
  mean over a fixed grid of bets `L`: while the sum of the means m_i is at most 0, the product of `1 + L m_i` is at most
  `exp(L sum m_i) <= 1`. Never less than the empirical Bernstein e-value with the same L (Fan's inequality bounds `1 + L x` from
  below), which Choe and Ramdas (arXiv 2110.00115) use for this null. Needs a stated range.
- `every_block`: the mean of every block, given its past, is at most 0. Bets are learnt from the past. Needs a stated range. It
  may say more than is true "on these blocks" where the mean comes and goes in a way that the past foretells.
- `symmetric`: each block is symmetric around a mean of at most 0, as a mean over many rows nearly is. No range: `exp(L x - L^2 x^2/2)`
  has a mean of at most 1 for any L >= 0 from the past (de la Peña 1999). Where the range is wide beside the effect it needs
  a fraction of the blocks.

With `w` of a split the range is `[-1/(1-w), 1/w]`: so ACCEPT has `L <= 0.5/(1/w - delta)`, and REJECT `L <= 0.5 (1-w)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mainspring.rollout.evidence.blocks import DifferenceRange
from mainspring.rollout.evidence.mixture import Numbers
from mainspring.rollout.evidence.verdict import Evidence, odds

Test = Literal["running_mean", "every_block", "symmetric"]

# Stakes as shares of the largest that cannot lose more than everything.
STAKES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
_LARGEST_STAKE = 0.5


def running_mean_log_e(gains: ArrayLike, worst: float) -> Numbers:
    """Log e-values [..., blocks] after each block, against "the means of these gains so far sum to at most 0".

    `gains` [..., blocks] are at least `-worst`; a ValueError says where they are not.

    >>> running_mean_log_e([0.5, 0.5, 0.5, 0.5], 1.0).round(2).tolist()
    [0.12, 0.26, 0.41, 0.58]
    """
    won = _checked(gains, worst) / worst
    bets = [np.cumsum(np.log1p(stake * won), axis=-1) for stake in STAKES]
    found: Numbers = np.logaddexp.reduce(bets, axis=0) - math.log(len(STAKES))
    return found


def every_block_log_e(gains: ArrayLike, worst: float) -> Numbers:
    """Log e-values [..., blocks] after each block, against "every gain's mean is at most 0"; bets are `clip(m/(v+m^2), 0, 0.5/worst)`.

    m and v are mean and variance of the past gains, the first bet is 0. Source: Waudby-Smith, Ramdas, arXiv 2010.09686.

    >>> every_block_log_e([0.5, 0.5, 0.5, 0.5], 1.0).round(2).tolist()
    [0.0, 0.22, 0.45, 0.67]
    """
    won = _checked(gains, worst)
    found: Numbers = np.cumsum(np.log1p(np.minimum(_bets(won), _LARGEST_STAKE / worst) * won), axis=-1)
    return found


def symmetric_log_e(gains: ArrayLike) -> Numbers:
    """Log e-values [..., blocks] after each block, against "every gain is symmetric around a mean of at most 0".

    The first two bets are 0: one gain tells nothing about the next one's size.

    >>> symmetric_log_e([0.01, 0.02, 0.01, 0.02]).round(2).tolist()
    [0.0, 0.0, 0.42, 0.86]
    """
    won = np.asarray(gains, np.float64)
    bets = _bets(won)
    bets[..., :2] = 0
    found: Numbers = np.cumsum(bets * won - (bets * won) ** 2 / 2, axis=-1)
    return found


def accept_log_e(
    differences: ArrayLike, margin: float, limits: DifferenceRange, test: Test = "running_mean"
) -> Numbers:
    """Log e-values [..., blocks] against `E[d] >= margin`."""
    if not 0 <= margin < limits.high:
        raise ValueError(f"a margin is at least 0 and below the largest difference {limits.high:g}, not {margin:g}")
    return _LOG_E[test](margin - np.asarray(differences, np.float64), limits.high - margin)


def reject_log_e(differences: ArrayLike, limits: DifferenceRange, test: Test = "running_mean") -> Numbers:
    """Log e-values [..., blocks] against `E[d] <= 0`."""
    return _LOG_E[test](np.asarray(differences, np.float64), -limits.low)


def judge_quality(
    differences: ArrayLike,
    *,
    margin: float,
    limits: DifferenceRange,
    alpha_to_accept: float = 0.05,
    alpha_to_reject: float = 0.05,
    test: Test = "running_mean",
    period: int = 7,
    unit: str = "days",
) -> Evidence:
    """A verdict from the blocks so far [blocks], oldest first; `period` blocks are a whole week.

    ACCEPT is only looked for at the end of a whole period, REJECT after every block; with both, ACCEPT: what is within the margin
    was said to be tolerable. A difference outside of the stated range voids the bet that relied on it, and the reason says so.

    >>> from mainspring.rollout.evidence.blocks import paired_range
    >>> days = [-0.03, -0.01, -0.02, -0.02, -0.04, -0.01, -0.02] * 4
    >>> print(judge_quality(days, margin=0.01, limits=paired_range(0.1)))
    ACCEPT: on these 28 days the candidate's loss was 0.0214 less than stable's: shown to be no worse than 0.01. Odds against \
chance: match 163 to 1 (needs 20 to 1); worse 0.42 to 1 (needs 20 to 1).
    """
    seen = np.asarray(differences, np.float64)
    if not seen.size:
        return Evidence("INCONCLUSIVE", f"no {unit} with labels yet: no evidence", unit=unit)
    name = "match" if margin else "beat"
    values: dict[str, float] = {}
    whole = seen[: len(seen) // period * period]
    told = f"on these {len(seen)} {unit} the candidate's loss was {_compared(float(seen.mean()))}"
    void = []
    if test == "symmetric" or seen.max() <= limits.high:
        values[name] = float(accept_log_e(whole, margin, limits, test)[-1]) if whole.size else 0.0
    else:
        void.append(
            f"{seen.max():.3g} on one of them is beyond the stated {limits.high:g}, so that nothing can be accepted"
        )
    if test == "symmetric" or seen.min() >= limits.low:
        values["worse"] = float(reject_log_e(seen, limits, test)[-1])
    else:
        void.append(
            f"{seen.min():.3g} on one of them is beyond the stated {limits.low:g}, so that nothing can be rejected"
        )
    needed = {name: -math.log(alpha_to_accept), "worse": -math.log(alpha_to_reject)}
    wanted = f"no worse than {margin:.3g}" if margin else "less"
    if values.get(name, 0.0) >= needed[name]:
        return Evidence("ACCEPT", f"{told}: shown to be {wanted}", values, needed, unit=unit)
    if values.get("worse", 0.0) >= needed["worse"]:
        return Evidence("REJECT", f"{told}: {odds(values['worse'])} that it is worse", values, needed, unit=unit)
    return Evidence(
        "INCONCLUSIVE", "; ".join([f"{told}: not shown to be {wanted}, nor worse", *void]), values, needed, unit=unit
    )


def _compared(mean: float) -> str:
    return f"{abs(mean):.3g} {'more' if mean > 0 else 'less'} than stable's"


def _checked(gains: ArrayLike, worst: float) -> Numbers:
    won = np.asarray(gains, np.float64)
    # A range is often a sum of decimals: a difference just at its end is within it.
    if won.size and won.min() < -worst * (1 + 1e-9):
        raise ValueError(f"a gain of {won.min():g} is below the stated worst of {-worst:g}")
    return won


def _bets(won: Numbers) -> Numbers:
    """`m / (v + m^2)` of the gains before each, not negative; 0 where there is no past."""
    before = np.arange(won.shape[-1])
    total, squares = np.cumsum(won, axis=-1) - won, np.cumsum(won**2, axis=-1) - won**2
    # m / (v + m^2) is the past sum over the past sum of squares.
    known = (before > 0) & (squares > 0)
    return np.maximum(np.divide(total, squares, out=np.zeros_like(won), where=known), 0.0)


_LOG_E: dict[Test, Callable[[Numbers, float], Numbers]] = {
    "running_mean": running_mean_log_e,
    "every_block": every_block_log_e,
    "symmetric": lambda gains, _worst: symmetric_log_e(gains),
}
