"""How results look: tables for people, JSON for programs, progress only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mainspring.domain.codec import to_json


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


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A spinner with the time so far on a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
