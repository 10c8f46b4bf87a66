"""Mixtures over bets in closed form, as logarithms that neither overflow nor cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln

Numbers = NDArray[np.float64]

# Below this a tail is close to where doubles lose digits, and its logarithm comes from the continued fraction.
_SMALLEST_TAIL = 1e-250
_TINY = 1e-300


def log_upper_beta(x: ArrayLike, y: ArrayLike, p: ArrayLike) -> Numbers:
    """Logarithm of the integral of `t^(x-1) (1-t)^(y-1)` over `t` from `p` to 1.

    `x`, `y` > 0 and 0 < `p` < 1 broadcast. The tail is `betainc(y, x, 1 - p)`: the complement `1 - betainc(x, y, p)` cancels to
    0. Where even the tail is too small for a double, the continued fraction of the incomplete beta function gives its
    logarithm (Press et al., Numerical Recipes, 6.4; it converges fast in just that tail).

    >>> round(float(log_upper_beta(2.0, 3.0, 0.5)), 6)  # (x^2/2 - 2x^3/3 + x^4/4) from 0.5 to 1
    -3.648057
    >>> round(float(log_upper_beta(0.5, 10_000.5, 0.5)), 1)
    -6940.7
    """
    heads, tails, split = np.broadcast_arrays(*(np.asarray(one, np.float64) for one in (x, y, p)))
    tail = np.asarray(betainc(tails, heads, 1 - split), np.float64)
    deep = tail < _SMALLEST_TAIL
    found = np.asarray(betaln(heads, tails) + np.log(np.where(deep, 1.0, tail)), np.float64)
    if deep.any():
        a, b, z = tails[deep], heads[deep], 1 - split[deep]
        found[deep] = a * np.log(z) + b * np.log(split[deep]) - np.log(a) + np.log(_fraction(a, b, z))
    return found


def log_mean_exp(values: ArrayLike) -> float:
    """Logarithm of the mean of e-values, from their logarithms.

    >>> round(log_mean_exp([0.0, 1000.0]), 4)
    999.3069
    """
    numbers = np.asarray(values, np.float64)
    return log_sum_exp(numbers) - float(np.log(numbers.size))


def log_sum_exp(values: ArrayLike) -> float:
    """Logarithm of a sum, from logarithms; `-inf` entries are zeros.

    >>> log_sum_exp([float("-inf"), 2.0])
    2.0
    """
    return float(np.logaddexp.reduce(np.asarray(values, np.float64)))


def log_beta_binomial(successes: ArrayLike, trials: ArrayLike, a: float, b: float, chance: float) -> Any:
    """Log e-value of `successes` in `trials` against the one chance `chance`, bets spread as Beta(`a`, `b`).

    >>> round(float(log_beta_binomial(50, 100, 1, 1, 0.5)), 3)
    -2.084
    """
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    return betaln(a + k, b + n - k) - betaln(a, b) - k * np.log(chance) - (n - k) * np.log1p(-chance)


def _fraction(a: Numbers, b: Numbers, z: Numbers) -> Numbers:
    """The continued fraction of I_z(a, b), by Lentz's method."""
    c, d = np.ones_like(a), 1 / _off_zero(1 - (a + b) * z / (a + 1))
    value = d.copy()
    for m in range(1, 1000):
        even = m * (b - m) * z / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * z / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / _off_zero(1 + term * d), _off_zero(1 + term / c)
            value *= d * c
        if np.all(np.abs(d * c - 1) < 1e-13):
            break
    return value


def _off_zero(values: Numbers) -> Numbers:
    return np.where(np.abs(values) < _TINY, _TINY, values)
