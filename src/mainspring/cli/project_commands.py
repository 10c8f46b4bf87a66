"""Commands about the project itself: init, check, config, schema, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, folder_of, load
from mainspring.cli.output import Progress, doing, print_json, print_table


@app.command(
    epilog="Example: mainspring init churn --from customers.csv --target churned --time asked_at --key customer"
)
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must be empty or new.")],
    source: Annotated[Path | None, typer.Option("--from", help="Your CSV or Parquet file. Needs --target.")] = None,
    target: Annotated[str, typer.Option(help="--from: the column that is to be predicted.")] = "",
    time: Annotated[str, typer.Option(help="--from: the column with the instant of each question.")] = "",
    key: Annotated[str, typer.Option(help="--from: the column that differs in every row, by which labels come.")] = "",
    task: Annotated[str, typer.Option(help="--from: binary, multiclass or regression. Default: by the target.")] = "",
    positive: Annotated[str, typer.Option(help="--from, binary: the label whose chance is predicted.")] = "",
    delay: Annotated[
        str, typer.Option(help="--from: how long after its question a label is known, such as 7d.")
    ] = "0s",
    copy: Annotated[
        bool, typer.Option("--copy/--no-copy", help="--from: copy the file, or read it where it is.")
    ] = True,
    name: Annotated[str, typer.Option(help="The project's name. Default: the folder's.")] = "",
    template: Annotated[str, typer.Option(help="blank (the shortest, the default) or flights (a year of them).")] = "",
) -> None:
    """Write a project that runs, from your own file or a template."""
    from mainspring.domain.errors import ConfigError
    from mainspring.domain.time import parse_duration

    if source is None or template:
        if source is not None or target or time or key:
            raise ConfigError(
                "--target, --time and --key are about the file of --from, and a template has its own data",
                valid="either --from FILE --target COLUMN, or --template blank|flights",
                next_step=f"mainspring init {folder} --from FILE --target {target or 'COLUMN'}",
            )
        from mainspring.templates.write import write_template

        with doing("writing the project"):
            files = write_template(folder, template or "blank", name)
        found: list[tuple[str, str]] = []
    else:
        from mainspring.templates.roles import Wish
        from mainspring.templates.write import write_from_file

        wish = Wish(target, time, key, task, positive, name, parse_duration(delay), copy)
        with doing("looking at the file"):
            written = write_from_file(folder, source, wish)
        files, found = written.files, written.in_words()
    for path in files:
        print(f"wrote {path}")
    for part, text in found:
        print(f"{part:<9} {text}")
    print(f"next: cd {folder} && mainspring check")


@app.command(epilog="Example: mainspring check")
def check(project: Project = None, as_json: AsJson = False) -> None:
    """Try all of the project in seconds; nothing is left behind.

    Configuration, sources, questions, expectations, features, training on 1,000 rows, export. The first fault ends it.
    """
    folder = folder_of(project)
    with Progress(shown=not as_json) as progress:
        progress.now("starting")
        from mainspring.platforms.check import Check, check_project

        def tell(one: Check) -> None:
            if not as_json and one.status != "not reached":
                mark = "ok" if one.status == "passed" else "FAIL"
                progress.line(f"{mark:<4}  {one.name:<13}  {one.seconds:5.1f} s  {one.found or one.what}".rstrip())

        done = check_project(folder, progress.now, tell)
    failed = next((one for one in done if one.status == "failed"), None)
    seconds = sum(one.seconds for one in done)
    if as_json:
        print_json({"passed": failed is None, "seconds": round(seconds, 2), "checks": done})
    elif failed is None:
        then = "mainspring up" if done[-1].name == "recipe" else "mainspring train, or mainspring run"
        print(f"all {len(done)} checks passed in {seconds:.1f} s; next: {then}")
    else:
        details = (("where", failed.where), ("valid", failed.valid), ("next", failed.next_step))
        for part, text in details:
            if text:
                print(f"  {part}: {text}")
        later = [one.name for one in done if one.status == "not reached"]
        if later:
            print(f"not reached: {', '.join(later)}")
    if failed is not None:
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
        # The value last: a long list widens no column.
        print_table(["key", "from", "value"], [[row.key, row.origin, row.value] for row in rows])


@app.command(epilog="Example: mainspring schema retrain, or mainspring schema > mainspring.schema.json")
def schema(
    part: Annotated[
        str, typer.Argument(help="For people: the keys of this part, such as retrain; `all` for all.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print every key of mainspring.yaml, for an editor or for people."""
    if not part:
        from mainspring.settings.load import json_schema

        print_json(json_schema())
        return
    from mainspring.settings.describe import keys_of

    keys = keys_of("" if part == "all" else part)
    if as_json:
        print_json(keys)
    else:
        print_table(["key", "default", "meaning"], [[one.key, one.default, one.meaning] for one in keys])


@app.command(epilog="Example: mainspring doctor")
def doctor(project: Project = None, as_json: AsJson = False) -> None:
    """Say what is installed, what is missing and how to get it."""
    from mainspring.domain.errors import MainspringError
    from mainspring.platforms.doctor import examine
    from mainspring.platforms.notifying import troubles

    loaded, alerts = None, []
    try:
        loaded = load(project)
        alerts = troubles(loaded.paths)
    except MainspringError:
        if project is not None:
            raise
        # Outside a project, or in one that mainspring check has something to say about: the machine is the same.
    findings = examine(loaded, alerts)
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
