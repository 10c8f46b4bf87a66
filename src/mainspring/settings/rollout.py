"""`rollout:` of `mainspring.yaml`: the strategy by which a candidate takes over, as data."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mainspring.domain.rollout import RolloutStep
from mainspring.settings.part import Duration, Part


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
    """Least requests of the candidate. None: `rollout.min_requests`."""


def _step(value: object) -> object:
    return {"canary": {"weight": value}} if isinstance(value, int) and not isinstance(value, bool) else value


class StepSettings(Part):
    """One step: either `shadow` or `canary`."""

    shadow: ShadowSettings | None = None
    canary: CanarySettings | None = None

    @model_validator(mode="after")
    def _one(self) -> StepSettings:
        if (self.shadow is None) == (self.canary is None):
            raise ValueError("a step is either `shadow: {percent: 100}` or `canary: {weight: 10}`, or a weight alone")
        return self


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
    """Least requests of the candidate at each step. Of candidates that fail a fifth of their requests at a weight of 10 %, 19
    of 20 are found within 50 of them."""
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
    undecided: UndecidedSettings = UndecidedSettings()
    guard: GuardSettings = GuardSettings()
    approval: Literal["auto", "person"] = "auto"
    """Whether a person has to approve a version before it takes traffic."""

    @model_validator(mode="after")
    def _upwards(self) -> RolloutSettings:
        weights = [one.canary.weight for one in self.steps if one.canary is not None]
        if weights != sorted(set(weights)):
            raise ValueError(f"a candidate's share grows from step to step, not {weights}")
        return self

    def strategy(self) -> tuple[RolloutStep, ...]:
        """The steps with everything that they leave out.

        >>> [(one.kind, one.percent) for one in RolloutSettings(steps=[5, 50]).strategy()]
        [('canary', 5), ('canary', 50)]
        """
        found = []
        for one in self.steps:
            of = one.shadow or one.canary
            assert of is not None
            time = self.step_time if of.time is None else of.time
            least = self.min_requests if of.min_requests is None else of.min_requests
            percent = of.percent if isinstance(of, ShadowSettings) else of.weight
            found.append(RolloutStep("shadow" if one.shadow else "canary", percent, time.total_seconds(), least))
        return tuple(found)


def _shadow() -> StepSettings:
    return StepSettings(shadow=ShadowSettings())


def _step_of(weight: int) -> StepSettings:
    return StepSettings(canary=CanarySettings(weight=weight))
