"""A performance report as a page that stands alone: curves over time with their intervals, and the numbers behind them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from mainspring.domain.metric import METRICS, Estimate
from mainspring.domain.performance_report import PerformanceBlock, PerformanceReport, ReferenceBand

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Performance of {name}</title>
<style>body{{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2733}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}}td,th{{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #d8dee4}}td.n,th.n{{text-align:right}}h2{{margin-top:2rem}}svg{{width:100%;height:auto}}
.verdict{{display:inline-block;padding:.15rem .6rem;border-radius:.3rem;background:#eaeef2;font-weight:600}}
.bad{{background:#ffe5e0;color:#b42318}}td.bad{{background:none;font-weight:600}}td.better{{color:#116329;font-weight:600}}.small{{display:grid;
grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1rem}}figure{{margin:0}}figcaption,.note{{color:#57606a;font-size:13px}}
.key i{{display:inline-block;width:1.1em;height:.7em;margin:0 .35em 0 1em;vertical-align:baseline}}</style>
<h1>Performance of {name}</h1>
<p><span class="verdict{bad}">{verdict}</span> version {version}, by {by}, as it was known at {at} UTC.</p>
{losses}
<h2>{metric}{direction}</h2>
<p class="note key"><i style="background:#0a5ea8"></i>realised, with its {confidence} interval over days of a week, or hours of a
day<i style="background:#e08a00"></i>expected before labels, with the interval for what labels will say
<i style="background:#dfe5ea"></i>where a {by} lies if it is like the held-out days. Hollow: not final, labels may still come.</p>
{chart}
<h2>Other metrics</h2><div class="small">{others}</div>
{slices}
<h2>Numbers</h2>
<table><tr><th>{by} (UTC)</th><th>version</th><th class="n">rows</th><th class="n">labelled</th><th class="n">realised {metric}</th>
<th class="n">expected</th><th class="n">held-out band</th><th></th></tr>
{lines}</table>
<p class="note">Expected is estimated without labels: inputs may have moved, but what follows from an input is assumed to be what it
was on held-out rows. A change of that kind shows in the labels alone.</p>
{findings}</html>
"""
_REALISED, _EXPECTED, _BAND = "#0a5ea8", "#e08a00", "#dfe5ea"
_MOST_LINES = 60


def page(report: PerformanceReport) -> str:
    """The report as HTML."""
    own = report.of_slice()
    names = [one for one in METRICS if any(one in block.realised or one in block.expected for block in own)]
    others = [f"<figure>{_chart(report, own, one, small=True)}</figure>" for one in names if one != report.metric]
    losses = [one for one in (report.realised_loss, report.expected_loss) if one is not None]
    confidence = next((one.confidence for block in own for one in block.realised.values()), 0.9)
    return _PAGE.format(
        name=html.escape(report.name),
        bad=" bad" if report.verdict in ("worse", "expected worse") else "",
        verdict=report.verdict,
        version=html.escape(report.version),
        by=report.by,
        at=f"{report.at:%Y-%m-%d}",
        losses="".join(f"<p><b>{one.basis}</b>: {html.escape(one.reason)}.</p>" for one in losses),
        metric=report.metric,
        direction=" (higher is better)" if METRICS[report.metric].higher_is_better else " (lower is better)",
        confidence=f"{confidence:.0%}",
        chart=_chart(report, own, report.metric, small=False),
        others="".join(others) or "<p>none yet</p>",
        slices=_slices(report),
        lines="\n".join(_line(report, one) for one in own[::-1][:_MOST_LINES]),
        findings="".join(f"<p>{html.escape(text)}</p>" for text in report.findings),
    )


