"""What kind of skew it is: a feature's served values beside those of the offline store, for the same requests.

Pure functions over columns. A missing value is None; of a number, NaN is one, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from mainspring.domain.skew_report import FeatureSkew, SkewExample, SkewKind

_EXAMPLES = 5
_ENOUGH, _MOST = 5, 0.95
"""From so many differing values on a pattern is believed when it holds for this share of them."""
_INSTANT_SECONDS = 0.001
_HOUR_UNITS = {3_600.0: "seconds", 3_600_000.0: "milliseconds", 3_600_000_000.0: "microseconds"}
_ALIKE = 1e-6


@dataclass(frozen=True, slots=True)
class Served:
    """One request's value, and what is known of it.

    `flags` are the log's for this feature (`missing`, `stale`, `unavailable`, `defaulted`). Instants are seconds since 1970,
    None where unknown: of the row that was served, of the offline row, and when that one became known. `before` is the offline
    value of the row that was served.
    """

    request_id: str
    event_at: datetime
    served: Any
    offline: Any
    flags: frozenset[str] = frozenset()
    served_row_at: float | None = None
    offline_row_at: float | None = None
    offline_known_at: float | None = None
    before: Any = None


def compare(feature: str, source: str, rows: Sequence[Served], tolerance: float) -> FeatureSkew:
    """One feature's skew.

    >>> at = datetime(2026, 3, 1)
    >>> rows = [Served(f"r{n}", at, round(n / 7, 1), n / 7) for n in range(10)]
    >>> found = compare("temp", "request", rows, 1e-6)
    >>> found.compared, found.differing, found.kinds, found.said
    (10, 8, {'rounding': 8}, 'served rounded to 1 decimals')
    """
    differing: list[tuple[Served, SkewKind | None]] = []
    explained: Counter[str] = Counter()
    unseen = 0
    for one in rows:
        late = one.offline_known_at is not None and one.offline_known_at > one.event_at.timestamp() + _INSTANT_SECONDS
        if same(one.served, one.offline, tolerance):
            unseen += late
            explained["defaulted"] += "defaulted" in one.flags
        elif "unavailable" in one.flags:
            explained["unavailable"] += 1
        else:
            differing.append((one, _kind(one, late, tolerance)))
    found = FeatureSkew(
        feature, source, len(rows), explained={k: v for k, v in explained.items() if v}, late_unseen=unseen
    )
    if not differing:
        return found
    plain = [one for one, kind in differing if kind is None]
    of_values, said = _pattern(plain, tolerance)
    named = [(one, kind or of_values) for one, kind in differing]
    kinds = Counter(kind for _, kind in named)
    gaps = [float(one.served) - float(one.offline) for one, _ in named if _number(one.served) and _number(one.offline)]
    texts = [
        _said(kind, [one for one, its in named if its == kind]) for kind in kinds if kind != of_values or not plain
    ]
    return replace(
        found,
        differing=len(named),
        kinds=dict(kinds.most_common()),
        said="; ".join([*texts, *([said] if plain else [])]),
        median_difference=median(gaps) if gaps else None,
        largest_difference=max(gaps, key=abs) if gaps else None,
        examples=tuple(
            SkewExample(one.request_id, one.event_at, _text(one.served), _text(one.offline), kind)
            for one, kind in named[:_EXAMPLES]
        ),
    )


def same(left: Any, right: Any, tolerance: float) -> bool:
    """Whether two values are one: numbers within `tolerance` of the larger, text as it is, and missing with missing.

    >>> same(1.0, 1.0 + 1e-9, 1e-6), same(float("nan"), None, 1e-6), same("Ulm", "ulm", 1e-6), same(0.0, None, 1e-6)
    (True, True, False, False)
    """
    if _missing(left) or _missing(right):
        return _missing(left) and _missing(right)
    if _number(left) and _number(right):
        return math.isclose(float(left), float(right), rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    return str(left) == str(right)


def _kind(one: Served, late: bool, tolerance: float) -> SkewKind | None:
    """What the rows behind the values say; None where only the values do."""
    if _missing(one.offline):
        return "missing offline"
    if late:
        return "late"
    if "stale" in one.flags:
        return "stale"
    if _missing(one.served):
        return "missing in serving"
    if one.served_row_at is None or one.offline_row_at is None:
        return None
    if one.served_row_at > one.offline_row_at + _INSTANT_SECONDS:
        return "ahead"
    if one.served_row_at < one.offline_row_at - _INSTANT_SECONDS and same(one.served, one.before, tolerance):
        return "stale"
    return None


def _pattern(rows: Sequence[Served], tolerance: float) -> tuple[SkewKind, str]:
    """What served values make of offline ones, where one thing explains nearly all of them."""
    pairs = [(float(one.served), float(one.offline)) for one in rows if _number(one.served) and _number(one.offline)]
    if len(pairs) < max(_ENOUGH, _MOST * len(rows)):
        return "other", f"{len(rows)} values differ, and nothing explains them"
    need = _MOST * len(pairs)
    gaps = [served - offline for served, offline in pairs]
    gap, scale = median(gaps), max(abs(offline) for _, offline in pairs)
    around = [one % 24 for one in gaps]
    hours = median(around)
    within = all(0 <= value < 24 and value.is_integer() for pair in pairs for value in pair)
    # Of hours that nowhere pass midnight nobody can tell that they are hours.
    if within and len({*gaps}) > 1 and sum(one == hours for one in around) >= need:
        hours = hours - 24 if hours > 12 else hours
        return "time zone", f"served {hours:+g} h: hours of the day of another time zone"
    if sum(abs(one - gap) <= _ALIKE * max(scale, 1.0) for one in gaps) >= need and len({b for _, b in pairs}) > 1:
        return _offset(gap)
    ratios = [served / offline for served, offline in pairs if offline]
    if ratios and len({b for _, b in pairs}) > 1:
        factor = median(ratios)
        if sum(math.isclose(one, factor, rel_tol=_ALIKE) for one in ratios) >= need:
            return "factor", f"served {factor:.6g} times the offline value"
    for digits in range(-3, 7):
        rounded = sum(
            math.isclose(a, round(b, digits), rel_tol=tolerance, abs_tol=tolerance * 10.0**-digits) for a, b in pairs
        )
        if rounded >= need:
            return "rounding", f"served rounded to {digits} decimals"
        cut = 10.0**digits
        if (
            sum(
                math.isclose(a, math.floor(b * cut) / cut, rel_tol=tolerance, abs_tol=tolerance / cut) for a, b in pairs
            )
            >= need
        ):
            return "rounding", f"served cut off after {digits} decimals"
    return "other", f"{len(rows)} values differ, and nothing explains them"


def _offset(gap: float) -> tuple[SkewKind, str]:
    for unit, word in _HOUR_UNITS.items():
        hours = gap / unit
        if abs(hours) <= 14 and abs(hours) >= 0.25 and (hours * 4).is_integer():
            return "time zone", f"served {hours:+g} h ({gap:+g} {word}): another time zone"
    if float(gap).is_integer() and 1 <= abs(gap) <= 14:
        return "offset", f"served {gap:+g}: hours of another time zone, if these are hours"
    return "offset", f"served {gap:+.6g} beside the offline value"


def _said(kind: SkewKind, rows: Sequence[Served]) -> str:
    count = len(rows)
    if kind == "stale":
        behind = [
            one.offline_row_at - one.served_row_at
            for one in rows
            if one.offline_row_at is not None and one.served_row_at is not None
        ]
        by = f", {median(behind) / 3600:.3g} h behind (median)" if behind else ""
        return f"{count} served from an older row than there was{by}"
    if kind == "late":
        came = [one.offline_known_at - one.event_at.timestamp() for one in rows if one.offline_known_at is not None]
        return f"{count} offline from a row that came {median(came) / 3600:.3g} h (median) after the request: training sees what serving could not; declare available_at"
    if kind == "ahead":
        return f"{count} served from a row that the offline join does not see yet"
    return f"{count} {kind}"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not _missing(value)


def _text(value: Any) -> str:
    return "" if _missing(value) else f"{value:.10g}" if isinstance(value, float) else str(value)
