"""What the access log tells of one rollout's users, line by line; which users there are is somebody else's to remember."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mainspring.adapters.envoy.access_log import user_error
from mainspring.adapters.envoy.tally import Counts
from mainspring.domain.rollout import Arm, UserRound

HOUR = 3600 * 1_000_000
"""A round of an hour, in microseconds."""
MOST_USERS = 1000
"""Users in each of the first such rounds: one that began healthy is over soon..."""
_ROUNDS_OF_A_SIZE = 10
"""...and after so many they get longer, so that a busy service has hundreds of them and not a hundred thousand."""


@dataclass
class UserRow:
    """A user of the rollout: his arm at the present weight, since when (microseconds), whether it failed him, and the same of
    the last round of an hour that he is in."""

    weight: int
    arm: Arm
    since: int
    failed: bool = False
    hour: int = -1
    hour_failed: bool = False


@dataclass
class _Round:
    weight: int
    kind: Literal["step", "hour"]
    began: int
    first: dict[Arm, Counts] = field(default_factory=dict)
    failed: dict[Arm, int] = field(default_factory=dict)

    @property
    def users(self) -> int:
        return sum(one.requests for one in self.first.values())

    def enter(self, arm: Arm, seconds: float, failed: bool, seen: bool) -> None:
        self.first.setdefault(arm, Counts()).add(seconds, failed, seen)
        if failed:
            self.fail(arm)

    def fail(self, arm: Arm) -> None:
        self.failed[arm] = self.failed.get(arm, 0) + 1

    def frozen(self) -> UserRound:
        return UserRound(
            self.weight, self.kind, {arm: one.frozen() for arm, one in self.first.items()}, dict(self.failed)
        )


class UserTally:
    """Rounds of one rollout, in the order in which they began. `window` is how long a user counts in a step's round.

    A line of a weight that is over (its request took longer than the change of weight) is left out, whatever became of it, and
    so is one of a user whose arm is not what it was; `strays` counts both.
    """

    def __init__(self, window: int, rounds: Mapping[int, tuple[int, UserRound]] | None = None, strays: int = 0) -> None:
        self._window = window
        self._rounds = {number: _thawed(*one) for number, one in (rounds or {}).items()}
        self.strays = strays
        self._step = _last(self._rounds, "step")
        self._hour = _last(self._rounds, "hour")
        self._changed: set[int] = set()

    def add(self, user: str, line: Mapping[str, Any], at: int, users: MutableMapping[str, UserRow]) -> None:
        """Count one answered or failed request of `user`, "" for one without a key; `users` is brought up to date."""
        arm, weight = line["arm"], int(line["weight"])
        seen = user_error(line)
        failed = seen or (line["attempts"] or 0) > 1
        seconds = (line["us"] or 0) / 1e6
        row = users.get(user) if user else None
        if not self._current(weight, at) or (row is not None and row.weight == weight and row.arm != arm):
            self.strays += 1
            return
        step, hour = self._rounds[self._step], self._rounds[self._hour]
        self._changed |= {self._step, self._hour}
        if row is None or row.weight != weight:
            row = UserRow(weight, arm, at, failed)
            step.enter(arm, seconds, failed, seen)
        elif failed and not row.failed and at < row.since + self._window:
            row.failed = True
            step.fail(arm)
        if row.hour != self._hour:
            row.hour, row.hour_failed = self._hour, failed
            hour.enter(arm, seconds, failed, seen)
        elif failed and not row.hour_failed:
            row.hour_failed = True
            hour.fail(arm)
        if user:
            users[user] = row

    def rounds(self) -> list[UserRound]:
        """All of them."""
        return [one.frozen() for _, one in sorted(self._rounds.items())]

    def changed(self) -> dict[int, tuple[int, UserRound]]:
        """Rounds that changed since the last call, with the instant of their beginning, by number."""
        found = {number: (self._rounds[number].began, self._rounds[number].frozen()) for number in self._changed}
        self._changed = set()
        return found

    def _current(self, weight: int, at: int) -> bool:
        """Whether the weight is the present one; the first line of another begins its rounds."""
        known = {one.weight for one in self._rounds.values()}
        if weight not in known:
            self._step, self._hour = self._begin(weight, "step", at), self._begin(weight, "hour", at)
            return True
        if self._rounds[self._step].weight != weight:
            return False
        hour = self._rounds[self._hour]
        hours = len(self._rounds) - len(known)  # each weight has one round of a step
        if at >= hour.began + HOUR or hour.users >= MOST_USERS * (1 + hours // _ROUNDS_OF_A_SIZE):
            self._hour = self._begin(weight, "hour", at)
        return True

    def _begin(self, weight: int, kind: Literal["step", "hour"], at: int) -> int:
        number = len(self._rounds)
        self._rounds[number] = _Round(weight, kind, at)
        return number


def _last(rounds: Mapping[int, _Round], kind: str) -> int:
    return max((number for number, one in rounds.items() if one.kind == kind), default=-1)


def _thawed(began: int, frozen: UserRound) -> _Round:
    first = {arm: Counts.thawed(counts) for arm, counts in frozen.first.items()}
    return _Round(frozen.weight_percent, frozen.kind, began, first, dict(frozen.failed))
