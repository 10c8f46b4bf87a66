"""A backtest as a page that a person reads: plain HTML, pictures as SVG, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime

from mainspring.domain.backtest import Backtest, BacktestEvent, PolicyResult

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Backtest of {name}</title>
<style>body{{font:15px system-ui;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2733}}
table{{border-collapse:collapse;margin:.5rem 0 1.5rem}}td,th{{text-align:left;padding:.3rem .7rem;border-bottom:1px solid #d8dee4;vertical-align:top}}
td.n,th.n{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}svg{{width:100%;height:auto}}
.note,figcaption{{color:#57606a}}figure{{margin:0 0 1.5rem}}.key{{display:inline-block;width:1.4rem;height:.2rem;vertical-align:middle;margin:0 .3rem 0 .9rem}}
summary{{cursor:pointer;padding:.2rem 0}}</style>
<h1>Backtest of {name}</h1>
<p>{span}; {rows:,} questions, {labelled:,} with their label. {metric} ({direction} is better), the mean over {block}s.</p>
{table}<p class=note>{share}</p>
<h2>Quality over time</h2>{quality}
<h2>Gain against number of retrainings</h2>{frontier}
<h2>What each policy did</h2>{events}</html>
"""
_COLOURS = ("#57606a", "#a15c07", "#1f6feb", "#b42318", "#18794e", "#8250df", "#0b7285", "#c2255c")
_WIDTH, _HEIGHT, _LEFT, _EDGE = 980, 320, 60, 34
_TOLD = ("alarm", "trigger", "no_trigger", "gate_passed", "gate_refused", "run_failed", "promoted")
HEADER = (
    "policy",
    "quality",
    "of the calendar's gain",
    "retrainings",
    "refused",
    "alarms",
    "models",
    "train s",
    "rows",
)


def cells(one: PolicyResult) -> list[str]:
    """One policy under `HEADER`."""
    share = "-" if one.share_of_gain is None else f"{one.share_of_gain:.0%}"
    numbers = [str(one.retrainings), str(one.refused), str(one.alarms), str(one.fits)]
    return [one.name, f"{one.quality:.4f}", share, *numbers, f"{one.train_seconds:.0f}", f"{one.train_rows:,}"]


def backtest_page(found: Backtest) -> str:
    """The page."""
    colours = {one.name: _COLOURS[place % len(_COLOURS)] for place, one in enumerate(found.results)}
    known = any(one.share_of_gain is not None for one in found.results)
    return _PAGE.format(
        name=html.escape(found.name),
        span=f"{found.start:%Y-%m-%d} to {found.until:%Y-%m-%d}",
        rows=found.rows,
        labelled=found.labelled,
        metric=html.escape(found.metric),
        direction="higher" if found.higher_is_better else "lower",
        block=found.block,
        table=_table(HEADER, [cells(one) for one in found.results], numbers_from=1),
        share="The calendar retrains every month without a gate; 0 % is the first model, never retrained."
        if known
        else "Retraining by the calendar gains nothing over the first model here, so there is no share of it.",
        quality=_quality(found, colours),
        frontier=_frontier(found, colours),
        events="".join(_events(one) for one in found.results),
    )


class _Axes:
    """Places of values on a picture; the ends of both axes are named."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float], texts: Sequence[str], named: str) -> None:
        spread = (up[1] - up[0]) or 1.0
        self._across, self._up = across, (up[0] - spread * 0.05, up[1] + spread * 0.05)
        base, last = _HEIGHT - _EDGE, _WIDTH - _EDGE
        self.drawn = [f'<path d="M{_LEFT},{_EDGE} V{base} H{last}" fill="none" stroke="#8c959f"/>']
        for place in range(5):
            value = self._up[0] + (self._up[1] - self._up[0]) * place / 4
            y = self.y(value)
            self.drawn.append(f'<path d="M{_LEFT},{y:.1f} H{last}" stroke="#eaeef2"/>')
            self.drawn.append(_text(_LEFT - 6, y + 4, "end", f"{value:.3g}"))
        for place, text in enumerate(texts):
            x = _LEFT + (last - _LEFT) * place / max(1, len(texts) - 1)
            self.drawn.append(_text(x, base + 18, "middle", text))
        self.drawn.append(_text(_LEFT, _EDGE - 14, "start", named))

    def x(self, value: float) -> float:
        """Where a value lies across."""
        low, high = self._across
        return _LEFT + (value - low) / ((high - low) or 1.0) * (_WIDTH - _EDGE - _LEFT)

    def y(self, value: float) -> float:
        """Where a value lies up."""
        low, high = self._up
        return _HEIGHT - _EDGE - (value - low) / ((high - low) or 1.0) * (_HEIGHT - 2 * _EDGE)

    def line(self, points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> None:
        """A line through points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')

    def dot(self, x: float, y: float, colour: str, title: str) -> None:
        """A point that says what it is when it is pointed at."""
        self.drawn.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="5" fill="{colour}"><title>{html.escape(title)}</title></circle>'
        )

    def figure(self, caption: str) -> str:
        """The picture."""
        return f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(self.drawn)}</svg><figcaption>{caption}</figcaption></figure>'


