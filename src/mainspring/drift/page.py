"""A drift report as a page that a person reads, and as lines for a terminal; nothing is loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

from mainspring.domain.drift_report import Bin, DriftReport, FeatureDrift
from mainspring.drift.ranking import Ranked, ranked

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Drift of version {version}: {verdict}</title>
<style>:root{{--ink:#1c2733;--dim:#57606a;--line:#d8dee4;--now:#3a6ea5;--then:#c9ced6;--bad:#b42318;--warn:#a15c07;--good:#18794e}}
body{{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:var(--ink)}}
h1{{margin-bottom:.2rem}}h2{{font-size:1.05rem;margin:0}}p{{margin:.35rem 0}}.dim{{color:var(--dim)}}
.alarm,.drifted{{color:var(--bad)}}.warning{{color:var(--warn)}}.quiet{{color:var(--good)}}
section{{border-top:1px solid var(--line);padding:1rem 0;display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.5rem 2rem}}
section>header{{grid-column:1/-1}}figure{{margin:0}}figcaption{{color:var(--dim);font-size:.85rem}}svg{{width:100%;height:auto;display:block}}
table{{border-collapse:collapse;margin:.3rem 0;font-size:.87rem}}td,th{{text-align:left;padding:.15rem .9rem .15rem 0}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums}}ul{{margin:.2rem 0 .2rem 1.1rem;padding:0}}
summary{{cursor:pointer;color:var(--dim);padding:.6rem 0}}.key i{{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}}
@media(max-width:48rem){{section{{grid-template-columns:minmax(0,1fr)}}}}</style>
<h1>Drift of version {version}: <span class="{verdict}">{verdict_in_words}</span></h1>
<p>{reason}.</p>
<p class="dim">{start} to {end} (UTC), {rows} rows, against the {acted_on} reference.</p>
{rate}{unwatched}
<p class="key dim">In each picture <i style="background:var(--then)"></i>then <i style="background:var(--now)"></i>now</p>
{sections}</html>
"""
_TOLD = ("missing", "new_category", "all_null", "type_changed")
"""Findings that a feature's sentence tells of."""
_WIDTH, _HEIGHT, _FOOT, _HEAD = 520, 170, 44, 14


def page(report: DriftReport) -> str:
    """The report as HTML: what drifted first, by what it does to the predictions, each with its pictures."""
    found = ranked(report)
    loud = [one for one in found if one.acted_on.drifted or one.acted_on.findings]
    calm = [one for one in found if one not in loud]
    sections = "\n".join(map(_section, loud))
    if calm:
        quiet = "\n".join(map(_section, calm))
        sections += (
            f"<details{'' if loud else ' open'}><summary>{len(calm)} that did not drift</summary>{quiet}</details>"
        )
    sure = report.sure_in_words
    # An alarm's reason says it already.
    rate = "" if sure in report.reason else f'<p class="dim">{html.escape(sure[:1].upper() + sure[1:])}.</p>'
    unwatched = f'<p class="dim">{html.escape(report.unwatched_in_words)}.</p>' if report.unwatched else ""
    return _PAGE.format(
        version=html.escape(report.version),
        start=f"{report.current.start:%Y-%m-%d %H:%M}",
        end=f"{report.current.end:%Y-%m-%d %H:%M}",
        rows=f"{report.rows:,}",
        verdict=report.verdict,
        verdict_in_words=report.verdict.replace("_", " "),
        reason=html.escape(report.reason),
        acted_on=report.acted_on,
        rate=rate,
        unwatched=unwatched,
        sections=sections,
    )


def rows_of(report: DriftReport) -> list[list[object]]:
    """The report as rows for a terminal: feature, reference, KS, PSI, limit, `drifted`, importance, effect, what happened."""
    rows: list[list[object]] = []
    for one in ranked(report):
        for found in (one.acted_on, *one.others):
            odd = [one.text for one in found.findings if not (found.sentence and one.name in _TOLD)]
            happened = "; ".join(filter(None, [found.sentence, *odd]))
            effect = "" if found.effect is None else effect_in_words(found)
            rows.append(
                [
                    found.feature, found.reference, found.ks, found.psi, limit_in_words(found),
                    "drifted" if found.drifted else "", found.importance, effect, happened,
                ]
            )  # fmt: skip
    return rows


def limit_in_words(one: FeatureDrift) -> str:
    """What decides and its limit; of a whitened statistic, which has no column, the value too."""
    if not one.threshold:
        return "too few rows"
    value = f"{one.t:.3g} of " if one.t is not None else ""
    return f"{'T' if one.statistic == 't' else one.statistic} {value}{one.threshold:.3g}"


