"""What a version lost: its realised quality by block against its own held-out evaluation, looked at again and again.

Each look is Welch's t over blocks (days): rows of a day share its weather and are no independent observations. Looks come
each week of blocks, and look k may err with probability `alpha * 6 / (pi * k)**2`, which adds up to `alpha` over all looks
there will ever be (a union bound, so it holds however looks depend on each other, and whenever one stops).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.settings.retrain import LEAST_BLOCKS


@dataclass(frozen=True, slots=True)
class LossVerdict:
    """The verdict of all looks so far, why, and its numbers; `from_block` is the number of blocks at which it turned."""

    worse: bool
    words: str
    numbers: dict[str, Any]
    from_block: int = 0


def loss_test(
    held_out: Sequence[float], realised: Sequence[float], *, higher_is_better: bool, alpha: float, margin: float = 0.0
) -> LossVerdict:
    """Whether `realised` blocks (oldest first) are worse than `held_out` ones by more than `margin`.

    A verdict once reached stands: it is that of the first look that found it.

    >>> held = [0.72, 0.70, 0.71, 0.69, 0.73, 0.70, 0.71]
    >>> loss_test(held, [one - 0.1 for one in held], higher_is_better=True, alpha=0.05).worse
    True
    >>> loss_test(held, held, higher_is_better=True, alpha=0.05).words
    'it had 0.7086 over 7 days and 0.7086 held out (p = 0.500, 0.0304 at look 1 of alpha = 0.05)'
    """
    if len(held_out) < LEAST_BLOCKS:
        why = f"the version's held-out evaluation has {len(held_out)} days; {LEAST_BLOCKS} are needed"
        return LossVerdict(False, why, {"held_out_days": len(held_out)})
    looks = len(realised) // LEAST_BLOCKS
    if not looks:
        why = f"{len(realised)} days of its answers have their labels; {LEAST_BLOCKS} are needed"
        return LossVerdict(False, why, {"days": len(realised)})
    found = None
    for look in range(1, looks + 1):
        seen = realised[: look * LEAST_BLOCKS]
        level = alpha * 6 / (math.pi * look) ** 2
        p_value = _worse_p_value(held_out, seen, higher_is_better=higher_is_better, margin=margin)
        now, before = _mean(seen), _mean(held_out)
        words = (
            f"it had {now:.4f} over {len(seen)} days and {before:.4f} held out "
            f"(p = {p_value:.3f}, {level:.4f} at look {look} of alpha = {alpha:g})"
        )
        numbers = {"days": len(seen), "realised": now, "held_out": before, "p_value": p_value, "level": level}
        found = LossVerdict(p_value < level, words, {**numbers, "look": look}, len(seen))
        if found.worse:
            break
    assert found is not None
    return found


def _worse_p_value(
    held_out: Sequence[float], realised: Sequence[float], *, higher_is_better: bool, margin: float
) -> float:
    """Welch's one-sided t: that `realised` is worse by more than `margin`."""
    sign = 1.0 if higher_is_better else -1.0
    lost = sign * (_mean(held_out) - _mean(realised)) - margin
    shares = [_variance(one) / len(one) for one in (held_out, realised)]
    spread = sum(shares)
    if spread == 0.0:
        return 0.0 if lost > 0 else 1.0
    freedom = spread**2 / sum(
        share**2 / (len(one) - 1) for share, one in zip(shares, (held_out, realised), strict=True)
    )
    from scipy.special import stdtr

    return float(stdtr(freedom, -lost / math.sqrt(spread)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((one - mean) ** 2 for one in values) / (len(values) - 1)
