"""Commands about the loop: up, status, drift, retrain, approve, freeze, rollout, ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mainspring.loop.wishes import Wish
    from mainspring.platforms.telling import Line

By = Annotated[str, typer.Option("--by", help="Who asks, for the ledger. Default: this user.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the ledger.")]

rollout = typer.Typer(
    help="The rollout: status, watch, start, pause, resume, abort, promote, undo.",
    no_args_is_help=True,
    epilog="Example: mainspring rollout status",
)
app.add_typer(rollout, name="rollout")


@app.command(epilog="Example: mainspring up")
def up(
    project: Project = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that serve each version. Default: serving.workers.", min=1, max=256),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn the whole loop in the foreground, until Ctrl-C: train, serve, roll out, watch for drift, retrain."""
    from mainspring.platforms.up import up as turn
    from mainspring.platforms.up import with_workers

    def say(line: Line) -> None:
        if as_json:
            from mainspring.domain.codec import to_json

            print(to_json(line).decode(), flush=True)
        else:
            text = line.text.replace("\n", "\n" + " " * 20)
            print(f"{line.at:%H:%M:%S}  {line.kind.replace('_', ' '):<16}  {text}"[:4000], flush=True)

    loaded = load(project)
    turn(loaded if workers is None else with_workers(loaded, workers), say)


@app.command(epilog="Example: mainspring status")
def status(project: Project = None, as_json: AsJson = False) -> None:
    """What serves, what is under way, how the data drifts, and what the loop waits for."""
    from mainspring.platforms.status import lines, look

    found = look(load(project))
    if as_json:
        print_json(found)
    else:
        for name, text in lines(found):
            print(f"{name:<11} {text}")


