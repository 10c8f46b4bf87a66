"""`mainspring run` and `compile`: one pipeline run of a project, by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from mainspring.adapters.kfp.runner import KfpLocalRunner
from mainspring.domain.run import Run, Step
from mainspring.platforms.cache import cache_keys, files_digest
from mainspring.platforms.data import instant
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
    from mainspring.adapters.mlflow.registry import MlflowRegistry
    from mainspring.adapters.mlflow.tracking import Tracking

    pipeline = runner(loaded)
    name = resume or f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if resume:
        pipeline.resume(resume)
    else:
        known_at = instant(as_of) if as_of else datetime.now(UTC)
        registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
        champion = next((one.version for one in registry.versions() if "champion" in one.aliases), "")
        parameters = {"known_at": known_at.isoformat(), "champion": champion if with_champion else ""}
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


def compile_pipeline(out: Path) -> None:
    """Write the pipeline's IR YAML for a Kubeflow Pipelines server."""
    from mainspring.adapters.kfp.pipeline import compile_to

    compile_to(out)
