"""A predictor killed under load, again and again: whoever got an answer is in the log, once."""

import random
import signal
import time
from collections import Counter

import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.settings.paths import ProjectPaths
from tests.serving.models import write_model
from tests.serving.real import running
from tests.serving.test_workers import Callers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 20


@pytest.mark.parametrize("workers", [1, 2])
def test_an_answer_outlives_twenty_deaths(tmp_path, workers):
    model = tmp_path / "model"
    write_model(model)
    paths = ProjectPaths(tmp_path)
    log = ParquetPredictionLog(paths)
    generator = random.Random(workers)
    answered, lost = Counter(), set()
    for death in range(KILLS):
        folder = tmp_path / str(death)
        folder.mkdir()
        with running(model, folder, workers=workers, segments=paths.segments, killed=True) as process:
            with Callers(process.config.port, f"d{death}", threads=8) as callers:
                time.sleep(generator.uniform(0.05, 1.0))
                process.child.send_signal(signal.SIGKILL)
                process.child.wait()
            # In the middle of what the dead one left, and of what the next one writes.
            log.compact()
        answered += callers.answered
        lost |= set(callers.lost)
        assert callers.refused == []
        assert callers.answered
    log.compact()
    found = Counter(log.read(columns=["request_id"])["request_id"].to_pylist())
    assert {name: found[name] for name in answered} == answered
    # Written, and not answered any more; or not written.
    assert set(found) - set(answered) <= lost
    assert max(found.values()) == 1
    print(f"{workers} workers: {KILLS} deaths, {len(answered):,} answers, {len(lost)} requests without one")
