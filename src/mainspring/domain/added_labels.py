"""`AddedLabels`: one file of labels that was added, and what became of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AddedLabels:
    """A file by the digest of its bytes. `rows` are `new` + `doubles` + `refused`; `corrections` are among the new.

    `unmatched` of the new ones met no prediction when they were added; they are kept.
    """

    digest: str
    name: str
    by: str
    at: datetime
    rows: int
    new: int
    doubles: int
    corrections: int
    refused: int = 0
    unmatched: int = 0
