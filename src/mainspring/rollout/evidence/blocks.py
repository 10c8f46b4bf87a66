"""Observations of the quality tests: how much worse the candidate did than stable, by block of time.

A block is a day, or what else shares its weather. A difference is candidate's loss minus stable's in the gate's own metric:
positive is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mainspring.domain.metric import Metric
from mainspring.rollout.evidence.mixture import Numbers


@dataclass(frozen=True, slots=True)
class DifferenceRange:
    """The least and the greatest that a block's difference can be: stated before the first block, never learnt from them.

    What the tests gain per block is bounded by effect / range. With [-1, 1], an effect of 0.01 takes 600 blocks.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < 0 < self.high:
            raise ValueError(f"a range has 0 inside it, not [{self.low}, {self.high}]")


def paired_range(bound: float = 1.0) -> DifferenceRange:
    """Of two models on the same rows of a block: `bound` is 1 for any metric in [0, 1]; where it is known, state a smaller one."""
    return DifferenceRange(-bound, bound)


def split_range(*weights: float) -> DifferenceRange:
    """Of a split, for losses in [0, 1]: all the weights that the candidate is going to have.

    >>> split_range(0.2)
    DifferenceRange(low=-1.25, high=5.0)
    >>> split_range(0.1, 0.5)
    DifferenceRange(low=-2.0, high=10.0)
    """
    return DifferenceRange(-1 / (1 - max(weights)), 1 / min(weights))


def paired_differences(metric: Metric, candidate: Sequence[float], stable: Sequence[float]) -> Numbers:
    """From both models' metric on each block (`performance.quality.by_day`), oldest first.

    >>> from mainspring.domain.metric import METRICS
    >>> paired_differences(METRICS["auc"], [0.75, 0.5], [0.5, 0.75]).tolist()
    [-0.25, 0.25]
    """
    return np.array([metric.gain(theirs, ours) for ours, theirs in zip(candidate, stable, strict=True)])


def split_differences(losses: ArrayLike, on_candidate: ArrayLike, blocks: ArrayLike, weights: ArrayLike) -> Numbers:
    """From the losses [rows] in [0, 1] of requests that one arm each answered: each block's mean of `Y (A/w - (1-A)/(1-w))`.

    `on_candidate` [rows] is A, the assigned arm; `blocks` [rows] names the blocks, in order of time when sorted; `weights` is the
    candidate's share when the row was assigned, one number or [rows].

    >>> split_differences([1.0, 0.5, 0.0, 1.0], [True, False, True, False], ["a", "a", "b", "b"], 0.5).tolist()
    [0.5, -1.0]
    """
    loss, ours = np.asarray(losses, np.float64), np.asarray(on_candidate, np.bool_)
    share = np.broadcast_to(np.asarray(weights, np.float64), loss.shape)
    if loss.size and (loss.min() < 0 or loss.max() > 1):
        raise ValueError("losses are clipped to a stated value and scaled to [0, 1] first")
    each = loss * np.where(ours, 1 / share, -1 / (1 - share))
    _, of_row = np.unique(np.asarray(blocks), return_inverse=True)
    return np.asarray(np.bincount(of_row, weights=each) / np.bincount(of_row), np.float64)


def pooled(differences: ArrayLike, blocks: int) -> Numbers:
    """Means of each `blocks` neighbours [..., blocks]; the rest, not yet a whole one, waits.

    Days that resemble the day before fool every test about the long run; weeks of them resemble each other much less.

    >>> pooled([1.0, 2.0, 3.0, 5.0, 9.0], 2).tolist()
    [1.5, 4.0]
    """
    seen = np.asarray(differences, np.float64)
    whole = seen.shape[-1] // blocks
    found: Numbers = seen[..., : whole * blocks].reshape(*seen.shape[:-1], whole, blocks).mean(axis=-1)
    return found
