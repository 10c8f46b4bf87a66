"""The one decider: which features drifted in a window, how, and how sure that is.

Where enough earlier windows are there, the whitened statistic of each feature is ranked among those of its own past windows
(`calibration`): Benjamini-Hochberg over the features, at the level at which a share `rate` of windows like the past ones
would have had any feature named. Where they are not, PSI is held against the largest one that is tolerated (`tolerance`), and the
decision says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Literal

import numpy as np

from mainspring.drift.calibration import (
    Calibrated,
    Flags,
    Places,
    Residuals,
    Times,
    against_fixed,
    against_trailing,
    calibrate,
    empirical_p_value,
    phases,
)
from mainspring.drift.multiple import benjamini_hochberg, smallest_level
from mainspring.drift.tolerance import critical_psi, tolerance_p_value
from mainspring.drift.whitening import Counts, Numbers, root_shares

Method = Literal["calibrated", "minimum_effect"]

LEAST_WINDOWS = 30
"""Fewer past windows do not calibrate: a covariance of ten groups out of less is mostly noise."""
MOST_WINDOWS = 60
"""At most so many of the newest calibrate, or as many as a small rate needs: what is normal changes with the season."""
GAIN = 0.02
_BOUNDS = (0.2, 1.0)
_MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides: the stated `rate` of false alarms per window; the PSI that is `tolerated` where nothing is calibrated;
    `persistence`, in how many of the last `persistence + 1` windows a feature has to drift for an alarm; the least rows of
    a window; and the length of a trailing reference, None for a fixed one.
    """

    rate: float = 0.05
    tolerated: float = 0.01
    persistence: int = 2
    min_rows: int = 100
    trailing: timedelta | None = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class FeatureWindows:
    """Counts of one feature over the same groups: `past` int64 [windows, groups] in order of time, `now` int64 [groups].

    The last `apart` groups are no values but what stands beside them: missing, never seen. Rows of zeros are windows that
    the feature was not in. `whole` int64 [groups] is the reference where it is not the sum of its windows.
    """

    past: Counts
    now: Counts
    apart: int = 0
    whole: Counts | None = None


