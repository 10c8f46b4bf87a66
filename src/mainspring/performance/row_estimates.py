"""What is to be expected of rows that were answered, and the metrics on some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mainspring.performance.expected import Errors, Expected, of_classes, of_values


@dataclass(frozen=True)
class RowEstimates:
    """What is to be expected of each row: chances [rows] or [rows, classes]; or errors [rows].

    `others` are the same by estimators that know less.
    """

    outputs: Any
    chances: Any = None
    errors: Errors | None = None
    fourth: float = 3.0
    others: tuple[RowEstimates, ...] = ()

    def at(self, here: Any) -> RowEstimates:
        """Those of the rows `here` (places, or true and false)."""
        return replace(
            self,
            outputs=self.outputs[here],
            chances=None if self.chances is None else self.chances[here],
            errors=None if self.errors is None else self.errors.at(here),
            others=tuple(one.at(here) for one in self.others),
        )

    def expected(self, metrics: Sequence[str], here: Any) -> dict[str, Expected]:
        """The metrics on the rows `here` (places, or true and false)."""
        asked = self.at(here)
        if asked.errors is not None:
            others = [one.errors for one in asked.others if one.errors is not None]
            return of_values(asked.errors, others, fourth=self.fourth)
        return of_classes(metrics, asked.outputs, asked.chances, [one.chances for one in asked.others])


def joined_estimates(several: Sequence[RowEstimates]) -> RowEstimates:
    """Estimates of one version for rows of several, one after the other."""
    import numpy as np

    errors = [one.errors for one in several if one.errors is not None]
    others = zip(*(one.others for one in several), strict=True)
    return RowEstimates(
        np.concatenate([one.outputs for one in several]),
        None if several[0].chances is None else np.concatenate([one.chances for one in several]),
        Errors.joined(errors) if errors else None,
        several[-1].fourth,
        tuple(joined_estimates(parts) for parts in others),
    )
