"""`ShadowReport`: what a shadow answered to the requests that the primary answered, paired by request id."""

from __future__ import annotations

from dataclasses import dataclass


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

    `answered` copies have an answer, `failed` an error; what left no row is the proxy's to tell. Of the answered, `differing` are
    further from the primary's answer than `tolerance`; `mean_difference` and `largest_difference` are absolute, over all
    outputs; `examples` are request ids, the furthest apart first. `blocks` are those with labels, oldest
    first, and `base_rate` is the constant answer's metric on their rows.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    differing: int = 0
    tolerance: float = 0.0
    mean_difference: float = 0.0
    largest_difference: float = 0.0
    examples: tuple[str, ...] = ()
    blocks: tuple[PairedBlock, ...] = ()
    base_rate: float | None = None

    @property
    def words(self) -> str:
        """How far the answers are apart, for a person."""
        if not self.answered:
            return "no copied request was answered yet"
        return (
            f"{self.answered:,} copied requests answered, {self.differing:,} differ by more than {self.tolerance:g}; "
            f"on the mean by {self.mean_difference:.4g}, at most by {self.largest_difference:.4g}"
        )
