"""`Chances`: what a model's answers mean, learnt on held-out rows: each class's chance as a rising function of what was said.

It is kept as numbers in the version's reference, and nothing that runs. Source: Zadrozny and Elkan, Transforming classifier scores
into accurate multiclass probability estimates (2002); the assumption that makes it an estimate of performance is in
`performance.expected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMALLEST = 1e-4
"""No calibrated chance is nearer to 0 or 1: a few thousand held-out rows do not say more."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A rising function by its knots; straight between them, level beyond."""

    said: tuple[float, ...]
    chance: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chances:
    """A curve for the positive class, or for each of several classes; without curves what was said is taken as it is."""

    curves: tuple[Curve, ...] = ()

    def of(self, outputs: Any) -> Any:
        """Calibrated chances in the shape of `outputs`: [rows], or [rows, classes] that add up to 1.

        >>> Chances((Curve((0.2, 0.8), (0.1, 0.5)),)).of([0.2, 0.5, 0.9]).tolist()
        [0.1, 0.3, 0.5]
        """
        import numpy as np

        said = np.asarray(outputs, np.float64)
        if said.ndim == 1:
            found = np.interp(said, self.curves[0].said, self.curves[0].chance) if self.curves else said
            return np.clip(found, SMALLEST, 1 - SMALLEST)
        columns = [np.interp(said[:, k], one.said, one.chance) for k, one in enumerate(self.curves)]
        found = np.clip(np.column_stack(columns) if columns else said, SMALLEST, 1 - SMALLEST)
        return found / found.sum(axis=1, keepdims=True)


def fit_chances(truth: Any, outputs: Any) -> Chances:
    """Isotonic regression of what happened on what was said; none where the rows are of one class.

    >>> fit_chances([0, 1, 0, 1], [0.1, 0.6, 0.6, 0.9]).of([0.6]).tolist()
    [0.5]
    """
    import numpy as np

    known, said = np.asarray(truth), np.asarray(outputs, np.float64)
    if len(np.unique(known)) < 2:
        return Chances()
    if said.ndim == 1:
        return Chances((_isotonic(said, known),))
    return Chances(tuple(_isotonic(said[:, k], known == k) for k in range(said.shape[1])))


def _isotonic(said: Any, happened: Any) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(said, happened.astype(float))
    return Curve(tuple(float(one) for one in fitted.X_thresholds_), tuple(float(one) for one in fitted.y_thresholds_))
