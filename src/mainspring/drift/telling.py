"""A report with what it means: for each feature a sentence, its importance, and what it does to the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mainspring.domain.drift_report import Bin, DriftReport, Effect, FeatureDrift, Finding, ReferenceName
from mainspring.drift.cells import Cells, Counts
from mainspring.drift.profile import CONFIDENCE, PREDICTION
from mainspring.drift.words import categories_moved, missing_moved, numbers_moved, value_moved

_MOSTLY = 0.7
"""One value tells the story when it has this much of what moved."""


def told(
    report: DriftReport,
    cells: Mapping[str, Cells],
    current: Mapping[str, Counts],
    references: Mapping[ReferenceName, Mapping[str, Counts]],
    *,
    units: Mapping[str, str],
    importance: Mapping[str, float],
    effects: Mapping[str, Effect],
) -> DriftReport:
    """The report with sentences in the features' `units`, and with `importance` and `effects` by feature.

    `current` and `references` are the counts that it was made from.
    An effect is one of the change since the reference that is acted on, and stands there.
    """
    features = tuple(
        replace(
            one,
            sentence=sentence(
                one,
                cells[one.feature],
                units.get(one.feature, ""),
                spike(cells[one.feature], references[one.reference][one.feature], current[one.feature]),
            ),
            importance=importance.get(one.feature),
            effect=effects.get(one.feature) if one.reference == report.acted_on else None,
        )
        for one in report.features
    )
    return replace(report, features=features)


def spike(cells: Cells, reference: Counts, current: Counts) -> Bin | None:
    """The one cell of numbers that has most of what moved: a default, a stuck sensor. None where there is no such.

    The groups of a histogram are the reference's, and hide a value that only became common since. What moved is measured by KS:
    summed over thousands of cells, chance alone moves more.
    """
    if not cells.ordered or not reference.known or not current.known:
        return None
    before, now = reference.cells / reference.known, current.cells / current.known
    apart = now - before
    cell = int(np.abs(apart).argmax())
    low, high = cells.bounds(cell, cell)
    if low is None or high is None or abs(apart[cell]) < _MOSTLY * np.abs(np.cumsum(apart)).max() or not apart[cell]:
        return None
    return Bin(cells.label(cell), float(before[cell]), float(now[cell]), low, high)


def sentence(one: FeatureDrift, cells: Cells, unit: str = "", spike: Bin | None = None) -> str:
    """What happened to a feature, for a person; "" where it is no more than chance. `spike` as above."""
    found = {finding.name: finding for finding in one.findings}
    plain = next((finding for name in ("type_changed", "all_null") if (finding := found.get(name))), None)
    if plain is not None:
        return f"`{one.feature}`: {plain.text}"
    parts = [_moved(one, cells, unit, found.get("new_category"), spike)] if one.drifted else []
    missing = found.get("missing")
    if missing is not None:
        told = missing_moved(_named(one.feature), missing.reference_share, missing.current_share)
        # The larger change comes first, and alone where it is by far the larger.
        most = max((abs(bin_.current_share - bin_.reference_share) for bin_ in one.histogram), default=0.0)
        change = abs(missing.current_share - missing.reference_share)
        parts = [told] if change > 3 * most else [told, *parts] if change > most else [*parts, told]
    return "; ".join(filter(None, parts))


def _moved(one: FeatureDrift, cells: Cells, unit: str, new: Finding | None, spike: Bin | None) -> str:
    if spike is not None:
        return value_moved(_named(one.feature), spike, unit, dates=cells.kind == "time")
    if cells.ordered:
        return numbers_moved(_named(one.feature), one.histogram, unit, dates=cells.kind == "time")
    if cells.kind == "hashed":
        return f"`{one.feature}`: other texts than before, which are known by their hashes only"
    shares = None if new is None else (new.reference_share, new.current_share)
    return categories_moved(_named(one.feature), one.histogram, shares)


def _named(feature: str) -> str:
    return {PREDICTION: "the prediction", CONFIDENCE: "the prediction's confidence"}.get(feature, f"`{feature}`")
