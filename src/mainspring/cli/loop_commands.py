"""Commands about the loop: ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import print_json, print_table


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
        empty="no decision yet",
    )
