"""`Evidence`: what a test of a rollout says, from which e-values, in sentences for a person; and several told as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ACCEPT", "REJECT", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verdict on the candidate.

    ACCEPT: it has shown what was asked of it. REJECT: it has shown that it is worse. INCONCLUSIVE: neither, so far.

    Parameters
    ----------
    reason: why, as a sentence.
    log_e_values: by test, the natural logarithm of its e-value now; an e-value itself may be too large for a float.
    log_thresholds: by test, the logarithm of the e-value that it needs, `ln(1/alpha)`.
    still_needed: an estimate of how many more `unit`s it takes at the effect seen so far; None where there is none.

    >>> found = Evidence("REJECT", "20 % of its requests failed", {"errors": 3.6}, {"errors": 3.0})
    >>> print(found)
    REJECT: 20 % of its requests failed. Odds against chance: errors 37 to 1 (needs 20 to 1).
    """

    outcome: Outcome
    reason: str
    log_e_values: dict[str, float] = field(default_factory=dict)
    log_thresholds: dict[str, float] = field(default_factory=dict)
    still_needed: int | None = None
    unit: str = "requests"

    def __str__(self) -> str:
        told = "; ".join(
            f"{name} {odds(value)}"
            + (f" (needs {odds(self.log_thresholds[name])})" if name in self.log_thresholds else "")
            for name, value in self.log_e_values.items()
        )
        needed = (
            f" About {self.still_needed} more {self.unit}, at the effect seen so far (an estimate)."
            if self.still_needed is not None
            else ""
        )
        return f"{self.outcome}: {self.reason}." + (f" Odds against chance: {told}." if told else "") + needed


def odds(log_e: float) -> str:
    """An e-value as the odds that somebody betting against chance has won.

    >>> odds(math.log(20)), odds(-1.0), odds(5000.0)
    ('20 to 1', '0.37 to 1', 'over a million to 1')
    """
    if log_e > math.log(1e6):
        return "over a million to 1"
    value = math.exp(log_e)
    return f"{value:.0f} to 1" if value >= 10 else f"{value:.2g} to 1"


def together(tests: Mapping[str, Evidence], sample_ratio: Evidence | None = None) -> Evidence:
    """Several tests' evidence as one, each at its own share of the error rate (`budget`).

    One REJECT is enough. ACCEPT takes one test that accepts and none that rejects: errors and latency can only reject.
    Where the split is not what was configured (`sample_ratio` rejects), nothing is accepted; a REJECT stands, because going
    back is the safe side, and its reason says that the split was off.

    >>> quality = Evidence("ACCEPT", "no worse on 14 days")
    >>> together({"errors": Evidence("INCONCLUSIVE", "no more errors than stable"), "quality": quality}).outcome
    'ACCEPT'
    >>> together({"quality": quality}, Evidence("REJECT", "31 % of requests instead of 10 %")).outcome
    'INCONCLUSIVE'
    """
    values = {f"{name}.{key}": value for name, one in tests.items() for key, value in one.log_e_values.items()}
    needed = {f"{name}.{key}": value for name, one in tests.items() for key, value in one.log_thresholds.items()}
    by_outcome: dict[Outcome, list[str]] = {"REJECT": [], "ACCEPT": [], "INCONCLUSIVE": []}
    for name, one in tests.items():
        by_outcome[one.outcome].append(f"{name}: {one.reason}")
    split = f"the split is off: {sample_ratio.reason}" if sample_ratio and sample_ratio.outcome == "REJECT" else ""
    if by_outcome["REJECT"]:
        reason = "; ".join([*by_outcome["REJECT"], *([split] if split else [])])
        return Evidence("REJECT", reason, values, needed)
    if split:
        return Evidence("INCONCLUSIVE", f"{split}; nothing is accepted until it is repaired", values, needed)
    if by_outcome["ACCEPT"]:
        return Evidence("ACCEPT", "; ".join(by_outcome["ACCEPT"]), values, needed)
    waiting = [one for one in tests.values() if one.still_needed is not None]
    longest = max(waiting, key=lambda one: one.still_needed or 0) if waiting else Evidence("INCONCLUSIVE", "")
    reason = "; ".join(by_outcome["INCONCLUSIVE"]) or "no test has run"
    return Evidence("INCONCLUSIVE", reason, values, needed, longest.still_needed, longest.unit)
