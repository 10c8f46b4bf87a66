"""The ledger: append-only, idempotent, fenced, and whole after SIGKILL."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConflictError

AT = datetime(2013, 3, 1, tzinfo=UTC)


def decision(name: str) -> Decision:
    return Decision(name, "trigger", "what", "why", "loop", AT, numbers={"auc": 0.7})


def test_a_decision_is_written_once_and_its_state_with_it(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    assert ledger.append(decision("a"), state={"run": "1"})
    assert not ledger.append(decision("a"), state={"run": "2"})
    assert ledger.state("run") == "1"
    assert list(SqliteLedger(tmp_path / "ledger.db").decisions(kind="trigger")) == [decision("a")]


def test_rows_cannot_be_changed_or_removed(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "ledger.db").append(decision("a"))
    connection = sqlite3.connect(tmp_path / "ledger.db")
    for statement in ("DELETE FROM decision", "UPDATE decision SET kind = 'x'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_an_old_writer_is_fenced_by_a_newer_epoch(tmp_path: Path) -> None:
    old, new = SqliteLedger(tmp_path / "ledger.db"), SqliteLedger(tmp_path / "ledger.db")
    old.take_epoch()
    old.append(decision("a"))
    new.take_epoch()
    with pytest.raises(ConflictError, match="another loop took over"):
        old.append(decision("b"))
    assert new.append(decision("b"))


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Decision
ledger = SqliteLedger(Path(sys.argv[1]))
for place in range(100_000):
    one = Decision(f"d{place}", "trigger", "what", "why", "loop", datetime(2013, 3, 1, tzinfo=UTC))
    ledger.append(one, state={"last": str(place)})
    print(place, flush=True)
"""


def test_what_was_acknowledged_before_sigkill_is_there_and_state_agrees_with_decisions(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "ledger.db")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.read()
    process.stdout.close()
    process.wait()
    ledger = SqliteLedger(tmp_path / "ledger.db")
    written = [one.id for one in ledger.decisions()]
    assert len(written) > acknowledged
    assert written[-1] == f"d{ledger.state('last')}"
