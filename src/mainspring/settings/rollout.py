"""`rollout:` of `mainspring.yaml`: the strategy by which a candidate takes over, as data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mainspring.domain.rollout import Arm, RolloutStep
from mainspring.settings.part import Duration, Part


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Header = Annotated[str, BeforeValidator(_lower), Field(pattern="^[a-z0-9-]+$")]
"""A header's name; case does not matter."""


class LimitSettings(Part):
    """Error limits of the guard, where no other arm is there to compare with."""

    min_requests: int = Field(default=20, ge=1)
    """Requests of the new version before its error rate is looked at."""
    max_error_percent: float = Field(default=5.0, gt=0, le=100)
    """The new version goes back when its error rate is above this..."""
    max_error_ratio: float = Field(default=2.0, gt=0)
    """...and above this many times the old version's before the promotion."""


class HarmSettings(Part):
    """How much more often than stable a candidate may fail, or be slow. It goes back when it is beyond both."""

    ratio: float = Field(ge=1)
    """This many times stable's share..."""
    margin_percent: float = Field(ge=0, lt=100)
    """...and this many points of all requests beyond it."""


class SlowSettings(HarmSettings):
    """How much more often than stable a candidate may be slow."""

    ratio: float = Field(default=2.0, ge=1)
    """This many times stable's share..."""
    margin_percent: float = Field(default=2.0, ge=0, lt=100)
    """...and this many points of all requests beyond it."""
    floor_seconds: float = Field(default=0.1, ge=0)
    """Slow is what 95 % of stable's requests before the canary were not, and never less than this: below a tenth of a second
    nobody feels a difference, and one pause of a busy machine hits many requests of one arm together."""


class BudgetSettings(Part):
    """How `rollout.alpha` is shared among the tests that can each send a candidate back; 0: the test does not run."""

    errors: float = Field(default=2.0, ge=0)
    """Half of it by default: a candidate that fails is what a rollout is for in the first place."""
    latency: float = Field(default=1.0, ge=0)
    """The share of the test whether it is slower."""
    quality: float = Field(default=1.0, ge=0)
    """The share of the test whether it is worse, on labelled requests that both answered."""
    business: float = Field(default=1.0, ge=0)
    """The share of the test whether it costs more than `rollout.business.margin`; nothing where there is no such metric."""


class BusinessSettings(Part):
    """What the service is for, in numbers that the project has: a guard-rail of canaries, and what decides an A/B step.

    Each user (where `rollout.sticky` names one; else each request) counts once: what he brought in the `window` since his
    first request. A row that becomes known later than `wait` after that is not counted, whenever one looks.
    """

    source: str
    """The source whose rows are what users did: orders, clicks, returns. It needs `time`."""
    column: str | None = None
    """The number in each row. None: rows are counted, each is 1."""
    join: Literal["user", "request_id"] = "user"
    """By what a row meets whom it is of: the user's key, as the header has it, or the id of a request."""
    key: str | None = None
    """The source's column with that. None: it is called `user`, or `request_id`."""
    kind: Literal["sum", "mean", "any"] = "sum"
    """`sum`: of his rows; none is 0. `any`: 1 for who has a row whose number is not 0. `mean`: of his rows; who has none is left
    out, which is fair only where having one does not depend on the version."""
    higher_is_better: bool = True
    """The direction."""
    range: tuple[float, float]
    """The least and the most that one user can bring. What lies outside counts as the nearer end, and is reported: without a
    bound, no test holds. The narrower, the sooner it decides."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """This share of what stable's users bring may be lost."""
    window: Duration = timedelta(days=1)
    """How long after his first request a user's rows count."""
    wait: Duration | None = None
    """How long after the window its rows may still become known. None: the source's `delay`; where it has `available_at`
    instead, this has to be said."""

    @model_validator(mode="after")
    def _countable(self) -> BusinessSettings:
        low, high = self.range
        if not low < high or not low <= 0 <= high:
            raise ValueError(f"a range is [least, most] with 0 in it, such as [0, 500], not [{low:g}, {high:g}]")
        if self.column is None and self.kind == "mean":
            raise ValueError("`kind: mean` needs the `column` of which it is the mean")
        if low < 0 and self.margin:
            raise ValueError(
                "a margin is a share of what stable brings: with a range that begins below 0 it is `margin: 0`"
            )
        if self.window <= timedelta(0):
            raise ValueError("`window` is longer than nothing, such as 1d")
        return self

    @property
    def key_column(self) -> str:
        """The source's column by which rows are joined."""
        return self.key or self.join


