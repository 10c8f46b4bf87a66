"""Whether the candidate fails more of its requests than it may: one e-process by a ratio, one by a margin.

Counts are by *assigned* arm: fail-over and retries hide a dead candidate behind stable's answers. Both nulls have to fall
before a candidate goes back, so the e-value is the smaller of the two.

**Ratio**, H0 `q_c <= r0 q_s` in every request, whatever `q_s` does. Given an error, the chance that it is the candidate's is at
most `p0 = w r0 / (w r0 + 1 - w)`; the e-value is the likelihood ratio of a Beta(1/2, 1/2) above `p0` to `p0`. An incident
that hits both arms cancels out.

**Margin**, H0 `q_c <= q_s + d` in every request. With A = 1 for the candidate and Y = 1 for an error,
`Y (A/w - (1-A)/(1-w)) - d` has a mean of at most 0; the e-value is the mean over a fixed grid of bets on it.

**A unit is what is assigned.** Both take every request to be assigned anew. Where a user stays in his arm, one client that always
fails is one draw and not a thousand: there, count each user once (his first request, failed or not, or whether he saw an error).

**Age.** An e-value over all of history needs ever more requests after a long healthy time. So e-processes are begun every
`RESTART_EVERY` requests, the j-th with wealth `1/(j (j+1))`; what is not yet staked, `1/(J+1)`, is kept in cash. The sum begins
at 1 and is an e-process for every moment at which one may stop.

**Weights may change.** The margin's bets are set anew from the weight of each batch, which is known before its requests. The
ratio's processes are settled when the weight changes: their whole wealth is staked anew, with the `p0` of the new weight; where
the wealthiest one had found a candidate beyond the limit, half of it on a prior around what that one had learnt. What the e-value is multiplied with has, in each segment, a mean of at most 1 given the past, so the product
over segments is an e-process. Old processes are thinned in the same way: the wealth of one goes to its neighbour.

Sources: Ville 1939; Shin, Ramdas, Rinaldo, E-detectors, arXiv 2203.03532; Waudby-Smith, Ramdas, arXiv 2010.09686.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from mainspring.rollout.evidence.mixture import Numbers, log_mean_exp, log_sum_exp
from mainspring.rollout.evidence.ratio import RatioStart, log_wealth, settled, thinned
from mainspring.rollout.evidence.verdict import Evidence, odds

RESTART_EVERY = 1000
# Half of the largest stake that cannot lose everything, and halves of it: large effects want large stakes.
_STAKES = 0.5 * 0.5 ** np.arange(6)


@dataclass(frozen=True, slots=True)
class ErrorLimits:
    """What is tolerated: `ratio` times stable's error rate, and `margin` (a share of requests) beyond it."""

    ratio: float = 1.5
    margin: float = 0.005

    def __post_init__(self) -> None:
        if self.ratio < 1 or not 0 <= self.margin < 1:
            raise ValueError(f"a ratio is at least 1 and a margin in [0, 1), not {self.ratio} and {self.margin}")


@dataclass(frozen=True, slots=True)
class ErrorBatch:
    """Requests and errors since the last batch, by assigned arm, all assigned while `weight` (0 to 1) was the candidate's share.

    A batch that spans a change of weight has to be two.
    """

    requests_stable: int
    errors_stable: int
    requests_candidate: int
    errors_candidate: int
    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight < 1:
            raise ValueError(f"arms are compared at a weight between 0 and 1, not {self.weight}")
        if not (
            0 <= self.errors_stable <= self.requests_stable and 0 <= self.errors_candidate <= self.requests_candidate
        ):
            raise ValueError(f"errors are at least 0 and at most as many as requests: {self}")


