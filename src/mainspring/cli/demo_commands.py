"""The command demo: a year of flights through the loop, told as it happens and summed up at the end."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli.app import AsJson, app
from mainspring.cli.output import print_json, print_table

if TYPE_CHECKING:
    from mainspring.demo.summary import Summary
    from mainspring.domain.decision import Decision


@app.command(epilog="Example: mainspring demo flights-demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must be empty or new.")] = Path("flights-demo"),
    as_json: AsJson = False,
) -> None:
    """Replay a year of New York flights through the loop: served, monitored, retrained, rolled out, rolled back."""
    from mainspring.demo.run import demo as run_demo
    from mainspring.templates.write import write_files

    with _Told() as told:
        summary = run_demo(folder, lambda into: write_files(into, "flights"), told)
    if as_json:
        print_json(summary)
    else:
        _tell(summary, folder)


class _Told:
    """Stages, decisions and days on stderr: a bar on a terminal, lines elsewhere, so that `--json` stays clean."""

    def __enter__(self) -> _Told:
        self._began = time.monotonic()
        self._month = ""
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, text: str) -> None:
        """Something began that takes a while."""
        self._line(text)
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def step(self, at: datetime, decisions: list[Decision], requests: int) -> None:
        """The clock moved on; decisions are told, and each new month."""
        for one in decisions:
            if one.kind not in ("no_trigger", "run_started", "weight"):
                self._line(f"  {one.at:%d %b}  {one.what}: {one.why}")
        month = f"{at:%B}"
        if month != self._month:
            self._month = month
            self._line(f"{at:%B %Y}: {requests:,} requests so far")
        if self._bar is not None:
            from mainspring.demo.run import FIRST, LAST

            self._bar.update(
                self._task,
                description=f"{at:%d %b %Y}, {requests:,} requests",
                total=(LAST - FIRST).days,
                completed=(at - FIRST).days,
            )

    def _line(self, text: str) -> None:
        seconds = round(time.monotonic() - self._began)
        line = f"[{seconds // 60}:{seconds % 60:02}] {text}"
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _tell(summary: Summary, folder: Path) -> None:
    print("\nAUC by month: the January-February model, one retrained every calendar month, and the loop")
    rows = [[one.month, one.requests, one.static_auc, one.calendar_auc, one.loop_auc] for one in summary.monthly]
    mean = ["mean", sum(one.requests for one in summary.monthly)]
    print_table(
        ["month", "answered and labelled", "static", "calendar", "loop"],
        [*rows, [*mean, summary.static_auc, summary.calendar_auc, summary.loop_auc]],
    )
    print("\nEach promotion, on the requests of the two weeks that followed")
    print_table(
        ["at", "new", "replaced", "AUC new", "AUC replaced", "gain (90 % interval)"],
        [
            [one.at, one.version, one.replaced, one.new_auc, one.old_auc, _interval(one.gain)]
            for one in summary.compared
        ],
        empty="no version replaced another",
    )
    print("\nWhat happened")
    happened = [
        *[("retraining", one) for one in summary.retrains],
        *[("refused", one) for one in summary.rejections],
        *[("promoted", one) for one in summary.promotions],
        *[("rolled back", one) for one in summary.rollbacks],
    ]
    happened.sort(key=lambda pair: pair[1].at)
    print_table(["at (UTC)", "", "version", "why"], [[one.at, kind, one.version, one.reason] for kind, one in happened])
    print(
        f"\n{summary.requests:,} requests, {summary.failed_requests:,} failed, {summary.logged_predictions:,} in the log; "
        f"{len(summary.retrains)} retrainings gained {summary.share_of_gain:.0%} of what ten calendar retrainings gain; "
        f"first answer after {summary.seconds_to_first_answer:.0f} s, all after {summary.seconds:.0f} s."
    )
    at = f"--project {folder}"
    print("\nWhat to type next")
    print(f"  mainspring ledger {at}    every decision, why, and from which numbers")
    print(f"  mainspring drift {at}     the newest drift report")
    print(f"  mainspring logs {at}      the prediction log")
    print("  mainspring init DIR --from data.csv --target y    the same loop for your own data")


def _interval(gain: Any) -> str:
    span = "" if gain.low is None else f" ({gain.low:+.4f} to {gain.high:+.4f})"
    return f"{gain.value:+.4f}{span}"
