"""Commands about what is served: predict, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import print_json, print_table


@app.command(epilog="""Example: mainspring predict --data '{"temp": 3.5, "town": "Ulm"}'""")
def predict(
    project: Project = None,
    data: Annotated[str, typer.Option(help="The question: a JSON object of columns.")] = "",
    file: Annotated[Path | None, typer.Option(help="A file with that object.")] = None,
    key: Annotated[str, typer.Option("--id", help="Ask as the row of the target's source with this id.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask the running service one question, through Envoy."""
    from mainspring.platforms.predict import predict_one, question

    loaded = load(project)
    found = predict_one(loaded, *question(loaded, data, file, key))
    if as_json:
        print_json(found)
        return
    for name, value in found.outputs.items():
        print(f"{name}: {value:.6g}")
    print(f"version {found.version}, request {found.request_id}")
    if found.flags:
        print(f"flags: {', '.join(found.flags)}")


@app.command(epilog="Example: mainspring logs --failed --since 2026-05-01")
def logs(
    project: Project = None,
    last: Annotated[int, typer.Option(help="Only the last so many.", min=1)] = 20,
    since: Annotated[str, typer.Option(help="Only from this instant of event time on, such as 2026-05-01.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only requests that got no answer.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="With the label of each, where it is known.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest predictions as they were logged; with --json, features and their ages, too."""
    from mainspring.platforms.prediction_rows import HEADER, in_words, newest_rows

    rows = newest_rows(load(project), last=last, since=since, failed=failed, labels=labels)
    if as_json:
        print_json(rows)
        return
    header = [*HEADER, "label"] if labels else HEADER
    print_table(header, [in_words(row, labels=labels) for row in rows], empty="no prediction is logged")
