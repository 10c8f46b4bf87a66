"""`mainspring run` and `compile`: one pipeline run of a project, by hand."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.domain.run import Run, Step
from mainspring.domain.time import instant
from mainspring.platforms.cache import cache_keys, files_digest
from mainspring.platforms.champion import champion
from mainspring.platforms.step import ENTRY, FILES, ON_FAILURE, modules
from mainspring.settings.load import LoadedProject, load_project


def runner(loaded: LoadedProject) -> KfpLocalRunner:
    """The project's pipeline runner."""

    def plan(parameters: Mapping[str, str]) -> Mapping[str, str]:
        # Steps read the project as it is when they run: a loop that read it last week must not name their results.
        keys = cache_keys(load_project(loaded.paths.root), parameters)
        return keys | {FILES: files_digest(loaded.paths.root)}

    return KfpLocalRunner(loaded.paths, ENTRY, plan, on_failure=ON_FAILURE, modules=modules(loaded))


def run_pipeline(
    loaded: LoadedProject, as_of: str, resume: str, tell: Callable[[Step], None], *, with_champion: bool = True
) -> Run:
    """Run the pipeline as of an instant (ISO 8601; empty: now), or go on with a run that failed; wait for its end.

    `tell` hears of each step when it begins and when it ends. Without the champion the gate judges by its floors alone.
    Errors: `NotFound` for a run that there is not.
    """
    pipeline = runner(loaded)
    name = resume or _new_name(loaded)
    if resume:
        pipeline.resume(resume)
    else:
        known_at = instant(as_of) if as_of else datetime.now(UTC)
        parameters = {"known_at": known_at.isoformat(), "champion": champion(loaded) if with_champion else ""}
        parameters["by"] = getpass.getuser()
        pipeline.start(name, "person", parameters)
    told: dict[str, str] = {}
    while True:
        run = pipeline.wait(name, 0.3)
        for step in run.steps:
            if step.status not in ("pending", "skipped") and told.get(step.name) != step.status:
                told[step.name] = step.status
                tell(step)
        if run.ended or run.status == "requested":  # its process was killed: `--resume` goes on
            return run


def _new_name(loaded: LoadedProject) -> str:
    """After the clock; two runs within a second are told apart."""
    name = first = f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    number = 1
    while (loaded.paths.runs / name).exists():
        number += 1
        name = f"{first}-{number}"
    return name


def compile_pipeline(out: Path) -> None:
    """Write the pipeline's IR YAML for a Kubeflow Pipelines server."""
    from mainspring.adapters.kfp.pipeline import compile_to

    compile_to(out)
