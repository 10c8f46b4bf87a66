"""What the ledger keeps, as a person asks for it."""

from __future__ import annotations

import difflib
from typing import get_args

from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Decision, DecisionKind
from mainspring.domain.errors import ConfigError
from mainspring.domain.time import instant
from mainspring.settings.load import LoadedProject


def decisions(loaded: LoadedProject, *, kind: str = "", since: str = "", version: str = "") -> list[Decision]:
    """Decisions in the order in which they were written; `since` in ISO 8601.

    Errors: `ConfigError` for a kind that there is not.
    """
    kinds = get_args(DecisionKind)
    if kind and kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=1)
        raise ConfigError(
            f"{kind!r} is no kind of decision" + (f"; did you mean {near[0]!r}?" if near else ""),
            valid=", ".join(kinds),
        )
    at = instant(since) if since else None
    if not loaded.paths.ledger.exists():
        return []
    found = SqliteLedger(loaded.paths.ledger).decisions(since=at, kind=kind)
    return [one for one in found if not version or one.version == version]
