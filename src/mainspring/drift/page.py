"""A drift report as a page that a person reads, and as lines for a terminal."""

from __future__ import annotations

import html

from mainspring.domain.drift_report import DriftReport, FeatureDrift

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Drift of version {version}</title>
<style>body{{font:15px system-ui;margin:2rem auto;max-width:75rem;color:#1c2733}}table{{border-collapse:collapse;width:100%}}
td,th{{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}}td.n{{text-align:right}}
.alarm,.drifted{{color:#b42318;font-weight:600}}.warning{{color:#a15c07;font-weight:600}}</style>
<h1>Drift of version {version}</h1>
<p>{start} to {end} (UTC), {rows} predictions. <span class="{verdict}">{verdict}</span>: {reason}.</p>
<p>{unwatched}</p>
<p>Acted on: the {acted_on} reference. {sure}.</p>
<table><tr><th>feature</th><th>reference</th><th>KS</th><th>PSI</th><th>KL</th><th>threshold</th><th>rows then</th>
<th>rows now</th><th>what moved most</th><th>findings</th></tr>
{lines}</table></html>
"""


def page(report: DriftReport) -> str:
    """The report as HTML."""
    return _PAGE.format(
        version=html.escape(report.version),
        start=f"{report.current.start:%Y-%m-%d %H:%M}",
        end=f"{report.current.end:%Y-%m-%d %H:%M}",
        rows=f"{report.rows:,}",
        verdict=report.verdict,
        reason=html.escape(report.reason),
        acted_on=report.acted_on,
        sure=html.escape(report.sure_in_words[:1].upper() + report.sure_in_words[1:]),
        unwatched=html.escape(report.unwatched_in_words),
        lines="\n".join(_line(one) for one in _by_weight(report)),
    )


def _by_weight(report: DriftReport) -> list[FeatureDrift]:
    """What is acted on first, and there the farthest first."""
    return sorted(report.features, key=lambda one: (one.reference != report.acted_on, -(one.psi or 0.0)))


def rows_of(report: DriftReport) -> list[list[object]]:
    """The report as rows for a terminal: feature, reference, KS, PSI, KL, limit, `drifted`, what moved most."""
    return [
        [
            one.feature,
            one.reference,
            one.ks,
            one.psi,
            one.kl,
            limit_in_words(one),
            "drifted" if one.drifted else "",
            moved_in_words(one).partition("; ")[0] + "".join(f"; {found.text}" for found in one.findings),
        ]
        for one in _by_weight(report)
    ]


def moved_in_words(one: FeatureDrift) -> str:
    """The bins that moved most, in the feature's own units."""
    return "; ".join(f"{bin_.label}: {bin_.reference_share:.1%} to {bin_.current_share:.1%}" for bin_ in one.moved)


def limit_in_words(one: FeatureDrift) -> str:
    """What decides and its limit; of a whitened statistic, which has no column, the value too."""
    value = f"{one.t:.3g} of " if one.t is not None else ""
    return f"{'T' if one.statistic == 't' else one.statistic} {value}{one.threshold:.3g}"


def _line(one: FeatureDrift) -> str:
    numbers = [_number(one.ks), _number(one.psi), _number(one.kl), limit_in_words(one)]
    counts = [f"{one.reference_rows:,}", f"{one.current_rows:,}"]
    kind = ' class="drifted"' if one.drifted else ""
    cells = [f"<td{kind}>{html.escape(one.feature)}</td><td>{one.reference}</td>"]
    cells += [f'<td class="n">{text}</td>' for text in numbers + counts]
    cells += [
        f"<td>{html.escape(text)}</td>"
        for text in (moved_in_words(one), "; ".join(found.text for found in one.findings))
    ]
    return "<tr>" + "".join(cells) + "</tr>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