def effect_in_words(one: FeatureDrift) -> str:
    """What the drift does to the predictions; "" where it was not measured."""
    if one.effect is None:
        return ""
    mean = "" if one.effect.mean is None else f", {one.effect.mean:+.3g} on average"
    return f"{one.effect.mean_absolute:.3g} a prediction{mean}"


def _section(one: Ranked) -> str:
    acted = one.acted_on
    kind = ' class="drifted"' if acted.drifted else ""
    words = [f"<p>{html.escape(acted.sentence)}.</p>"] if acted.sentence else []
    effect = effect_in_words(acted)
    if effect:
        words.append(
            f"<p>It moves the answers by {html.escape(effect)} (of {acted.effect.rows if acted.effect else 0:,} rows, "
            "asked again with it as it was).</p>"
        )
    if acted.importance is not None:
        words.append(f'<p class="dim">Shuffled, it costs the model {acted.importance:.4g} of its metric.</p>')
    if acted.findings:
        words.append("<ul>" + "".join(f"<li>{html.escape(odd.text)}</li>" for odd in acted.findings) + "</ul>")
    state = "drifted" if acted.drifted else "did not drift"
    pictures = "".join(_picture(found) for found in (acted, *one.others))
    table = _table([acted, *one.others])
    head = f"<header><h2{kind}>{one.place}. {html.escape(acted.feature)} {state}</h2>{''.join(words)}{table}</header>"
    return f"<section>{head}{pictures}</section>"


def _table(found: Sequence[FeatureDrift]) -> str:
    head = ["against", "KS", "PSI", "KL", "limit", "rows then", "rows now"]
    lines = ["".join(f"<th{' class=n' if place else ''}>{text}</th>" for place, text in enumerate(head))]
    for one in found:
        cells = [one.reference, *map(_number, (one.ks, one.psi, one.kl)), limit_in_words(one)]
        cells += [f"{one.reference_rows:,}", f"{one.current_rows:,}"]
        lines.append("".join(f"<td{' class=n' if place else ''}>{text}</td>" for place, text in enumerate(cells)))
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _picture(one: FeatureDrift) -> str:
    """Bars side by side, a pair for each bin: its share then and now."""
    bins = one.histogram
    if not bins:
        return ""
    most = max(max(bin_.reference_share, bin_.current_share) for bin_ in bins) or 1.0
    wide, base = _WIDTH / len(bins), _HEIGHT - _FOOT
    drawn = [f'<path d="M0,{base} H{_WIDTH}" stroke="#8c959f"/>']
    for place, bin_ in enumerate(bins):
        drawn += _bars(bin_, place * wide, wide, base, (base - _HEAD) / most)
    drawn += _names(bins, wide, base)
    named = f"{one.feature}, {one.reference} reference and now"
    caption = f"against {one.reference}: the highest bar is {most:.0%}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(named)}">'
        f"{''.join(drawn)}</svg><figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _bars(bin_: Bin, left: float, wide: float, base: float, scale: float) -> list[str]:
    half = wide * 0.42
    told = html.escape(f"{bin_.label}: {bin_.reference_share:.1%} then, {bin_.current_share:.1%} now")
    drawn = [f"<g><title>{told}</title>"]
    for share, start, colour in ((bin_.reference_share, 0.06, "then"), (bin_.current_share, 0.5, "now")):
        height = max(share * scale, 0.6)
        drawn.append(
            f'<rect x="{left + wide * start:.1f}" y="{base - height:.1f}" width="{half:.1f}" height="{height:.1f}" '
            f'fill="var(--{colour})"/>'
        )
    return [*drawn, "</g>"]


def _names(bins: Sequence[Bin], wide: float, base: float) -> list[str]:
    """Of numbers the bounds between bins, as many as there is room for; of categories each by its name."""
    if any(one.low is not None or one.high is not None for one in bins):
        every = 1 + len(bins) // 12
        return [
            _text(wide * (place + 1), base + 13, "middle", _bound(one))
            for place, one in enumerate(bins[:-1])
            if place % every == 0
        ]
    drawn = []
    for place, one in enumerate(bins):
        x, y = wide * (place + 0.5), base + 11
        turn = f' transform="rotate(-28 {x:.1f} {y:.1f})"' if len(bins) > 4 else ""
        label = one.label if len(one.label) <= 18 else one.label[:17] + "…"
        drawn.append(_text(x, y, "end" if turn else "middle", label, turn))
    return drawn


def _bound(one: Bin) -> str:
    """The upper end of a bin: a number to four figures, or as its label has it (a date)."""
    end = one.label.rpartition(" to ")[2].removeprefix("<= ").removeprefix("< ")
    try:
        return f"{float(end):.4g}"
    except ValueError:
        return end


def _text(x: float, y: float, anchor: str, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" fill="#57606a" text-anchor="{anchor}"{more}>{html.escape(text)}</text>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
