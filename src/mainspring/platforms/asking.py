"""A person's request to the loop: written, and, where a loop runs, waited for until it is answered."""

from __future__ import annotations

import getpass
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.loop.requests import answer, ask
from mainspring.loop.wishes import PersonRequest, Wish
from mainspring.platforms.lease import holder
from mainspring.settings.load import LoadedProject

_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request; `decision` is the ledger row that answered it, "" while it waits."""

    request: str
    text: str
    refused: bool = False
    decision: str = ""
    run_id: str = ""


def ask_loop(
    loaded: LoadedProject,
    wish: Wish,
    *,
    version: str = "",
    why: str = "",
    by: str = "",
    until: datetime | None = None,
    wait_seconds: float = _WAIT_SECONDS,
) -> Answer:
    """Ask; the answer, or that it comes with the next `mainspring up`.

    Errors: `ConflictError` with the reason when it is refused at once.
    """
    ledger = SqliteLedger(loaded.paths.ledger)
    request = PersonRequest(wish, by or getpass.getuser(), datetime.now(UTC), version, why, until)
    row = ask(ledger, request)
    patience = time.monotonic() + wait_seconds
    while holder(loaded.paths.lease) is not None and time.monotonic() < patience:
        found = answer(ledger, row)
        if found is not None:
            refused = found.kind == "request_refused"
            text = f"refused: {found.why}" if refused else f"{found.what} ({found.why})"
            return Answer(row, text, refused, found.id, found.run_id)
        time.sleep(0.1)
    if holder(loaded.paths.lease) is None:
        return Answer(row, f"asked for {request.words}; no loop runs: the next `mainspring up` takes it up")
    return Answer(row, f"asked for {request.words}; the loop is busy and takes it up next: mainspring status")
