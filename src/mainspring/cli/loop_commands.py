"""Commands about the loop: up, status, drift, retrain, rollout, ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table

if TYPE_CHECKING:
    from mainspring.loop.requests import Wish
    from mainspring.platforms.telling import Line

By = Annotated[str, typer.Option("--by", help="Who asks, for the ledger. Default: this user.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the ledger.")]

rollout = typer.Typer(
    help="The rollout: status, start, abort, promote.",
    no_args_is_help=True,
    epilog="Example: mainspring rollout status",
)
app.add_typer(rollout, name="rollout")


@app.command(epilog="Example: mainspring up")
def up(project: Project = None, as_json: AsJson = False) -> None:
    """Turn the whole loop in the foreground, until Ctrl-C: train, serve, roll out, watch for drift, retrain."""
    from mainspring.platforms.up import up as turn

    def say(line: Line) -> None:
        if as_json:
            from mainspring.domain.codec import to_json

            print(to_json(line).decode(), flush=True)
        else:
            text = line.text.replace("\n", "\n" + " " * 20)
            print(f"{line.at:%H:%M:%S}  {line.kind.replace('_', ' '):<16}  {text}"[:4000], flush=True)

    turn(load(project), say)


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


@app.command(epilog="Example: mainspring drift --now")
def drift(
    project: Project = None,
    now: Annotated[bool, typer.Option("--now", help="Compute the report of the newest whole window first.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest drift report: each feature and the prediction against training and the weeks before."""
    from mainspring.drift.page import rows_of
    from mainspring.platforms.drift import newest_report

    with doing("comparing windows"):
        report, page = newest_report(load(project), compute=now)
    if as_json:
        print_json(report)
        return
    print(
        f"version {report.version}, {report.current.start:%Y-%m-%d %H:%M} to {report.current.end:%Y-%m-%d %H:%M} UTC,"
    )
    print(f"{report.rows:,} predictions: {report.verdict}, {report.reason}")
    print_table(["feature", "against", "KS", "PSI", "KL", "limit", "", "what moved most"], rows_of(report))
    print(f"page: {page}")


@app.command(epilog="Example: mainspring retrain --why 'the sensors were replaced'")
def retrain(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask the loop, or the next `mainspring up`, for a run of the pipeline."""
    _ask(project, "retrain", "", why, by, as_json)


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


@rollout.command("abort", epilog="Example: mainspring rollout abort --why 'complaints'")
def rollout_abort(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask for the end of the rollout: stable gets all traffic back."""
    _ask(project, "abort", "", why, by, as_json)


@rollout.command("promote", epilog="Example: mainspring rollout promote")
def rollout_promote(project: Project = None, why: Why = "", by: By = "", as_json: AsJson = False) -> None:
    """Ask for all traffic for the candidate now, without waiting for more evidence."""
    _ask(project, "promote", "", why, by, as_json)


def _ask(project: Project, wish: Wish, version: str, why: str, by: str, as_json: bool) -> None:
    from mainspring.platforms.asking import ask_loop

    answer = ask_loop(load(project), wish, version=version, why=why, by=by)
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
