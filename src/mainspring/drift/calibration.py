"""Calibration: what each of the reference's own windows would have scored, had it been the current one.

Belongs here: residuals from what other windows let expect, calendar effects removed, in two ways. Against a fixed reference a
window is held against all windows outside its own block (leave a block out); against a trailing reference against the windows
before it, as the current one is. Then the whitened statistic of each, by a covariance that its own block had no part in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from mainspring.drift.whitening import Numbers, cube_root_score, fit_whitener, statistic_at

Places = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Times = np.ndarray[Any, np.dtype[np.datetime64]]

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_BLOCKS = 6
_LEAST_REPEATS = 2


def phases(starts: Times, every: timedelta) -> tuple[Places, ...]:
    """The place of each window [windows] in the week and in the day, the finest first; only cycles that windows fit into.

    >>> days = np.array(["2013-01-07", "2013-01-08", "2013-01-14"], "datetime64[us]")
    >>> [one.tolist() for one in phases(days, timedelta(days=1))]
    [[0, 1, 0]]
    """
    cycles = [cycle for cycle in (_WEEK, _DAY) if every < cycle and not cycle % every]
    since = starts.astype("datetime64[us]") - np.datetime64("1970-01-05", "us")
    return tuple(
        ((since % np.timedelta64(cycle, "us")) // np.timedelta64(every, "us")).astype(np.int64) for cycle in cycles
    )


def blocks(windows: int) -> Places:
    """The block of each of so many windows in order of time: at most six, of neighbours."""
    return (np.arange(windows) * min(_BLOCKS, windows)) // max(windows, 1)


@dataclass(frozen=True, slots=True)
class Residuals:
    """Square-root shares less what was expected: of past windows [windows, groups], NaN where too few others are there to
    expect anything, and of the current one [groups].
    """

    past: Numbers
    now: Numbers


def against_fixed(past: Numbers, now: Numbers, cycle: tuple[Places, ...], usable: Flags) -> Residuals:
    """Residuals against a reference that stays: `past` [windows, groups] are its own windows, each held against those
    outside its block. `cycle` are the `phases` of the past windows and, last, of the current one.
    """
    found = np.full(past.shape, np.nan)
    places = np.flatnonzero(usable)
    own = blocks(len(places))
    for block in np.unique(own):
        others = places[own != block]
        for window in places[own == block].tolist():
            found[window] = past[window] - _expected(past, others, window, cycle)
    return Residuals(found, now - _expected(past, places, len(past), cycle))


def against_trailing(
    past: Numbers, now: Numbers, cycle: tuple[Places, ...], usable: Flags, before: Places, least: int
) -> Residuals:
    """Residuals against a reference that moves along: each window is held against those from place `before[window]` on.

    `before` [windows + 1] is the first window of each one's trailing reference, the current one's last; of a reference of
    fewer than `least` windows nothing is expected.
    """
    found = np.full(past.shape, np.nan)
    for window in np.flatnonzero(usable).tolist():
        others = np.arange(before[window], window)
        others = others[usable[others]]
        if len(others) >= least:
            found[window] = past[window] - _expected(past, others, window, cycle)
    others = np.arange(before[-1], len(past))
    others = others[usable[others]]
    expected = _expected(past, others, len(past), cycle) if len(others) >= least else np.nan
    return Residuals(found, now - expected)


def _expected(shares: Numbers, others: Places, window: int, cycle: tuple[Places, ...]) -> Numbers:
    """The mean of the windows in the same place of the week, or of the day, where there are at least two; else of all."""
    for phase in cycle:
        same = others[phase[others] == phase[window]]
        if len(same) >= _LEAST_REPEATS:
            others = same
            break
    expected: Numbers = shares[others].mean(axis=0) if len(others) else np.full(shares.shape[1], np.nan)
    return expected


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A feature's whitened statistic now, and of the calibrating windows [windows] each without its own block's help."""

    now: float
    past: Numbers
    groups: int

    @property
    def scores(self) -> Numbers:
        """Normal scores [windows + 1], the current window's last."""
        return cube_root_score(np.append(self.past, self.now), self.past, self.groups)

    def statistic_at(self, score: float) -> float:
        """The statistic that has this normal score."""
        return statistic_at(score, self.past, self.groups)


def calibrate(residuals: Residuals, windows: Places, rows: Numbers) -> Calibrated:
    """Whiten the current window and the calibrating ones (`windows`, places in the past); `rows` [past + 1] are sizes."""
    past, sizes = residuals.past[windows], rows[windows]
    own = blocks(len(windows))
    found = np.empty(len(windows))
    for block in np.unique(own):
        inside = own == block
        found[inside] = fit_whitener(past[~inside], sizes[~inside]).statistic(past[inside], sizes[inside])
    now = fit_whitener(past, sizes).statistic(residuals.now[None], rows[-1:])
    return Calibrated(float(now[0]), found, past.shape[1])


def empirical_p_value(now: float, past: Numbers) -> float:
    """The share of scores, the current one included, that are as small or smaller: never below 1/(windows + 1).

    >>> empirical_p_value(0.01, np.array([0.5, 0.2, 0.7])), empirical_p_value(0.3, np.array([0.5, 0.2, 0.7]))
    (0.25, 0.5)
    """
    return float((1 + np.sum(past <= now)) / (len(past) + 1))
