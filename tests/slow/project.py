"""A small project whose whole life lasts 30 days of event time: what it asks, and what becomes of it.

The answer depends on `level` (sent by the caller) and on `mood` (a view). On `TURNED` the answer turns round and the
levels rise: the first model is wrong from then on, an alarm is due, and the model that the schedule asks for is better.
The one after that is as good as the champion, so the gate refuses it. In between a person ends the rollout of the
second and begins it anew, and a broken build is rolled out.
"""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=30)
STEP = timedelta(days=2)
TURNED = START + timedelta(days=3)
WISHES = ((START + timedelta(days=14), "abort", ""), (START + timedelta(days=16), "start", "2"))
"""What a person asks for: the second version's rollout is ended, and begun anew."""
BROKEN_FROM = START + timedelta(days=22)
BROKEN = "broken"
_HISTORY = timedelta(days=9)
_TOWNS = ("Bonn", "Kiel", "Ulm")

SETTINGS = """
name: towns
task: binary
sources:
  asked: {path: asked.csv, time: at, columns: {at: time, id: str, town: category, level: float, rain: int}}
  moods: {path: moods.csv, time: at, columns: {at: time, town: str, mood: float}, delay: 1h}
target: {source: asked, column: rain, id: id, delay: 3h}
features:
  request: [town, level]
  service: towns
  transforms:
    town_mood: {every: 1d, backfill: 20d}
split: {holdout: 2d, window: 7d}
gate: {min_gain: 0.05}
rollout: {steps: [{shadow: {time: 1d}}, 25, 50], step_time: 1d, min_requests: 4, guard: {time: 1d}}
drift: {every: 4d, min_rows: 20, trailing: 4d, persistence: 1}
retrain: {policy: on_schedule, schedule: 12d, cooldown: 2d, ask_every: 1d}
serving: {port: 0, timeout: 10s}
"""
FEATURES = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)
town_mood = FeatureView(
    name="town_mood",
    entities=[town],
    ttl=timedelta(days=3),
    schema=[Field(name="town", dtype=String), Field(name="mood", dtype=Float64)],
    source=FileSource(name="town_mood", path="town_mood", timestamp_field="event_timestamp"),
)
towns = FeatureService(name="towns", features=[town_mood])
"""
TRANSFORMS = '''
def town_mood(db):
    """The newest mood of each town."""
    return """
        SELECT t.tick AS event_timestamp, o.town, m.mood
        FROM ticks t
        CROSS JOIN (SELECT unnest(['Bonn', 'Kiel', 'Ulm']) AS town) o
        ASOF JOIN moods m ON m.town = o.town AND m._available_at <= t.tick
    """
'''
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)
"""


def write_project(folder):
    """Write the project; its sources reach beyond its end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "mainspring.yaml": SETTINGS,
        "features.py": FEATURES,
        "transforms.py": TRANSFORMS,
        "training.py": TRAINING,
    }.items():
        (folder / name).write_text(text)
    generator = np.random.default_rng(3)
    hours = pd.date_range(START - _HISTORY, END + timedelta(days=1), freq="h", tz="UTC")
    count = len(hours)
    turned = np.asarray(hours >= TURNED)
    level = generator.normal(np.where(turned, 2.0, 0.0), 1.0)
    town = generator.choice(_TOWNS, count)
    days = pd.date_range(START - _HISTORY - timedelta(days=3), END + timedelta(days=1), freq="6h", tz="UTC")
    moods = pd.DataFrame([{"at": at, "town": one, "mood": generator.normal()} for at in days for one in _TOWNS])
    moods.to_csv(folder / "moods.csv", index=False)
    lean = np.where(turned, -3.0 * (level - 2.0), 3.0 * level) + (town == "Kiel")
    rain = generator.uniform(size=count) < 1 / (1 + np.exp(-lean))
    asked = pd.DataFrame(
        {"id": [f"q{place:04d}" for place in range(count)], "at": hours, "town": town, "level": level, "rain": rain}
    )
    asked.astype({"rain": int}).to_csv(folder / "asked.csv", index=False)
    return folder


def questions(folder):
    """Each question that is asked in the scenario: its instant, its id and the body of the request, in order."""
    asked = pd.read_csv(folder / "asked.csv", parse_dates=["at"])
    asked = asked[(asked["at"] >= START) & (asked["at"] < END)]
    found = []
    for one in asked.itertuples():
        inputs = [
            {"name": "town", "shape": [1], "datatype": "BYTES", "data": [one.town]},
            {"name": "level", "shape": [1], "datatype": "FP64", "data": [one.level]},
        ]
        found.append((one.at.to_pydatetime(), one.id, json.dumps({"id": one.id, "inputs": inputs}).encode()))
    return found