def _chart(report: PerformanceReport, blocks: Sequence[PerformanceBlock], metric: str, *, small: bool) -> str:
    """One metric over time. Versions follow each other, each with its own band."""
    blocks = [one for one in blocks if metric in one.realised or metric in one.expected]
    title = f"<figcaption>{html.escape(metric)}</figcaption>" if small else ""
    if not blocks:
        return f"{title}<p>no whole {report.by} with enough rows yet</p>"
    wide, high, left, right, top, base = (480, 200, 52, 8, 10, 24) if small else (1100, 360, 60, 12, 14, 30)
    bands = {one.version: one for one in report.bands if one.metric == metric and not one.slice}
    first, last = min(one.window.start for one in blocks), max(one.window.end for one in blocks)
    low, top_value = _range(blocks, metric, bands)

    def x(at: datetime) -> float:
        return left + (wide - left - right) * (at - first).total_seconds() / (last - first).total_seconds()

    def y(value: float) -> float:
        return top + (high - top - base) * (1 - (min(max(value, low), top_value) - low) / (top_value - low))

    drawn = [*_bands(blocks, bands, x, y)]
    for step in range(5):
        value = low + (top_value - low) * step / 4
        drawn.append(
            f'<line x1="{left}" x2="{wide - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#eef1f4"/>'
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" font-size="11" fill="#57606a">{value:.4g}</text>'
        )
    for place in range(2 if small else 5):
        at = first + (last - first) * place / ((2 if small else 5) - 1)
        anchor = "start" if place == 0 else "end" if at == last else "middle"
        drawn.append(
            f'<text x="{x(at):.1f}" y="{high - 8}" text-anchor="{anchor}" font-size="11" fill="#57606a">{at:%Y-%m-%d}</text>'
        )
    for version in dict.fromkeys(one.version for one in blocks):
        own = [one for one in blocks if one.version == version]
        drawn += _expected_line([one for one in own if metric in one.expected], metric, x, y)
    drawn += [_dot(one, metric, x, y, 2.0 if small else 3.2) for one in blocks if metric in one.realised]
    label = html.escape(f"{metric} by {report.by}, realised and expected")
    return f'{title}<svg viewBox="0 0 {wide} {high}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _range(blocks: Sequence[PerformanceBlock], metric: str, bands: dict[str, ReferenceBand]) -> tuple[float, float]:
    """From values and bands; of intervals what is not far beyond them: one wild day must not flatten all others."""
    found = [one for block in blocks for kind in (block.realised, block.expected) if (one := kind.get(metric))]
    core = [one.value for one in found]
    core += [end for one in bands.values() for end in (one.low, one.value, one.high) if end is not None]
    low, high = min(core), max(core)
    room = (high - low) or abs(high) * 0.1 or 0.1
    ends = [end for one in found for end in (one.low, one.high) if end is not None]
    low = min([low, *(end for end in ends if end > low - room)])
    high = max([high, *(end for end in ends if end < high + room)])
    return low - room * 0.05, high + room * 0.05


def _bands(
    blocks: Sequence[PerformanceBlock],
    bands: dict[str, ReferenceBand],
    x: Callable[[datetime], float],
    y: Callable[[float], float],
) -> Iterable[str]:
    for version, band in bands.items():
        own = [one.window for one in blocks if one.version == version]
        if not own:
            continue
        start, end = x(min(one.start for one in own)), x(max(one.end for one in own))
        if band.low is not None and band.high is not None:
            yield (
                f'<rect x="{start:.1f}" width="{max(end - start, 1):.1f}" y="{y(band.high):.1f}" '
                f'height="{max(y(band.low) - y(band.high), 1):.1f}" fill="{_BAND}" opacity=".65"/>'
            )
        yield (
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y(band.value):.1f}" y2="{y(band.value):.1f}" stroke="#8c959f" '
            f'stroke-dasharray="5 4"><title>version {html.escape(version)} on held-out rows: {band.value:.4f}</title></line>'
        )


