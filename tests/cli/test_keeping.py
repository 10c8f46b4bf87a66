"""Forgetting, hashing and deleting while a real loop serves: what was asked for happens, and no caller notices."""

import json
import signal
import time

import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.settings.paths import ProjectPaths
from tests.cli.running import Callers, Up, mainspring, write_project

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(400)]


@pytest.mark.slow
def test_a_person_is_forgotten_and_old_versions_go_while_callers_ask(tmp_path):
    folder = write_project(tmp_path)
    paths = ProjectPaths(folder)
    up = Up(folder)
    try:
        up.wait("serving", "version 1 answers")
        address = json.loads(mainspring(folder, "status", "--json")[1])["serving"]["address"]
        before = Callers(address)
        time.sleep(2)
        before.stop()
        during = Callers(address)
        code, out, errors = mainspring(folder, "logs", "forget", "--entity", "town=Ulm", "--json")
        during.stop()
        assert code == 0, errors
        assert json.loads(out)["rows"] >= len(before.acknowledged) > 20
        assert json.loads(out)["still_open"] == 1
        after = Callers(address)
        time.sleep(1)
        code, out, errors = mainspring(folder, "gc", "--yes", "--by", "eva")
        assert code == 0, errors
        assert out.startswith("nothing goes")
        after.stop()
        assert not before.failed + during.failed + after.failed
        (folder / "mainspring.yaml").open("a").write("log: {hash: [town]}\n")
    finally:
        assert up.end(signal.SIGTERM) == 0
    there = ParquetPredictionLog(paths).read().column("request_id").to_pylist()
    assert len(there) == len(set(there))
    assert not set(there) & set(before.acknowledged)
    assert set(after.acknowledged) <= set(there) <= set(during.acknowledged + after.acknowledged)
    (row,) = SqliteLedger(paths.ledger).decisions(kind="forgotten")
    assert "Ulm" not in json.dumps(row.numbers) + row.what + row.why
    up = Up(folder)
    try:
        up.wait("serving", "version 1 answers")
        hashed = Callers(json.loads(mainspring(folder, "status", "--json")[1])["serving"]["address"])
        time.sleep(1)
        hashed.stop()
    finally:
        assert up.end(signal.SIGTERM) == 0
    rows = ParquetPredictionLog(paths).read().to_pylist()
    towns = {row["feature.town"] for row in rows if row["request_id"] in hashed.acknowledged}
    assert len(towns) == 1
    assert len(towns.pop()) == 32
