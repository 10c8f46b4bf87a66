"""From a project with a feature view and an on-demand view to a predictor that looks up and computes what training had."""

import json
import math
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.adapters.clock import WallClock
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.processes.server import wait_ready
from mainspring.domain.errors import ConfigError, DataError, TemporaryError
from mainspring.domain.model_version import Feature, Signature
from mainspring.features.questions import EVENT_TIME
from mainspring.platforms.batch_rows import BatchRows
from mainspring.platforms.check import check_project
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.parts import laptop
from mainspring.platforms.scoring import score_file
from mainspring.settings.load import load_project
from tests.platforms.towns import Walk, edit, write_project
from tests.redis_server import PASSWORD, Server

ON_DEMAND = """
import math
from feast import RequestSource
from feast.on_demand_feature_view import on_demand_feature_view

asked = RequestSource(name="asked", schema=[Field(name="temp", dtype=Float64)])

@on_demand_feature_view(sources=[asked, town_rain], schema=[Field(name="warmer", dtype=Float64)], mode="python")
def change(inputs):
    pairs = zip(inputs["temp"], inputs["mean_temp"])
    return {"warmer": [None if b is None else math.tanh((a - b) / 10) for a, b in pairs]}

towns = FeatureService(name="towns", features=[town_rain, change])
"""


def project(folder, online=""):
    write_project(folder, views=True)
    edit(folder, "features.py", "", ON_DEMAND)
    edit(folder, "mainspring.yaml", "  entities: {town: town}\n", "  entities: {town: town}\n" + online)
    return folder


def ask(endpoint, at, **values):
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
        for name, value in values.items()
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{endpoint.port}/v2/models/towns/infer",
        json.dumps({"inputs": inputs}).encode(),
        {"content-type": "application/json", "mainspring-event-at": at.isoformat()},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_predictor_answers_as_the_training_set_says(tmp_path, monkeypatch, store):
    online = ""
    if store == "redis":
        server = Server(tmp_path)
        monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
        online = (
            f'  online: {{type: redis, connection_string: "127.0.0.1:{server.port},password=${{REDIS_PASSWORD}}"}}\n'
        )
    folder = tmp_path / "towns"
    folder.mkdir()
    walk = Walk(project(folder, online)).until("register")
    loaded = walk.loaded
    version = walk.registry.versions()[0]
    assert [(one.name, one.inputs) for one in version.signature.on_demand] == [("change", ("temp", "mean_temp"))]
    rows = pq.read_table(next(walk.path("training_set").rglob("*.parquet"))).sort_by("event_timestamp").slice(1990)
    # The run brought the store to its own end, and what was written is not undone: history is replayed into an empty one.
    for file in loaded.paths.features.glob("online.db*"):
        file.unlink()
    if store == "redis":
        server.stop()
        server.start()
    features = LaptopFeatures(loaded)
    platform = laptop(loaded, WallClock(), replayed=True, quiet=True)
    try:
        platform.server.start(version, platform.registry.fetch(version.version))
        endpoint = wait_ready(platform.server, version.version, within_seconds=60)
        assert endpoint.ready, endpoint.reason
        for row in rows.to_pylist():
            at = row["event_timestamp"]
            features.store.materialize(at)
            status, body = ask(endpoint, at, temp=row["temp"], town=row["town"])
            assert (status, body.get("parameters")) == (200, None)
        platform.log.compact()
        status, body = ask(endpoint, at, temp=1.0, town="Atlantis")
        assert (status, body["parameters"]) == (200, {"flags": "missing:mean_temp,missing:warmer"})
        if store == "redis":
            server.stop()
            status, body = ask(endpoint, at, temp=1.0, town="Atlantis")
            assert (status, body["parameters"]) == (200, {"flags": "unavailable:mean_temp,missing:warmer"})
    finally:
        platform.server.stop(version.version)
        if store == "redis":
            server.stop()
    platform.log.compact()
    logged = [one for one in platform.log.read().sort_by("event_at").to_pylist() if one["feature.town"] != "Atlantis"]
    assert len(logged) == rows.num_rows
    for row, found in zip(rows.to_pylist(), logged, strict=True):
        for name in ("temp", "mean_temp", "warmer"):
            assert found[f"feature.{name}"] == row[name], name


