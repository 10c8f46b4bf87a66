"""Skew that was planted in a real project, asked of a real predictor, and found in its log."""

import json
import shutil
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mainspring.adapters.clock import WallClock
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.server import wait_ready
from mainspring.domain.errors import ConfigError, NotFound
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.parts import laptop
from mainspring.platforms.sink import shipper
from mainspring.platforms.skew import skew_of
from mainspring.settings.load import load_project
from mainspring.settings.log_sink import SinkSettings
from tests.platforms.towns import Walk, edit, write_project

# Text that looks like a number stays text.
TOWNS = [*(f"town{number}" for number in range(10)), "7.0", "7"]
ROOMS = list(range(5, 17))
START, SERVED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 21, 6, tzinfo=UTC)
SETTINGS = """
features:
  request: [temp, hour]
  entities: {town: town, room: room}
  missing_by: {rare: default}
  defaults: {rare: -1.0}
"""
FEATURES = """
import math
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)

room = Entity(name="room", join_keys=["room"], value_type=ValueType.INT64)

def view(name, tags={}, key=town, kind=String, **times):
    return FeatureView(
        name=name + "_view", entities=[key], ttl=timedelta(days=200), tags=tags,
        schema=[Field(name=key.name, dtype=kind), Field(name=name, dtype=Float64)],
        source=FileSource(name=name, path=name, timestamp_field="event_timestamp", **times),
    )

good, stale, rounded, rare = view("good"), view("stale"), view("rounded"), view("rare")
late = view("late", created_timestamp_column="created")
told = view("told", {"mainspring.available_at": "available"})
large = view("large", key=room, kind=Int64)
asked = RequestSource(name="asked", schema=[Field(name="temp", dtype=Float64)])

@on_demand_feature_view(sources=[asked, good], schema=[Field(name="warmer", dtype=Float64)], mode="python")
def change(inputs):
    return {"warmer": [None if b is None else math.tanh((a - b) / 10) for a, b in zip(inputs["temp"], inputs["good"])]}

towns = FeatureService(name="towns", features=[good, stale, rounded, rare, late, told, large, change])
"""
VIEWS = ("good", "stale", "rounded", "rare", "late", "told", "large")


def rows(name, at, values, towns=TOWNS, known=None):
    """One row for each town."""
    columns = {
        "event_timestamp": pa.array([at] * len(towns), pa.timestamp("us", "UTC")),
        **({"room": ROOMS} if name == "large" else {"town": list(towns)}),
        name: [float(one) for one in values],
    }
    extra = {"late": "created", "told": "available"}.get(name)
    if extra is not None:
        columns[extra] = pa.array([known or at] * len(towns), pa.timestamp("us", "UTC"))
    return pa.table(columns)


def project(folder):
    write_project(folder)
    generator = np.random.default_rng(4)
    days = pd.read_csv(folder / "days.csv", parse_dates=["at"])
    days["town"] = generator.choice(TOWNS, len(days))
    days["room"] = generator.choice(ROOMS, len(days))
    days["hour"] = days["at"].dt.hour
    days.to_csv(folder / "days.csv", index=False)
    edit(folder, "mainspring.yaml", "", SETTINGS)
    (folder / "features.py").write_text(FEATURES)
    return folder


