"""Metrics with their direction, and measured values with their interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that judges a model. `higher_is_better` is its direction; `tasks` are the tasks it is defined for."""

    name: str
    higher_is_better: bool
    tasks: tuple[Task, ...]

    def better(self, left: float, right: float) -> bool:
        """Whether `left` is strictly better than `right`.

        >>> METRICS["log_loss"].better(0.2, 0.3)
        True
        """
        return left > right if self.higher_is_better else left < right

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`; positive is better, whatever the direction."""
        return new - old if self.higher_is_better else old - new


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with an interval of stated confidence, the rows and the blocks of time it was taken from."""

    value: float
    low: float | None = None
    high: float | None = None
    rows: int = 0
    blocks: int = 0
    confidence: float = 0.9


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auc", True, ("binary",)),
        Metric("average_precision", True, ("binary",)),
        Metric("brier", False, ("binary",)),
        Metric("calibration_error", False, ("binary", "multiclass")),
        Metric("log_loss", False, ("binary", "multiclass")),
        Metric("accuracy", True, ("binary", "multiclass")),
        Metric("macro_f1", True, ("multiclass",)),
        Metric("rmse", False, ("regression",)),
        Metric("mae", False, ("regression",)),
        Metric("r2", True, ("regression",)),
    )
}

DEFAULT_METRIC: dict[Task, str] = {"binary": "auc", "multiclass": "log_loss", "regression": "rmse"}
