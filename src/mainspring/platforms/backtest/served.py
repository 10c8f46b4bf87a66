"""`ServedLog`: what a replay served, as a prediction log; and `ServedDrift`, the loop's drift job that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring.domain.drift_report import DriftReport
from mainspring.domain.time import TimeWindow, utc
from mainspring.drift.cells import Counts
from mainspring.drift.profile import Profile
from mainspring.features.questions import EVENT_TIME, REQUEST_ID
from mainspring.platforms.drift import LaptopDrift
from mainspring.ports import LogHour

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.platforms.backtest.world import World


class ServedDrift(LaptopDrift):
    """The loop's drift job with its verdicts; what explains them to people is left out, and nothing is written."""

    def _told(
        self,
        found: DriftReport,
        profile: Profile,
        current: Mapping[str, Counts],
        references: Mapping[Any, Mapping[str, Counts]],
    ) -> DriftReport:
        return found

    def _put(self, version: str, found: DriftReport) -> None:
        del version, found


class ServedLog:
    """`PredictionLog` of what the replay served: every question, answered by the version in service when it was asked."""

    def __init__(self, world: World) -> None:
        self._world = world

    def compact(self) -> int:
        return 0

    def hours(self, window: TimeWindow) -> Mapping[datetime, LogHour]:
        import numpy as np

        history = self._world.history
        start = max(window.start, self._world.served[0][0]) if self._world.served else window.end
        asked = history.asked[history.before(start) : history.before(max(start, window.end))]
        found = np.unique(asked.astype("datetime64[h]"))
        return {utc(one.astype("datetime64[us]").item()): LogHour(str(one), 1) for one in found}

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        world, history = self._world, self._world.history
        first, last = (0, history.rows.num_rows) if window is None else map(history.before, (window.start, window.end))
        first = max(first, history.before(world.served[0][0])) if world.served else last
        places = np.arange(first, max(first, last))
        rows = history.rows.slice(first, max(0, last - first))
        answered = world.outputs(places) if len(places) else np.zeros(0, np.float32)
        ids = rows.column(REQUEST_ID) if REQUEST_ID in rows.column_names else pa.array([str(one) for one in places])
        outputs = answered[:, None] if answered.ndim == 1 else answered
        found = {
            "request_id": ids,
            "role": pa.array(["primary"] * len(places)),
            "outcome": pa.array(["answered"] * len(places)),
            "version": pa.array(world.in_service(places), pa.string()),
            "output": pa.array(outputs.astype(float).tolist(), pa.list_(pa.float64())),
            "flags": pa.array([[]] * len(places), pa.list_(pa.string())),
            "event_at": rows.column(EVENT_TIME),
            **{f"feature.{name}": rows.column(name) for name in history.sources},
        }
        return pa.table({name: found[name] for name in columns or found if name in found})
