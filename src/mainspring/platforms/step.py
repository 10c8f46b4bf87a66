"""`run_step`: what a pipeline task calls. It keeps the step's record beside the run, whatever becomes of it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.domain.errors import MainspringError
from mainspring.domain.run import Step

ENTRY = "mainspring.platforms.step:run_step"


def run_step(
    name: str, project: str, run_id: str, parameters: str, inputs: dict[str, str], outputs: dict[str, str]
) -> dict[str, float]:
    """Run one step; returns its numbers. `parameters` is JSON with `known_at` (ISO 8601) and `champion`.

    Errors: whatever the step raises, after its reason was written to the run's folder.
    """
    from mainspring.platforms.steps import STEPS, StepCall
    from mainspring.settings.load import load_project

    loaded = load_project(Path(project))
    record = StepRecord(loaded.paths.runs / run_id, "register" if name == "refuse" else name)
    given: dict[str, Any] = json.loads(parameters)
    call = StepCall(
        loaded,
        run_id,
        datetime.fromisoformat(given["known_at"]),
        given.get("champion", ""),
        {key: Path(path) for key, path in inputs.items()},
        {key: Path(path) for key, path in outputs.items()},
    )
    record.put("running")
    try:
        numbers = STEPS[name](call)
    except MainspringError as error:
        record.put("failed", str(error))
        raise
    except Exception as error:
        record.put("failed", f"{type(error).__name__}: {error}")
        raise
    record.put("succeeded", numbers=numbers)
    return numbers


class StepRecord:
    """A step's record, `<step>.json` in the run's folder: written whole or not at all."""

    def __init__(self, run: Path, name: str) -> None:
        self._path = run / f"{name}.json"
        self._name = name
        self._began = time.monotonic()

    def put(self, status: Any, reason: str = "", numbers: dict[str, float] | None = None) -> None:
        """Write the status as it is now."""
        from mainspring.domain.codec import to_json

        self._path.parent.mkdir(parents=True, exist_ok=True)
        step = Step(self._name, status, round(time.monotonic() - self._began, 3), reason)
        part = self._path.with_suffix(".part")
        part.write_bytes(to_json({"step": step, "numbers": numbers or {}}, indent=2))
        part.replace(self._path)
