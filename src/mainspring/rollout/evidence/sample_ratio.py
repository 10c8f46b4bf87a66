"""Whether requests are split as configured: a mismatch test on the assignments that may be looked at at any time.

H0: each unit is assigned to the candidate with the chance `weight`. The e-value is a beta-binomial mixture around `weight` over
`weight`; when the weight changes the wealth goes on into a new one. A unit is what is assigned: a request, or a user where
users stay in their arm (count each user once).

Source: Lindon, Malek, Anytime-valid inference for multinomial count data, NeurIPS 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mainspring.rollout.evidence.mixture import log_beta_binomial
from mainspring.rollout.evidence.verdict import Evidence

# How many units the prior is worth: it expects a mismatch of about sqrt(w (1-w) / 1000), a point at w = 10 %.
CONCENTRATION = 1000.0


@dataclass(frozen=True, slots=True)
class SplitProcess:
    """The state of the test: settled log wealth, and the units assigned at the present weight.

    >>> process = SplitProcess()
    >>> for _ in range(20):
    ...     process = process.after(stable=95, candidate=5, weight=0.1)
    >>> str(judge_split(process, alpha=0.001))[:86]
    'REJECT: 100 of 2000 units were assigned to the candidate (5.00%), not the 10.00% asked'
    """

    settled: float = 0.0
    stable: int = 0
    candidate: int = 0
    weight: float = 0.0

    def after(self, *, stable: int, candidate: int, weight: float) -> SplitProcess:
        """The state after more units, all assigned while `weight` (0 to 1) was asked for."""
        if not 0 < weight < 1 or stable < 0 or candidate < 0:
            raise ValueError(f"a weight between 0 and 1 and counts of at least 0, not {weight}, {stable}, {candidate}")
        if weight != self.weight:
            return SplitProcess(self.log_e, stable, candidate, weight)
        return replace(self, stable=self.stable + stable, candidate=self.candidate + candidate)

    @property
    def log_e(self) -> float:
        """Log e-value against the split that was asked for."""
        if not self.weight:
            return self.settled
        a, b = CONCENTRATION * self.weight, CONCENTRATION * (1 - self.weight)
        return self.settled + float(log_beta_binomial(self.candidate, self.stable + self.candidate, a, b, self.weight))


def judge_split(process: SplitProcess, alpha: float = 0.001) -> Evidence:
    """REJECT when the split is off. `alpha` is small by default: the alarm is about the platform, not the candidate."""
    total = process.stable + process.candidate
    if not total:
        return Evidence("INCONCLUSIVE", "no unit was assigned: no evidence")
    values, needed = {"split": process.log_e}, {"split": -math.log(alpha)}
    told = f"{process.candidate} of {total} units were assigned to the candidate ({process.candidate / total:.2%})"
    if process.log_e >= needed["split"]:
        return Evidence("REJECT", f"{told}, not the {process.weight:.2%} asked for", values, needed)
    return Evidence(
        "INCONCLUSIVE", f"{told}, as far as one can tell the {process.weight:.2%} asked for", values, needed
    )
