"""Commands about the project itself: init, check, config, schema, compile, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table


@app.command(
    epilog="Example: mainspring init flights --template flights   or   mainspring init churn --from data.csv --target churned"
)
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must be empty or new.")],
    template: Annotated[str | None, typer.Option(help="flights or blank.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A CSV or Parquet file with the target.")] = None,
    target: Annotated[str | None, typer.Option(help="With --from: the column to predict.")] = None,
    time: Annotated[str | None, typer.Option(help="With --from: the column with each row's time.")] = None,
    key: Annotated[str | None, typer.Option(help="With --from: the column that identifies a row.")] = None,
) -> None:
    """Write a project that runs: mainspring.yaml, training.py and what the template brings."""
    from mainspring.templates.write import write_from_table, write_template

    if source is not None:
        if target is None:
            raise typer.BadParameter("--from needs --target, the column to predict")
        written = write_from_table(folder, source, target=target, time=time, key=key)
    else:
        written = write_template(folder, template or "blank")
    for path in written:
        print(f"wrote {path}")
    print(f"next: cd {folder} && mainspring check")


@app.command(epilog="Example: mainspring check")
def check(project: Project = None, as_json: AsJson = False) -> None:
    """Check configuration, sources, features, a training on 1,000 rows and the export, in under 30 seconds."""
    from mainspring.platforms.check import check_project

    loaded = load(project)
    with doing("checking"):
        results = check_project(loaded)
    if as_json:
        print_json(results)
    else:
        print_table(
            ["", "check", "seconds", "found"],
            [["ok" if one.passed else "FAILED", one.name, one.seconds, one.found] for one in results],
        )
        print("next: mainspring up" if all(one.passed for one in results) else "next: mend the first FAILED line")
    if not all(one.passed for one in results):
        raise typer.Exit(1)


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


@app.command(name="compile", epilog="Example: mainspring compile --out pipeline.yaml")
def compile_(
    out: Annotated[Path, typer.Option(help="Where to write the Kubeflow IR YAML.")] = Path("pipeline.yaml"),
    project: Project = None,
) -> None:
    """Compile the six-step pipeline to Kubeflow's IR YAML."""
    from mainspring.adapters.kfp.pipeline import compile_to

    load(project)
    compile_to(out)
    print(f"wrote {out}")


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
            [["ok" if one.fine else "MISSING", one.part, one.found, one.remedy] for one in findings],
        )
    if not all(one.fine or one.optional for one in findings):
        raise typer.Exit(1)
