"""Commands about labels: labels, labels add."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table

labels = typer.Typer(
    help="Labels by day of what was asked: known, late, contradicting; and add: labels from a file.",
    epilog="Example: mainspring labels --days 30",
    invoke_without_command=True,
)
app.add_typer(labels, name="labels")


@labels.callback()
def labels_(
    context: typer.Context,
    project: Project = None,
    days: Annotated[int, typer.Option(help="Only the newest so many days with predictions.", min=1)] = 14,
    as_of: Annotated[str, typer.Option("--as-of", help="As they were known at this instant. Default: now.")] = "",
    as_json: AsJson = False,
) -> None:
    """Labels by day of what was asked: known, late, contradicting."""
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime

    from mainspring.domain.time import instant
    from mainspring.platforms.label_report import in_words, label_report

    with doing("counting labels"):
        found = label_report(load(project), instant(as_of) if as_of else datetime.now(UTC), days=days)
    if as_json:
        print_json(found)
        return
    print_table(
        ["day (UTC)", "predictions", "labelled", "share", "late"],
        [[one.day, one.predictions, one.labelled, f"{one.share:.1%}", one.late] for one in found.days],
        empty="no prediction is logged",
    )
    for line in in_words(found):
        print(line)


@labels.command("add", epilog="Example: mainspring labels add outcomes.csv")
def add(
    file: Annotated[
        Path, typer.Argument(help="A .csv or .parquet file: request_id, label, and known_at if it is known.")
    ],
    project: Project = None,
    known_at: Annotated[
        str, typer.Option("--known-at", help="When they became known, where the file does not say it. Default: now.")
    ] = "",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are no labels.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who adds them, for the ledger. Default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add labels from a file: all of them or none; the same file again changes nothing."""
    from datetime import UTC, datetime

    from mainspring.domain.time import instant
    from mainspring.platforms.adding_labels import add_labels, in_words

    known, now = instant(known_at) if known_at else None, datetime.now(UTC)
    with doing("adding labels"):
        record, written = add_labels(load(project), file, now, by=by, known_at=known, skip_bad=skip_bad)
    if as_json:
        print_json({"added": written, "record": record})
    elif written:
        print(f"added {file.name}: {in_words(record)}")
    else:
        print(
            f"nothing changed: this file was added {record.at:%Y-%m-%d %H:%M} UTC by {record.by} ({in_words(record)})"
        )
