"""Which change matters: features in the order in which a person should look at them."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.domain.drift_report import DriftReport, FeatureDrift


@dataclass(frozen=True, slots=True)
class Ranked:
    """A feature against the reference that is acted on, and against the others; `place` counts from 1."""

    place: int
    acted_on: FeatureDrift
    others: tuple[FeatureDrift, ...] = ()


def ranked(report: DriftReport) -> list[Ranked]:
    """What drifted comes first, and of that what moves the predictions most.

    Where that was not measured, importance times distance (PSI) decides: a feature that the model hardly looks at may move
    far. A feature without the reference that is acted on is ordered by the one that it has.
    """
    by_name: dict[str, list[FeatureDrift]] = {}
    for one in report.features:
        by_name.setdefault(one.feature, []).append(one)
    pairs = []
    for found in by_name.values():
        first = next((one for one in found if one.reference == report.acted_on), found[0])
        pairs.append((first, tuple(one for one in found if one is not first)))
    pairs.sort(key=lambda pair: _weight(pair[0], report.acted_on))
    return [Ranked(place, first, others) for place, (first, others) in enumerate(pairs, 1)]


def _drifted(one: FeatureDrift, acted_on: str) -> bool:
    return one.drifted and one.reference == acted_on


def _weight(one: FeatureDrift, acted_on: str) -> tuple[bool, float, float, float]:
    effect = -1.0 if one.effect is None else one.effect.mean_absolute
    far = one.psi or 0.0
    return (not _drifted(one, acted_on), -effect, -max(0.0, one.importance or 0.0) * far, -far)
