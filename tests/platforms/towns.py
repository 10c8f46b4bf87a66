"""A small CSV project that trains in a second, with or without feature views, and its steps in this process."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.platforms.runs import runner as project_runner
from mainspring.platforms.step import run_here
from mainspring.settings.load import load_project

SETTINGS = """
name: towns
task: binary
sources:
  days: {path: days.csv, time: at, columns: {at: time}}
target: {source: days, column: rain, time: at, id: day}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder=SimpleImputer())
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)
"""
VIEWS_SETTINGS = """
features:
  request: [temp, town]
  transforms: {town_rain: {every: 6h}}
  entities: {town: town}
"""
FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)
town_rain = FeatureView(
    name="town_rain", entities=[town], ttl=timedelta(hours=48),
    schema=[Field(name="town", dtype=String), Field(name="mean_temp", dtype=Float64)],
    source=FileSource(name="town_rain", path="town_rain", timestamp_field="event_timestamp"),
)
towns = FeatureService(name="towns", features=[town_rain])
"""
TRANSFORMS = '''
def town_rain(db):
    return """SELECT t.tick AS event_timestamp, d.town, avg(d.temp) AS mean_temp FROM ticks t
              JOIN days d ON d._available_at <= t.tick AND d._available_at > t.tick - INTERVAL 24 HOUR GROUP BY ALL"""
'''
KNOWN_AT = "2026-04-01"
INPUTS = {
    "ingest": (),
    "validate": ("dataset",),
    "engineer": ("dataset", "report"),
    "train": ("training_set",),
    "evaluate": ("training_set", "model", "metrics"),
    "register": ("training_set", "validation", "model", "metrics", "evaluation", "page"),
    "refuse": ("training_set", "validation", "model", "metrics", "evaluation", "page"),
}
OUTPUTS = {
    "ingest": {"dataset": "dataset"},
    "validate": {"report": "report", "page": "validation"},
    "engineer": {"training_set": "training_set"},
    "train": {"model": "model", "metrics": "metrics"},
    "evaluate": {"evaluation": "evaluation", "page": "page"},
    "register": {"version": "version"},
    "refuse": {"version": "version"},
}


def write_project(folder, *, views=False):
    """2,000 hours in three towns; `views` adds a Feast view that a transform computes."""
    generator = np.random.default_rng(2)
    count = 2000
    temp = generator.normal(10, 8, count)
    town = generator.choice(["Ulm", "Bonn", "Kiel"], count)
    rain = generator.uniform(size=count) < 1 / (1 + np.exp(0.2 * (temp - 10) - (town == "Kiel")))
    at = pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC")
    frame = pd.DataFrame({"day": [f"d{n}" for n in range(count)], "at": at, "temp": temp, "town": town, "rain": rain})
    frame.astype({"rain": int}).to_csv(folder / "days.csv", index=False)
    (folder / "mainspring.yaml").write_text(SETTINGS + (VIEWS_SETTINGS if views else ""))
    (folder / "training.py").write_text(TRAINING)
    if views:
        (folder / "features.py").write_text(FEATURES)
        (folder / "transforms.py").write_text(TRANSFORMS)
    return folder


def edit(project, name, old, new):
    """Replace text in a file of the project; with an empty `old`, append."""
    path = project / name
    text = path.read_text() if path.exists() else ""
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text + new)


class Walk:
    """The steps of one run, one after the other in this process: what Kubeflow does, without its processes."""

    def __init__(
        self, project: Path, run_id: str = "run-1", champion: str = "", known_at: str = KNOWN_AT, **more: str
    ) -> None:
        self.loaded = load_project(project)
        self.run_id = run_id
        self._parameters = json.dumps({"known_at": f"{known_at}T00:00:00+00:00", "champion": champion, **more})
        self._folder = project / ".mainspring" / "artifacts" / run_id
        self.numbers: dict[str, dict[str, float]] = {}

    def path(self, name: str) -> Path:
        """An artifact's path."""
        return self._folder / name

    def step(self, name: str) -> dict[str, float]:
        """Run one step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        inputs = {one: str(self.path(one)) for one in INPUTS[name]}
        outputs = {given: str(self.path(one)) for given, one in OUTPUTS[name].items()}
        root = str(self.loaded.paths.root)
        self.numbers[name] = run_here(name, root, self.run_id, self._parameters, inputs, outputs)
        return self.numbers[name]

    def until(self, last: str) -> "Walk":
        """Run all steps up to this one; `register` is that or `refuse`, as the gate says."""
        for name in ("ingest", "validate", "engineer", "train", "evaluate", "register"):
            self.step("refuse" if name == "register" and not self.numbers["evaluate"]["passed"] else name)
            if name == last:
                return self
        raise AssertionError(last)

    def read(self, artifact: str, file: str = "") -> object:
        """A JSON file of an artifact."""
        return json.loads((self.path(artifact) / file).read_bytes())

    def record(self, name: str) -> dict[str, object]:
        """What the step wrote down in the run's folder."""
        return json.loads((self.loaded.paths.runs / self.run_id / f"{name}.json").read_bytes())["step"]

    @property
    def tracking(self) -> Tracking:
        """The project's tracking."""
        return Tracking(self.loaded.settings, self.loaded.paths)

    @property
    def registry(self) -> MlflowRegistry:
        """The project's registry."""
        return MlflowRegistry("towns", self.tracking, self.loaded.paths.models)

    def mlflow_run(self):
        """The MLflow run of this pipeline run."""
        return self.tracking.client().get_run(self.tracking.run(self.run_id))


def pipeline_run(project, name, champion="", known_at=KNOWN_AT, seconds=150):
    """A run by Kubeflow, from start to end."""
    runner = project_runner(load_project(project))
    parameters = {"known_at": f"{known_at}T00:00:00+00:00", "champion": champion}
    runner.start(name, "first", parameters)
    runner.start(name, "first", parameters)  # asked for twice, run once
    return runner.wait(name, seconds)


def ran(run):
    """The steps that really ran, and were not taken from the cache."""
    return [step.name for step in run.steps if step.status == "succeeded"]


def registry_of(project):
    """The project's registry, as it is read anew."""
    loaded = load_project(project)
    return MlflowRegistry("towns", Tracking(loaded.settings, loaded.paths), loaded.paths.models)
