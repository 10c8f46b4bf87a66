"""What a fitted model looks at and how it learnt: importance of each feature, and a learning curve; bounded in seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainspring.domain.metric import Metric
from mainspring.domain.scoring import score

if TYPE_CHECKING:
    import pandas as pd

Answers = Callable[[Any, Any], Any]
"""(model, X) -> answers, as `training.answers` gives them."""

MOST_ROWS = 1000
"""Rows that a number is taken from: its error is then below 2 % of an AUC, which a picture does not show."""
SECONDS = 4.0
"""Longest that importance, or the points of a curve, may take; what is not reached by then is left out."""
_POINTS = 10
_SHARES = (0.1, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the metric loses when a feature's values are shuffled on rows that were not trained on."""

    feature: str
    loss: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The metric on training and held-out rows after `at` boosting rounds, or trained on `at` rows."""

    at: int
    train: float
    held_out: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """`by` is `rounds` or `rows`; the last point is the model itself. No points: `why` says why."""

    metric: str
    by: str
    points: tuple[CurvePoint, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Rows:
    """Features and truth of some rows."""

    X: pd.DataFrame
    y: Any

    def sample(self, most: int = MOST_ROWS) -> Rows:
        """At most so many, evenly spread."""
        import numpy as np

        if len(self.y) <= most:
            return self
        places = np.linspace(0, len(self.y) - 1, most).astype(int)
        return Rows(self.X.iloc[places].reset_index(drop=True), self.y[places])


def importance(
    model: Any, rows: Rows, answers: Answers, metric: Metric, *, seed: int, seconds: float = SECONDS
) -> list[Importance]:
    """Permutation importance, most important first, of as many features as `seconds` allow.

    [1] L. Breiman, Random Forests, Machine Learning 45, 2001: shuffle one column, see what is lost.
    """
    import numpy as np

    sample, until = rows.sample(), time.monotonic() + seconds
    generator = np.random.default_rng(seed)
    whole = score(metric.name, sample.y, answers(model, sample.X))
    found = []
    for name in sample.X.columns:
        if time.monotonic() > until:
            break
        shuffled = sample.X.copy()
        shuffled[name] = sample.X[name].to_numpy()[generator.permutation(len(sample.y))]
        found.append(Importance(str(name), metric.gain(whole, score(metric.name, sample.y, answers(model, shuffled)))))
    return sorted((one for one in found if math.isfinite(one.loss)), key=lambda one: -one.loss)


def learning_curve(
    model: Any,
    train: Rows,
    held_out: Rows,
    answers: Answers,
    metric: Metric,
    *,
    refit: Callable[[float], Any],
    fit_seconds: float,
    by_rounds: bool = True,
    seconds: float = SECONDS,
) -> LearningCurve:
    """The metric by boosting rounds where the estimator gives it, else by rows it was trained on.

    `refit` fits on a share of the training rows; a share is only tried when `fit_seconds` (of the whole) say that it ends
    in time. Without `by_rounds` rounds are not asked for: a project's own `predict` does not know them.
    """
    inner, held = train.sample(), held_out.sample()
    staged = _stages(model) if by_rounds else None
    until = time.monotonic() + seconds
    if staged is not None:
        points = []
        for (at, seen), (_, unseen) in zip(staged(inner.X), staged(held.X), strict=True):
            points.append(CurvePoint(at, score(metric.name, inner.y, seen), score(metric.name, held.y, unseen)))
            if time.monotonic() > until:
                break
        return LearningCurve(metric.name, "rounds", _defined(points))
    shares = [share for share in _SHARES if fit_seconds * sum(one for one in _SHARES if one <= share) <= seconds]
    if not shares:
        return LearningCurve(
            metric.name, "rows", (), f"a fit takes {fit_seconds:.0f} s, and there are {seconds:g} for this"
        )
    points = []
    for share in [*shares, 1.0]:
        fitted = model if share == 1.0 else refit(share)
        points.append(
            CurvePoint(
                round(share * len(train.y)),
                score(metric.name, inner.y, answers(fitted, inner.X)),
                score(metric.name, held.y, answers(fitted, held.X)),
            )
        )
        if time.monotonic() > until:
            break
    return LearningCurve(metric.name, "rows", _defined(points))


def _defined(points: list[CurvePoint]) -> tuple[CurvePoint, ...]:
    return tuple(one for one in points if math.isfinite(one.train) and math.isfinite(one.held_out))


def _stages(model: Any) -> Callable[[Any], Iterator[tuple[int, Any]]] | None:
    """A function that gives (rounds, answers) at some rounds up to all, None for what is not boosted."""
    steps = getattr(model, "steps", None)
    before, last = (model[:-1], steps[-1][1]) if steps and len(steps) > 1 else (None, model)
    rounds = _rounds(last)
    if rounds is None:
        return None
    chosen = sorted({max(1, round(rounds * place / _POINTS)) for place in range(1, _POINTS + 1)})

    def staged(X: Any) -> Iterator[tuple[int, Any]]:
        given = X if before is None else before.transform(X)
        for at, answered in _answers_by_round(last, given, chosen):
            yield at, answered[:, -1] if answered.ndim == 2 and answered.shape[1] == 2 else answered

    return staged


def _rounds(last: Any) -> int | None:
    library = type(last).__module__.split(".")[0]
    if library == "xgboost" and hasattr(last, "get_booster"):
        best = last.get_booster().attributes().get("best_iteration")
        return int(best) + 1 if best is not None else int(last.get_booster().num_boosted_rounds())
    if library == "lightgbm" and hasattr(last, "booster_"):
        return int(last.best_iteration_ or last.n_estimators_)
    if library == "sklearn" and hasattr(last, "staged_predict"):
        return int(getattr(last, "n_iter_", None) or len(last.estimators_))
    return None


def _answers_by_round(last: Any, X: Any, chosen: list[int]) -> Iterator[tuple[int, Any]]:
    import numpy as np

    chances = hasattr(last, "predict_proba")
    predict = last.predict_proba if chances else last.predict
    if hasattr(last, "staged_predict"):
        stages = last.staged_predict_proba(X) if chances else last.staged_predict(X)
        yield from ((at, np.asarray(one)) for at, one in enumerate(stages, 1) if at in chosen)
        return
    xgboost = hasattr(last, "get_booster")
    for at in chosen:
        limit = {"iteration_range": (0, at)} if xgboost else {"num_iteration": at}
        yield at, np.asarray(predict(X, **limit))