def test_a_scored_file_is_computed_with_the_versions_own_function_from_what_a_predictor_would_have(tmp_path):
    """Also from a feature that only the function looks at, and from a default that stands in for it."""
    folder = tmp_path / "towns"
    folder.mkdir()
    project(folder, "  missing: default\n  defaults: {mean_temp: 9.5}\n")
    edit(folder, "features.py", "features=[town_rain, change]", "features=[change]")
    guarded = (
        'return {"warmer": [None if b is None else math.tanh((a - b) / 10) if a < 90 else 1 / 0 for a, b in pairs]}'
    )
    edit(
        folder,
        "features.py",
        'return {"warmer": [None if b is None else math.tanh((a - b) / 10) for a, b in pairs]}',
        guarded,
    )
    walk = Walk(folder).until("register")
    assert [one.name for one in walk.registry.versions()[0].signature.inputs] == ["mean_temp"]
    edit(folder, "features.py", "(a - b) / 10", "(b - a) / 20")
    loaded = load_project(folder)
    (folder / "in.csv").write_text("day,temp,town\na,1,Ulm\nb,2,Atlantis\n")
    at = datetime(2026, 3, 20, 7, tzinfo=UTC)
    done = score_file(loaded, folder / "in.csv", folder / "out.csv", at, version="1")
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    one, other = log.read().sort_by("request_id").to_pylist()
    features = LaptopFeatures(loaded)
    spine = {EVENT_TIME: pa.array([at], pa.timestamp("us", "UTC")), "town": ["Ulm"], "temp": [1.0]}
    (mean,) = features.store.historical(pa.table(spine)).column("mean_temp").to_pylist()
    assert one["feature.warmer"] == math.tanh((1 - mean) / 10)
    assert other["feature.warmer"] == math.tanh((2 - 9.5) / 10)
    assert (one["flags"], other["flags"]) == ([], ["missing:mean_temp", "defaulted:mean_temp"])
    assert done.missing == {"mean_temp": 1}
    (folder / "in.csv").write_text("day,temp,town\na,1,Ulm\nb,95,Ulm\n")
    with pytest.raises(DataError, match="row 2: on-demand view change: ZeroDivisionError"):
        score_file(loaded, folder / "in.csv", folder / "out.csv", at, version="1")
    again = score_file(loaded, folder / "in.csv", folder / "out.csv", at, version="1", skip_bad=True)
    assert (again.rows, again.refused) == (1, 1)


def test_an_on_demand_feature_that_a_versions_callers_send_has_to_be_in_a_scored_file(tmp_path):
    """So it is for an adopted model: nobody knows which function its training used."""
    loaded, at = load_project(project(tmp_path)), datetime(2026, 3, 20, tzinfo=UTC)
    signature = Signature("binary", (Feature("temp", "float"), Feature("warmer", "float")), classes=("0", "1"))
    file = tmp_path / "in.csv"
    with pytest.raises(ConfigError, match="the file has no column `warmer`"):
        BatchRows(loaded.settings, LaptopFeatures(loaded), signature, ["temp", "town"], file, at, keep_extra=False)
    names = ["temp", "warmer"]
    rows = BatchRows(loaded.settings, LaptopFeatures(loaded), signature, names, file, at, keep_extra=False)
    assert (rows.columns.sent, rows.columns.looked_up) == (("temp", "warmer"), ())


def test_check_says_what_is_wrong_with_a_default(tmp_path):
    project(tmp_path, "  missing: default\n  defaults: {mean_tmp: 3}\n")
    failed = [one for one in check_project(tmp_path, lambda name: None, lambda one: None) if one.status == "failed"]
    assert [one.name for one in failed] == ["features"]
    assert "`mean_tmp`; did you mean `mean_temp`?" in failed[0].what
    assert failed[0].where == "mainspring.yaml: features.defaults.mean_tmp"


def test_a_password_in_plain_text_is_refused_and_a_variable_is_not_shown(tmp_path, monkeypatch):
    line = '  online: {type: redis, connection_string: "cache:6379,password=hunter2,db=1"}\n'
    project(tmp_path, line)
    with pytest.raises(ConfigError, match=r"features\.online\.connection_string` holds a password in plain text"):
        load_project(tmp_path)
    edit(tmp_path, "mainspring.yaml", "hunter2", "${REDIS_PASSWORD}")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    loaded = load_project(tmp_path)
    assert loaded.settings.features.online["connection_string"] == "cache:6379,password=hunter2,db=1"
    from mainspring.settings.load import effective

    assert not [one for one in effective(loaded) if "hunter2" in one.value]


def test_check_touches_no_online_store_and_knows_its_options(tmp_path):
    project(tmp_path, "  online: {type: redis, connection_string: '127.0.0.1:1'}\n")
    done = {one.name: one for one in check_project(tmp_path, lambda name: None, lambda one: None)}
    assert done["export"].status == "passed", done
    edit(tmp_path, "mainspring.yaml", "connection_string", "conection_string")
    done = {one.name: one for one in check_project(tmp_path, lambda name: None, lambda one: None)}
    assert (done["features"].status, done["features"].where) == ("failed", "mainspring.yaml: features.online")
    assert "conection_string" in done["features"].what


def test_training_goes_on_while_the_online_store_is_away(tmp_path):
    loaded = load_project(project(tmp_path, "  online: {type: redis, connection_string: '127.0.0.1:1'}\n"))
    at = datetime(2026, 1, 20, tzinfo=UTC)
    assert LaptopFeatures(loaded).training_set(at).column("warmer").null_count < 400
    with pytest.raises(TemporaryError, match="the online store did not answer"):
        LaptopFeatures(loaded).advance(at)


def test_a_store_that_feast_does_not_know_is_refused_by_name(tmp_path):
    project(tmp_path, "  online: {type: reddis}\n")
    with pytest.raises(ConfigError, match="reddis"):
        LaptopFeatures(load_project(tmp_path)).store.views()
