"""A future value is planted in every source; the loop that is replayed up to that instant must not have seen it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.demo import run
from mainspring.demo.data import write_flights
from mainspring.settings.load import load_project
from mainspring.templates.write import write_files

CUT = datetime(2013, 4, 5, tzinfo=UTC)
"""The loop trains its second model at this instant: whatever it can see, it would see here."""
PLANTED = {
    "flights": "* REPLACE (IF(settled_at > $cut, 1 - late, late) AS late, IF(scheduled_at > $cut, 1e6, distance) AS distance)",
    "departures": "* REPLACE (IF(departed_at + INTERVAL 5 MINUTE > $cut, 1e6, delay_minutes) AS delay_minutes)",
    "arrivals": "* REPLACE (IF(arrived_at + INTERVAL 15 MINUTE > $cut, 1 - late, late) AS late)",
    "weather": "* REPLACE (IF(observed_at + INTERVAL 1 HOUR > $cut, 1e6, temp) AS temp)",
}


class Silent:
    """Hears nothing."""

    def stage(self, text: str) -> None:
        """Something began."""

    def step(self, at: datetime, decisions: list, requests: int) -> None:
        """The clock moved on."""


def plant(folder: Path) -> None:
    write_flights(folder)
    with duckdb.connect() as db:
        for name, columns in PLANTED.items():
            file, part = folder / f"{name}.parquet", folder / f"{name}.part"
            text = columns.replace("$cut", f"TIMESTAMP '{CUT:%Y-%m-%d %H:%M}'")
            before = db.execute(f"SELECT sum(hash(r)) FROM read_parquet('{file}') r").fetchone()
            db.execute(f"COPY (SELECT {text} FROM read_parquet('{file}')) TO '{part}' (FORMAT parquet)")
            assert db.execute(f"SELECT sum(hash(r)) FROM read_parquet('{part}') r").fetchone() != before
            part.replace(file)


def replayed(folder: Path, write_data) -> tuple[dict, list, list, dict]:
    """What was served, decided and trained, and what the calendar's model answered; who answered is chance."""
    run.demo(folder, lambda into: write_files(into, "flights"), Silent(), until=CUT, write_data=write_data)
    paths = load_project(folder).paths
    rows = ParquetPredictionLog(paths).read()
    features = [name for name in rows.column_names if name.startswith(("feature.", "age."))]
    served = {row.pop("request_id"): row for row in rows.select(["request_id", *features]).to_pylist()}
    decisions = SqliteLedger(paths.ledger).decisions()
    decided = [(one.kind, one.at, one.version, one.why) for one in decisions]
    trained = [one.numbers["metrics"] for one in decisions if one.kind == "gate_passed"]
    calendar = pq.read_table(paths.state / "demo" / "calendar.parquet").to_pydict()
    return served, decided, trained, calendar


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # it imports every vendor there is
def test_nothing_of_the_future_reaches_a_prediction_a_decision_or_a_model(tmp_path: Path) -> None:
    served, decided, trained, calendar = replayed(tmp_path / "as_it_was", write_flights)
    again = replayed(tmp_path / "planted", plant)
    assert len(served) > 5000
    assert again[0] == served
    assert again[1] == decided
    assert len(trained) == 2, "a second model has to be trained at the cut, or nothing was tested"
    assert again[2] == trained
    assert again[3] == calendar
