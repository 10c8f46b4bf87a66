"""The command about training/serving skew: skew."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table


@app.command(epilog="Example: mainspring skew --since 2026-05-01 --sample 2000")
def skew(
    project: Project = None,
    since: Annotated[str, typer.Option(help="From this instant of event time on. Default: a day before the end.")] = "",
    until: Annotated[
        str, typer.Option(help="Up to this instant. Default: the newest request; with --since, now.")
    ] = "",
    sample: Annotated[
        int, typer.Option(help="At most so many requests, drawn by a hash of their ids.", min=1)
    ] = 10_000,
    version: Annotated[str, typer.Option(help="The version that served. Default: the champion.")] = "",
    tolerance: Annotated[
        float, typer.Option(help="Relative: numbers nearer to each other are the same.", min=0.0)
    ] = 1e-6,
    as_json: AsJson = False,
) -> None:
    """Replay served requests against the offline store: which features differ, how often, by how much, and why.

    Ends with 0 without skew, 1 with any, 2 when nothing could be compared.
    """
    from mainspring.domain.time import instant
    from mainspring.features.skew_page import HEADER, answers_in_words, rows_of, verdict
    from mainspring.platforms.skew import skew_of

    begin, end = (instant(one) if one else None for one in (since, until))
    with doing("replaying requests"):
        report, page = skew_of(
            load(project), since=begin, until=end, sample=sample, version=version, tolerance=tolerance
        )
    if as_json:
        print_json(report)
    else:
        print(
            f"version {report.version}, {report.window.start:%Y-%m-%d %H:%M} to {report.window.end:%Y-%m-%d %H:%M} UTC,"
        )
        print(f"{report.replayed:,} of {report.logged:,} requests: {verdict(report)}")
        print(answers_in_words(report.answers))
        print_table(HEADER, rows_of(report), empty="no feature could be compared")
        for name, why in report.not_compared.items():
            print(f"not compared: {name}: {why}")
        print(f"page: {page}")
    if report.found:
        raise typer.Exit(1)
