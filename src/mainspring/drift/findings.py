"""Findings: what is odd about a window of a feature beside its distance from the reference, each by its own name."""

from __future__ import annotations

from mainspring.domain.drift_report import Finding, FindingName
from mainspring.drift.cells import MISTYPED, Cells, Counts
from mainspring.drift.statistics import covered, difference_of_shares

SURE = 0.001
"""The chance that a share is found to be another one which is not, of independent rows."""


def findings_of(cells: Cells, reference: Counts, current: Counts) -> list[Finding]:
    """What is odd, the gravest first.

    >>> import numpy as np
    >>> cells = Cells("category", categories=("a", "b"))
    >>> before, now = np.array([60, 40, 0, 0, 0, 0, 0, 0]), np.array([30, 0, 70, 0, 0, 0, 0, 0])
    >>> [(one.name, one.text) for one in findings_of(cells, Counts(before), Counts(now))]
    [('new_category', '70 rows of categories that the reference never had')]
    """
    if not current.rows:
        return [Finding("empty_window", "no rows")]
    found = [*_types(reference, current), *_missing(reference, current)]
    found += _more("infinite", "infinite values", reference.infinite, reference, current.infinite, current)
    found += _outside(cells, reference, current)
    if not cells.ordered and cells.kind != "hashed":
        found += _new_categories(cells, reference, current)
    return found + _constant(cells, reference, current)


def _types(reference: Counts, current: Counts) -> list[Finding]:
    mistyped, before = current.apart(MISTYPED), reference.apart(MISTYPED)
    if not mistyped or not _differ(before, reference, mistyped, current):
        return []
    text = f"{mistyped:,} values of another type: text where numbers were, or the reverse"
    return [_finding("type_changed", text, before, reference, mistyped, current)]


def _missing(reference: Counts, current: Counts) -> list[Finding]:
    before, now = reference.missing, current.missing
    if now == current.rows:
        return [_finding("all_null", "all values are missing", before, reference, now, current)]
    return _more("missing", "missing values", before, reference, now, current)


def _more(name: FindingName, what: str, before: int, reference: Counts, now: int, current: Counts) -> list[Finding]:
    if not _differ(before, reference, now, current):
        return []
    text = f"{what}: {_share(before, reference)} then, {_share(now, current)} now"
    return [_finding(name, text, before, reference, now, current)]


def _outside(cells: Cells, reference: Counts, current: Counts) -> list[Finding]:
    """Rows beyond everything that the reference had; of another sample from the same source there is hardly one."""
    if len(cells.edges) < 2:
        return []
    found = []
    for cell in (0, cells.size - 1):
        before, now = int(reference.cells[cell]), int(current.cells[cell])
        if now * reference.rows > before * current.rows and _differ(before, reference, now, current):
            text = f"{now:,} rows {cells.label(cell)}, beyond what the reference had"
            found.append(_finding("outside", text, before, reference, now, current))
    return found


def _new_categories(cells: Cells, reference: Counts, current: Counts) -> list[Finding]:
    new = covered(cells)
    before, now = int(reference.cells[new:].sum()), int(current.cells[new:].sum())
    if not now or (before and not _differ(before, reference, now, current)):
        return []
    text = f"{now:,} rows of categories that the reference never had"
    if before:
        text = f"categories that training never had: {_share(before, reference)} then, {_share(now, current)} now"
    return [_finding("new_category", text, before, reference, now, current)]


def _constant(cells: Cells, reference: Counts, current: Counts) -> list[Finding]:
    """All rows in one cell: that the others would meet the first by chance is hardly ever so."""
    cell = int(current.cells.argmax())
    if cells.kind == "hashed" or not reference.known or not 0 < current.known == current.cells[cell]:
        return []
    share = reference.cells[cell] / reference.known
    if share ** (current.known - 1) >= SURE:
        return []
    what = "one single value" if cells.single[cell] else "all values lie together"
    return [Finding("constant", f"{what}: {cells.label(cell)}", float(share), 1.0)]


def _differ(before: int, reference: Counts, now: int, current: Counts) -> bool:
    return difference_of_shares(before, reference.rows, now, current.rows) < SURE


def _finding(name: FindingName, text: str, before: int, reference: Counts, now: int, current: Counts) -> Finding:
    return Finding(name, text, before / max(1, reference.rows), now / max(1, current.rows))


def _share(rows: int, counts: Counts) -> str:
    return f"{rows / max(1, counts.rows):.1%}"