@dataclass(frozen=True, slots=True)
class ErrorProcess:
    """The state of the test; small, JSON through `domain.codec`, and the same for a rollout of any length.

    >>> process = ErrorProcess(ErrorLimits(ratio=1.5, margin=0.005))
    >>> for _ in range(5):  # 100 requests a batch: 10 % to the candidate, of which it fails a fifth
    ...     process = process.after(ErrorBatch(90, 1, 10, 2, 0.1))
    >>> round(process.log_e_ratio, 1), round(process.log_e_margin, 1)
    (8.7, 10.0)
    >>> judge_errors(process, alpha=0.05).outcome
    'REJECT'
    """

    limits: ErrorLimits = ErrorLimits()
    requests_stable: int = 0
    errors_stable: int = 0
    requests_candidate: int = 0
    errors_candidate: int = 0
    restarts: int = 1
    weight: float = 0.0
    ratio_starts: tuple[RatioStart, ...] = (RatioStart(math.log(0.5), 1),)
    margin_log_wealth: tuple[float, ...] = (math.log(0.5),) * len(_STAKES)

    def after(self, batch: ErrorBatch) -> ErrorProcess:
        """The state after one more batch."""
        starts = self.ratio_starts
        if self.weight and batch.weight != self.weight:
            starts = settled(starts, self.weight, batch.weight, self.limits.ratio, self.restarts)
        both, ours = batch.errors_stable + batch.errors_candidate, batch.errors_candidate
        starts = tuple(
            replace(start, errors=start.errors + both, errors_candidate=start.errors_candidate + ours)
            for start in starts
        )
        staked = np.array(self.margin_log_wealth) + margin_log_e(batch, self.limits.margin)
        now = replace(
            self,
            requests_stable=self.requests_stable + batch.requests_stable,
            errors_stable=self.errors_stable + batch.errors_stable,
            requests_candidate=self.requests_candidate + batch.requests_candidate,
            errors_candidate=self.errors_candidate + batch.errors_candidate,
            weight=batch.weight,
            ratio_starts=starts,
            margin_log_wealth=tuple(staked.tolist()),
        )
        return now._restarted()

    @property
    def log_e_ratio(self) -> float:
        """Log e-value against `q_c <= ratio * q_s`."""
        return log_sum_exp([*log_wealth(self.ratio_starts, self.weight, self.limits.ratio), self._log_cash])

    @property
    def log_e_margin(self) -> float:
        """Log e-value against `q_c <= q_s + margin`."""
        return log_sum_exp([log_mean_exp(self.margin_log_wealth), self._log_cash])

    @property
    def log_e(self) -> float:
        """Log e-value against "within the ratio or within the margin": the smaller of the two."""
        return min(self.log_e_ratio, self.log_e_margin)

    @property
    def _log_cash(self) -> float:
        return -math.log(self.restarts + 1)

    def _restarted(self) -> ErrorProcess:
        due = (self.requests_stable + self.requests_candidate) // RESTART_EVERY + 1
        if due == self.restarts:
            return self
        # The stakes of all restarts that the batch spans, which begin together at its end.
        staked = math.log(1 / (self.restarts + 1) - 1 / (due + 1))
        margin = np.logaddexp(np.array(self.margin_log_wealth), staked)
        starts = (*self.ratio_starts, RatioStart(staked, due))
        starts = thinned(starts, due, self.weight, self.limits.ratio)
        return replace(self, restarts=due, ratio_starts=starts, margin_log_wealth=tuple(margin.tolist()))


def margin_log_e(batch: ErrorBatch, margin: float) -> Numbers:
    """Log e-values [stakes] of one batch against `q_c <= q_s + margin`; their mean over the stakes is the batch's e-value."""
    one = batch
    return margin_log_es(
        one.requests_stable + one.requests_candidate, one.errors_stable, one.errors_candidate, one.weight, margin
    )


def margin_log_es(
    requests: ArrayLike, errors_stable: ArrayLike, errors_candidate: ArrayLike, weight: ArrayLike, margin: float
) -> Numbers:
    """The same [..., stakes] of many batches [...]: requests of both arms, errors of each, and the weight."""
    n, k_s, k_c, w = (
        np.asarray(one, np.float64)[..., None] for one in (requests, errors_stable, errors_candidate, weight)
    )
    largest = 1 / (1 / (1 - w) + margin)
    bets = _STAKES * largest
    log_e: Numbers = (
        k_c * np.log1p(bets * (1 / w - margin))
        + k_s * np.log1p(-bets * (1 / (1 - w) + margin))
        + (n - k_s - k_c) * np.log1p(-bets * margin)
    )
    return log_e


def judge_errors(process: ErrorProcess, alpha: float, *, what: str = "errors") -> Evidence:
    """REJECT when both nulls have fallen at error rate `alpha`, else INCONCLUSIVE: no error is never a proof of health.

    `what` names the kind of failure in the reason.
    """
    values = {"ratio": process.log_e_ratio, "margin": process.log_e_margin}
    needed = dict.fromkeys(values, -math.log(alpha))
    limits = process.limits
    counts = (
        f"{what} of the candidate {_share(process.errors_candidate, process.requests_candidate)}, "
        f"of stable {_share(process.errors_stable, process.requests_stable)}"
    )
    allowed = f"{limits.ratio:g} times stable's rate and {limits.margin:.2%} of requests beyond it"
    if not process.requests_candidate:
        return Evidence("INCONCLUSIVE", "no request was assigned to the candidate: no evidence", values, needed)
    if process.log_e >= -math.log(alpha):
        return Evidence("REJECT", f"{counts}: {odds(process.log_e)} for more than {allowed}", values, needed)
    return Evidence("INCONCLUSIVE", f"{counts}: not shown to be more than {allowed}", values, needed)


def _share(errors: int, requests: int) -> str:
    return f"{errors} in {requests} requests" + (f" ({errors / requests:.1%})" if requests else "")
