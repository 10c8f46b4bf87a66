"""How results look: tables for people, JSON for programs, progress only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mainspring.domain.codec import to_json

if TYPE_CHECKING:
    from types import TracebackType

    import rich.progress


def print_json(value: object) -> None:
    """One JSON value on standard output."""
    print(to_json(value, indent=2).decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "nothing yet") -> None:
    """A plain table in aligned columns; numbers to the right.

    >>> print_table(["version", "auc"], [["1", 0.71], ["12", 0.7]])
    version    auc
          1  0.710
         12  0.700
    """
    if not rows:
        print(empty)
        return
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[place]) for line in [list(header), *texts]) for place in range(len(header))]
    right = [all(_numeric(row[place]) for row in texts) for place in range(len(header))]
    for line in [list(header), *texts]:
        cells = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _numeric(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).lstrip("+-").isdigit()


class Progress:
    """What is being done, with a spinner and the time so far: on a terminal's standard error, nowhere otherwise.

    Lines that stay are printed with `line`, so that the spinner and they do not get into each other's way.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._spinner: rich.progress.Progress | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def now(self, what: str) -> None:
        """Something else is being done from here on."""
        self.stop()
        if not self._shown:
            return
        from rich.console import Console
        from rich.progress import Progress as Spinner
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._spinner = Spinner(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            # What goes to standard output stays there.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._spinner.add_task(what, total=None)
        self._spinner.start()

    def line(self, text: str) -> None:
        """A line that stays, on standard output; the spinner goes."""
        self.stop()
        print(text, flush=True)

    def stop(self) -> None:
        """The spinner goes: something else has the terminal."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A spinner with the time so far on a terminal; nothing otherwise."""
    with Progress() as progress:
        progress.now(what)
        yield
