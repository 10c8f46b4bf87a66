"""Rows that are appended to a source become labels, features and online rows; where nothing is new, no source is read."""

from datetime import UTC, datetime, timedelta

import pytest

from mainspring.platforms.coverage import known_labels
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import load_project
from mainspring.sources.files import FileSource

AT = datetime(2026, 3, 10, tzinfo=UTC)
FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)
warmth = FeatureView(
    name="warmth", entities=[town], ttl=timedelta(days=2),
    schema=[Field(name="town", dtype=String), Field(name="warmest", dtype=Float64)],
    source=FileSource(name="warmth", path="warmth", timestamp_field="event_timestamp"),
)
towns = FeatureService(name="towns", features=[warmth])
"""
TRANSFORMS = '''
def warmth(db):
    """The warmest hour of the last day."""
    return """
        SELECT tick AS event_timestamp, town, max(temp) AS warmest FROM ticks
        JOIN days ON days._available_at <= tick AND days.at > tick - INTERVAL 1 DAY GROUP BY ALL
    """
'''


@pytest.fixture
def loaded(project):
    (project / "features.py").write_text(FEATURES)
    (project / "transforms.py").write_text(TRANSFORMS)
    with (project / "mainspring.yaml").open("a") as file:
        file.write("features: {request: [temp, town], service: towns, transforms: {warmth: {every: 6h}}}\n")
    text = (project / "days.csv").read_text().splitlines()
    kept = [line for line in text[1:] if line.split(",")[1] < "2026-03-09 23:30"]
    (project / "days.csv").write_text("\n".join([text[0], *kept]) + "\n")
    return load_project(project)


@pytest.fixture
def reads(monkeypatch):
    found = []
    real = FileSource.query

    def counted(self, db):
        found.append(self.name)
        return real(self, db)

    monkeypatch.setattr(FileSource, "query", counted)
    return found


@pytest.mark.filterwarnings("ignore")
def test_appended_rows_reach_labels_features_and_the_online_store(loaded, reads):
    features = LaptopFeatures(loaded)
    assert features.advance(AT) > 0
    reads.clear()
    for minute in range(1, 300, 7):  # until the next tick is due
        assert features.advance(AT + timedelta(minutes=minute)) == 0
    assert reads == []
    features.advance(AT + timedelta(hours=6))
    assert reads == []  # computed, of the rows as they were loaded: the file is what it was

    assert known_labels(loaded, AT + timedelta(hours=8)).num_rows == 68 * 24
    with (loaded.paths.root / "days.csv").open("a") as file:
        file.write(f"new,{AT + timedelta(hours=7)},99.5,Kiel,1\n")
    reads.clear()
    assert features.advance(AT + timedelta(hours=12)) > 0
    assert reads == ["days"]
    online = features.store.online([{"town": "Kiel"}, {"town": "Ulm"}]).to_pydict()
    assert online["warmest"][0] == 99.5
    assert online["warmest"][1] < 99.5
    labels = known_labels(loaded, AT + timedelta(hours=8))
    assert labels.num_rows == 68 * 24 + 1
    assert labels.slice(labels.num_rows - 1).column("request_id").to_pylist() == ["new"]
