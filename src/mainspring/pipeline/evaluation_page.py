"""An evaluation as a page that a person reads: plain HTML, pictures as SVG, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from mainspring.domain.metric import METRICS, Estimate
from mainspring.pipeline.calibration import CalibrationBin
from mainspring.pipeline.gate import Evaluation
from mainspring.pipeline.insight import Importance, LearningCurve
from mainspring.settings.project import ProjectSettings

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation of {name}</title>
<style>body{{font:15px system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2733}}
table{{border-collapse:collapse;margin:.5rem 0 1.5rem}}td,th{{text-align:left;padding:.35rem .8rem;border-bottom:1px solid #d8dee4}}
td.n,th.n{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}.refused{{color:#b42318}}.accepted{{color:#18794e}}
.bad{{color:#b42318;font-weight:600}}svg{{max-width:38rem;width:100%;height:auto}}.bar{{background:#3a6ea5;height:.8rem}}
figcaption,.note{{color:#57606a}}figure{{margin:0 0 1.5rem}}</style>
<h1>{name}: <span class="{verdict}">{verdict}</span></h1><p>{reason}.</p>
{sections}</html>
"""
_WIDTH, _HEIGHT, _EDGE = 560, 260, 44


def evaluation_page(
    found: Evaluation, settings: ProjectSettings, looked_at: Sequence[Importance], curve: LearningCurve
) -> str:
    """The page."""
    sections = [
        ("Metrics", _metrics(found)),
        ("Calibration", _calibration(found)),
        ("Slices", _slices(found, settings)),
        ("The project's own numbers", _own(found)),
        ("Importance", _importance(looked_at, settings.metric.name)),
        ("Learning curve", _curve(curve)),
    ]
    return _PAGE.format(
        name=html.escape(settings.name),
        verdict="accepted" if found.passed else "refused",
        reason=html.escape(found.reason),
        sections="\n".join(f"<h2>{title}</h2>{body}" for title, body in sections if body),
    )


def _metrics(found: Evaluation) -> str:
    version = f"version {found.champion_version}" if found.champion_version else "champion"
    lines = []
    for name, ours in found.candidate.items():
        metric, seen = METRICS[name], found.training.get(name)
        shrinks = "" if seen is None else f"{-metric.gain(ours.value, seen):+.4f}"
        theirs = found.champion.get(name)
        cells = [_value(ours), "-" if theirs is None else _value(theirs), _number(found.base_rate.get(name))]
        decides = " (decides)" if name == found.metric else ""
        direction = "higher" if metric.higher_is_better else "lower"
        lines.append([f"{name}{decides}", direction, *cells, _number(seen), shrinks or "-"])
    rows = next(iter(found.candidate.values()), Estimate(0.0))
    head = ["metric", "better is", "candidate", version, "base rate", "on its training rows", "lost on new rows"]
    about = (
        f"{rows.rows:,} held-out rows in {rows.blocks:,} blocks of time; in brackets the 90 % interval over the blocks."
    )
    note = "The base rate is the best constant answer. What is lost on new rows is over-fit, or a world that moved on."
    return f"<p>{about}</p>{_table(head, lines, numbers_from=2)}<p class=note>{note}</p>"


def _calibration(found: Evaluation) -> str:
    if len(found.calibration) < 2:
        return ""
    series = {"candidate": found.calibration}
    if found.champion_calibration:
        series[f"version {found.champion_version}"] = found.champion_calibration
    lines = {name: [(one.said, one.happened) for one in bins] for name, bins in series.items()}
    every = [value for points in lines.values() for point in points for value in point]
    ends = (min(every), max(every))
    picture = _chart({**lines, "perfect": [(ends[0], ends[0]), (ends[1], ends[1])]}, "what it said", "what happened")
    return picture + _table(["candidate said", "happened", "rows"], map(_bin, found.calibration), numbers_from=0)


def _bin(one: CalibrationBin) -> list[str]:
    return [f"{one.said:.4g}", f"{one.happened:.4g}", f"{one.rows:,}"]


