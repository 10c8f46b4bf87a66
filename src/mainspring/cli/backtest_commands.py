"""The command backtest: what retraining policies would have done on the past."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, load
from mainspring.cli.output import print_json, print_table

if TYPE_CHECKING:
    from mainspring.domain.backtest import Backtest


@app.command(epilog="Example: mainspring backtest --policy on_loss --policy on_schedule --frontier 8")
def backtest(
    project: Project = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            help="static, calendar, project, default, on_regret, on_alarm, on_loss, on_schedule; repeatable.",
        ),
    ] = None,
    policies: Annotated[
        Path | None, typer.Option(help="A YAML file: names, and below each what `retrain:` would have.")
    ] = None,
    source: Annotated[
        str, typer.Option("--from", help="`source`: every question of the target's source; `log`: what callers asked.")
    ] = "source",
    start: Annotated[str, typer.Option(help="Train the first model here. Default: after a sixth of the past.")] = "",
    until: Annotated[str, typer.Option(help="The end of the replay. Default: that of the past.")] = "",
    frontier: Annotated[
        int, typer.Option(help="Find the best and the evenly spaced instants for up to so many retrainings.", min=0)
    ] = 0,
    page: Annotated[Path | None, typer.Option(help="Where the page goes. Default: below .mainspring.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the past through retraining policies before one of them is switched on: what each would have done and gained."""
    from mainspring.domain.errors import ConfigError
    from mainspring.domain.time import instant
    from mainspring.platforms.backtest import BacktestRequest
    from mainspring.platforms.backtest import backtest as replay
    from mainspring.platforms.backtest.history import FOLDER
    from mainspring.platforms.backtest.page import backtest_page
    from mainspring.platforms.backtest.replay import CALENDAR, PROJECT, STATIC, policies_in
    from mainspring.platforms.whole_file import write_whole

    if source not in ("source", "log"):
        raise ConfigError(f"--from {source!r} is no past", valid="source, log")
    loaded = load(project)
    more = policies_in(policies) if policies is not None else {}
    names = [*dict.fromkeys([STATIC, CALENDAR, PROJECT, *(policy or ()), *more])]
    request = BacktestRequest(
        names,
        more,
        instant(start) if start else None,
        instant(until) if until else None,
        "log" if source == "log" else "source",
        frontier,
    )
    found = replay(loaded, request, lambda text: print(text, file=sys.stderr, flush=True))
    out = page or loaded.paths.state / FOLDER / "backtest.html"
    write_whole(out, backtest_page(found).encode())
    if as_json:
        print_json(found)
        return
    _tell(found)
    print(f"\nthe page: {out}")


def _tell(found: Backtest) -> None:
    from mainspring.platforms.backtest.page import HEADER, cells

    direction = "higher" if found.higher_is_better else "lower"
    print(
        f"{found.name}, {found.start:%Y-%m-%d} to {found.until:%Y-%m-%d}: {found.labelled:,} labelled questions; {found.metric} "
        f"({direction} is better), the mean over {found.block}s"
    )
    print_table(HEADER, [cells(one) for one in found.results])
    if found.frontier:
        print("\nWith so many retrainings: the best instants in hindsight, and even spacing")
        rows = [
            [one.retrainings, one.best, _percent(one.best_share), one.even, _percent(one.even_share)]
            for one in found.frontier
        ]
        print_table(["retrainings", "best", "share", "even", "share"], rows)
    print(f"\n{found.fitted} models fitted, {found.reused} known already, {found.seconds:.0f} s")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
