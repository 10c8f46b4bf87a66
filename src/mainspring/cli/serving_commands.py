"""Commands about what is served: predict, logs, logs forget."""

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


logs = typer.Typer(
    help="The newest predictions as they were logged; with --json, features and their ages, too.",
    invoke_without_command=True,
    epilog="Example: mainspring logs --failed --since 2026-05-01",
)
app.add_typer(logs, name="logs")


@logs.callback()
def logs_(
    context: typer.Context,
    project: Project = None,
    last: Annotated[int, typer.Option(help="Only the last so many.", min=1)] = 20,
    since: Annotated[str, typer.Option(help="Only from this instant of event time on, such as 2026-05-01.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only requests that got no answer.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="With the label of each, where it is known.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest predictions as they were logged; with --json, features and their ages, too."""
    context.obj = project
    if context.invoked_subcommand is not None:
        return
    from mainspring.platforms.prediction_rows import HEADER, in_words, newest_rows

    rows = newest_rows(load(project), last=last, since=since, failed=failed, labels=labels)
    if as_json:
        print_json(rows)
        return
    header = [*HEADER, "label"] if labels else HEADER
    print_table(header, [in_words(row, labels=labels) for row in rows], empty="no prediction is logged")


@logs.command("check", epilog="Example: mainspring logs check --rows")
def logs_check(
    context: typer.Context,
    project: Project = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Read every row, not only what the sink says of each hour.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what was sent to the log's sink with what is there: counts and digests of every hour, doubles, nulls, gaps.

    Ends with 1 when something is not there as it was sent; what only waits for its turn is no fault.
    """
    from mainspring.cli.output import doing
    from mainspring.platforms.sink import check_sink

    with doing("asking the sink"):
        done = check_sink(load(project or context.obj), rows=rows)
    if as_json:
        print_json(done)
    else:
        print_table(
            ["hour (UTC)", "problem", "rows", "what"],
            [[f"{one.hour:%Y-%m-%d %H}:00", one.problem, one.rows, one.text] for one in done.flaws],
            empty="everything that was sent is there",
        )
        for begins, ends in done.gaps:
            print(f"no row from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC")
        others = f"; {done.others:,} hours of other writers" if done.others else ""
        print(f"{done.rows:,} rows in {done.hours:,} hours were compared{others}")
    if not done.fine:
        raise typer.Exit(1)


@logs.command("forget", epilog="Example: mainspring logs forget --entity user=4711 --dry-run")
def logs_forget(
    context: typer.Context,
    entity: Annotated[
        list[str], typer.Option("--entity", help="KEY=VALUE; of one key any of several values, of several keys all.")
    ],
    project: Project = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is written.")] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the ledger.")] = "",
    by: Annotated[str, typer.Option("--by", help="Who asks, for the ledger. Default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take the rows of a person, or of any entity, out of the prediction log for good.

    The value is given in clear, hashed columns included; the ledger keeps how many rows went, not whose.
    """
    import getpass

    from mainspring.cli.output import doing
    from mainspring.platforms.forget import NOT_REACHED, forget

    with doing("looking through the log"):
        done = forget(load(project or context.obj), entity, by=by or getpass.getuser(), why=why, dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    columns = ", ".join(done.columns)
    if done.dry_run:
        unread = f", {done.unread:,} of them not in files yet" if done.unread else ""
        print(f"{done.rows:,} rows in {done.files:,} files would be forgotten, by {columns}{unread}; nothing was done")
        if done.in_sink:
            print(f"{done.in_sink:,} rows would be forgotten in the log's sink")
        return
    print(f"{done.rows:,} rows in {done.files:,} files are forgotten, by {columns}")
    if done.in_sink:
        print(f"{done.in_sink:,} rows are forgotten in the log's sink")
    if done.still_open:
        print(f"{done.still_open} open segments hold their bytes until the predictor closes them, within the hour")
    if done.damaged:
        print(f"{done.damaged} damaged segments were not searched: they lie in .mainspring/log/segments")
    print(f"not reached: {NOT_REACHED}")
