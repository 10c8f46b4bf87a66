"""The replay: each policy turns the loop's own chores over the same past; schedules without a gate stand beside them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mainspring.adapters.clock import ReplayedClock
from mainspring.domain.backtest import Backtest, BacktestEvent, PolicyResult
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError
from mainspring.loop import monitoring, retraining, runs
from mainspring.loop.outcome import MOVED, Outcome
from mainspring.loop.platform import DriftJob, Platform
from mainspring.platforms.backtest.frontier import frontier_of
from mainspring.platforms.backtest.history import From, History, apart, load_history
from mainspring.platforms.backtest.measure import Measure
from mainspring.platforms.backtest.models import Models
from mainspring.platforms.backtest.rollout import turn_rollout
from mainspring.platforms.backtest.span import span_of
from mainspring.platforms.backtest.world import World
from mainspring.settings.load import LoadedProject
from mainspring.settings.retrain import RetrainSettings

BUILT_IN: dict[str, dict[str, Any]] = {
    "static": {"policy": "on_demand"},
    "default": {},
    "on_regret": {"policy": "on_regret"},
    "on_alarm": {"policy": "on_alarm"},
    "on_loss": {"policy": "on_loss"},
    "on_schedule": {"policy": "on_schedule"},
}
"""Policies by name: the defaults of `retrain:` with another `policy`. `project` is the project's own, `calendar` a schedule."""
STATIC, CALENDAR, PROJECT = "static", "calendar", "project"
STEP = timedelta(hours=12)
"""The longest step of the replayed clock."""


@dataclass(frozen=True)
class BacktestRequest:
    """What to replay. `policies` are names, `more` settings by name; None for an instant: as `span_of` has it.

    `drift` gives another drift job for a policy by its name, in place of the project's own.
    """

    policies: Sequence[str] = (STATIC, CALENDAR, PROJECT)
    more: Mapping[str, RetrainSettings] = field(default_factory=dict)
    start: datetime | None = None
    until: datetime | None = None
    source: From = "source"
    frontier: int = 0
    drift: Mapping[str, Callable[[World], DriftJob]] = field(default_factory=dict)


def backtest(loaded: LoadedProject, request: BacktestRequest, tell: Callable[[str], object] = print) -> Backtest:
    """Replay the past through each policy; `tell` hears what goes on.

    Killed and started again it goes on: models, verdicts and the past itself are kept by what they were made from. Errors:
    `ConfigError` for a policy that there is not; and those of `load_history` and `span_of`.
    """
    began = time.monotonic()
    policies = {name: _settings_of(loaded, name, request.more) for name in request.policies}
    tell("reading the past")
    history = load_history(loaded, request.source)
    start, until = span_of(loaded.settings, history, request.start, request.until)
    models = Models(loaded, history)
    measure = Measure(loaded.settings, history, models, start, until)
    results: list[PolicyResult] = []
    for name, settings in policies.items():
        tell(f"replaying {name}")
        if settings is None:
            results.append(measure.schedule(name, "every calendar month, no gate", measure.months))
        else:
            results.append(_replayed(loaded, name, settings, measure, history, models, request.drift.get(name)))
    tell("looking for the best instants in hindsight" if request.frontier else "measuring")
    points = frontier_of(measure, request.frontier) if request.frontier else ()
    by_name = {one.name: one.quality for one in results}
    bounds = (by_name.get(STATIC, measure.static), by_name.get(CALENDAR, measure.calendar))
    metric = loaded.settings.metric
    shared = [replace(one, share_of_gain=_share(metric, one.quality, *bounds)) for one in results]
    points = tuple(
        replace(one, best_share=_share(metric, one.best, *bounds), even_share=_share(metric, one.even, *bounds))
        for one in points
    )
    asked, labelled = measure.rows
    return Backtest(
        loaded.settings.name, metric.name, metric.higher_is_better, start, until, asked, labelled, measure.block,
        tuple(shared), points, round(time.monotonic() - began, 1), models.fitted, models.reused, request.source,
    )  # fmt: skip


