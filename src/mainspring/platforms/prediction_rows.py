"""`mainspring logs`: rows of the prediction log, newest last, met by their labels where they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mainspring.domain.time import instant
from mainspring.platforms.coverage import known_labels
from mainspring.platforms.sink import whole_log
from mainspring.settings.load import LoadedProject

HEADER = ["at (UTC)", "request", "version", "arm", "role", "outcome", "output", "ms", "notes"]


def newest_rows(
    loaded: LoadedProject, *, last: int, since: str = "", failed: bool = False, labels: bool = False
) -> list[dict[str, Any]]:
    """The last rows as plain values; with `labels` each has `label`, None where it is not known.

    Errors: `ConfigError` when labels are asked for and questions have no id.
    """
    at = instant(since) if since else None
    table = whole_log(loaded).newest(last, since=at, failed=failed)
    if labels:
        import pyarrow.compute as pc

        known = known_labels(loaded, datetime.now(UTC))
        place = pc.index_in(table.column("request_id"), value_set=known.column("request_id"))
        table = table.append_column("label", known.column("label").take(place))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def in_words(row: dict[str, Any], *, labels: bool = False) -> list[object]:
    """A row under `HEADER`."""
    build = f"-{row['build']}" if row["build"] else ""
    cells: list[object] = [
        f"{row['event_at']:%Y-%m-%d %H:%M:%S}",
        row["request_id"],
        f"{row['version']}{build}" or "-",
        row["arm"],
        row["role"],
        row["outcome"],
        " ".join(f"{one:.4g}" for one in row["output"]) or "-",
        f"{row['latency_seconds'] * 1000:.1f}",
        "; ".join(one for one in (row["reason"], *row["flags"]) if one),
    ]
    return [*cells, row["label"]] if labels else cells
