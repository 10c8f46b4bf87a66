"""Commands about models and data: data, run, compile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json
from mainspring.domain.run import Step


@app.command(epilog="Example: mainspring data --as-of 2013-06-01 --out training.parquet")
def data(
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="As it was known at this instant. Default: now.")] = "",
) -> None:
    """Write the training set, point in time, as training would see it."""
    from mainspring.platforms.data import write_training_set

    with doing("joining features"):
        dataset = write_training_set(load(project), as_of, out)
    print(f"wrote {dataset.rows:,} rows x {len(dataset.columns)} columns to {out} (digest {dataset.digest[:12]})")


@app.command(epilog="Example: mainspring run --as-of 2013-03-01")
def run(
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="With what was known at this instant. Default: now.")] = "",
    resume: Annotated[str, typer.Option(help="Go on with this run, which failed or was interrupted.")] = "",
    without_champion: Annotated[
        bool, typer.Option("--without-champion", help="Judge by the gate's floors alone, not against the champion.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline: ingest, validate, engineer, train, evaluate, and register what passed the gate."""
    from mainspring.platforms.runs import run_pipeline

    def tell(step: Step) -> None:
        if not as_json:
            took = f"  {step.seconds:.1f} s" if step.status != "running" else ""
            print(f"{step.name:<9} {step.status}{took}", flush=True)
            for note in step.notes:
                print(f"{'':<9} {note}", flush=True)

    done = run_pipeline(load(project), as_of, resume, tell, with_champion=not without_champion)
    if as_json:
        print_json(done)
    elif done.status == "succeeded":
        print(f"version {done.version} {'passed' if done.passed else 'was refused by'} the gate (run {done.id})")
    else:
        reason = done.reason or "it was interrupted"
        print(f"run {done.id} {done.status}: {reason}", file=sys.stderr)
        print(f"to go on behind the steps that it finished: mainspring run --resume {done.id}", file=sys.stderr)
    if done.status != "succeeded":
        raise typer.Exit(1)


@app.command("compile", epilog="Example: mainspring compile --out pipeline.yaml")
def compile_(out: Annotated[Path, typer.Option(help="The file to write.")] = Path("pipeline.yaml")) -> None:
    """Write the pipeline as IR YAML, for a Kubeflow Pipelines server."""
    from mainspring.platforms.runs import compile_pipeline

    compile_pipeline(out)
    print(f"wrote {out}")
