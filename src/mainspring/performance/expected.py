"""What a metric comes to on rows whose labels are not known yet, if what the model said still means what it meant.

Classes: each row's label is drawn from its chance, many times, and the metric is taken of each draw. The mean is what is to be
expected, calibration error included, which is never 0 on a few rows; the spread is what labels will differ from it by chance.
Values: means of the losses that are to be expected of each row; r2 holds them against how much labels are expected to vary.

Assumed: inputs may move (covariate shift), what follows from an input may not (no concept drift). Nothing here can see that it
did; labels can. Source of the idea: NannyML's CBPE and DLE; Guerrero and others, Garg and others, Leveraging unlabeled data to
predict out-of-distribution performance (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mainspring.domain.block_interval import open_scale
from mainspring.domain.scoring import score

DRAWS = 100
_FEWER = 20
"""Of estimators that knew less: only their differences are looked at, and these share their luck."""
MOST_ROWS = 50_000
"""Of more rows so many, evenly spread, are drawn for; the chance's share of the spread is then made smaller in proportion."""
_SMALLEST = 1e-15
_BINS = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """A metric that is to be expected of `rows`. On the metric's open scale: `error` is the standard deviation by chance alone,
    `doubt` the jackknife's standard error from estimators that knew fewer days; 0 without such."""

    value: float
    error: float
    rows: int
    doubt: float = 0.0


def of_classes(
    metrics: Sequence[str], outputs: Any, chances: Any, others: Sequence[Any] = (), *, seed: int = 7
) -> dict[str, Expected]:
    """By metric, from what was said and the chances [rows] or [rows, classes]; what is not defined is left out.

    `others` are chances by estimators that knew less.

    >>> found = of_classes(["accuracy"], [0.9] * 1000, [0.8] * 1000)["accuracy"]
    >>> abs(found.value - 0.8) < 0.01, found.rows
    (True, 1000)
    """
    import numpy as np

    said, chance = np.asarray(outputs, np.float64), np.asarray(chances, np.float64)
    rows = len(said)
    if not rows:
        return {}
    if rows > MOST_ROWS:
        taken = np.linspace(0, rows - 1, MOST_ROWS).astype(int)
        said, chance, others = said[taken], chance[taken], [one[taken] for one in others]
    shrink = (len(said) / rows) ** 0.5
    # What was said is the same for all estimators: it is put in order once.
    drawn = _Binary(metrics, said, seed) if said.ndim == 1 else _Several(metrics, said, seed)
    draws = drawn.of(chance, DRAWS)
    fewer = [drawn.of(one, _FEWER) for one in others]
    found = {}
    for name, values in draws.items():
        defined = values[np.isfinite(values)]
        if len(defined) > DRAWS // 2:
            error = float(np.std(open_scale(name, defined), ddof=1)) * shrink
            found[name] = Expected(float(defined.mean()), error, rows, _doubt(name, [one[name] for one in fewer]))
    return found


def _doubt(metric: str, draws: Sequence[Any]) -> float:
    """The jackknife's standard error of a metric from its draws by each estimator that left a fold out, the same luck in all."""
    import numpy as np

    if len(draws) < 2:
        return 0.0
    middles = np.array([open_scale(metric, float(np.mean(one))) for one in draws])
    if not np.isfinite(middles).all():
        return 0.0
    return float(np.sqrt((len(draws) - 1) / len(draws) * ((middles - middles.mean()) ** 2).sum()))


@dataclass(frozen=True, slots=True)
class Errors:
    """What is to be expected of each row's label [rows]: the absolute and the squared error of what was said, and, where it is
    known, its mean (`centre`) and its variance about that (`noise`)."""

    absolute: Any
    squared: Any
    centre: Any = None
    noise: Any = None

    def at(self, here: Any) -> Errors:
        """Those of the rows `here` (places, or true and false)."""
        return Errors(*(None if one is None else one[here] for one in self.parts))

    @property
    def parts(self) -> tuple[Any, ...]:
        """All four, in order."""
        return self.absolute, self.squared, self.centre, self.noise

    @classmethod
    def joined(cls, several: Sequence[Errors]) -> Errors:
        """Rows of several, one after the other; what not all of them know is not known."""
        import numpy as np

        together = zip(*(one.parts for one in several), strict=True)
        return cls(*(None if any(one is None for one in parts) else np.concatenate(parts) for parts in together))


