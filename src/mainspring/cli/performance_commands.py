"""Commands about performance: performance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import doing, print_json, print_table

if TYPE_CHECKING:
    from mainspring.domain.metric import Estimate
    from mainspring.domain.performance_report import PerformanceReport


@app.command(epilog="Example: mainspring performance --by week --slice origin=JFK")
def performance(
    project: Project = None,
    now: Annotated[bool, typer.Option("--now", help="Look at the days up to now first.")] = False,
    by: Annotated[str, typer.Option("--by", help="day or week. Default: performance.by.")] = "",
    slice_: Annotated[
        str, typer.Option("--slice", help="Only this slice, such as origin=JFK. Default: all rows.")
    ] = "",
    metric: Annotated[str, typer.Option("--metric", help="Another of the task's metrics. Default: the gate's.")] = "",
    last: Annotated[int, typer.Option(help="Only the newest so many blocks.", min=1)] = 28,
    as_json: AsJson = False,
) -> None:
    """What versions achieved once labels came, and what is to be expected before, against their held-out rows."""
    from typing import cast

    from mainspring.domain.errors import ConfigError, NotFound
    from mainspring.domain.performance_report import BlockLength
    from mainspring.platforms.performance import newest_report

    if by not in ("", "day", "week"):
        raise ConfigError(f"there are no blocks of a {by!r}", where="--by", valid="day, week")
    with doing("measuring performance"):
        report, page = newest_report(load(project), cast(BlockLength, by) if by else None, compute=now)
    there = sorted({one.slice for one in report.blocks if one.slice})
    if slice_ and slice_ not in there:
        raise NotFound(
            f"there is no slice {slice_!r}", where="--slice", valid=", ".join(there) or "none: gate.slices is empty"
        )
    if as_json:
        print_json(replace(report, blocks=report.of_slice(slice_)) if slice_ else report)
        return
    name = metric or report.metric
    known = sorted({one.metric for one in report.bands} | {key for one in report.blocks for key in one.realised})
    if name not in known and metric:
        raise ConfigError(f"there is no metric {metric!r}", where="--metric", valid=", ".join(known) or "none yet")
    _print(report, slice_, name, last)
    print(f"page: {page}")


def _print(report: PerformanceReport, slice_: str, metric: str, last: int) -> None:
    print(f"version {report.version}, {report.at:%Y-%m-%d} UTC: {report.verdict}")
    for loss in (report.realised_loss, report.expected_loss):
        if loss is not None:
            print(f"{loss.basis}: {loss.reason}")
    rows: list[list[object]] = []
    for one in report.of_slice(slice_)[-last:]:
        band = report.band(one.version, metric, slice_)
        found = one.realised.get(metric)
        outside = "" if band is None or found is None else band.beyond(found.value)
        rows.append(
            [
                f"{one.window.start:%Y-%m-%d}",
                one.version,
                one.rows,
                f"{one.coverage:.0%}",
                _told(found),
                _told(one.expected.get(metric)),
                "-" if band is None or band.low is None else f"{band.low:.3f} to {band.high:.3f}",
                ", ".join(filter(None, [outside, "" if one.settled else "not final"])),
            ]
        )
    header = [
        f"{report.by} (UTC)",
        "version",
        "rows",
        "labelled",
        f"realised {metric}",
        "expected",
        "held-out band",
        "",
    ]
    print_table(header, rows, empty="no whole block yet")
    for text in report.findings:
        print(text)


def _told(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.3f}" + ("" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]")
