"""What happened to a feature, in one sentence and in its own units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from mainspring.domain.drift_report import Bin

_MOSTLY = 0.7
"""One tail tells the story when the other has less than this much of what it has."""
_RENAMED = 0.8
"""A category was renamed, perhaps, when new ones have this much of what it lost, and lost nearly all."""


def numbers_moved(name: str, bins: Sequence[Bin], unit: str = "", *, dates: bool = False) -> str:
    """Of numbers, from their bins in order: which way they moved, with the share beyond the value that shows it best.

    `dates`: the numbers are microseconds since 1970. "" where nothing moved.

    >>> colder = [Bin("<= 40", 0.06, 0.31, None, 40.0), Bin("> 40", 0.94, 0.69, 40.0, None)]
    >>> numbers_moved("`temp`", colder, "F")
    '`temp` moved to lower values: 31 % are 40 F or below, was 6 %'
    """
    if not bins:
        return ""
    apart = [one.current_share - one.reference_share for one in bins]
    sums = [math.fsum(apart[: place + 1]) for place in range(len(bins))]
    place = max(range(len(bins)), key=lambda one: abs(sums[one]))
    farthest = abs(sums[place])
    if farthest < 1e-12:
        return ""
    others = max(range(len(bins)), key=lambda one: -sums[one] * math.copysign(1.0, sums[place]))
    if abs(sums[others]) >= _MOSTLY * farthest and sums[others] * sums[place] < 0:
        low, high = sorted((place, others))
        inner = sum(one.current_share for one in bins[low + 1 : high + 1])
        before = sum(one.reference_share for one in bins[low + 1 : high + 1])
        between = f"{_value(bins[low].high, unit, dates)} and {_value(bins[high].high, unit, dates)}"
        how = "spread out" if sums[low] > 0 else "drew together"
        return f"{name} {how}: {_percent(inner)} are between {between}, was {_percent(before)}"
    below = sum(one.current_share for one in bins[: place + 1])
    before = sum(one.reference_share for one in bins[: place + 1])
    cut = _value(bins[place].high, unit, dates)
    when = ("earlier", "later") if dates else ("lower", "higher")
    if sums[place] > 0:
        return f"{name} moved to {when[0]} values: {_percent(below)} are {cut} or below, was {_percent(before)}"
    return f"{name} moved to {when[1]} values: {_percent(1 - below)} are above {cut}, was {_percent(1 - before)}"


def value_moved(name: str, value: Bin, unit: str = "", *, dates: bool = False) -> str:
    """Of the one value, or narrow stretch of values, that has most of what moved.

    >>> value_moved("`delay`", Bin("0", 0.001, 0.1, -5e-324, 0.0), "min")
    '`delay` has more of one value: 10 % are 0 min, was 0.1 %'
    >>> value_moved("`delay`", Bin("", 0.1, 0.0, 59.75, 60.0), "min")
    '`delay` has fewer of one value: 0 % lie between 59.75 and 60 min, was 10 %'
    """
    more = "more" if value.current_share > value.reference_share else "fewer"
    high = _value(value.high, unit, dates)
    single = value.low is not None and value.high is not None and math.nextafter(value.low, math.inf) == value.high
    where = f"are {high}" if single else f"lie between {_value(value.low, '', dates)} and {high}"
    return f"{name} has {more} of one value: {_percent(value.current_share)} {where}, {_was(value)}"


def categories_moved(name: str, bins: Sequence[Bin], new: tuple[float, float] | None = None) -> str:
    """Of categories: what came and what went. `new` are the shares, then and now, of those that the reference never saw.

    >>> categories_moved("`carrier`", [Bin("AA", 0.2, 0.0), Bin("UA", 0.8, 0.8)], (0.0, 0.2))
    '`carrier`: AA is gone, was 20 %, and 20 % are categories that were not there before: renamed, perhaps'
    """
    order = sorted(bins, key=_change)
    if not order or max(-_change(order[0]), _change(order[-1]), *(new or (0.0,))) < 1e-12:
        return ""
    lost, gained = order[0], order[-1]
    if new is not None and new[1] - new[0] >= max(_change(gained), _RENAMED * -_change(lost)):
        unseen = f"{_percent(new[1])} are categories that were not there before"
        if -_change(lost) >= _RENAMED * (new[1] - new[0]) and lost.current_share < 0.2 * lost.reference_share:
            gone = (
                f"{lost.label} is {'gone' if lost.current_share == 0 else _percent(lost.current_share)}, {_was(lost)}"
            )
            return f"{name}: {gone}, and {unseen}: renamed, perhaps"
        return f"{name}: {unseen}, was {_percent(new[0])}"
    return f"{name}: {_shares(gained)} {gained.label}, {_was(gained)}; {_shares(lost)} {lost.label}, {_was(lost)}"


def missing_moved(name: str, before: float, now: float) -> str:
    """Of missing values, from their shares.

    >>> missing_moved("`wind`", 0.002, 0.3)
    '`wind` is missing in 30 %, was 0.2 %'
    """
    return f"{name} is missing in {_percent(now)}, was {_percent(before)}"


def _change(one: Bin) -> float:
    return one.current_share - one.reference_share


def _shares(one: Bin) -> str:
    return f"{_percent(one.current_share)} are"


def _was(one: Bin) -> str:
    return f"was {_percent(one.reference_share)}"


def _value(value: float | None, unit: str, dates: bool) -> str:
    if value is None:
        return "all others"
    if dates:
        return f"{datetime.fromtimestamp(value / 1e6, UTC):%Y-%m-%d %H:%M}"
    return f"{value:.4g} {unit}".strip() if abs(value) < 1e4 else f"{value:,.0f} {unit}".strip()


def _percent(share: float) -> str:
    """As exactly as a person wants it: one figure below 10 %, two above; what is not nothing is not shown as nothing.

    >>> [_percent(one) for one in (0.0, 0.00003, 0.0123, 0.31, 0.997, 1.0)]
    ['0 %', 'under 0.1 %', '1.2 %', '31 %', '99.7 %', '100 %']
    """
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.99 < share < 1:
        return f"{math.floor(share * 1000) / 10:g} %"
    return f"{share * 100:.0f} %" if share >= 0.0995 or share == 0 else f"{share * 100:.1f} %".replace(".0 %", " %")


def beyond_limit(statistic: str, value: float, limit: float, findings: Sequence[str] = ()) -> str:
    """Why a feature is named: a statistic and its limit; where it is not beyond that, what else there was.

    >>> beyond_limit("psi", 0.6, 0.1649), beyond_limit("T", 250.73, 256.1)
    ('psi 0.60, limit 0.16', 'T 251, limit 256 for it alone; others moved, too')
    """
    # Of large statistics digits behind the point say nothing, and an exponent says less.
    large = max(value, limit) >= 10
    values = f"{value:,.0f}, limit {limit:,.0f}" if large else f"{value:.2f}, limit {limit:.2g}"
    if value > limit:
        return f"{statistic} {values}"
    # Of a share beside the values, as that of missing ones, the finding says more.
    return "; ".join(
        [f"{statistic} {values}", *findings] if findings else [f"{statistic} {values} for it alone; others moved, too"]
    )
