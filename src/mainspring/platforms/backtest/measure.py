"""`Measure`: the quality of what was in service on blocks of the past, and schedules whose models go into service at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from mainspring.domain.backtest import BacktestEvent, PolicyResult
from mainspring.domain.scoring import score
from mainspring.platforms.backtest.history import History, moment
from mainspring.platforms.backtest.models import Fitted, Models
from mainspring.settings.project import ProjectSettings

WEEK = timedelta(days=7)
_MONTHS_FROM = timedelta(days=120)
"""From so long a past on quality is the mean over calendar months, before that over weeks."""


class Measure:
    """Scores answers on [start, until). `places` are the labelled rows asked in it."""

    def __init__(
        self, settings: ProjectSettings, history: History, models: Models, start: datetime, until: datetime
    ) -> None:
        import numpy as np

        self.settings, self.history, self.models = settings, history, models
        self.start, self.until = start, until
        first, last = history.before(start), history.before(until)
        self.places = np.arange(first, last)[~np.isnat(history.known[first:last])]
        self.rows = (last - first, len(self.places))
        self.block = "month" if until - start >= _MONTHS_FROM else "week"

    @cached_property
    def _first(self) -> Fitted:
        return self.model(self.start)

    @cached_property
    def truth(self) -> Any:
        """Labels of `places` as scores take them."""
        return self.models.truth(self.places, self._first.signature)

    @cached_property
    def blocks(self) -> Any:
        """The block of each of `places`, by name."""
        import numpy as np

        at = self.history.asked[self.places]
        if self.block == "month":
            return at.astype("datetime64[M]").astype(str)
        weeks = (at - moment(self.start)) // np.timedelta64(7, "D")
        return (moment(self.start) + weeks * np.timedelta64(7, "D")).astype("datetime64[D]").astype(str)

    def quality(self, outputs: Any) -> tuple[float, dict[str, float]]:
        """The mean over blocks, and each block's metric; blocks on which it is not defined are left out."""
        import numpy as np

        found = {}
        for name in np.unique(self.blocks):
            here = self.blocks == name
            value = score(self.settings.metric.name, self.truth[here], outputs[here])
            if np.isfinite(value):
                found[str(name)] = value
        return float(np.mean(list(found.values()))) if found else float("nan"), found

    def model(self, at: datetime) -> Fitted:
        """The recipe fitted on everything that was known at an instant."""
        places = self.models.known(at)
        kept = len(places) - round(len(places) * self.settings.split.validation_share)
        return self.models.on(places[:kept], places[kept:])

    @cached_property
    def months(self) -> tuple[datetime, ...]:
        """The beginnings of calendar months after the start."""
        found, at = [], self.start
        while (
            at := (at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
        ) < self.until:
            found.append(at)
        return tuple(found)

    @cached_property
    def weeks(self) -> tuple[datetime, ...]:
        """The start, and each week after it."""
        return tuple(self.start + WEEK * place for place in range(-((self.start - self.until) // WEEK)))

    @cached_property
    def static(self) -> float:
        """The quality of the first model, never retrained."""
        return self.quality(self.answers(()))[0]

    @cached_property
    def calendar(self) -> float:
        """The quality of a model retrained every calendar month."""
        return self.quality(self.answers(self.months))[0]

    def answers(self, instants: Sequence[datetime]) -> Any:
        """Answers to `places` of models retrained at these instants, in service at once."""
        import numpy as np

        asked = self.history.asked[self.places]
        found = self._first.at(self.places).copy()
        for at in sorted(instants):
            later = np.flatnonzero(asked >= moment(at))
            if len(later):
                found[later] = self.model(at).at(self.places[later])
        return found

    def schedule(self, name: str, words: str, instants: Sequence[datetime]) -> PolicyResult:
        """A schedule without a gate as a result."""
        quality, by_block = self.quality(self.answers(instants))
        used = {one.key: one for one in (self._first, *(self.model(at) for at in instants))}.values()
        events = tuple(BacktestEvent(at, "promoted", str(place + 2), words) for place, at in enumerate(instants))
        return PolicyResult(
            name, words, quality, by_block, None, 0, len(instants), 0, len(instants), len(used),
            round(sum(one.seconds for one in used), 2), sum(one.rows for one in used), events, gated=False,
        )  # fmt: skip
