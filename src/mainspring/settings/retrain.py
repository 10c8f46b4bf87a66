"""`retrain:` of `mainspring.yaml`: when a new model is asked for, what holds it back, and what it is trained on, as data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from mainspring.domain.errors import ConfigError
from mainspring.domain.time import DURATION_PATTERN, duration_in_words, parse_duration
from mainspring.settings.part import Duration, Part

Trigger = Literal["on_regret", "on_alarm", "on_loss", "on_schedule"]
"""What a retraining can be asked for by."""
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
ON_DEMAND = ("on_demand", "never")
"""Nobody but a person asks; `never` is the older word."""
ALL, SINCE_CHANGE = "all", "since_change"
LEAST_BLOCKS = 7
"""Fewer blocks than this say nothing: less than a week of days."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_QUIET = re.compile(
    r"^(?:(?P<first>daily|mon|tue|wed|thu|fri|sat|sun)(?:-(?P<last>mon|tue|wed|thu|fri|sat|sun))?)?"
    r"(?:(?:^| )(?P<start>[0-2]\d:[0-5]\d)-(?P<end>[0-2]\d:[0-5]\d))?$"
)
_WEEK_MINUTES = 7 * 24 * 60


class Combination(Part):
    """Several triggers as one policy: `any` asks when one of them does, `all` when every one does. They can be nested."""

    any: list[str | Combination] | None = None
    """At least two."""
    all: list[str | Combination] | None = None
    """At least two."""

    @property
    def parts(self) -> list[str | Combination]:
        """What is combined."""
        return self.any or self.all or []


def _policy(value: object) -> object:
    """A trigger's name, `on_demand`, or a combination; errors in words."""
    if isinstance(value, Combination):
        return value
    if isinstance(value, str):
        if value not in (*TRIGGERS, *ON_DEMAND):
            near = difflib.get_close_matches(value, (*TRIGGERS, *ON_DEMAND), n=1)
            raise ValueError(
                f"{value!r} is no policy"
                + (f"; did you mean {near[0]!r}?" if near else "")
                + f"; valid: {', '.join((*TRIGGERS, *ON_DEMAND))}, or {{any: [...]}}, {{all: [...]}}"
            )
        return value
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("any", "all"):
        raise ValueError("a policy is one word, or `{any: [...]}` or `{all: [...]}` and nothing beside it")
    word, parts = next(iter(value.items()))
    if not isinstance(parts, list) or len(parts) < 2:
        raise ValueError(f"`{word}` combines at least two triggers; one alone is written without it")
    found = []
    for part in parts:
        if part in ON_DEMAND:
            raise ValueError(f"{part!r} cannot be combined: a person can ask under every policy")
        found.append(_policy(part))
    words = [str(part) for part in found]
    if len(set(words)) < len(words):
        raise ValueError(f"`{word}` has the same trigger twice")
    return Combination(**{str(word): found})


def _window(value: object) -> object:
    if value in (ALL, SINCE_CHANGE) or isinstance(value, timedelta):
        return value
    try:
        return parse_duration(str(value))
    except ConfigError as error:
        raise ValueError(f"{value!r} is no window; valid: all, since_change, or a duration such as 90d") from error


def _written(value: object) -> object:
    return duration_in_words(value) if isinstance(value, timedelta) else value


Policy = Annotated[
    str | Combination,
    BeforeValidator(_policy, json_schema_input_type=Literal[*TRIGGERS, *ON_DEMAND] | Combination),  # type: ignore[misc, unused-ignore]
]
TrainOn = Annotated[
    str | timedelta,
    BeforeValidator(
        _window,
        json_schema_input_type=Literal["all", "since_change"] | Annotated[str, Field(pattern=DURATION_PATTERN)],
    ),
    PlainSerializer(_written, when_used="json"),
]
"""`all`, a duration (the newest so much), or `since_change`."""


