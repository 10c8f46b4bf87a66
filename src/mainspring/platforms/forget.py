"""`mainspring logs forget`: rows of the prediction log by entity, taken out for good, with a ledger row that names nobody."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.adapters.parquet.forgetting import Forgetting, LogForgetting
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.locks import locked
from mainspring.adapters.sinks.forgetting import SunkForgetting
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.concealment import Concealment
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConfigError
from mainspring.platforms.score_output import sweep_killed
from mainspring.platforms.sink import shipper
from mainspring.settings.load import LoadedProject
from mainspring.settings.log_key import log_key

NOT_REACHED = (
    "the project's sources, added labels, scored files, Feast's offline and online rows, training sets of runs, artifacts in "
    "MLflow, drift reports (which name categories), older states that a sink keeps by itself, and backups"
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows that went, or with `dry_run` would go; how many of them were not Parquet yet; the files that held them.

    `still_open` segments hold the rows' bytes until the predictor closes them, where no reader sees them any more;
    `damaged` segments were not searched.
    """

    rows: int
    unread: int
    files: int
    columns: tuple[str, ...]
    still_open: int
    damaged: int
    dry_run: bool
    decision: str = ""
    in_sink: int = 0
    """Rows that went from the log's sink, those that are on this disk as well among them."""


def forget(
    loaded: LoadedProject, entities: Sequence[str], *, by: str, why: str = "", dry_run: bool = False
) -> Forgotten:
    """Forget the rows whose entities have these values (`KEY=VALUE`; of one key any of several, of several keys all).

    What was begun and killed is finished first. Errors: `ConfigError` for what is no `KEY=VALUE`, `NotFound` for a key that
    nothing was logged by.
    """
    values = _values(loaded, entities)
    log = ParquetPredictionLog(loaded.paths)
    keyless = dry_run and loaded.settings.log.secret is None and not loaded.paths.log_key.exists()
    key = secrets.token_bytes(32) if keyless else log_key(loaded.settings.log, loaded.paths)
    forgetting = LogForgetting(log, loaded.paths.predictions, loaded.paths.segments, Concealment((), (), key))
    terms = forgetting.hashed(values)
    columns = tuple(sorted(terms))
    sunk = SunkForgetting(shipper(loaded, log), forgetting)
    forgetting.refuse_strange(terms, sunk.columns())
    if dry_run:
        found = forgetting.count(terms)
        files = len([name for name in found if name])
        return Forgotten(sum(found.values()), found.get("", 0), files, columns, 0, 0, True, "", sunk.count(terms))
    with locked(loaded.paths.segments.parent / "forget.lock"):
        sweep_killed(loaded.paths.scoring)
        for one in forgetting.unfinished():
            if one.terms != terms:
                _finish(loaded, forgetting, sunk, one)
        asked, decision, there = _finish(loaded, forgetting, sunk, forgetting.ask(terms, actor=by, why=why))
    files = len(asked.rows or {})
    return Forgotten(asked.total, 0, files, columns, asked.still_open, asked.damaged, False, decision, there)


def _finish(
    loaded: LoadedProject, forgetting: LogForgetting, sunk: SunkForgetting, asked: Forgetting
) -> tuple[Forgetting, str, int]:
    """The rows here, then those in the sink, then the ledger's row, then the request goes: killed in between, or with the sink
    away, the same happens again."""
    asked = forgetting.carry_out(asked)
    there = sunk.carry_out(asked.terms)
    decision = Decision(
        f"forgotten:{asked.id}",
        "forgotten",
        f"{asked.total:,} rows of the prediction log are forgotten, by {asked.columns}",
        asked.why or "asked for by a person",
        asked.actor,
        asked.at,
        numbers={"rows": asked.total, "files": len(asked.rows or {}), "by": sorted(asked.terms), "in_sink": there},
    )
    SqliteLedger(loaded.paths.ledger).append(decision)
    forgetting.forget_request(asked)
    return asked, decision.id, there


def _values(loaded: LoadedProject, entities: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in entities:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise ConfigError(f"{text!r} names no entity", where="--entity", valid="KEY=VALUE, such as user=4711")
        column = loaded.settings.features.entities.get(name, name)
        found.setdefault(column, []).append(value)
    if not found:
        raise ConfigError("nobody is named", where="--entity", valid="KEY=VALUE, once or more")
    return found