def of_values(errors: Errors, others: Sequence[Errors] = (), *, fourth: float = 3.0) -> dict[str, Expected]:
    """Mean absolute and root mean squared error, and r2 where the labels' spread is known.

    `others` are by estimators that knew less. `fourth` is how much larger the square of a squared error is than the square of
    its expectation, 3 of normal errors.

    >>> import numpy as np
    >>> found = of_values(Errors(np.array([1.0, 3.0]), np.array([2.0, 16.0]), np.array([0.0, 8.0]), np.array([2.0, 16.0])))
    >>> found["mae"].value, found["rmse"].value, found["r2"].value  # 1 - 9 / (16 + 9)
    (2.0, 3.0, 0.64)
    """
    import numpy as np

    size, square = errors.absolute, errors.squared
    rows = len(size)
    if not rows or size.sum() <= 0 or square.sum() <= 0:
        return {}
    mean, mean_square = float(size.mean()), float(square.mean())
    # On logarithms a standard deviation is relative; of a root it is half of the square's.
    of_mean = float(np.sqrt(np.maximum(square - size**2, 0.0).sum())) / rows / mean
    of_square = float(np.sqrt((max(fourth - 1.0, 0.0) * square**2).sum())) / rows / mean_square
    found = {
        "mae": Expected(mean, of_mean, rows, _doubt("mae", [one.absolute.mean() for one in others])),
        "rmse": Expected(
            mean_square**0.5, of_square / 2, rows, _doubt("rmse", [np.sqrt(one.squared.mean()) for one in others])
        ),
    }
    spread = _spread(errors)
    if spread > 0:
        known = [(one, _spread(one)) for one in others]
        doubt = _doubt("r2", [1 - one.squared.mean() / theirs for one, theirs in known if theirs > 0])
        found["r2"] = Expected(1 - mean_square / spread, _r2_error(errors, spread, of_square), rows, doubt)
    return found


def _spread(errors: Errors) -> float:
    """How much labels are expected to vary; 0 where that is not known."""
    return 0.0 if errors.centre is None else float(errors.centre.var() + errors.noise.mean())


def _r2_error(errors: Errors, spread: float, of_square: float) -> float:
    """The standard deviation of r2 by chance. Luck that makes errors larger makes labels vary more, too, and cancels in part;
    luck that falls in with their centre, or against it, makes labels alone vary."""
    import numpy as np

    share = float(errors.squared.mean()) / spread
    noise = float(errors.noise.mean())
    both = of_square * share * (1 - noise / spread)
    apart = errors.centre - errors.centre.mean()
    alone = 2 * share * float(np.sqrt((apart**2 * errors.noise).sum())) / len(apart) / spread
    return float(np.hypot(both, alone))


class _Binary:
    """Metrics of draws of labels [rows] from chances. Ranks and order are those of what was said, whatever the labels."""

    def __init__(self, metrics: Sequence[str], said: Any, seed: int) -> None:
        import numpy as np

        self._metrics = metrics
        self._order = np.argsort(said, kind="stable")
        self._said = said[self._order]
        self._luck = np.random.default_rng(seed).random((DRAWS, len(said)), np.float32)

    def of(self, chance: Any, draws: int) -> dict[str, Any]:
        """Each metric of so many draws."""
        import numpy as np

        said = self._said
        drawn = (self._luck[:draws] < chance[self._order]).astype(np.float32)
        found = {}
        for name in self._metrics:
            if name in _LOSSES:
                without, having = self._losses[name]
                found[name] = (without + drawn @ having) / len(said)
            elif name == "auc":
                found[name] = self._auc(drawn)
            elif name == "average_precision":
                found[name] = self._average_precision(drawn)
            elif name == "calibration_error":
                ends = _bins(len(said))
                apart = np.add.reduceat(drawn, ends, axis=1) - np.add.reduceat(said, ends)
                found[name] = np.abs(apart).sum(axis=1) / len(said)
            else:
                found[name] = np.array([score(name, labels, said) for labels in drawn])
        return {name: np.asarray(values, np.float64) for name, values in found.items()}

    @cached_property
    def _losses(self) -> dict[str, tuple[float, Any]]:
        """The sum when all labels are 0, and what each row adds when its own is 1."""
        import numpy as np

        pairs = {name: _LOSSES[name](self._said) for name in self._metrics if name in _LOSSES}
        return {
            name: (without.sum(), (having - without).astype(np.float32)) for name, (without, having) in pairs.items()
        }

    @cached_property
    def _ranks(self) -> tuple[Any, float]:
        """Ranks from their mean on, and that: sums of large numbers would lose digits in single precision."""
        import numpy as np

        _, place, count = np.unique(self._said, return_inverse=True, return_counts=True)
        middle = np.cumsum(count) - (count - 1) / 2
        ranks = middle[place]
        return (ranks - ranks.mean()).astype(np.float32), float(ranks.mean())

    def _auc(self, drawn: Any) -> Any:
        import numpy as np

        ranks, middle = self._ranks
        positive = drawn.sum(axis=1, dtype=np.float64)
        total = (drawn @ ranks).astype(np.float64) + positive * middle
        with np.errstate(invalid="ignore", divide="ignore"):
            return (total - positive * (positive + 1) / 2) / (positive * (len(self._said) - positive))

    @cached_property
    def _ends(self) -> Any:
        """From the highest answer down, where each answer's rows end."""
        import numpy as np

        down = self._said[::-1]
        return np.flatnonzero(np.r_[down[1:] != down[:-1], True])

    def _average_precision(self, drawn: Any) -> Any:
        """As `domain.scoring` has it: rows from the highest answer down, equal answers together."""
        import numpy as np

        down, ends = drawn[:, ::-1], self._ends
        found = np.cumsum(down, axis=1)
        last = found[:, -1].astype(np.float64)
        if len(ends) < len(self._said):
            found = found[:, ends]
            down = np.diff(found, axis=1, prepend=np.float32(0))
        with np.errstate(invalid="ignore", divide="ignore"):
            # Counts, and so their products, are whole numbers; the rest needs double precision.
            return np.einsum("dk,dk,k->d", down, found, 1.0 / (ends + 1), dtype=np.float64) / last