def policies_in(file: Path) -> dict[str, RetrainSettings]:
    """Policies of a YAML file: a name, and below it what `retrain:` would have. Errors: `ConfigError` says which is wrong."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(file), valid="a YAML file") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError("no policies", where=str(file), valid="a name, and below it what `retrain:` would have")
    found = {}
    for name, section in document.items():
        try:
            found[str(name)] = RetrainSettings.model_validate(section or {})
        except ValidationError as error:
            said = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
            raise ConfigError(f"{name}: {said}", where=str(file), next_step="mainspring schema retrain") from error
    return found


def _settings_of(loaded: LoadedProject, name: str, more: Mapping[str, RetrainSettings]) -> RetrainSettings | None:
    if name in more:
        return more[name]
    if name == PROJECT:
        return loaded.settings.retrain
    if name == CALENDAR:
        return None
    if name not in BUILT_IN:
        valid = ", ".join((*BUILT_IN, CALENDAR, PROJECT, *more))
        raise ConfigError(f"{name!r} is no policy", valid=valid, next_step="mainspring backtest --policies FILE")
    return RetrainSettings.model_validate(BUILT_IN[name])


def _share(metric: Any, quality: float, static: float, calendar: float) -> float | None:
    gain = metric.gain(calendar, static)
    return metric.gain(quality, static) / gain if gain > 0 else None


def _replayed(
    loaded: LoadedProject,
    name: str,
    policy: RetrainSettings,
    measure: Measure,
    history: History,
    models: Models,
    drift: Callable[[World], DriftJob] | None,
) -> PolicyResult:
    with tempfile.TemporaryDirectory(prefix="backtest-", dir=_scratch(loaded)) as folder:
        own = replace(loaded, settings=loaded.settings.model_copy(update={"retrain": policy}))
        clock = ReplayedClock(measure.start)
        world = World(own, history, models, Path(folder), clock)
        platform = world.platform()
        if drift is not None:
            platform = replace(platform, drift=drift(world))
        step = min(STEP, own.settings.drift.every, policy.ask_every)
        while clock.now() < measure.until:
            _settle(world, platform)
            clock.advance(min(clock.now() + step, measure.until))
        decisions = list(platform.ledger.decisions())
    return _result(name, policy, measure, world, decisions)


def _scratch(loaded: LoadedProject) -> Path:
    folder = apart(loaded).paths.state
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settle(world: World, platform: Platform) -> None:
    """The chores that a policy turns on, in the loop's own order, until nothing moves."""
    chores: tuple[Callable[[], Outcome], ...] = (
        lambda: monitoring.drift(platform),
        lambda: runs.request_first(platform),
        lambda: runs.turn(platform),
        lambda: turn_rollout(world, platform),
        lambda: retraining.turn(platform),
    )
    while any(chore() == MOVED for chore in chores):
        platform.ledger.put_state({"alert_alarm": "", "alert_run_failed": ""})  # Nobody is told of the past.


def _result(
    name: str, policy: RetrainSettings, measure: Measure, world: World, decisions: Sequence[Decision]
) -> PolicyResult:
    if not world.served:
        why = next((one.why for one in reversed(decisions)), "")
        raise ConfigError(f"{name}: no first model came into service: {why}", next_step="a later --start")
    quality, by_block = measure.quality(world.outputs(measure.places))
    count = {kind: sum(one.kind == kind for one in decisions) for kind in ("alarm", "gate_refused", "promoted")}
    triggers = [one for one in decisions if one.kind == "trigger" and one.id != "trigger:first"]
    used = world.used.values()
    return PolicyResult(
        name, policy.words, quality, by_block, None, count["alarm"], len(triggers), count["gate_refused"],
        count["promoted"] - 1, len(used), round(sum(one.seconds for one in used), 2), sum(one.rows for one in used),
        tuple(BacktestEvent(one.at, one.kind, one.version, one.why) for one in decisions),
    )  # fmt: skip
