"""Commands about the loop: up, status, retrain, rollout, ledger, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import print_json, print_table

rollout_app = typer.Typer(help="Look at the current rollout, or stop it.", no_args_is_help=True)
app.add_typer(rollout_app, name="rollout")


@app.command(epilog="Example: mainspring up")
def up(
    project: Project = None,
    tick_seconds: Annotated[float, typer.Option(help="Seconds between two looks at the world.", min=0.1)] = 2.0,
) -> None:
    """Run the whole loop in the foreground until Ctrl-C: features, training, serving, rollout, drift, retraining."""
    from mainspring.platforms.up import keep_up

    keep_up(load(project), tick_seconds=tick_seconds, say=lambda text: print(text, flush=True))


@app.command(epilog="Example: mainspring status")
def status(project: Project = None, as_json: AsJson = False) -> None:
    """What is in service, what is under way, and what the loop waits for."""
    from mainspring.platforms.status import status_of

    found = status_of(load(project))
    if as_json:
        print_json(found)
        return
    print_table(["", ""], [[name, text] for name, text in found.lines()])
    print_table(
        ["version", "verdict", "aliases", "trained until", "metric", "reason"],
        [
            [
                one.version,
                one.verdict,
                ",".join(one.aliases) or "-",
                one.trained_until.date() if one.trained_until else "-",
                one.metrics.get(found.metric),
                one.reason[:60],
            ]
            for one in found.versions
        ],
        empty="no model version yet; `mainspring up` or `mainspring run` trains the first",
    )


@app.command(epilog='Example: mainspring retrain --reason "new fare rules"')
def retrain(
    reason: Annotated[str, typer.Option(help="Why; it goes into the ledger.")],
    project: Project = None,
) -> None:
    """Ask the loop for a retraining at its next tick."""
    from mainspring.platforms.requests import ask

    ask(load(project), "retrain", reason)
    print("asked; the loop takes it up at its next tick (see: mainspring ledger)")


@app.command(epilog="Example: mainspring ledger --kind promoted")
def ledger(
    project: Project = None,
    kind: Annotated[str, typer.Option(help="Only this kind, such as promoted or rolled_back.")] = "",
    last: Annotated[int, typer.Option(help="Only the last so many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """What was decided, when, why, and from which numbers."""
    from mainspring.adapters.sql.ledger import SqliteLedger

    loaded = load(project)
    decisions = SqliteLedger(loaded.paths.ledger).decisions(kind=kind)[-last:]
    if as_json:
        print_json(list(decisions))
        return
    print_table(
        ["at (UTC)", "kind", "what", "why", "by"],
        [[one.at.strftime("%Y-%m-%d %H:%M"), one.kind, one.what, one.why, one.actor] for one in decisions],
        empty="no decision yet; `mainspring up` starts the loop",
    )


@rollout_app.command("status", epilog="Example: mainspring rollout status")
def rollout_status(project: Project = None, as_json: AsJson = False) -> None:
    """The rollout under way: its weight, its evidence by assigned arm, and why it stands where it stands."""
    from mainspring.platforms.status import status_of

    rollout = status_of(load(project)).rollout
    if as_json:
        print_json(rollout)
        return
    print_table(
        ["", ""],
        [
            ["rollout", rollout.id],
            ["phase", rollout.phase],
            ["stable", rollout.stable or "-"],
            ["candidate", f"{rollout.candidate} {rollout.candidate_build}".strip() or "-"],
            ["weight", f"{rollout.weight_percent} %"],
            ["reason", rollout.reason or "-"],
        ],
    )
    print_table(
        ["assigned arm", "requests", "its errors", "users' errors"],
        [[arm, one.requests, one.upstream_errors, one.user_errors] for arm, one in rollout.evidence.items()],
        empty="no evidence yet",
    )


@rollout_app.command("abort", epilog='Example: mainspring rollout abort --reason "wrong currency"')
def rollout_abort(
    reason: Annotated[str, typer.Option(help="Why; it goes into the ledger.")], project: Project = None
) -> None:
    """Take the candidate back at the loop's next tick."""
    from mainspring.platforms.requests import ask

    ask(load(project), "abort", reason)
    print("asked; the loop takes the candidate back at its next tick (see: mainspring rollout status)")


@app.command(epilog="Example: mainspring demo --json")
def demo(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to put the project. Default: a new folder ./demo-run.")
    ] = None,
    until: Annotated[str, typer.Option(help="Last day that is replayed.")] = "2013-12-31",
    as_json: AsJson = False,
) -> None:
    """Replay the year 2013 of New York flights through the whole loop, in minutes."""
    from mainspring.demo.main import run_demo

    summary = run_demo(folder or Path("demo-run"), until=until, quiet=as_json)
    if as_json:
        print_json(summary)
