"""Commands about models and data: data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import Project, app, load
from mainspring.cli.output import doing


@app.command(epilog="Example: mainspring data --as-of 2013-06-01 --out training.parquet")
def data(
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    project: Project = None,
    as_of: Annotated[str, typer.Option("--as-of", help="As it was known at this instant. Default: now.")] = "",
) -> None:
    """Write the training set, point in time, as training would see it."""
    from mainspring.platforms.data import write_training_set

    with doing("joining features"):
        dataset = write_training_set(load(project), as_of, out)
    print(f"wrote {dataset.rows:,} rows x {len(dataset.columns)} columns to {out} (digest {dataset.digest[:12]})")
