"""Commands about models and data: run, train, data, drift, predict, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table


@app.command(epilog="Example: mainspring run")
def run(
    project: Project = None,
    resume: Annotated[str, typer.Option(help="A run's id: go on from the step that failed.")] = "",
    as_of: Annotated[str, typer.Option(help="Use only what was known at this instant (ISO 8601). Default: now.")] = "",
    as_json: AsJson = False,
) -> None:
    """Run the six-step pipeline once: ingest, validate, engineer, train, evaluate, register."""
    from mainspring.platforms.run import run_pipeline

    result = run_pipeline(load(project), resume=resume, as_of=as_of, say=None if as_json else print)
    if as_json:
        print_json(result)
    if result.status != "succeeded":
        raise typer.Exit(1)


@app.command(epilog="Example: python -m pdb -m mainspring train")
def train(
    project: Project = None,
    as_of: Annotated[str, typer.Option(help="Use only what was known at this instant (ISO 8601). Default: now.")] = "",
    rows: Annotated[int | None, typer.Option(help="Only the newest so many rows.", min=10)] = None,
) -> None:
    """Train in this process, so that a debugger works; nothing is registered."""
    from mainspring.platforms.train import train_here

    print_table(["metric", "value"], [[name, value] for name, value in train_here(load(project), as_of, rows).items()])


@app.command(epilog="Example: mainspring data --as-of 2013-06-01 --out training.parquet")
def data(
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="As it was known at this instant. Default: now.")] = "",
) -> None:
    """Write the training set, point in time, as training would see it."""
    from mainspring.platforms.train import write_training_set

    with doing("joining features"):
        dataset = write_training_set(load(project), as_of, out)
    print(f"wrote {dataset.rows:,} rows x {len(dataset.columns)} columns to {out} (digest {dataset.digest[:12]})")


@app.command(epilog="Example: mainspring drift")
def drift(project: Project = None, as_json: AsJson = False) -> None:
    """The newest drift report: what moved, by how much, against which threshold."""
    from mainspring.platforms.status import latest_drift

    report, text = latest_drift(load(project))
    if as_json:
        print_json(report)
    else:
        print(text)


@app.command(epilog="""Example: mainspring predict --input '{"age": 41, "plan": "basic"}'""")
def predict(
    rows: Annotated[str, typer.Option("--input", help="A JSON object or list, or @file.json / @file.csv.")],
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model in service, through the proxy, as a caller would."""
    from mainspring.platforms.ask import predict_rows

    answers = predict_rows(load(project), rows)
    if as_json:
        print_json(answers)
    else:
        print_table(
            ["version", "request", "answer"], [[one.version, one.request_id, one.answer_text()] for one in answers]
        )


@app.command(epilog="Example: mainspring logs --last 20")
def logs(
    project: Project = None,
    last: Annotated[int, typer.Option(help="Only the newest so many.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """The prediction log, newest last."""
    from mainspring.platforms.status import latest_predictions

    rows = latest_predictions(load(project), last)
    if as_json:
        print_json(rows)
        return
    columns = ["event_at", "request_id", "version", "arm", "outcome", "output", "flags"]
    print_table(columns, [[row.get(name) for name in columns] for row in rows], empty="no prediction yet")