class _Several:
    """The same of several classes, [rows, classes]."""

    def __init__(self, metrics: Sequence[str], said: Any, seed: int) -> None:
        import numpy as np

        self._metrics, self._said, self._seed = metrics, said, seed
        self._decided, surest = said.argmax(axis=1), said.max(axis=1)
        self._order = np.argsort(surest, kind="stable")
        self._starts = _bins(len(said))
        self._surest = np.add.reduceat(surest[self._order], self._starts)
        self._losses = -np.log(np.clip(said, _SMALLEST, 1.0)).ravel()
        self._rows = np.arange(len(said)) * said.shape[1]

    def of(self, chance: Any, draws: int) -> dict[str, Any]:
        """Each metric of so many draws."""
        import numpy as np

        generator, ends = np.random.default_rng(self._seed), np.cumsum(chance, axis=1)[:, :-1].T
        known: dict[str, Callable[[Any, Any], float]] = {
            "accuracy": lambda _, right: float(right.mean()),
            "log_loss": lambda labels, _: float(self._losses[self._rows + labels].mean()),
            "macro_f1": lambda labels, _: self._macro_f1(labels),
            "calibration_error": lambda _, right: self._calibration_error(right),
        }
        found: dict[str, list[float]] = {name: [] for name in self._metrics}
        for _ in range(draws):
            luck = generator.random(len(self._said))
            labels = np.zeros(len(self._said), np.int64)
            for end in ends:
                labels += luck > end
            right = (labels == self._decided).astype(np.float64)
            for name in self._metrics:
                value = known[name](labels, right) if name in known else score(name, labels, self._said)
                found[name].append(value)
        return {name: np.array(values) for name, values in found.items()}

    def _macro_f1(self, labels: Any) -> float:
        import numpy as np

        classes = self._said.shape[1]
        both = np.bincount(self._decided * classes + labels, minlength=classes**2).reshape(classes, classes)
        there = both.sum(axis=0) > 0
        either = (both.sum(axis=0) + both.sum(axis=1))[there]
        return float((2 * both.diagonal()[there] / either).mean())

    def _calibration_error(self, right: Any) -> float:
        import numpy as np

        hits = np.add.reduceat(right[self._order], self._starts)
        return float(np.abs(hits - self._surest).sum() / len(right))


def _bins(rows: int) -> Any:
    """Where bins of equal mass begin."""
    import numpy as np

    return [places[0] for places in np.array_split(np.arange(rows), min(_BINS, rows))]


def _log_losses(said: Any) -> Any:
    import numpy as np

    inside = np.clip(said, _SMALLEST, 1.0)
    return -np.log(np.clip(1 - said, _SMALLEST, 1.0)), -np.log(inside)


def _brier_losses(said: Any) -> Any:
    return said**2, (1 - said) ** 2


def _hits(said: Any) -> Any:
    return (said < 0.5).astype(float), (said >= 0.5).astype(float)


_LOSSES: dict[str, Callable[[Any], Any]] = {"brier": _brier_losses, "log_loss": _log_losses, "accuracy": _hits}
"""Means over rows: what a row adds when its label is 0, and when it is 1."""