def _expected_line(
    blocks: Sequence[PerformanceBlock], metric: str, x: Callable[[datetime], float], y: Callable[[float], float]
) -> list[str]:
    if not blocks:
        return []
    middles = [x(one.window.start + (one.window.end - one.window.start) / 2) for one in blocks]
    found = [one.expected[metric] for one in blocks]
    upper = [f"{at:.1f},{y(_or(one.high, one)):.1f}" for at, one in zip(middles, found, strict=True)]
    lower = [f"{at:.1f},{y(_or(one.low, one)):.1f}" for at, one in zip(middles, found, strict=True)]
    line = " ".join(f"{at:.1f},{y(one.value):.1f}" for at, one in zip(middles, found, strict=True))
    return [
        f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{_EXPECTED}" opacity=".18"/>',
        f'<polyline points="{line}" fill="none" stroke="{_EXPECTED}" stroke-width="2"/>',
    ]


def _dot(
    block: PerformanceBlock,
    metric: str,
    x: Callable[[datetime], float],
    y: Callable[[float], float],
    size: float,
) -> str:
    one = block.realised[metric]
    at = x(block.window.start + (block.window.end - block.window.start) / 2)
    ends = (y(_or(one.low, one)), y(_or(one.high, one)))
    fill = _REALISED if block.settled else "#fff"
    told = f"{block.window.start:%Y-%m-%d}, version {block.version}: {_told(one)}, {block.labelled:,} of {block.rows:,} rows labelled"
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="{_REALISED}" opacity=".45"/>'
        f'<circle cx="{at:.1f}" cy="{y(one.value):.1f}" r="{size}" fill="{fill}" stroke="{_REALISED}">'
        f"<title>{html.escape(told)}</title></circle>"
    )


def _slices(report: PerformanceReport) -> str:
    """The newest measured block of each slice of the version in service."""
    newest: dict[str, PerformanceBlock] = {}
    for one in report.blocks:
        if one.slice and one.version == report.version and (one.realised or one.expected):
            newest[one.slice] = one
    if not newest:
        return ""
    head = '<h2>Slices</h2><table><tr><th>slice</th><th>newest</th><th class="n">rows</th><th class="n">labelled</th>'
    head += (
        f'<th class="n">realised {report.metric}</th><th class="n">expected</th><th class="n">held-out band</th></tr>'
    )
    lines = []
    for name, one in sorted(newest.items()):
        band = report.band(one.version, report.metric, name)
        cells = [f"<td>{html.escape(name)}</td><td>{one.window.start:%Y-%m-%d}</td>"]
        cells += [f'<td class="n">{one.rows:,}</td><td class="n">{one.coverage:.0%}</td>']
        cells.append(_realised_cell(one.realised.get(report.metric), band))
        cells.append(
            f'<td class="n">{_told(one.expected.get(report.metric))}</td><td class="n">{_band_in_words(band)}</td>'
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return head + "\n".join(lines) + "</table>"


def _line(report: PerformanceReport, one: PerformanceBlock) -> str:
    band = report.band(one.version, report.metric)
    cells = [f"<td>{one.window.start:%Y-%m-%d}</td><td>{html.escape(one.version)}</td>"]
    cells.append(f'<td class="n">{one.rows:,}</td><td class="n">{one.coverage:.0%}</td>')
    cells.append(_realised_cell(one.realised.get(report.metric), band))
    cells.append(
        f'<td class="n">{_told(one.expected.get(report.metric))}</td><td class="n">{_band_in_words(band)}</td>'
    )
    cells.append(f"<td>{'' if one.settled else 'not final'}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _realised_cell(one: Estimate | None, band: ReferenceBand | None) -> str:
    outside = "" if band is None or one is None else band.beyond(one.value)
    return f'<td class="n {"bad" if outside == "worse" else outside}">{_told(one)}</td>'


def _band_in_words(band: ReferenceBand | None) -> str:
    return "-" if band is None or band.low is None else f"{band.low:.4f} to {band.high:.4f}"


def _told(one: Estimate | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.4f}" + ("" if one.low is None else f" [{one.low:.4f}, {one.high:.4f}]")


def _or(end: float | None, one: Estimate) -> float:
    return one.value if end is None else end