class UndecidedSettings(Part):
    """What happens when `evidence: match` or `beat` is not decided."""

    after: Duration = timedelta(days=28)
    """So long after the shadow began: four whole weeks."""
    then: Literal["hold", "roll_back"] = "roll_back"
    """`hold` waits on, until a person decides; `roll_back` keeps what serves."""


class ShadowSettings(Part):
    """Stable answers everybody; a copy of its requests goes to the candidate, whose answers nobody sees."""

    percent: int = Field(default=100, ge=1, le=100)
    """The share of the requests that is copied."""
    time: Duration | None = None
    """Least event time. None: `rollout.step_time`."""
    min_requests: int | None = Field(default=None, ge=0)
    """Least requests that both answered. None: `rollout.min_requests`."""


class CanarySettings(Part):
    """The candidate answers a share of the callers."""

    weight: int = Field(ge=1, le=99)
    """Its share in whole percent."""
    time: Duration | None = None
    """Least event time. None: `rollout.step_time`."""
    min_requests: int | None = Field(default=None, ge=0)
    """Least requests of the candidate; where users keep their arm, as many users. None: `rollout.min_requests`."""


class CohortSettings(Part):
    """Callers who get an arm by the value of a header, whatever the split: they are chosen, so they are no evidence."""

    header: Header
    """The header's name."""
    candidate: list[str] = Field(default_factory=list)
    """Values that get the candidate, such as `beta`."""
    stable: list[str] = Field(default_factory=list)
    """Values that keep stable."""

    @model_validator(mode="after")
    def _apart(self) -> CohortSettings:
        both = sorted(set(self.candidate) & set(self.stable))
        if both or not self.arms:
            raise ValueError(
                f"{', '.join(both)} cannot be of both arms"
                if both
                else "name values: `candidate: [beta]`, `stable: [...]`"
            )
        return self

    @property
    def arms(self) -> dict[str, Arm]:
        """The arm of each value."""
        return {**dict.fromkeys(self.candidate, "candidate"), **dict.fromkeys(self.stable, "stable")}


class AbSettings(Part):
    """The candidate answers a share of the *users*, each of whom keeps his arm; users are compared, not requests."""

    user: Header | None = None
    """The header with the user's key. None: `rollout.sticky`, which it is the same as for all steps."""
    percent: int = Field(default=50, ge=1, le=99)
    """The candidate's share of the users, in whole percent. Halves decide soonest."""
    time: Duration = timedelta(days=7)
    """Least event time: a whole week."""
    min_users: int = Field(default=1000, ge=1)
    """Least users of the candidate."""
    min_requests: int | None = Field(default=None, ge=0)
    """Least requests of the candidate. None: `rollout.min_requests`."""
    cohorts: CohortSettings | None = None
    """Callers who get an arm whatever the split, from this step on. None: nobody."""
    evidence: Literal["no_harm", "match", "beat"] = "no_harm"
    """What the step has to show in `rollout.business`: nothing against the candidate, that it costs no more than the margin, or
    that it brings more. `rollout.undecided` says what happens when it does not."""


def _step(value: object) -> object:
    return {"canary": {"weight": value}} if isinstance(value, int) and not isinstance(value, bool) else value


class StepSettings(Part):
    """One step: `shadow`, `canary` or `ab`."""

    shadow: ShadowSettings | None = None
    canary: CanarySettings | None = None
    ab: AbSettings | None = None

    @model_validator(mode="after")
    def _one(self) -> StepSettings:
        if sum(one is not None for one in (self.shadow, self.canary, self.ab)) != 1:
            raise ValueError(
                "a step is either `shadow: {percent: 100}`, `canary: {weight: 10}` or `ab: {user: x-user}`, or a weight alone"
            )
        return self

    @property
    def share(self) -> int | None:
        """The candidate's share of what is split; None in a shadow."""
        if self.ab is not None:
            return self.ab.percent
        return self.canary.weight if self.canary is not None else None


Step = Annotated[StepSettings, BeforeValidator(_step, json_schema_input_type=StepSettings | int)]
"""A step, or a whole number: a canary of that weight."""


class GuardSettings(Part):
    """After a promotion: the old version stays warm and shadows the new one, so that it can come back at once."""

    limits: LimitSettings = LimitSettings()
    time: Duration = timedelta(days=2)
    """How long, of event time; 0s: not at all. Two days: the first answers whose labels are known are among them in most
    projects, and it costs a second predictor meanwhile."""


