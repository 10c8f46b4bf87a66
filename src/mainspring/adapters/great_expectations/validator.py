"""`GreatExpectationsValidator`: a project's `expectations.py` (plain Great Expectations 1.x) behind `DataValidator`.

An ephemeral context and one whole-frame batch; nothing is written but the page. Great Expectations takes five seconds
to import, so only the step that validates imports this module's insides.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import ConfigError
from mainspring.ports import ExpectationResult
from mainspring.settings.code import import_file

if TYPE_CHECKING:
    import pyarrow as pa

EXPECTATIONS_FILE = "expectations.py"
_EXAMPLES = 5
_LONGEST = 200
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Data validation</title>
<style>body{{font:15px system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2733}}table{{border-collapse:collapse;width:100%}}
td,th{{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}}
.critical{{color:#b42318;font-weight:600}}.warning{{color:#a15c07;font-weight:600}}.held{{color:#18794e}}</style>
<h1>Data validation</h1><p>{summary}</p>
<table><tr><th>held</th><th>expectation</th><th>column</th><th>severity</th><th>rows</th><th>found</th></tr>
{rows}</table></html>
"""


class GreatExpectationsValidator:
    """Validates tables by the list `expectations` (or the suite `suite`) of a project's `expectations.py`.

    `identity` is the column by which a person finds a row again; it is named beside the row's place in examples.
    """

    def __init__(self, path: Path, *, identity: str | None = None) -> None:
        self._path = path
        self._identity = identity

    def validate(self, table: pa.Table, page: Path) -> Sequence[ExpectationResult]:
        """Every expectation's result, failures first; `page` becomes a readable HTML page.

        Errors: `ConfigError` when the file cannot be imported, or an expectation cannot be evaluated at all (it names a
        column that is not there).
        """
        results = self._run(table) if self._path.is_file() else []
        results.sort(key=lambda one: (one.success, one.severity != "critical"))
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_page(results, table.num_rows), encoding="utf-8")
        return results

    def _run(self, table: pa.Table) -> list[ExpectationResult]:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
        import great_expectations as gx

        suite = gx.ExpectationSuite("project", expectations=self._expectations())
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        definition = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
        batch = definition.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": table.to_pandas()})
        outcome = batch.validate(
            suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": _EXAMPLES}
        )
        return [self._result(one, table) for one in outcome.results]

    def _expectations(self) -> list[Any]:
        try:
            module = import_file(self._path, "mainspring_project_expectations")
        except Exception as error:
            raise ConfigError(f"cannot be imported: {error!r}", where=str(self._path)) from error
        found = getattr(module, "expectations", None)
        if found is None:
            found = getattr(getattr(module, "suite", None), "expectations", None)
        if not isinstance(found, list):
            raise ConfigError(
                "there is no list `expectations`",
                where=str(self._path),
                valid="expectations = [gxe.ExpectColumnValuesToNotBeNull(column=..., severity='critical'), ...]",
            )
        return found

    def _result(self, one: Any, table: pa.Table) -> ExpectationResult:
        config = one.expectation_config
        named = [config.kwargs[key] for key in ("column", "column_A", "column_B") if config.kwargs.get(key)]
        column = ", ".join(map(str, named or config.kwargs.get("column_list") or []))
        broken = [info for info in _exceptions(one.exception_info) if info]
        if broken:
            raise ConfigError(
                f"{config.type} on {column!r} cannot be evaluated: {broken[0]}",
                where=str(self._path),
                valid=", ".join(table.column_names),
            )
        result = one.result or {}
        return ExpectationResult(
            expectation=config.type,
            column=column,
            severity=str(getattr(config.severity, "value", config.severity) or "critical"),
            success=bool(one.success),
            unexpected_count=int(result.get("unexpected_count") or 0),
            examples=() if one.success else tuple(_examples(result, self._place(table))),
            asked=_asked(config.kwargs),
        )

    def _place(self, table: pa.Table) -> Callable[[int], str]:
        known = self._identity if self._identity in table.column_names else None

        def place(row: int) -> str:
            return f"row {row}" if known is None else f"row {row}, {known} {table.column(known)[row].as_py()}"

        return place


def _exceptions(info: Any) -> list[str]:
    if not isinstance(info, dict):
        return []
    found = [info] if "raised_exception" in info else [one for one in info.values() if isinstance(one, dict)]
    return [str(one.get("exception_message") or "") for one in found if one.get("raised_exception")]


def _examples(result: dict[str, Any], place: Callable[[int], str]) -> list[str]:
    places = result.get("partial_unexpected_index_list") or []
    values = [_plain(value) for value in result.get("partial_unexpected_list") or []]
    if values and len(places) == len(values):
        return [f"{place(row)}: {value!r}" for row, value in zip(places, values, strict=True)][:_EXAMPLES]
    if values or places:
        return [repr(value) for value in values][:_EXAMPLES] or [place(row) for row in places][:_EXAMPLES]
    return [f"observed {_short(result['observed_value'])}"] if "observed_value" in result else []


def _asked(given: dict[str, Any]) -> str:
    """An expectation's own settings in one line."""
    silent = {"batch_id", "column", "column_A", "column_B", "column_list"}
    found = {name: value for name, value in given.items() if name not in silent and value is not None}
    return ", ".join(f"{name} {_short(value)}" for name, value in found.items() if value is not False)


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _plain(value: Any) -> Any:
    """Pairs of columns come as NumPy's own numbers, whose names mean nothing to a reader."""
    return tuple(getattr(one, "tolist", lambda one=one: one)() for one in value) if isinstance(value, tuple) else value


def _page(results: Sequence[ExpectationResult], rows: int) -> str:
    broken = [one for one in results if not one.success]
    summary = f"{len(results)} expectations over {rows:,} rows: {len(broken)} did not hold."
    lines = []
    for one in results:
        held = '<td class="held">yes</td>' if one.success else f'<td class="{html.escape(one.severity)}">no</td>'
        name = html.escape(one.expectation) + (f"<br><small>{html.escape(one.asked)}</small>" if one.asked else "")
        count = f"{one.unexpected_count:,}" if one.unexpected_count else "-"
        cells = [
            name,
            html.escape(one.column),
            html.escape(one.severity),
            count,
            "<br>".join(map(html.escape, one.examples)),
        ]
        lines.append(f"<tr>{held}" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _PAGE.format(summary=summary, rows="\n".join(lines))
