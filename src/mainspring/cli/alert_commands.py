"""Commands about alerts: alerts, notify."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table


@app.command(epilog="Example: mainspring alerts --last 5")
def alerts(
    project: Project = None,
    last: Annotated[int, typer.Option(help="Only the last so many.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """What people were told, and whether it reached them."""
    from mainspring.platforms.notifying import told

    found = told(load(project), last)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            f"{one.alert.at:%Y-%m-%d %H:%M}",
            one.alert.severity,
            one.alert.what,
            "; ".join(f"{name} {state}" for name, state in one.deliveries.items()) or "no channel",
            one.alert.next_step,
        ]
        for one in found
    ]
    print_table(["at (UTC)", "", "what", "how it fares", "look closer"], rows, empty="no alert yet")


@app.command(epilog="Example: mainspring notify --test")
def notify(
    project: Project = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test message through every channel.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try the channels of `notify:`; ends with 1 when one does not take the message."""
    from mainspring.domain.errors import ConfigError
    from mainspring.platforms.notifying import try_all

    if not test:
        raise ConfigError("alerts are sent by the loop", valid="--test", next_step="mainspring notify --test")
    with doing("sending"):
        found = try_all(load(project))
    if as_json:
        print_json(found)
    else:
        rows = [[one.channel, "sent" if one.sent else "NOT SENT", f"{one.seconds:.1f} s", one.said] for one in found]
        print_table(["channel", "", "took", "it said"], rows)
    if not all(one.sent for one in found):
        raise typer.Exit(1)