class RolloutSettings(Part):
    """How a candidate takes over: steps, then all of the traffic, then a guard."""

    steps: list[Step] = Field(default_factory=lambda: [_shadow(), _step_of(10)])
    """What a candidate goes through before it gets everything: first a copy of the traffic, then 10 % of it."""
    step_time: Duration = timedelta(days=1)
    """Least event time at each step: one daily cycle."""
    min_requests: int = Field(default=50, ge=0)
    """Least requests of the candidate at each step; of a canary whose users keep their arm as many users, too. Of candidates
    that fail a fifth of their requests at a weight of 10 %, 19 of 20 are found within 50 of them."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The share of good candidates that may go back by chance: one budget for all tests of a rollout."""
    budget: BudgetSettings = BudgetSettings()
    errors: HarmSettings = HarmSettings(ratio=1.5, margin_percent=0.5)
    latency: SlowSettings = SlowSettings()
    evidence: Literal["no_harm", "match", "beat"] = "no_harm"
    """What a shadow has to show. `no_harm`: nothing against the candidate was found. `match`: it is no worse than stable by
    more than `margin`; `beat`: it is better; both on the labelled requests of whole weeks, in the gate's metric."""
    margin: float = Field(default=0.1, gt=0, lt=1)
    """With `match`: this share of what stable gains over the base rate may be lost."""
    sticky: Header | None = None
    """The header with the user's key: a user keeps his arm, and users are counted in place of requests. None: the split is by
    request, unless a step `ab` names a user."""
    user_window: Duration = timedelta(days=1)
    """Where users are counted: how long after his first request at a weight a user's errors count."""
    business: BusinessSettings | None = None
    """A business metric. None: there is none."""
    undecided: UndecidedSettings = UndecidedSettings()
    guard: GuardSettings = GuardSettings()
    approval: Literal["auto", "person"] = "auto"
    """Whether a person has to approve a version before it takes traffic."""

    @model_validator(mode="after")
    def _consistent(self) -> RolloutSettings:
        weights = [one.share for one in self.steps if one.share is not None]
        if weights != sorted(set(weights)):
            raise ValueError(f"a candidate's share grows from step to step, not {weights}")
        headers = {name for name in (self.sticky, *(one.user for one in self._abs())) if name is not None}
        if len(headers) > 1:
            raise ValueError(
                f"one header has the user's key in all steps, or a user would be moved: not {', '.join(sorted(headers))}"
            )
        cohorts = {one.cohorts.header for one in self._abs() if one.cohorts is not None}
        if len(cohorts) > 1:
            raise ValueError(f"one header names the cohorts of all steps, not {', '.join(sorted(cohorts))}")
        for one in self._abs():
            if not headers:
                raise ValueError("a step `ab` needs the header with the user's key: `ab: {user: x-user}`")
            if one.evidence != "no_harm" and self.business is None:
                raise ValueError(
                    f"`evidence: {one.evidence}` of a step `ab` is about `rollout.business`, which is not there"
                )
        if self.business is not None and self.business.join == "user" and not headers:
            raise ValueError("`business.join: user` needs the header with the user's key: `rollout.sticky: x-user`")
        return self

    def _abs(self) -> Iterator[AbSettings]:
        return (one.ab for one in self.steps if one.ab is not None)

    @property
    def sticky_header(self) -> str:
        """The header with the user's key, in all steps; "" where requests are split."""
        return next((one.user for one in self._abs() if one.user is not None), self.sticky) or ""

    def strategy(self) -> tuple[RolloutStep, ...]:
        """The steps with everything that they leave out.

        >>> [(one.kind, one.percent) for one in RolloutSettings(steps=[5, 50]).strategy()]
        [('canary', 5), ('canary', 50)]
        >>> RolloutSettings(steps=[{"ab": {"user": "X-User"}}]).strategy()[0].min_users
        1000
        """
        return tuple(self._step(one) for one in self.steps)

    def _step(self, one: StepSettings) -> RolloutStep:
        of = one.shadow or one.canary or one.ab
        assert of is not None
        time = self.step_time if of.time is None else of.time
        least = self.min_requests if of.min_requests is None else of.min_requests
        if isinstance(of, ShadowSettings):
            return RolloutStep("shadow", of.percent, time.total_seconds(), least)
        if isinstance(of, CanarySettings):
            return RolloutStep("canary", of.weight, time.total_seconds(), least, least if self.sticky_header else 0)
        cohorts = of.cohorts
        return RolloutStep(
            "ab",
            of.percent,
            time.total_seconds(),
            least,
            of.min_users,
            of.evidence,
            cohorts.header if cohorts is not None else "",
            cohorts.arms if cohorts is not None else {},
        )


def _shadow() -> StepSettings:
    return StepSettings(shadow=ShadowSettings())


def _step_of(weight: int) -> StepSettings:
    return StepSettings(canary=CanarySettings(weight=weight))