class QuietSettings(Part):
    """When nothing is started, although it would be: by day and by week, in a stated time zone."""

    hours: list[str] = Field(min_length=1)
    """Such as `22:00-06:00` (daily), `mon-fri 08:00-18:00`, `sat-sun` (whole days). One that ends no later than it begins
    goes on into the next day, and belongs to the day on which it begins."""
    time_zone: str = "UTC"
    """A name of the IANA time zone database, such as Europe/Berlin: hours are those of its clocks, summer time included."""

    @model_validator(mode="after")
    def _readable(self) -> QuietSettings:
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{self.time_zone!r} is no time zone; valid: UTC, or such as Europe/Berlin") from error
        quiet: set[int] = set()
        for text in self.hours:
            for start, end in _spans(text):
                quiet |= {minute % _WEEK_MINUTES for minute in range(start, end)}
        if len(quiet) == _WEEK_MINUTES:
            raise ValueError("quiet hours are the whole week: nothing would ever start; `policy: on_demand` says so")
        return self

    def at(self, now: datetime) -> str:
        """The quiet hours that an instant lies in, "" when none.

        >>> from datetime import UTC
        >>> quiet = QuietSettings(hours=["22:00-06:00"], time_zone="Europe/Berlin")
        >>> quiet.at(datetime(2026, 7, 1, 3, 59, tzinfo=UTC)), quiet.at(datetime(2026, 7, 1, 4, 0, tzinfo=UTC))
        ('22:00-06:00', '')
        """
        local = now.astimezone(ZoneInfo(self.time_zone))
        minute = local.weekday() * 1440 + local.hour * 60 + local.minute
        for text in self.hours:
            if any(start <= at < end for start, end in _spans(text) for at in (minute, minute + _WEEK_MINUTES)):
                return text
        return ""


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Minutes of the week, from Monday 00:00; the last may reach into the next week."""
    found = _QUIET.match(text.strip().lower())
    if found is None or not text.strip() or (found["first"] == "daily" and found["last"]):
        raise ValueError(f"{text!r} are no hours; valid: 22:00-06:00, mon-fri 08:00-18:00, sat-sun")
    first, last = found["first"], found["last"]
    days = [*range(7)]
    if first not in (None, "daily"):
        start = _DAYS.index(first)
        days = [(start + place) % 7 for place in range((_DAYS.index(last or first) - start) % 7 + 1)]
    begins, ends = (_minutes(found[name], text) if found["start"] else place for name, place in _WHOLE)
    ends += 1440 if ends <= begins else 0
    for day in days:
        yield day * 1440 + begins, day * 1440 + ends


_WHOLE = (("start", 0), ("end", 1440))


def _minutes(clock: str, text: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if hours * 60 + minutes > 1440:
        raise ValueError(f"{text!r}: a day has 24 hours")
    return hours * 60 + minutes


class RetrainSettings(Part):
    """When a new model is asked for, and what it is trained on."""

    policy: Policy = "on_regret"
    """`on_regret` asks whether a retraining would pay; `on_alarm` trusts drift; `on_loss` what the version lost against its
    own held-out evaluation; `on_schedule` the calendar; `on_demand` (or `never`) nobody but a person, who can ask under every
    policy. `{any: [on_loss, on_schedule]}` and `{all: [on_alarm, on_regret]}` combine them."""
    cooldown: Duration = timedelta(days=14)
    """Least time between two retrainings: two weekly cycles, so that the last one can be judged."""
    budget: int = Field(default=6, ge=0)
    """Most retrainings in any `budget_period`."""
    budget_period: Duration = timedelta(days=366)
    """The period that the budget is for."""
    quiet: QuietSettings | None = None
    """When no retraining is started; it waits until they are over. A person's request does not. None: at no time."""
    schedule: Duration = timedelta(days=30)
    """`on_schedule`: how often."""
    ask_every: Duration = timedelta(days=7)
    """How often to ask. A week: the shortest whole cycle. A new drift alarm has the policy asked at once if `on_alarm` is in it."""
    ask_window: Duration = timedelta(days=21)
    """`on_regret`, `windows`: the newest labelled days on which challengers, fitted on what was known before them, are scored.
    Whole weeks, so that each weekday counts alike; of two fewer gains are told from chance, of four those found are old."""
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """`on_regret`: chance that one such question asks for a retraining that is worth nothing. The gate judges again."""
    max_age: Duration | None = None
    """`on_regret`: retrain a champion older than this in any case. None: never by age alone."""
    loss_alpha: float = Field(default=0.05, gt=0, lt=1)
    """`on_loss`: chance that a version that is as good as in its held-out evaluation is ever said to be worse, however long it
    serves and however often is asked."""
    loss_margin: float = Field(default=0.0, ge=0)
    """`on_loss`: how much worse than held out, in the gate's metric, is no loss."""
    windows: list[TrainOn] = Field(default=["all"], min_length=1, max_length=6)
    """What a retraining trains on: `all`, the newest so much (`90d`), `since_change` (since the newest drift alarm that is older
    than `ask_window`). Of several the first is kept unless another was better on days that none of them was trained on."""
    window_alpha: float = Field(default=0.1, gt=0, lt=1)
    """`windows`: chance that one of the others takes the place of a first that is as good."""

    @model_validator(mode="after")
    def _sensible(self) -> RetrainSettings:
        words = duration_in_words
        if "on_schedule" in self.triggers and self.schedule < self.cooldown:
            raise ValueError(
                f"retrain.schedule: {words(self.schedule)} is shorter than the cooldown of {words(self.cooldown)}, so the "
                "schedule could not be kept; shorten retrain.cooldown"
            )
        measured = "on_regret" in self.triggers or len(self.windows) > 1
        if measured and self.ask_window < timedelta(days=LEAST_BLOCKS):
            raise ValueError(
                f"retrain.ask_window: {words(self.ask_window)} has fewer than {LEAST_BLOCKS} days, and fewer blocks say nothing"
            )
        if self.max_age is not None and "on_regret" not in self.triggers:
            raise ValueError("retrain.max_age belongs to on_regret; under other policies `on_schedule` goes by age")
        if self.max_age is not None and self.max_age < self.cooldown:
            raise ValueError(
                f"retrain.max_age: {words(self.max_age)} is shorter than the cooldown of {words(self.cooldown)}"
            )
        names = [str(one) for one in self.windows]
        if len(set(names)) < len(names):
            raise ValueError("retrain.windows has the same window twice")
        return self

    @property
    def triggers(self) -> frozenset[str]:
        """The triggers that the policy goes by; none where only a person asks.

        >>> sorted(RetrainSettings(policy={"any": ["on_loss", {"all": ["on_alarm", "on_regret"]}]}).triggers)
        ['on_alarm', 'on_loss', 'on_regret']
        """
        return frozenset(_leaves(self.policy)) - set(ON_DEMAND)

    @property
    def words(self) -> str:
        """The policy as it would be written."""
        return _words(self.policy)


def _leaves(policy: str | Combination) -> Iterator[str]:
    if isinstance(policy, str):
        yield policy
        return
    for part in policy.parts:
        yield from _leaves(part)


def _words(policy: Any) -> str:
    if isinstance(policy, str):
        return policy
    word = "any" if policy.any else "all"
    return f"{{{word}: [{', '.join(_words(part) for part in policy.parts)}]}}"
