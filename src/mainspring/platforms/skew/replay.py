"""Requests of one version, asked again with what is offline: features beside those that were served, and the model's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature
from mainspring.domain.skew_report import AnswerSkew, FeatureSkew
from mainspring.features.skew import Served, compare
from mainspring.platforms.skew.offline import Behind, Offline
from mainspring.serving.batch import BatchPredictor, looked_up_values
from mainspring.serving.missing import policies
from mainspring.serving.on_demand import FOLDER
from mainspring.serving.runtime import load_runtime
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

_ANSWER_TOLERANCE = 1e-4
_IDS = 20


class Replay:
    """Requests of one version, asked again offline; `not_compared` says of what there is nothing to say, and why."""

    def __init__(self, loaded: LoadedProject, card: ModelCard, rows: pa.Table, tolerance: float) -> None:
        self._settings, self._card, self._rows, self._tolerance = loaded.settings, card, rows, tolerance
        self._signature = card.signature
        self._flags = [_by_feature(flags or ()) for flags in rows.column("flags").to_pylist()]
        self._offline = Offline(loaded, card.signature, rows)
        self.not_compared = self._offline.not_compared
        self._features: list[FeatureSkew] = []

    def features(self) -> list[FeatureSkew]:
        """Each feature that both sides have."""
        by_view = {view.name: view for view in self._offline.views}
        computed = {one.name for one in self._signature.on_demand}
        asked = self._offline.asked()
        found = []
        for feature in self._signature.features:
            why = self._offline.concealed(feature.name)
            if why:
                self.not_compared[feature.name] = why
            elif feature.source == "request":
                if feature.name in asked:
                    found.append(self._compare(feature, asked[feature.name], None, only=asked["there"]))
                else:
                    self.not_compared[feature.name] = (
                        "sent by callers, and their requests meet no row of the target's source"
                    )
            elif feature.source in computed:
                continue  # Once the model runs again: its own functions compute it.
            elif feature.name in self._offline.looked_up:
                view = by_view.get(feature.source)
                found.append(self._compare(feature, self._offline.looked_up[feature.name], self._offline.behind(view)))
            else:
                self.not_compared.setdefault(feature.name, f"the project has no view {feature.source} any more")
        self._features = found
        return found

    def answers(self, folder: Path) -> AnswerSkew | None:
        """The model run again, on what was logged and on what is offline; on-demand features join the others on the way."""
        sent = {one.name: self._logged(one) for one in self._signature.features if one.source == "request"}
        away = [one.name for one in self._signature.features if self._offline.concealed(one.name)]
        away += [name for name in self._offline.views_concealed() if name not in away]
        if away:
            computed = {one.name for one in self._signature.on_demand}
            for one in self._signature.features:
                if one.source in computed:
                    self.not_compared.setdefault(one.name, "it is computed from what the log does not have")
            self.not_compared["the model's answers"] = f"the log has not what it was asked: {', '.join(away)}"
            return None
        runtime, missing = load_runtime(folder, self._card), self._settings.features
        how = policies(self._signature, missing.missing, missing.missing_by, missing.defaults, strict=False)
        on_demand = None
        if self._signature.on_demand:
            from mainspring.adapters.feast.on_demand import open_views

            on_demand = open_views(folder / FOLDER, self._signature)
        outputs: list[list[float]] = self._rows.column("output").to_pylist()
        logged_inputs = [self._logged(one) for one in self._signature.features]
        again = runtime.predict([list(row) for row in zip(*logged_inputs, strict=True)])
        repeated = [_gap(one, other) > _ANSWER_TOLERANCE for one, other in zip(again, outputs, strict=True)]
        predictor = BatchPredictor(self._card, runtime, [], how, on_demand)
        offline = predictor.answer(sent, self._offline.looked_up) if sent or self._offline.looked_up else None
        if offline is None:
            return AnswerSkew(len(outputs), 0, sum(repeated))
        self._computed(offline.places, offline.rows)
        if offline.refused:
            self.not_compared["requests"] = (
                f"{len(offline.refused)} are refused with their offline features: {offline.refused[0][1]}"
            )
        gaps = [
            (_gap(out, outputs[place]), self._offline.ids[place])
            for place, out in zip(offline.places, offline.outputs, strict=True)
        ]
        moved = [(gap, name) for gap, name in gaps if gap > _ANSWER_TOLERANCE]
        return AnswerSkew(
            len(gaps),
            len(moved),
            sum(repeated),
            median(gap for gap, _ in moved) if moved else None,
            max(gap for gap, _ in moved) if moved else None,
            tuple(name for _, name in sorted(moved, reverse=True)[:_IDS]),
        )

    def _computed(self, places: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        """On-demand features, from offline inputs by the version's own functions."""
        views = {one.name for one in self._signature.on_demand}
        for position, feature in enumerate(self._signature.features):
            if feature.source in views:
                values: list[Any] = [None] * len(self._offline.ids)
                for place, row in zip(places, rows, strict=True):
                    values[place] = row[position]
                there = [False] * len(self._offline.ids)
                for place in places:
                    there[place] = True
                self._features.append(self._compare(feature, values, None, only=there))

    def _compare(
        self, feature: Feature, offline: Sequence[Any], behind: Behind | None, *, only: Sequence[bool] | None = None
    ) -> FeatureSkew:
        served = self._logged(feature)
        rows = [
            Served(
                self._offline.ids[place],
                self._offline.at[place],
                served[place],
                self._stood_in(
                    feature, offline[place], self._flags[place].get(feature.name, frozenset()), served[place]
                ),
                self._flags[place].get(feature.name, frozenset()),
                None if behind is None else behind.served_at[place],
                None if behind is None else behind.row_at[place],
                None if behind is None else behind.known_at[place],
                None if behind is None else behind.before.get(feature.name, [None] * len(served))[place],
            )
            for place in range(len(served))
            if only is None or only[place]
        ]
        return compare(feature.name, feature.source, rows, self._tolerance)

    def _stood_in(self, feature: Feature, offline: Any, flags: frozenset[str], served: Any) -> Any:
        """Where a default stood in for what is missing offline as well, both sides have the default."""
        nothing = offline is None or offline != offline  # noqa: PLR0124  # NaN is not itself
        return served if nothing and "defaulted" in flags else offline

    def _logged(self, feature: Feature) -> list[Any]:
        name = f"feature.{feature.name}"
        if name not in self._rows.column_names:
            return [None] * self._rows.num_rows
        return looked_up_values(self._rows.column(name), feature)


def _by_feature(flags: Sequence[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for flag in flags:
        reason, _, name = flag.partition(":")
        found.setdefault(name, set()).add(reason)
    return {name: frozenset(reasons) for name, reasons in found.items()}


def _gap(one: Sequence[float], other: Sequence[float] | None) -> float:
    if other is None or len(one) != len(other):
        return math.inf
    return max((abs(a - b) / max(1.0, abs(b)) for a, b in zip(one, other, strict=True)), default=0.0)
