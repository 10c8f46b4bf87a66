"""`mainspring score`, killed at instants all over its work: no half file, the same file afterwards, each row logged once."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.settings.load import load_project
from tests.platforms.towns import Walk, write_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
ROWS = 120_000
KILLS = 20
_SCORE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mainspring.platforms.scoring import score_file
from mainspring.settings.load import load_project
folder = Path(sys.argv[1])
loaded = load_project(folder)
print("ready", flush=True)
score_file(loaded, folder / "in.csv", folder / "out.csv", datetime(2026, 4, 1, tzinfo=UTC))
"""


def test_killed_at_any_instant_it_is_made_again_the_same(tmp_path):
    write_project(tmp_path)
    loaded = load_project(tmp_path)
    Tracking(loaded.settings, loaded.paths).client().search_experiments()
    walk = Walk(tmp_path).until("register")
    walk.registry.set_alias("champion", "1")
    walk.registry.fetch("1")
    generator = np.random.default_rng(5)
    towns = generator.choice(["Ulm", "Bonn", "Kiel"], ROWS)
    pd.DataFrame({"temp": generator.normal(10, 8, ROWS), "town": towns}).to_csv(tmp_path / "in.csv", index=False)
    seconds, whole = _score(tmp_path)
    (tmp_path / "out.csv").unlink()
    died = 0
    for number in range(KILLS):
        _score(tmp_path, kill_after=seconds * (number + 0.5) / KILLS)
        out = tmp_path / "out.csv"
        died += not out.exists()
        assert not out.exists() or _digest(out) == whole
        out.unlink(missing_ok=True)
    assert died >= KILLS // 2
    assert _score(tmp_path)[1] == whole
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    assert log.read(columns=["request_id", "role"]).num_rows == ROWS
    (decision,) = SqliteLedger(loaded.paths.ledger).decisions(kind="scored")
    assert decision.numbers["output_digest"] == whole
    assert list(tmp_path.glob(".*.part")) == []


def _score(folder: Path, kill_after: float | None = None) -> tuple[float, str]:
    """Seconds of the work itself, and the output's digest."""
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", _SCORE, str(folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert child.stdout.readline() == b"ready\n"
    began = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child.pid, signal.SIGKILL)
    status = child.wait()
    child.stdout.close()
    if kill_after is None:
        assert status == 0
        return time.monotonic() - began, _digest(folder / "out.csv")
    return kill_after, ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