def _slices(found: Evaluation, settings: ProjectSettings) -> str:
    if not found.slices:
        return ""
    gate = settings.gate
    lines = []
    for one in found.slices:
        judged = "held" if one.passed else "LOST"
        state = judged if one.judged else f"not judged: fewer than {gate.slice_min_rows:,} rows, or one label only"
        cells = [f"{one.rows:,}", _number(one.candidate), _number(one.champion)]
        lines.append([f"{one.column} = {one.value}", *cells, state])
    floor = "" if gate.slice_floor is None else f", and be better than {gate.slice_floor:g}"
    note = f"A slice may lose at most {gate.slice_max_loss:g} against the champion{floor}."
    return f"<p>{note}</p>" + _table(["slice", "rows", "candidate", "champion", ""], lines, numbers_from=1, text_from=4)


def _own(found: Evaluation) -> str:
    lines = [[name, f"{value:.6g}", _number(found.champion_own.get(name))] for name, value in found.own.items()]
    return _table(["number", "candidate", "champion"], lines, numbers_from=1) if lines else ""


def _importance(looked_at: Sequence[Importance], metric: str) -> str:
    most = max((one.loss for one in looked_at), default=0.0)
    if most <= 0:
        return ""
    lines = "".join(
        f"<tr><td>{html.escape(one.feature)}</td><td class=n>{one.loss:+.4f}</td>"
        f'<td style="width:20rem"><div class=bar style="width:{max(0.0, one.loss) / most:.1%}"></div></td></tr>'
        for one in looked_at
    )
    return (
        f"<p>How much {metric} is lost when a feature's values are shuffled on held-out rows.</p><table>{lines}</table>"
    )


def _curve(curve: LearningCurve) -> str:
    if not curve.points:
        return f"<p class=note>None: {html.escape(curve.why)}.</p>" if curve.why else ""
    lines = {
        "training rows": [(float(one.at), one.train) for one in curve.points],
        "held-out rows": [(float(one.at), one.held_out) for one in curve.points],
    }
    return _chart(lines, f"boosting {curve.by}" if curve.by == "rounds" else "rows trained on", curve.metric)


_COLOURS = ("#3a6ea5", "#a15c07", "#8c959f")


def _chart(lines: dict[str, list[tuple[float, float]]], across: str, up: str) -> str:
    """Lines over two axes, each end named."""
    points = [point for line in lines.values() for point in line]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        share_x = (x - left) / (right - left) if right > left else 0.5
        share_y = (y - low) / (high - low) if high > low else 0.5
        return _EDGE + share_x * (_WIDTH - 2 * _EDGE), _HEIGHT - _EDGE - share_y * (_HEIGHT - 2 * _EDGE)

    drawn = []
    for (name, line), colour in zip(lines.items(), _COLOURS, strict=False):
        placed = [place(x, y) for x, y in line]
        dash = ' stroke-dasharray="4 4"' if name == "perfect" else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if not dash:
            drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
    base, last = _HEIGHT - _EDGE, _WIDTH - _EDGE
    drawn.append(f'<path d="M{_EDGE},{_EDGE - 10} V{base} H{last}" fill="none" stroke="#8c959f"/>')
    texts = [
        (_EDGE, base + 16, "start", f"{left:.4g}"),
        (last, base + 16, "end", f"{right:.4g}"),
        (_WIDTH / 2, base + 32, "middle", across),
        (_EDGE - 4, base, "end", f"{low:.3g}"),
        (_EDGE - 4, _EDGE, "end", f"{high:.3g}"),
        (_EDGE, _EDGE - 18, "start", up),
    ]
    drawn += [
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="11" fill="#57606a">{html.escape(text)}</text>'
        for x, y, anchor, text in texts
    ]
    names = ", ".join(
        f'<span style="color:{colour}">{html.escape(name)}</span>'
        for name, colour in zip(lines, _COLOURS, strict=False)
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(drawn)}</svg><figcaption>{names}</figcaption></figure>'
    )


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], *, numbers_from: int, text_from: int = 99) -> str:
    def cell(tag: str, place: int, text: str) -> str:
        number = " class=n" if numbers_from <= place < text_from else ""
        lost = ' class="bad"' if text == "LOST" else number
        return f"<{tag}{lost}>{html.escape(text)}</{tag}>"

    rows = ["".join(cell("th", place, text) for place, text in enumerate(head))]
    rows += ["".join(cell("td", place, text) for place, text in enumerate(line)) for line in lines]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _value(one: Estimate) -> str:
    span = "" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]"
    return f"{one.value:.4f}{span}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
