"""`ShadowReport`: what a shadow answered to the requests that the primary answered, paired by request id."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.domain.rollout import Arm, ArmCounts


@dataclass(frozen=True, slots=True)
class PairedBlock:
    """Quality of both on the same labelled requests of one block of time, in the gate's own metric."""

    block: str
    primary: float
    shadow: float
    rows: int


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """Requests that the primary answered (`requests`), and what became of their copies.

    `answered` copies have an answer, `failed` an error, `missing` nothing at all. Of the answered, `differing` are
    further from the primary's answer than `tolerance`; `mean_difference` and `largest_difference` are absolute, over all
    outputs; `examples` are request ids, the furthest apart first. `blocks` are those with labels, oldest first.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    missing: int = 0
    differing: int = 0
    tolerance: float = 0.0
    mean_difference: float = 0.0
    largest_difference: float = 0.0
    examples: tuple[str, ...] = ()
    blocks: tuple[PairedBlock, ...] = ()

    def counts(self) -> dict[Arm, ArmCounts]:
        """The copies as the candidate's requests: one that got no answer is an error of the candidate.

        >>> ShadowReport(requests=10, answered=7, failed=1, missing=2).counts()["candidate"].upstream_errors
        3
        """
        errors = self.failed + self.missing
        return {"candidate": ArmCounts(self.answered + errors, errors), "stable": ArmCounts(self.requests)}

    @property
    def words(self) -> str:
        """How far the answers are apart, for a person."""
        if not self.answered:
            return "no copied request was answered yet"
        return (
            f"{self.answered:,} copied requests answered, {self.differing:,} differ by more than {self.tolerance:g}; "
            f"on the mean by {self.mean_difference:.4g}, at most by {self.largest_difference:.4g}"
        )
