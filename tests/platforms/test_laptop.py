"""The loop and a run's step keep the views current at the same time, each after the other."""

import threading
import time
from datetime import UTC, datetime

from mainspring.platforms import laptop
from mainspring.settings.paths import ProjectPaths


class Store:
    """Says only that there are views."""

    def views(self):
        return []

    def materialize(self, until):
        return 0


def test_views_are_advanced_by_one_at_a_time(tmp_path, monkeypatch):
    inside, most = [], []

    def run_transforms(*arguments, **options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        inside.pop()
        return {"town_mood": 1}

    monkeypatch.setattr(laptop, "run_transforms", run_transforms)
    parts = []
    for _ in range(3):
        part = object.__new__(laptop.LaptopFeatures)
        part.store, part._paths, part._session, part._advanced_to = Store(), ProjectPaths(tmp_path), None, None
        parts.append(part)
    threads = [threading.Thread(target=part.advance, args=(datetime(2026, 3, 1, tzinfo=UTC),)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
