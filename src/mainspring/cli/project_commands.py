"""Commands about the project itself: init, config, schema, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import print_json, print_table


@app.command(epilog="Example: mainspring init flights")
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must be empty or new.")],
    template: Annotated[str, typer.Option(help="flights: a year of flights with their data.")] = "flights",
) -> None:
    """Write a project from a template."""
    from mainspring.templates.write import write_template

    for path in write_template(folder, template):
        print(f"wrote {path}")
    print(f"next: cd {folder} && mainspring data --as-of 2013-03-01 --out training.parquet")


@app.command(epilog="Example: mainspring config --effective")
def config(
    project: Project = None,
    effective: Annotated[bool, typer.Option("--effective", help="Every value and where it came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the project's settings."""
    from mainspring.settings.load import effective as rows_of

    loaded = load(project)
    rows = [row for row in rows_of(loaded) if effective or row.origin != "default"]
    if as_json:
        print_json(rows)
    else:
        print_table(["key", "value", "from"], [[row.key, row.value, row.origin] for row in rows])


@app.command(epilog="Example: mainspring schema > mainspring.schema.json")
def schema() -> None:
    """Print the JSON schema of mainspring.yaml, for an editor."""
    from mainspring.settings.load import json_schema

    print_json(json_schema())


@app.command(epilog="Example: mainspring doctor")
def doctor(as_json: AsJson = False) -> None:
    """What is installed, which ports are free, what is missing and how to get it."""
    from mainspring.platforms.doctor import examine

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        print_table(
            ["", "part", "found", "how to get it"],
            [
                ["ok" if one.fine else "optional" if one.optional else "MISSING", one.part, one.found, one.remedy]
                for one in findings
            ],
        )
    if not all(one.fine or one.optional for one in findings):
        raise typer.Exit(1)
