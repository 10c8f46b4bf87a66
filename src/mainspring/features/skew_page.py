"""A skew report as a page that stands alone, and as rows for a terminal."""

from __future__ import annotations

import html

from mainspring.domain.skew_report import AnswerSkew, FeatureSkew, SkewReport

HEADER = ["feature", "from", "compared", "differ", "median by", "at most by", "what it looks like"]
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Skew of version {version}</title>
<style>body{{font:15px system-ui;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2733}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}}td.n{{text-align:right}}
.skew{{color:#b42318;font-weight:600}}code{{font-size:13px}}</style>
<h1>Training/serving skew of version {version}</h1>
<p>{start} to {end} (UTC): {replayed} of {logged} served requests, replayed against the offline store as of each request's event
time. Numbers within {tolerance:g} of each other (relative) are the same. <span class="{kind}">{verdict}</span></p>
<p>{answers}</p>
<table><tr><th>feature</th><th>from</th><th>compared</th><th>differ</th><th>median by</th><th>at most by</th>
<th>what it looks like</th><th>requests (served, offline)</th></tr>
{lines}</table>
<h2>Not compared</h2><ul>{not_compared}</ul></html>
"""


def page(report: SkewReport) -> str:
    """The report as HTML."""
    nothing = "<li>nothing: all was</li>"
    return _PAGE.format(
        version=html.escape(report.version),
        start=f"{report.window.start:%Y-%m-%d %H:%M}",
        end=f"{report.window.end:%Y-%m-%d %H:%M}",
        replayed=f"{report.replayed:,}",
        logged=f"{report.logged:,}",
        tolerance=report.tolerance,
        kind="skew" if report.found else "",
        verdict=html.escape(verdict(report)),
        answers=html.escape(answers_in_words(report.answers)),
        lines="\n".join(_line(one) for one in _by_share(report)),
        not_compared="".join(
            f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in report.not_compared.items()
        )
        or nothing,
    )


def verdict(report: SkewReport) -> str:
    """The report in a sentence."""
    names = [one.feature for one in _by_share(report) if one.differing]
    if not report.found:
        return f"No skew in {len(report.features)} features."
    return f"Skew in {', '.join(names)}." if names else "The model answers otherwise than it did, given the same."


def answers_in_words(answers: AnswerSkew | None) -> str:
    """What the model, run again, says."""
    if answers is None:
        return "The model was not run again."
    text = (
        f"The model answers {answers.differing:,} of {answers.compared:,} requests otherwise with the offline features"
    )
    if answers.median_difference is not None and answers.largest_difference is not None:
        text += f" (median by {answers.median_difference:.4g}, at most by {answers.largest_difference:.4g})"
    same = answers.same_inputs_differing
    return f"{text}; with the logged ones {f'{same:,} otherwise than it did' if same else 'all as it did'}."


def rows_of(report: SkewReport) -> list[list[object]]:
    """Rows for a terminal, what differs most first."""
    return [
        [
            one.feature,
            one.source,
            one.compared,
            one.differing,
            _size(one.median_difference),
            _size(one.largest_difference),
            _words(one),
        ]
        for one in _by_share(report)
    ]


def _by_share(report: SkewReport) -> list[FeatureSkew]:
    return sorted(report.features, key=lambda one: -one.differing / max(one.compared, 1))


def _size(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"


def _words(one: FeatureSkew) -> str:
    notes = [one.said] if one.said else []
    notes += [f"no skew: {count} {reason}" for reason, count in one.explained.items()]
    notes += [f"no skew: {one.late_unseen} later rows, which the join does not see"] if one.late_unseen else []
    return "; ".join(notes)


def _line(one: FeatureSkew) -> str:
    kind = ' class="skew"' if one.differing else ""
    numbers = [f"{one.compared:,}", f"{one.differing:,}", _size(one.median_difference), _size(one.largest_difference)]
    cells = [f"<td{kind}>{html.escape(one.feature)}</td><td>{html.escape(one.source)}</td>"]
    cells += [f'<td class="n">{text}</td>' for text in numbers]
    examples = "<br>".join(
        f"<code>{html.escape(each.request_id)}</code> {html.escape(each.served or 'missing')}, "
        f"{html.escape(each.offline or 'missing')} ({each.kind})"
        for each in one.examples
    )
    return "<tr>" + "".join([*cells, f"<td>{html.escape(_words(one))}</td><td>{examples}</td>"]) + "</tr>"