@app.command(epilog="Example: mainspring drift --now, or mainspring drift --from warehouse --since 2026-05-01")
def drift(
    project: Project = None,
    now: Annotated[bool, typer.Option("--now", help="Compute the report of the newest whole window first.")] = False,
    origin: Annotated[
        str,
        typer.Option(
            "--from",
            help="Look at a table instead: a source of mainspring.yaml, Parquet files by path or pattern, or a URL of "
            "DuckDB, PostgreSQL, Spark or BigQuery, where it is counted.",
        ),
    ] = "",
    table: Annotated[str, typer.Option("--table", help="The table or view. Default: that of the source.")] = "",
    time: Annotated[str, typer.Option("--time", help="Its column of event time. Default: that of the source.")] = "",
    since: Annotated[str, typer.Option("--since", help="Rows from this instant on. Default: all rows.")] = "",
    until: Annotated[str, typer.Option("--until", help="Rows before this instant. Default: now.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="FEATURE=COLUMN, where the table names it otherwise. Repeat it."),
    ] = None,
    trailing: Annotated[
        bool, typer.Option("--trailing", help="Count the weeks before the window as well, as a second reference.")
    ] = False,
    version: Annotated[
        str, typer.Option("--version", help="The version whose reference it is. Default: what serves.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """The newest drift report: each feature and the prediction against training and the weeks before."""
    from mainspring.drift.page import rows_of

    with doing("comparing windows"):
        if origin:
            from mainspring.platforms.drift_table import TableWish, report_on_table

            wish = TableWish(origin, table, time, since, until, tuple(column or ()), version, trailing)
            report, page = report_on_table(load(project), wish)
        else:
            from mainspring.platforms.drift import newest_report

            _only_with_from(
                {
                    "--table": table,
                    "--time": time,
                    "--since": since,
                    "--until": until,
                    "--column": column,
                    "--trailing": trailing,
                    "--version": version,
                }
            )
            report, page = newest_report(load(project), compute=now)
    if as_json:
        print_json(report)
        return
    print(
        f"version {report.version}, {report.current.start:%Y-%m-%d %H:%M} to {report.current.end:%Y-%m-%d %H:%M} UTC,"
    )
    print(f"{report.rows:,} {'rows' if origin else 'predictions'}: {report.verdict}, {report.reason}")
    head = ["feature", "against", "KS", "PSI", "limit", "", "importance", "moves answers by", "what happened"]
    print_table(head, rows_of(report))
    if report.sure_in_words not in report.reason:
        print(report.sure_in_words)
    if report.unwatched:
        print(report.unwatched_in_words)
    print(f"page: {page}")


def _only_with_from(given: Mapping[str, object]) -> None:
    from mainspring.domain.errors import ConfigError

    names = [name for name, value in given.items() if value]
    if names:
        raise ConfigError(
            f"{', '.join(names)} is about a table", valid="together with --from", next_step="mainspring drift --help"
        )


@app.command(epilog="Example: mainspring retrain --why 'the sensors were replaced'")
def retrain(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask the loop, or the next `mainspring up`, for a run of the pipeline."""
    _ask(project, "retrain", "", why, by, as_json)


@app.command(epilog="Example: mainspring approve 7 --by eva --comment 'the slices look right'")
def approve(
    version: Annotated[str, typer.Argument(help="A version that passed the gate.")],
    project: Project = None,
    comment: Annotated[str, typer.Option("--comment", help="What the ledger and the registry keep beside it.")] = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Approve a version that waits for a person before it takes traffic; nobody approves what he trained himself."""
    _ask(project, "approve", version, comment, by, as_json)


@app.command(epilog="Example: mainspring freeze --until 2026-12-27 --reason 'holidays'")
def freeze(
    project: Project = None,
    until: Annotated[str, typer.Option("--until", help="Until this instant of event time, such as 2026-12-27.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="The reason, for the ledger.")] = "",
    end: Annotated[bool, typer.Option("--end", help="End the freeze that holds.")] = False,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Stop retraining, promotions and ramps for a while. Rolling back is never stopped."""
    from mainspring.domain.errors import ConfigError
    from mainspring.domain.time import instant

    if end == bool(until):
        raise ConfigError("a freeze needs its end", valid="--until T, or --end", next_step="mainspring freeze --help")
    _ask(project, "unfreeze" if end else "freeze", "", reason, by, as_json, None if end else instant(until))


@rollout.command("status", epilog="Example: mainspring rollout status")
def rollout_status(project: Project = None, as_json: AsJson = False) -> None:
    """Who serves, at what share, on what evidence, and what it waits for."""
    from mainspring.platforms.status import look, rollout_lines

    found = look(load(project))
    if as_json:
        print_json(found.rollout)
    else:
        for name, text in rollout_lines(found):
            print(f"{name:<11} {text}")


@rollout.command("watch", epilog="Example: mainspring rollout watch")
def rollout_watch(
    project: Project = None,
    every: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.2)] = 2.0,
) -> None:
    """Follow the rollout until it ends: share, evidence against what is needed, predictors. Ctrl-C stops watching."""
    import time

    from mainspring.platforms.status import look, rollout_lines

    loaded, shown = load(project), ""
    while True:
        found = look(loaded)
        text = "\n".join(f"{name:<11} {line}" for name, line in rollout_lines(found))
        if text != shown:
            print(f"{found.at:%H:%M:%S}\n{text}", flush=True)
            shown = text
        if found.rollout.phase == "idle":
            return
        time.sleep(every)


@rollout.command("start", epilog="Example: mainspring rollout start 7")
def rollout_start(
    version: Annotated[
        str, typer.Argument(help="The version to roll out; where versions wait for a person, to approve.")
    ],
    project: Project = None,
    why: Why = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Ask for a rollout of a version that passed the gate."""
    _ask(project, "start", version, why, by, as_json)


@rollout.command("pause", epilog="Example: mainspring rollout pause --why 'the on-call is away'")
def rollout_pause(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask that the rollout stays at its share; it still goes back when the candidate fails."""
    _ask(project, "pause", "", why, by, as_json)


@rollout.command("resume", epilog="Example: mainspring rollout resume")
def rollout_resume(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask that a paused rollout goes on."""
    _ask(project, "resume", "", why, by, as_json)


@rollout.command("abort", epilog="Example: mainspring rollout abort --why 'complaints'")
def rollout_abort(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask for the end of the rollout: stable gets all traffic back."""
    _ask(project, "abort", "", why, by, as_json)


@rollout.command("promote", epilog="Example: mainspring rollout promote")
def rollout_promote(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask for all traffic for the candidate now, without waiting for more evidence."""
    _ask(project, "promote", "", why, by, as_json)


@rollout.command("undo", epilog="Example: mainspring rollout undo --why 'complaints'")
def rollout_undo(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask that a promotion is undone: the old version, still warm in the guard, gets all traffic back."""
    _ask(project, "undo", "", why, by, as_json)


def _ask(
    project: Project, wish: Wish, version: str, why: str, by: str, as_json: bool, until: datetime | None = None
) -> None:
    from mainspring.platforms.asking import ask_loop

    answer = ask_loop(load(project), wish, version=version, why=why, by=by, until=until)
    if as_json:
        print_json(answer)
    else:
        print(answer.text)
    if answer.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: mainspring ledger --kind promoted")
def ledger(
    project: Project = None,
    kind: Annotated[str, typer.Option(help="Only this kind, such as promoted or rolled_back.")] = "",
    since: Annotated[str, typer.Option(help="Only what was decided from this instant on, such as 2026-05-01.")] = "",
    version: Annotated[str, typer.Option(help="Only what is about this version.")] = "",
    last: Annotated[int, typer.Option(help="Only the last so many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """What was decided, when, why, and from which numbers (those with --json)."""
    from mainspring.platforms.history import decisions as rows

    decisions = rows(load(project), kind=kind, since=since, version=version)[-last:]
    if as_json:
        print_json(decisions)
        return
    print_table(
        ["at (UTC)", "kind", "what", "why", "by"],
        [[one.at.strftime("%Y-%m-%d %H:%M"), one.kind, one.what, one.why, one.actor] for one in decisions],
        empty="no decision yet",
    )
