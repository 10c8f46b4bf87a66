"""`Run`: one execution of the pipeline, its steps and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

RunStatus = Literal["requested", "running", "succeeded", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "succeeded", "cached", "skipped", "failed"]

STEPS = ("ingest", "validate", "engineer", "train", "evaluate", "register")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run. `reason` says why it failed or was skipped; `seconds` is wall-clock time.

    `notes` are what a person should know although it succeeded: an expectation that only warns, a GPU that is not there.
    """

    name: str
    status: StepStatus = "pending"
    seconds: float = 0.0
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A pipeline run. `trigger` says what asked for it; `artifacts` maps a name to its path or URI.

    `passed` is the gate's verdict, None until evaluation ended; `version` the registered model version, once there is one.
    """

    id: str
    trigger: str
    status: RunStatus
    steps: tuple[Step, ...] = ()
    artifacts: dict[str, str] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    passed: bool | None = None
    version: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("succeeded", "failed", "cancelled")
