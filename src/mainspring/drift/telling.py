"""A report with what it means: for each feature a sentence, its importance, and what it does to the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mainspring.domain.drift_report import DriftReport, Effect, FeatureDrift, Finding
from mainspring.drift.cells import Cells
from mainspring.drift.profile import CONFIDENCE, PREDICTION
from mainspring.drift.words import categories_moved, missing_moved, numbers_moved


def told(
    report: DriftReport,
    cells: Mapping[str, Cells],
    *,
    units: Mapping[str, str],
    importance: Mapping[str, float],
    effects: Mapping[str, Effect],
) -> DriftReport:
    """The report with sentences in the features' `units`, and with `importance` and `effects` by feature.

    An effect is one of the change since the reference that is acted on, and stands there.
    """
    features = tuple(
        replace(
            one,
            sentence=sentence(one, cells[one.feature], units.get(one.feature, "")),
            importance=importance.get(one.feature),
            effect=effects.get(one.feature) if one.reference == report.acted_on else None,
        )
        for one in report.features
    )
    return replace(report, features=features)


def sentence(one: FeatureDrift, cells: Cells, unit: str = "") -> str:
    """What happened to a feature, for a person; "" where nothing did."""
    found = {finding.name: finding for finding in one.findings}
    plain = next((finding for name in ("type_changed", "all_null") if (finding := found.get(name))), None)
    if plain is not None:
        return f"`{one.feature}`: {plain.text}"
    parts = [_moved(one, cells, unit, found.get("new_category"))]
    missing = found.get("missing")
    if missing is not None:
        told = missing_moved(_named(one.feature), missing.reference_share, missing.current_share)
        # The larger change comes first, and alone where it is by far the larger.
        most = max((abs(bin_.current_share - bin_.reference_share) for bin_ in one.histogram), default=0.0)
        change = abs(missing.current_share - missing.reference_share)
        parts = [told] if change > 3 * most else [told, *parts] if change > most else [*parts, told]
    return "; ".join(filter(None, parts))


def _moved(one: FeatureDrift, cells: Cells, unit: str, new: Finding | None) -> str:
    if cells.ordered:
        return numbers_moved(_named(one.feature), one.histogram, unit, dates=cells.kind == "time")
    if cells.kind == "hashed":
        return f"`{one.feature}`: other texts than before, which are known by their hashes only" if one.drifted else ""
    shares = None if new is None else (new.reference_share, new.current_share)
    return categories_moved(_named(one.feature), one.histogram, shares)


def _named(feature: str) -> str:
    return {PREDICTION: "the prediction", CONFIDENCE: "the prediction's confidence"}.get(feature, f"`{feature}`")
