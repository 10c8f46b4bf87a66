"""Which window to train on, decided by comparison: challengers of each window, scored on blocks that none was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.domain.metric import Metric
from mainspring.retrain.policy import positive_gain_p_value


@dataclass(frozen=True, slots=True)
class WindowChoice:
    """The window that was chosen by its name, why, and each window's numbers."""

    window: str
    why: str
    numbers: dict[str, Any] = field(default_factory=dict)


def choose_window(scores: Mapping[str, Mapping[str, float]], metric: Metric, *, alpha: float) -> WindowChoice:
    """The first window, unless another one's challenger was better on the blocks that they share.

    `scores` has for each window its challenger's metric by block. Each of the others is held against the first by a paired
    one-sided t-test at `alpha` divided by how many others there are; of those that pass the one with the largest mean gain
    wins. So a tie keeps what was written first.

    >>> from mainspring.domain.metric import METRICS
    >>> days = {str(day): 0.7 + day % 3 / 100 for day in range(14)}
    >>> better = {day: score + 0.02 + int(day) % 2 / 100 for day, score in days.items()}
    >>> choose_window({"all": days, "90d": better}, METRICS["auc"], alpha=0.1).window
    '90d'
    """
    first, *others = scores
    if not others:
        return WindowChoice(first, f"`{first}` is the only window")
    found: dict[str, dict[str, float]] = {}
    for name in others:
        shared = [block for block in scores[first] if block in scores[name]]
        gains = [metric.gain(scores[name][block], scores[first][block]) for block in shared]
        mean = sum(gains) / len(gains) if gains else 0.0
        found[name] = {"blocks": len(gains), "mean_gain": mean, "p_value": positive_gain_p_value(gains)}
    level = alpha / len(others)
    passed = [name for name, one in found.items() if one["p_value"] < level]
    numbers: dict[str, Any] = {"against": first, "level": level, **found}
    told = ", ".join(
        f"{name} {one['mean_gain']:+.4f} over {one['blocks']:.0f} days (p = {one['p_value']:.3f})"
        for name, one in found.items()
    )
    if not passed:
        return WindowChoice(first, f"no other was better than `{first}` at {level:.3g}: {told}", numbers)
    best = max(passed, key=lambda name: found[name]["mean_gain"])
    return WindowChoice(best, f"`{best}` was better than `{first}` at {level:.3g}: {told}", numbers)
