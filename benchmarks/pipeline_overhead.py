"""What six steps cost beyond the user's own compute: warm, cold and unchanged, on a small table and on the flights.

The peer is the same user compute called directly in one process: reading the rows (the flights' with their views and
their point-in-time join), and `train` twice, for the model that is evaluated and for the one that ships. Everything else
is the product's: validation, evaluation, export with parity, tracking, registration, and the processes.

`python benchmarks/pipeline_overhead.py [--json] [--repetitions 3] [--only small]`
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from mainspring.adapters.kfp.worker import warm_worker
from mainspring.domain.time import instant
from mainspring.platforms.runs import runner
from mainspring.platforms.step import WARM
from mainspring.settings.load import load_project
from report import Row, report

warnings.simplefilter("ignore")

SETTINGS = """
name: small
task: binary
sources:
  days: {path: days.csv, time: at, columns: {at: time}}
target: {source: days, column: rain, time: at, id: day}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(), data.categoricals), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression()).fit(data.X, data.y)
"""
EXPECTATIONS = """
import great_expectations.expectations as gxe

expectations = [gxe.ExpectColumnValuesToBeBetween(column="temp", min_value=-60, max_value=60)]
"""


@dataclass(frozen=True)
class Case:
    """A project, and the instant that it is run as of."""

    name: str
    folder: Path
    known_at: str


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=["small", "flights"])
    arguments = parser.parse_args()
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        for case in small(Path(folder)), flights(Path(folder)):
            if arguments.only in (None, case.name):
                rows += measure(case, arguments.repetitions)
    report(rows, as_json=arguments.json)


def small(folder: Path) -> Case:
    """2,000 rows of a CSV file, one expectation, no views."""
    import numpy as np
    import pandas as pd

    place = folder / "small"
    place.mkdir()
    generator, count = np.random.default_rng(2), 2000
    temp, town = generator.normal(10, 8, count), generator.choice(["Ulm", "Bonn", "Kiel"], count)
    rain = (generator.uniform(size=count) < 1 / (1 + np.exp(0.2 * (temp - 10)))).astype(int)
    at = pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC")
    columns = {"day": [f"d{n}" for n in range(count)], "at": at, "temp": temp, "town": town, "rain": rain}
    pd.DataFrame(columns).to_csv(place / "days.csv", index=False)
    for name, text in ("mainspring.yaml", SETTINGS), ("training.py", TRAINING), ("expectations.py", EXPECTATIONS):
        (place / name).write_text(text)
    return Case("small", place, "2026-04-01")


def flights(folder: Path) -> Case:
    """The template: two months of 2013, four views by transforms, five expectations."""
    from mainspring.templates.write import write_template

    write_template(folder / "flights", "flights")
    return Case("flights", folder / "flights", "2013-03-01")


def measure(case: Case, repetitions: int) -> list[Row]:
    """Direct, warm, unchanged and cold; each run that is not meant to find anything has a project of its own."""
    direct(copy(case))  # everything is imported before anything is timed
    peer = median([timed(f"{case.name}, directly", direct, copy(case)) for _ in range(repetitions)])
    warmed, same = [], []
    for _ in range(repetitions):
        one = copy(case)
        with warm_worker(one.folder / ".mainspring", WARM) as warm:
            warm(300)
            warmed.append(timed(f"{case.name}, warm", run, one))
            same.append(timed(f"{case.name}, unchanged", run, one))
    cold, again = [], []
    for _ in range(repetitions):
        one = copy(case)
        cold.append(timed(f"{case.name}, cold", command, one))
        again.append(timed(f"{case.name}, unchanged, cold", command, one))
    return [
        Row(f"{case.name}: six steps, warm worker", median(warmed), peer, 6.0, beyond=True),
        Row(f"{case.name}: six steps, cold command", median(cold), peer, 25.0, beyond=True),
        Row(f"{case.name}: unchanged, warm worker", median(same), 0.0, 2.0, beyond=True),
        Row(f"{case.name}: unchanged, cold command", median(again), 0.0, 2.0, beyond=True),
    ]


def direct(case: Case) -> None:
    """The user's compute, with nothing around it."""
    from mainspring.features.questions import labelled
    from mainspring.pipeline.signature import learn_signature
    from mainspring.pipeline.training import fit, load_recipe
    from mainspring.platforms.challenger import with_features
    from mainspring.platforms.laptop import LaptopFeatures
    from mainspring.platforms.steps.fitting import data_of

    loaded = load_project(case.folder)
    settings, features = loaded.settings, LaptopFeatures(loaded)
    rows, _ = labelled(features.questions(instant(case.known_at)), instant(case.known_at))
    features.advance(instant(case.known_at))
    rows, sources, _ = with_features(loaded, features, rows)
    signature = learn_signature(rows, sources, task=settings.task, target=settings.target.column, label="label")
    recipe = load_recipe(loaded.paths.root)
    held = rows.num_rows - rows.num_rows // 5
    for part in rows.slice(0, held), rows:
        fit(recipe, data_of(part, part.slice(0, 0), signature), settings.params, seed=settings.seed)


def run(case: Case) -> None:
    """The six steps, as the loop runs them."""
    pipeline = runner(load_project(case.folder))
    name = f"run-{time.monotonic_ns()}"
    pipeline.start(name, "benchmark", {"known_at": instant(case.known_at).isoformat(), "champion": ""})
    done = pipeline.wait(name, 500)
    assert done.status == "succeeded", done.reason


def command(case: Case) -> None:
    """The six steps, as a person runs them."""
    mainspring = Path(sys.executable).with_name("mainspring")
    asked = [str(mainspring), "run", "--project", str(case.folder), "--as-of", case.known_at, "--json"]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)


def copy(case: Case) -> Case:
    """The project in a folder of its own, never run."""
    folder = case.folder.with_name(f"{case.name}-{time.monotonic_ns()}")
    shutil.copytree(case.folder, folder)
    return replace(case, folder=folder)


def timed(name: str, job: Callable[[Case], None], case: Case) -> float:
    """The seconds that a job takes."""
    began = time.perf_counter()
    job(case)
    took = time.perf_counter() - began
    print(f"  {name}: {took:.2f} s (load {os.getloadavg()[0]:.1f})", file=sys.stderr)
    return took


if __name__ == "__main__":
    main()
