"""What every benchmark prints: peer, product, ratio, goal, and the machine; or the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One comparison. `product` and `peer` are seconds, the median of several repetitions in this run, or another `unit`.

    `goal` is a ratio peer / product to reach, or, with `at_most`, a ratio product / peer not to exceed, or, with `beyond`,
    the seconds that the product may take beyond the peer. With `rate` both are a number each second, and the goal is a
    ratio product / peer to reach.
    """

    name: str
    product: float
    peer: float
    goal: float
    at_most: bool = False
    beyond: bool = False
    rate: bool = False
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """peer / product; product / peer with `at_most` or `rate`; with `beyond` the share of the allowance that was used."""
        if self.beyond:
            return (self.product - self.peer) / self.goal
        return self.product / self.peer if self.at_most or self.rate else self.peer / self.product

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        if self.beyond:
            return self.ratio <= 1
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


def report(rows: list[Row], *, as_json: bool) -> None:
    """Print the comparisons."""
    if as_json:
        fields = ("name", "product", "peer", "goal")
        print(
            json.dumps([{**{f: asdict(r)[f] for f in fields}, "ratio": r.ratio, "met": r.met} for r in rows], indent=2)
        )
        return
    width = max([44, *(len(row.name) + 1 for row in rows)])
    print(f"{'comparison':<{width}}{'product':>10}{'peer':>10}{'ratio':>9}  goal")
    for row in rows:
        bound = f"+{row.goal:g} s" if row.beyond else f"{'<=' if row.at_most else '>='} {row.goal:g}"
        goal = f"{bound} {'met' if row.met else 'MISSED'}"
        print(f"{row.name:<{width}}{_told(row, row.product):>10}{_told(row, row.peer):>10}{row.ratio:>9.2f}  {goal}")
    print(f"machine: {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def _told(row: Row, value: float) -> str:
    return f"{value:,.0f}{row.unit}" if value >= 10_000 else f"{value:.3f}{row.unit}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
