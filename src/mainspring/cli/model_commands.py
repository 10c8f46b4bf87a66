"""Commands about models and data: data, train, run, compile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import Progress, doing, print_json, print_table
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


@app.command(epilog="Example: mainspring train --as-of 2013-03-01")
def train(
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="With what was known at this instant. Default: now.")] = "",
    post_mortem: Annotated[bool, typer.Option("--pdb", help="Open the debugger where training.py fails.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train in this process, score on held-out rows, register nothing.

    A breakpoint() in training.py stops there.
    """
    from mainspring.domain.errors import TrainingError

    loaded = load(project)
    # A spinner and a debugger do not share a terminal.
    debugged = sys.gettrace() is not None or any(
        word in path.read_text("utf-8")
        for path in loaded.paths.root.glob("*.py")
        for word in ("breakpoint(", "set_trace(")
    )
    with Progress(shown=not (as_json or debugged)) as progress:
        progress.now("starting")
        from mainspring.platforms.trial import try_training

        try:
            done = try_training(loaded, as_of, progress.now)
        except TrainingError as error:
            progress.stop()
            _debug(error, post_mortem)
            raise
    if as_json:
        print_json(done)
        return
    span = f" from {done.held_out_from:%Y-%m-%d} to {done.held_out_until:%Y-%m-%d}" if done.held_out_from else ""
    print(f"{done.estimator} on {done.trained_rows:,} rows x {done.inputs} inputs in {done.seconds:.1f} s")
    print(f"scored on {done.held_out_rows:,} held-out rows{span} that it has not seen")
    print_table(
        ["metric", "better", "held out", "90 % interval", "training", "constant answer"],
        [
            [
                f"{one.metric}{' *' if one.decides else ''}",
                "higher" if one.higher_is_better else "lower",
                one.value,
                f"{one.low:.3f} to {one.high:.3f}" if one.low is not None and one.high is not None else "-",
                one.training,
                one.constant,
            ]
            for one in done.scores
        ],
    )
    for name, value in done.own.items():
        print(f"{name} (by evaluate in training.py): {value:g}")
    print(f"* the gate: {done.reason}" if done.passes_floors else f"* the gate would refuse it: {done.reason}")
    if done.note:
        print(done.note)
    print("nothing was registered; next: mainspring run, which compares with the champion and registers")


def _debug(error: BaseException, post_mortem: bool) -> None:
    """The debugger at the line of training.py that failed; quitting one is no error of training."""
    import bdb
    import pdb

    cause = error.__cause__
    if isinstance(cause, bdb.BdbQuit):
        print("left the debugger", file=sys.stderr)
        raise typer.Exit(130) from None
    if post_mortem and cause is not None:
        print(error, file=sys.stderr)
        pdb.post_mortem(cause.__traceback__)


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
    """Run the pipeline, and register what passed the gate.

    Its steps: ingest, validate, engineer, train, evaluate, register.
    """
    loaded = load(project)
    with Progress(shown=not as_json) as progress:
        progress.now("starting")
        from mainspring.platforms.runs import run_pipeline

        def tell(step: Step) -> None:
            if step.status == "running":
                progress.now(step.name)
            elif not as_json:
                progress.line(f"{step.name:<9} {step.status}  {step.seconds:.1f} s")
                for note in step.notes:
                    progress.line(f"{'':<9} {note}")
                progress.now("going on")

        done = run_pipeline(loaded, as_of, resume, tell, with_champion=not without_champion)
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