def _quality(found: Backtest, colours: dict[str, str]) -> str:
    names = sorted({name for one in found.results for name in one.by_block})
    values = [value for one in found.results for value in one.by_block.values()]
    if len(names) < 2:
        return "<p class=note>There are fewer than two blocks.</p>"
    ends = (found.start.timestamp(), found.until.timestamp())
    shown = names[:: max(1, len(names) // 10)]
    axes = _Axes(ends, (min(values), max(values)), [], found.metric)
    middle = {name: _middle(names, place, found) for place, name in enumerate(names)}
    for name in shown:
        axes.drawn.append(_text(axes.x(middle[name]), _HEIGHT - _EDGE + 18, "middle", name))
    for one in found.results:
        points = [(middle[name], one.by_block[name]) for name in names if name in one.by_block]
        axes.line(points, colours[one.name], "" if one.gated else "5 4")
        for event in _retrained(one):
            level = _between(points, event.at.timestamp())
            axes.dot(event.at.timestamp(), level, colours[one.name], f"{one.name}: {event.at:%Y-%m-%d} {event.why}")
    return axes.figure(
        f"{_keys(found, colours)}. Dots are new models going into service; dashed: a schedule without a gate."
    )


def _middle(names: Sequence[str], place: int, found: Backtest) -> float:
    def begin(at: int) -> float:
        if at >= len(names):
            return found.until.timestamp()
        text = names[at] if len(names[at]) > 7 else f"{names[at]}-01"
        return max(datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp(), found.start.timestamp())

    return (begin(place) + begin(place + 1)) / 2


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    before = [one for one in points if one[0] <= x]
    after = [one for one in points if one[0] > x]
    if not before or not after:
        return (before or after)[-1 if before else 0][1]
    (left, low), (right, high) = before[-1], after[0]
    return low + (high - low) * (x - left) / (right - left)


def _frontier(found: Backtest, colours: dict[str, str]) -> str:
    if not found.frontier:
        return "<p class=note>Not asked for: mainspring backtest --frontier 12.</p>"
    most = max([one.retrainings for one in found.frontier] + [one.retrainings for one in found.results])
    values = [value for one in found.frontier for value in (one.best, one.even)]
    values += [one.quality for one in found.results]
    texts = [str(place) for place in range(most + 1)]
    axes = _Axes(
        (0.0, float(max(1, most))), (min(values), max(values)), texts, f"{found.metric}, by number of retrainings"
    )
    axes.line([(one.retrainings, one.best) for one in found.frontier], "#1c2733")
    axes.line([(one.retrainings, one.even) for one in found.frontier], "#8c959f", "5 4")
    for one in found.results:
        title = f"{one.name}: {one.retrainings} retrainings, {one.quality:.4f}"
        axes.dot(one.retrainings, one.quality, colours[one.name], title)
        x = axes.x(one.retrainings)
        aside, anchor = (8, "start") if x < _WIDTH * 0.85 else (-8, "end")
        axes.drawn.append(_text(x + aside, axes.y(one.quality) + 4, anchor, one.name))
    rows = [
        [str(one.retrainings), f"{one.best:.4f}", _percent(one.best_share), f"{one.even:.4f}", _percent(one.even_share)]
        for one in found.frontier
    ]
    header = ("retrainings", "best in hindsight", "share", "evenly spaced", "share")
    caption = "Solid: the best beginnings of weeks in hindsight; dashed: evenly spaced; dots: the policies."
    return axes.figure(caption) + _table(header, rows, numbers_from=0)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _retrained(one: PolicyResult) -> list[BacktestEvent]:
    return [event for event in one.events if event.kind == "promoted"][1 if one.gated else 0 :]


def _events(one: PolicyResult) -> str:
    rows = [
        [f"{event.at:%Y-%m-%d %H:%M}", event.kind, event.version, event.why]
        for event in one.events
        if event.kind in _TOLD
    ]
    table = _table(("at (UTC)", "", "version", "why"), rows, numbers_from=99)
    return f"<details><summary><b>{html.escape(one.name)}</b> ({html.escape(one.policy)}): {len(rows)} decisions</summary>{table}</details>"


def _keys(found: Backtest, colours: dict[str, str]) -> str:
    return "".join(
        f'<span class=key style="background:{colours[one.name]}"></span>{html.escape(one.name)}'
        for one in found.results
    )


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="12" fill="#57606a">{html.escape(text)}</text>'
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    def line(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place >= numbers_from else ''}>{html.escape(text)}</{tag}>"
            for place, text in enumerate(texts)
        )

    lines = [f"<tr>{line('th', header)}</tr>", *(f"<tr>{line('td', row)}</tr>" for row in rows)]
    return f"<table>{''.join(lines)}</table>"
