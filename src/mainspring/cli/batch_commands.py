"""Commands about files of questions: score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json


@app.command(epilog="Example: mainspring score customers.csv scores.csv --as-of 2026-05-01")
def score(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The file to score: .csv or .parquet.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .csv or .parquet.")],
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="With what was known at this instant. Default: now.")] = "",
    version: Annotated[str, typer.Option("--version", help="The version that answers. Default: the champion.")] = "",
    keep_extra: Annotated[
        bool, typer.Option("--keep-extra", help="Take columns that are no input over into OUT.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be answered.")] = False,
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Keep the answers out of the prediction log, and so out of drift.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Who asks, for the ledger. Default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Score a file with the champion, each row with its features as they were known at its time."""
    from datetime import UTC, datetime

    from mainspring.domain.time import instant
    from mainspring.platforms.scoring import score_file

    at = instant(as_of) if as_of else datetime.now(UTC)
    with doing("scoring"):
        done = score_file(
            load(project),
            source,
            output,
            at,
            version=version,
            keep_extra=keep_extra,
            skip_bad=skip_bad,
            log=not no_log,
            by=by,
        )
    if as_json:
        print_json(done)
        return
    print(f"wrote {done.rows:,} rows to {output}: version {done.version}, as known at {at:%Y-%m-%d %H:%M} UTC")
    if done.refused:
        print(f"left out {done.refused:,} rows that cannot be answered")
    for name, count in done.missing.items():
        print(f"missing: {name} in {count:,} rows")
