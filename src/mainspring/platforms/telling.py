"""`Teller`: what a running loop tells, as lines that a person understands, and as structured log lines with ids."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mainspring.domain.decision import Alert, Decision
from mainspring.domain.errors import MainspringError
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    from mainspring.loop import Platform
    from mainspring.loop.setbacks import Setback
    from mainspring.settings.load import LoadedProject

_LONGEST_WHY = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `kind` is a ledger row's, or `start`, `warm`, `metrics`, `step`, `serving`, `setback`,
    `alert`, `changed` or `stop`."""

    at: datetime
    kind: str
    text: str
    run_id: str = ""
    version: str = ""


class Teller:
    """Says each thing once: to `say`, and as a line of JSON in `log`."""

    def __init__(self, log: Path, say: Callable[[Line], None]) -> None:
        self._path = log
        self._say = say
        self._steps: dict[tuple[str, str], str] = {}
        self._run_id = ""
        self._address = ""

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._log = Log(out=self._file)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def say(self, kind: str, text: str, *, run_id: str = "", version: str = "", **more: Any) -> None:
        """Tell one thing."""
        ids = {name: value for name, value in (("run_id", run_id), ("version", version)) if value}
        self._log.bind(**ids).info(text, kind=kind, **more)
        self._say(Line(datetime.now(UTC), kind, text, run_id, version))

    def decision(self, one: Decision) -> None:
        """A ledger row; what it alerts of comes as an alert."""
        if one.kind in ("alarm", "run_failed", "rolled_back"):
            self._log.bind(run_id=one.run_id, version=one.version).info(one.what, kind=one.kind, decision=one.id)
            return
        why = one.why if len(one.why) <= _LONGEST_WHY else one.why[:_LONGEST_WHY] + "..."
        text = f"{one.what}: {why}" if why else one.what
        self.say(one.kind, text, run_id=one.run_id, version=one.version, decision=one.id)

    def alert(self, alert: Alert) -> None:
        """Something for people to act on; what is only news was told as a decision."""
        if alert.severity == "info":
            return
        self.say(
            "alert",
            "\n  ".join(
                filter(
                    None,
                    [
                        f"{alert.what}: {alert.detail}"
                        if alert.detail and alert.detail not in alert.what
                        else alert.what,
                        f"how sure: {alert.sure}" if alert.sure else "",
                        f"next: {alert.next_step}",
                        f"the loop will {alert.loop_will}" if alert.loop_will else "",
                    ],
                )
            ),
            alert=alert.id,
            severity=alert.severity,
        )

    def setback(self, one: Setback) -> None:
        """A chore fails, or works again."""
        if one.error is None:
            self.say("setback", f"{one.chore} works again", chore=one.chore)
            return
        what = f"{one.chore} does not work: {one.text}\n  the loop goes on, and tries again in {one.again_seconds:g} s"
        if isinstance(one.error, Exception):
            self._log.error(one.text, chore=one.chore, exc_info=one.error)
        self.say("setback", what, chore=one.chore)

    def steps(self, platform: Platform) -> None:
        """Steps of the run that is under way, as each begins and ends."""
        from mainspring.loop.state import RUN, RunRequest, read

        asked = read(platform.ledger, RUN, RunRequest)
        # Of a run that has just ended the last steps are told, too.
        before, self._run_id = self._run_id, asked.id if asked is not None else ""
        run_id = self._run_id or before
        run = platform.runner.status(run_id) if run_id else None
        if run is None:
            return
        for step in run.steps:
            if step.status in ("pending", "skipped") or self._steps.get((run.id, step.name)) == step.status:
                continue
            self._steps[run.id, step.name] = step.status
            took = f" in {step.seconds:.1f} s" if step.status in ("succeeded", "failed") else ""
            self.say("step", f"{step.name} {step.status}{took}", run_id=run.id, step=step.name)

    def address(self, platform: Platform, loaded: LoadedProject) -> None:
        """Where callers are answered, and how to ask, once there is a model that answers."""
        from mainspring.loop.state import rollout_of

        stable = rollout_of(platform.ledger).stable
        if not stable or self._address or not platform.router.observed():
            return
        self._address = platform.router.address()
        name = loaded.settings.name
        try:
            question = example(platform, loaded, stable)
        except MainspringError:
            question = {}  # Whatever is wrong with the source is told where it is read for a purpose.
        instance = json.dumps({"instances": [question]})
        self.say(
            "serving",
            f"version {stable} answers at {self._address}\n"
            f"  curl -H 'content-type: application/json' {self._address}/v1/models/{name}:predict -d '{instance}'\n"
            "  or: mainspring predict --help; mainspring status says what the loop waits for",
            version=stable,
        )


def example(platform: Platform, loaded: LoadedProject, version: str) -> dict[str, Any]:
    """A question that the version takes: the first row of the target's source, as a caller would send it."""
    from mainspring.platforms.opened import opened_source

    signature = next(one for one in platform.registry.versions() if one.version == version).signature
    target = loaded.settings.target.source
    source = opened_source(loaded, target)
    rows = source.read(known_at=datetime.max, limit=1).to_pylist()
    if not rows:
        return {}
    entities = [loaded.settings.features.entities.get(key, key) for key in signature.entities]
    names = [*entities, *(one.name for one in signature.features if one.source == "request")]
    return {name: plain(rows[0].get(name)) for name in dict.fromkeys(names)}


def plain(value: Any) -> Any:
    """A value as JSON can carry it to a predictor; NaN is none."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
