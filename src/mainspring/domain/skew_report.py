"""`SkewReport`: where what was served differs from what the offline store gives for the same request, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mainspring.domain.time import TimeWindow

SkewKind = Literal[
    "stale",
    "late",
    "ahead",
    "missing in serving",
    "missing offline",
    "time zone",
    "factor",
    "offset",
    "rounding",
    "other",
]


@dataclass(frozen=True, slots=True)
class SkewExample:
    """One request in which a feature differs. Values as text, "" for a missing one."""

    request_id: str
    event_at: datetime
    served: str
    offline: str
    kind: SkewKind


@dataclass(frozen=True, slots=True)
class FeatureSkew:
    """One feature over all replayed requests.

    `differing` requests are counted by kind in `kinds`; `said` describes them. Differences are of numbers, served minus offline.
    `explained` counts what differs for a stated reason (`unavailable`: the store was away, and the policy held), which
    is no skew; `defaulted` those in which a default stood in on both sides. `late_unseen`: rows that the offline store has
    learnt since, and that the join rightly does not see.
    """

    feature: str
    source: str
    compared: int
    differing: int = 0
    kinds: dict[SkewKind, int] = field(default_factory=dict)
    said: str = ""
    median_difference: float | None = None
    largest_difference: float | None = None
    explained: dict[str, int] = field(default_factory=dict)
    late_unseen: int = 0
    examples: tuple[SkewExample, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSkew:
    """The model run again. `same_inputs_differing`: given what was logged, it answers otherwise than it did; `differing`: given
    the offline features it does. Differences are of the output that moved most in a request."""

    compared: int
    differing: int
    same_inputs_differing: int
    median_difference: float | None = None
    largest_difference: float | None = None
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkewReport:
    """A version's requests in a window, replayed. `logged` requests were there, `replayed` were drawn of them.

    Two numbers are the same within `tolerance` of the larger of them. `not_compared` says of what and why not.
    """

    version: str
    window: TimeWindow
    logged: int
    replayed: int
    tolerance: float
    features: tuple[FeatureSkew, ...]
    answers: AnswerSkew | None
    not_compared: dict[str, str]

    @property
    def found(self) -> bool:
        """Whether there is any skew."""
        answers = self.answers is not None and self.answers.same_inputs_differing > 0
        return answers or any(one.differing for one in self.features)
