"""A project of rainy towns whose version answered for weeks: what was logged, and labels that come later."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.platforms.performance import LaptopPerformance, _Labels
from mainspring.platforms.steps import plain, replay
from mainspring.serving.runtime import load_card
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.platforms.towns import TRAINING, Walk

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SERVED = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PER_DAY = 240
SETTINGS = """
name: towns
task: {task}
sources:
  days: {{path: days.csv, time: at, columns: {{at: time}}}}
target: {{source: days, column: rain, time: at, id: day, delay: 6h}}
gate: {{slices: [town]}}
"""


def weather(start, days, *, task="binary", warmer=0.0, wrong=0.0, seed=2):
    """Rows of `days` days. `warmer` moves inputs alone; `wrong` is the share of rows whose label has nothing to do with them."""
    generator = np.random.default_rng(seed)
    count = days * PER_DAY
    mood = np.repeat(generator.normal(0, 0.15, days), PER_DAY)
    temp = generator.normal(10 + warmer, 8, count)
    town = generator.choice(["Ulm", "Bonn", "Kiel"], count)
    score = 0.2 * (temp - 10) - (town == "Kiel") + mood
    if task == "regression":
        label = score + generator.normal(0, 0.3 + 0.05 * np.abs(temp - 10), count)
        label = np.where(generator.uniform(size=count) < wrong, generator.permutation(label), label)
    else:
        chance = 1 / (1 + np.exp(score))
        if task == "multiclass":
            label = (generator.uniform(size=count) < chance).astype(int) + (
                generator.uniform(size=count) < 0.4 * chance
            )
        else:
            label = (generator.uniform(size=count) < chance).astype(int)
        label = np.where(generator.uniform(size=count) < wrong, generator.permutation(label), label)
    at = pd.date_range(start, periods=count, freq=f"{24 * 60 // PER_DAY}min")
    names = [f"d{one:%Y%m%d%H%M}" for one in at]
    return pd.DataFrame({"day": names, "at": at, "temp": temp, "town": town, "rain": label})


REGRESSION = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder="passthrough")
    return make_pipeline(columns, LinearRegression()).fit(data.X, data.y)
"""


class Answered:
    """A registered version of a project, and its log."""

    def __init__(self, folder, *, task="binary", more=""):
        self.folder, self.task = folder, task
        self.past = weather(BEGAN, 59, task=task)
        self.past.to_csv(folder / "days.csv", index=False)
        (folder / "mainspring.yaml").write_text(SETTINGS.format(task=task) + more)
        (folder / "training.py").write_text(REGRESSION if task == "regression" else TRAINING)
        walk = Walk(folder, known_at="2026-03-01").until("register")
        self.loaded, self.registry = walk.loaded, walk.registry
        self.numbers = walk.numbers
        self.rows = self.past
        self.log = ParquetPredictionLog(self.loaded.paths)

    def answer(self, start, days, *, version="1", build="", **world):
        """So many days are asked for, answered and logged by the model that ships; their labels come six hours later."""
        rows = weather(start, days, task=self.task, **world)
        folder = self.registry.fetch("1")
        card = load_card(folder)
        outputs = replay(folder, card, plain(pa.Table.from_pandas(rows), card.signature))
        writer = SegmentWriter(
            self.loaded.paths.segments, SegmentHeader(version, build, ("temp", "town"), ("number", "text"))
        )
        primary = ROLES.index("primary")
        logged = []
        for row, output in zip(rows.itertuples(), outputs, strict=True):
            at, said = microseconds(row.at.to_pydatetime()), tuple(np.atleast_1d(output).tolist())
            logged.append(LogRow(row.day, primary, 0, 0, at, 1, said, (row.temp, row.town)))
        writer.append(logged)
        writer.rotate()
        self.log.compact()
        self.label(rows)
        return rows

    def label(self, rows):
        """These rows join the target's source."""
        self.rows = pd.concat([self.rows, rows], ignore_index=True)
        self.rows.to_csv(self.folder / "days.csv", index=False)

    def job(self, **settings):
        """The job as a loop that starts now has it."""
        loaded = load_project(self.folder)
        return LaptopPerformance(loaded, self.registry, self.log, _Labels(loaded))
