"""How many blocks a quality test still takes, by simulation from the blocks so far. An estimate, and only that."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from mainspring.rollout.evidence.blocks import DifferenceRange
from mainspring.rollout.evidence.mixture import Numbers
from mainspring.rollout.evidence.quality import Test, accept_log_e, reject_log_e
from mainspring.rollout.evidence.verdict import Evidence

_REPETITIONS = 200
_FEWEST = 3


def blocks_still_needed(
    differences: ArrayLike,
    *,
    margin: float,
    limits: DifferenceRange,
    alpha_to_accept: float = 0.05,
    alpha_to_reject: float = 0.05,
    test: Test = "running_mean",
    period: int = 7,
    at_most: int = 364,
    seed: int = 7,
) -> int | None:
    """The median number of further blocks until a verdict, if blocks go on as they were: drawn from `differences` again and again.

    None with fewer than three blocks, or when a verdict is not to be expected within `at_most` further ones. The blocks so far
    are few and draws are independent, so the truth can be far from it.

    >>> from mainspring.rollout.evidence.blocks import paired_range
    >>> blocks_still_needed([-0.02, 0.01, -0.03, 0.0, -0.02, -0.04, 0.01], margin=0.01, limits=paired_range(0.1))
    21
    """
    seen = np.asarray(differences, np.float64)
    if len(seen) < _FEWEST or (test != "symmetric" and (seen.max() > limits.high or seen.min() < limits.low)):
        return None
    drawn = np.random.default_rng(seed).choice(seen, (_REPETITIONS, at_most))
    both = np.hstack([np.broadcast_to(seen, (_REPETITIONS, len(seen))), drawn])
    whole = np.arange(1, both.shape[1] + 1) % period == 0
    accepted = (accept_log_e(both, margin, limits, test) >= -math.log(alpha_to_accept)) & whole
    rejected = reject_log_e(both, limits, test) >= -math.log(alpha_to_reject)
    waited = _first((accepted | rejected)[:, len(seen) :])
    median = float(np.median(waited))
    return int(median) if math.isfinite(median) else None


def with_forecast(evidence: Evidence, needed: int | None) -> Evidence:
    """The evidence with what it still needs, if it is INCONCLUSIVE.

    >>> str(with_forecast(Evidence("INCONCLUSIVE", "not yet", unit="days"), 21))
    'INCONCLUSIVE: not yet. About 21 more days, at the effect seen so far (an estimate).'
    """
    return replace(evidence, still_needed=needed) if evidence.outcome == "INCONCLUSIVE" else evidence


def _first(decided: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Numbers:
    """How many blocks [repetitions] until the first that decides; infinite where none does."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.inf)