def ask(endpoint, name, at, **values):
    kinds = {str: "BYTES", int: "INT64", float: "FP64"}
    inputs = [
        {"name": key, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for key, value in values.items()
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{endpoint.port}/v2/models/towns/infer",
        json.dumps({"id": name, "inputs": inputs}).encode(),
        {"content-type": "application/json", "mainspring-event-at": at.isoformat()},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A served project in which four things went wrong, and two did not."""
    folder = project(tmp_path_factory.mktemp("towns"))
    store = LaptopFeatures(load_project(folder)).store
    generator = np.random.default_rng(5)
    for at in (START - timedelta(days=1), START + timedelta(days=40), SERVED - timedelta(days=1)):
        for name in VIEWS:
            towns = TOWNS[:-2] if name == "rare" else TOWNS
            values = generator.normal(10, 4, len(towns))
            store.append(name + "_view", rows(name, at, values.round(1) if name == "rounded" else values, towns))
    walk = Walk(folder).until("register")
    (version,) = walk.registry.versions()
    walk.registry.set_alias("champion", version.version)
    # The service has what there was; what comes now the online store does not get, or not like this.
    newer, now = SERVED - timedelta(hours=5), SERVED + timedelta(days=4)
    store.append("stale_view", rows("stale", newer, generator.normal(10, 4, 12)))
    store.append("late_view", rows("late", newer, generator.normal(10, 4, 12), known=now))
    store.append("told_view", rows("told", newer, generator.normal(10, 4, 12), known=now))
    platform = laptop(walk.loaded, WallClock(), replayed=True, quiet=True)
    days = pd.read_csv(folder / "days.csv", parse_dates=["at"]).tail(60)
    try:
        platform.server.start(version, platform.registry.fetch(version.version))
        endpoint = wait_ready(platform.server, version.version, within_seconds=90)
        assert endpoint.ready, endpoint.reason
        for number, (_, one) in enumerate(days.iterrows()):
            ask(
                endpoint,
                one.day,
                SERVED + timedelta(minutes=number),
                temp=one.temp,
                hour=float((one.hour + 1) % 24),
                town=one.town,
                # As callers send it: a number, or text that is one.
                room=(int(one.room), str(one.room), f"0{one.room}")[number % 3],
            )
    finally:
        platform.server.stop(version.version)
    # And what was rounded on its way to the online store is exact offline.
    at = SERVED - timedelta(days=1)
    kept = store.historical(
        pa.table(
            {
                "event_timestamp": pa.array([SERVED] * 12, pa.timestamp("us", "UTC")),
                "town": TOWNS,
                "room": ROOMS,
                "temp": [1.0] * 12,
            }
        )
    )
    exact = [one + 0.013 + number / 1000 for number, one in enumerate(kept.column("rounded").to_pylist())]
    store.append("rounded_view", rows("rounded", at, exact))
    return folder


@pytest.fixture(scope="module")
def report(served):
    return skew_of(load_project(served))


def of(report, name):
    return next(one for one in report.features if one.feature == name)


def test_each_planted_skew_is_found_and_called_by_its_name(report):
    found, page = report
    assert (found.logged, found.replayed, found.version) == (60, 60, "1")
    kinds = {one.feature: list(one.kinds) for one in found.features if one.differing}
    assert kinds == {"stale": ["stale"], "late": ["late"], "rounded": ["rounding"], "hour": ["time zone"]}
    for name in ("stale", "late", "rounded", "hour"):
        assert (of(found, name).compared, of(found, name).differing) == (60, 60)
    assert "19 h behind" in of(found, "stale").said
    assert "declare available_at" in of(found, "late").said
    assert of(found, "rounded").said == "served rounded to 1 decimals"
    assert "+1 h" in of(found, "hour").said
    assert of(found, "stale").examples[0].request_id == "d1940"
    assert found.found
    text = page.read_text()
    assert "Skew in" in text
    assert "d1940" in text


def test_what_is_no_skew_is_not_called_so(report):
    found, _ = report
    for name in ("good", "rare", "told", "large", "warmer", "temp"):
        assert (of(found, name).compared, of(found, name).differing) == (60, 0), name
    # A default stood in where neither side had a value, and a later row is rightly unseen.
    assert 0 < of(found, "rare").explained["defaulted"] < 60
    assert of(found, "told").late_unseen == 60
    assert found.not_compared == {}


def test_the_model_says_the_same_of_what_was_logged_and_something_else_of_what_is_offline(report):
    answers = report[0].answers
    assert (answers.compared, answers.same_inputs_differing) == (60, 0)
    assert 30 < answers.differing <= 60
    assert answers.largest_difference > answers.median_difference > 0
    assert set(answers.request_ids) <= {f"d{number}" for number in range(1940, 2000)}


def test_what_the_log_has_not_is_said(served):
    loaded = load_project(served)
    blind = loaded.settings.changed("log", drop=["hour"], hash=["town"])
    found, _ = skew_of(replace(loaded, settings=blind))
    assert "log.drop" in found.not_compared["hour"]
    assert "its key is not in the log" in found.not_compared["stale"]
    assert "computed from what the log does not have" in found.not_compared["warmer"]
    assert "the model's answers" in found.not_compared
    assert found.answers is None
    assert {one.feature for one in found.features} == {"temp", "large"}
    assert not found.found


def test_what_only_the_sink_has_is_compared_as_well(served, report, tmp_path):
    folder = tmp_path / "towns"
    shutil.copytree(served, folder)
    (tmp_path / "mounted").mkdir()
    loaded = load_project(folder)
    sink = {"url": f"file://{tmp_path}/mounted", "local": "31d"}
    loaded = replace(loaded, settings=loaded.settings.changed("log", sink=SinkSettings.model_validate(sink)))
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    for turn in (0, 1, 40):
        shipper(loaded).turn(SERVED + timedelta(days=turn))
    assert not log.read().num_rows
    assert skew_of(loaded)[0] == report[0]


def test_a_sample_is_the_same_each_time_and_an_empty_window_is_said(served):
    loaded = load_project(served)
    one, other = (skew_of(loaded, sample=7)[0] for _ in range(2))
    assert (one.logged, one.replayed) == (60, 7)
    assert one == other
    with pytest.raises(NotFound, match="answered nothing"):
        skew_of(loaded, until=SERVED)
    with pytest.raises(ConfigError, match="before it begins"):
        skew_of(loaded, since=SERVED, until=SERVED - timedelta(days=1))