@dataclass(frozen=True, slots=True)
class FeatureDecision:
    """One feature: it drifted where `value` is above `threshold` (of T, or of PSI), or more features moved with it.

    `score` orders features: a p-value by the fitted or the asymptotic tail, no rate by itself.
    """

    drifted: bool
    method: Method
    value: float
    threshold: float
    score: float
    windows: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A window's decision. `rate` is the stated false-alarm rate per window, `level` the one that past windows were held
    against to keep it, `p_value` the share of calibrating windows at least as unusual as this one (None where nothing is
    calibrated), `windows_needed` how many more windows it takes until the features of method `minimum_effect` are calibrated,
    `expected_alarms` how many alarms begin in 30 days without any drift, after persistence.
    """

    features: dict[str, FeatureDecision]
    rate: float
    level: float
    p_value: float | None
    windows: int
    windows_needed: int
    expected_alarms: float


def windows_for(rate: float) -> int:
    """How many calibrating windows a rate needs: an empirical p-value is never below 1/(windows + 1).

    >>> windows_for(0.05), windows_for(0.01)
    (30, 99)
    """
    return max(LEAST_WINDOWS, math.ceil(round(1 / rate, 9)) - 1)


def calibrating_windows(rate: float) -> int:
    """The most windows that calibrate.

    >>> calibrating_windows(0.05), calibrating_windows(0.01)
    (60, 300)
    """
    return max(MOST_WINDOWS, math.ceil(round(3 / rate, 9)))


def decide(
    starts: Times,
    now: np.datetime64,
    every: timedelta,
    features: Mapping[str, FeatureWindows],
    rule: Rule,
    level: float | None = None,
    alarm_since: np.datetime64 | None = None,
) -> Decided:
    """Decide about the window that starts at `now`. `starts` [windows] are those of the past ones, oldest first.

    `level` is what `next_level` made of the last decisions; None: the rate itself. Against a trailing reference the last
    `persistence` windows and, while an alarm stands, those since it began do not calibrate: a drift that lasts would make
    itself normal. No other window is left out, one that alarmed least of all: without the largest of the past the
    threshold would sink, and sink again.
    """
    at = starts.astype("datetime64[us]")
    cycle = phases(np.append(at, now.astype("datetime64[us]")), every)
    before = _trailing_from(at, now, rule)
    least = max(1, math.ceil(rule.trailing / every / 2)) if rule.trailing else 0
    settled = len(at) - rule.persistence if before is not None else len(at)
    if before is not None and alarm_since is not None:
        settled = min(settled, int(np.searchsorted(at, alarm_since)))
    candidates = {}
    for names, usable in _alike(features, rule.min_rows):
        # Features that are in the same windows are one array: what is expected is taken from the same windows.
        past = np.hstack([root_shares(features[name].past) for name in names])
        current = np.hstack([root_shares(features[name].now[None])[0] for name in names])
        if before is None:
            residuals = against_fixed(past, current, cycle, usable)
        else:
            residuals = against_trailing(past, current, cycle, usable, before, least)
        there = np.flatnonzero(~np.isnan(residuals.past).any(axis=1))
        bounds = np.cumsum([0, *[len(features[name].now) for name in names]])
        for name, start, end in zip(names, bounds[:-1], bounds[1:], strict=True):
            one = features[name]
            rows = np.append(one.past.sum(axis=1), one.now.sum()).astype(np.float64)
            own = Residuals(residuals.past[:, start:end], residuals.now[start:end])
            if rows[-1] >= rule.min_rows and not np.isnan(own.now).any():
                candidates[name] = _Candidate(own, rows, there[there < settled])
    names, windows = _calibrating(candidates, rule.rate)
    whole = {name: calibrate(candidates[name].residuals, windows, candidates[name].rows) for name in names}
    wanted, share = rule.rate if level is None else level, len(whole) / max(len(features), 1)
    found, p_value, memory = _by_calibration(whole, wanted * share)
    rest = {name: one for name, one in features.items() if name not in whole and one.now.sum() >= rule.min_rows}
    found |= _by_tolerance(rest, rule, rule.rate * (1 - share), before)
    spent = least + rule.persistence if before is not None else 0
    missing = [0]
    for one in rest.values():
        usable = one.past.sum(axis=1) >= rule.min_rows
        missing.append(windows_for(rule.rate) + spent - int(usable.sum()))
        if before is not None:
            # After a pause the trailing reference is short, however long the past is.
            missing.append(least - int(usable[before[-1] :].sum()))
    return Decided(
        {name: found[name] for name in features if name in found},
        rule.rate,
        wanted,
        p_value,
        len(windows) if whole else 0,
        max(missing),
        expected_alarms(rule.rate, rule.persistence, round(memory, 1), _MONTH / every),
    )


def next_level(level: float, rate: float, named: bool) -> float:
    """The level for later windows, after one in which some feature was named or none was.

    Adaptive conformal inference (Gibbs & Candès 2021): days are neither independent nor alike, and a winter's variation
    is not a summer's, so the level sinks until the share of named windows is the stated rate. Never above the rate, to which a
    calm brings it back: what is unusual after a calm comes in clusters. Never below a fifth of it, however long a drift lasts.

    >>> [round(next_level(level, 0.05, named), 4) for level, named in ((0.05, False), (0.04, False), (0.05, True))]
    [0.05, 0.041, 0.031]
    """
    low, high = _BOUNDS
    return min(max(level + GAIN * (rate - named), low * rate), high * rate)


@dataclass(frozen=True, slots=True)
class _Candidate:
    residuals: Residuals
    rows: Numbers
    windows: Places


def _alike(features: Mapping[str, FeatureWindows], min_rows: int) -> list[tuple[list[str], Flags]]:
    """Features by the windows in which they have rows enough."""
    found: dict[bytes, tuple[list[str], Flags]] = {}
    for name, one in features.items():
        usable = one.past.sum(axis=1) >= min_rows
        found.setdefault(usable.tobytes(), ([], usable))[0].append(name)
    return list(found.values())


def _trailing_from(starts: Times, now: np.datetime64, rule: Rule) -> Places | None:
    """The first window of the trailing reference of each past window and, last, of the current one."""
    if rule.trailing is None:
        return None
    ends = np.append(starts, now.astype("datetime64[us]"))
    return np.searchsorted(starts, ends - np.timedelta64(rule.trailing, "us")).astype(np.int64)


def _calibrating(candidates: Mapping[str, _Candidate], rate: float) -> tuple[list[str], Places]:
    """The features that are calibrated together, and on which windows: those that all of them have."""
    names, least = sorted(candidates, key=lambda name: len(candidates[name].windows)), windows_for(rate)
    while names:
        common = candidates[names[0]].windows
        for name in names[1:]:
            common = np.intersect1d(common, candidates[name].windows)
        if len(common) >= least:
            return names, common[-calibrating_windows(rate) :]
        # The one with the fewest windows is why there are not enough.
        names = names[1:]
    return [], np.empty(0, np.int64)


def _by_calibration(
    whole: Mapping[str, Calibrated], level: float
) -> tuple[dict[str, FeatureDecision], float | None, float]:
    """Decisions, the empirical p-value of the window, and how much a window resembles the next."""
    from scipy.special import ndtr, ndtri

    if not whole:
        return {}, None, 0.0
    scores = np.stack([one.scores for one in whole.values()], axis=-1)
    tails = ndtr(-scores)
    levels = smallest_level(tails)
    past, now = levels[:-1], float(levels[-1])
    p_value = empirical_p_value(now, past)
    # The window is unusual where fewer than `rank` of the past ones are as unusual: that is p_value <= level.
    # Where windows are few the level may lie below what they can show at all: then the most unusual of all is named.
    rank = max(math.floor(level * (len(past) + 1) + 1e-9), 1)
    critical = float(np.sort(past)[rank - 1])
    named = benjamini_hochberg(tails[-1], np.nextafter(critical, 0.0)) if now < critical else np.zeros(len(whole), bool)
    alone = -float(ndtri(critical / len(whole))) if critical > 0 else math.inf
    found = {
        name: FeatureDecision(
            bool(named[place]),
            "calibrated",
            one.now,
            one.statistic_at(alone) if math.isfinite(alone) else math.inf,
            float(tails[-1, place]),
            len(one.past),
        )
        for place, (name, one) in enumerate(whole.items())
    }
    return found, p_value, _resemblance(past)


def _resemblance(scores: Numbers) -> float:
    """The correlation of neighbouring ranks, never below 0."""
    from scipy.stats import spearmanr

    if len(scores) < LEAST_WINDOWS or np.ptp(scores) == 0:
        return 0.0
    found = float(spearmanr(scores[:-1], scores[1:]).statistic)
    return max(found, 0.0) if math.isfinite(found) else 0.0


def _by_tolerance(
    rest: Mapping[str, FeatureWindows], rule: Rule, rate: float, before: Places | None
) -> dict[str, FeatureDecision]:
    """Each feature by its PSI against the sum of its reference, and by the share of each of the groups that stand apart."""
    found: dict[str, tuple[float, float, float, int]] = {}
    for name, one in rest.items():
        windows = one.past if before is None else one.past[before[-1] :]
        reference = windows.sum(axis=0) if one.whole is None else one.whole
        values = one.now.shape[0] - one.apart
        parts = [(reference[:values], one.now[:values])]
        for group in range(values, len(one.now)):
            parts.append((_against_rest(reference, group), _against_rest(one.now, group)))
        compared = []
        for then, now in parts:
            if then.sum() >= rule.min_rows and now.sum() >= rule.min_rows:
                sizes = (len(then), int(then.sum()), int(now.sum()))
                psi = smoothed_psi(then, now)
                p_value = min(1.0, len(parts) * tolerance_p_value(psi, rule.tolerated, *sizes))
                threshold = critical_psi(rule.tolerated, rate / len(parts) / max(len(rest), 1), *sizes)
                compared.append((p_value, psi, threshold, int(np.sum(windows.sum(axis=1) > 0))))
        if compared:
            found[name] = min(compared)
    named = benjamini_hochberg(np.array([one[0] for one in found.values()]), rate)
    return {
        name: FeatureDecision(bool(drifted), "minimum_effect", one[1], one[2], one[0], one[3])
        for (name, one), drifted in zip(found.items(), named, strict=True)
    }


def _against_rest(counts: Counts, group: int) -> Counts:
    return np.array([counts[group], counts.sum() - counts[group]])


def smoothed_psi(reference: Counts, current: Counts) -> float:
    """PSI of two windows of counts [groups], shares smoothed as (n + 1/2)/(N + B/2).

    >>> smoothed_psi(np.array([50, 50]), np.array([500, 500]))
    0.0
    """
    p, q = ((one + 0.5) / (one.sum() + len(one) / 2) for one in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


@lru_cache(maxsize=64)
def expected_alarms(rate: float, persistence: int, resemblance: float, windows: float) -> float:
    """How many alarms begin in so many windows without drift, where a share `rate` of windows has a feature named and an
    alarm takes `persistence` of the last `persistence + 1`.

    Windows of which each resembles the next (rank correlation `resemblance`) have their false alarms in clusters: a Gaussian
    chain of that correlation is run for 200,000 windows. For one feature; with several that take turns it is fewer.

    >>> round(expected_alarms(0.05, 1, 0.0, 30.0), 1), round(expected_alarms(0.05, 2, 0.0, 30.0), 2)
    (1.4, 0.13)
    """
    from scipy.signal import lfilter
    from scipy.special import ndtri

    steps, drawn = 200_000, np.random.default_rng(7).standard_normal(200_000)
    rho = 2 * math.sin(math.pi * resemblance / 6)
    chain = lfilter([math.sqrt(1 - rho**2)], [1.0, -rho], drawn)
    named = chain > -ndtri(rate)
    recent = np.convolve(named, np.ones(persistence + 1), "full")[:steps]
    alarm = named & (recent >= persistence)
    return float(np.sum(alarm[1:] & ~alarm[:-1]) / (steps - 1) * windows)
