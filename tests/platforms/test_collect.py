"""`mainspring gc` on a real MLflow and real pipeline runs: what goes, what stays, and every place to be killed at."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mainspring.adapters.kfp.execute import kept_file
from mainspring.adapters.kfp.leftovers import leftovers
from mainspring.adapters.mlflow.registry import COLLECTED_TAG, MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConflictError, MainspringError, TemporaryError
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.domain.model_version import ModelVersion
from mainspring.domain.rollout import Rollout
from mainspring.loop.state import ROLLOUT, dump
from mainspring.platforms import collect as module
from mainspring.platforms.collect import collect_now, plan
from mainspring.platforms.lease import lease
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.cli.running import mainspring
from tests.platforms.towns import edit, pipeline_run, ran, registry_of
from tests.serving.models import SIGNATURE, write_model

pytestmark = pytest.mark.filterwarnings("ignore")
NOW = datetime.now(UTC)


class Killed(BaseException):
    """The process ended."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    write_model(folder)
    return folder


@pytest.fixture
def versions(project, model):
    """Versions 1 to 5 with copies here; 5 serves, 4 served before, none else is kept."""
    edit(project, "mainspring.yaml", "", "\nkeep: {versions: 0}\n")
    loaded = load_project(project)
    tracking = Tracking(loaded.settings, loaded.paths)
    registry = MlflowRegistry("towns", tracking, loaded.paths.models)
    for place in range(1, 6):
        verdict = "refused" if place == 3 else "accepted"
        run = f"run-{place}"
        draft = ModelVersion(
            "towns", "", run, "d", "", True, "policy:auto", "onnx", SIGNATURE, verdict=verdict,
            evaluated_run=tracking.run(run), shipped_run="" if place == 3 else tracking.refit(run),
        )  # fmt: skip
        if draft.shipped_run:
            registry.keep(draft, model, draft.evaluated_run)
        version = registry.register(draft, model).version
        registry.fetch(version)
    ledger = SqliteLedger(loaded.paths.ledger)
    for place in ("1", "2", "4", "5"):
        ledger.append(Decision(f"promoted:{place}", "promoted", "", "", "policy:auto", NOW, place))
    ledger.put_state({ROLLOUT: dump(Rollout("1-to-5", "5"))})
    registry.set_alias("champion", "5")
    return loaded


def there(loaded):
    return [one.version for one in registry_of(loaded.paths.root).versions()]


def models_in_mlflow(loaded):
    return len(list(loaded.paths.tracking_artifacts.rglob("card.json")))


def test_a_dry_run_says_what_would_go_and_does_nothing(versions):
    code, out, errors = mainspring(versions.paths.root, "gc", "--dry-run")
    assert code == 0, errors
    assert "version 4 stays: the champion before" in out
    assert "version 5 stays: in service" in out
    assert "would go; nothing was done" in out
    found = plan(versions)
    assert [one.name for one in found.going if one.kind == "version"] == ["1", "2", "3"]
    assert all(one.bytes > 1000 for one in found.going if one.kind == "version")
    assert there(versions) == ["1", "2", "3", "4", "5"]
    assert models_in_mlflow(versions) == 9


def test_versions_go_with_their_files_and_their_runs_stay_without(versions):
    code, _, errors = mainspring(versions.paths.root, "gc")
    assert code == 2
    assert "--yes" in errors
    code, out, errors = mainspring(versions.paths.root, "gc", "--yes", "--by", "eva")
    assert code == 0, errors
    assert "version 1 is deleted" in out
    assert there(versions) == ["4", "5"]
    assert sorted(one.name for one in versions.paths.models.iterdir()) == ["4", "5"]
    assert models_in_mlflow(versions) == 4
    client = Tracking(versions.settings, versions.paths).client()
    experiment = client.get_experiment_by_name("towns").experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 9
    assert sum(COLLECTED_TAG in one.data.tags for one in runs) == 5
    rows = SqliteLedger(versions.paths.ledger).decisions(kind="retired")
    assert [(one.version, one.actor) for one in rows] == [("1", "eva"), ("2", "eva"), ("3", "eva")]
    assert mainspring(versions.paths.root, "gc", "--yes")[1].startswith("nothing goes")


def test_an_alias_set_in_between_saves_a_version(versions, monkeypatch):
    real = MlflowRegistry.remove

    def set_before(self, version):
        if version == "2":
            registry_of(versions.paths.root).set_alias("mine", "2")
        real(self, version)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowRegistry, "remove", set_before)
        with pytest.raises(MainspringError, match="has the alias mine"):
            collect_now(versions, by="eva", tell=str)
    collect_now(versions, by="eva", tell=str)
    assert there(versions) == ["2", "4", "5"]
    assert models_in_mlflow(versions) == 6
    row = SqliteLedger(versions.paths.ledger).decisions(kind="collected")[-1]
    assert (row.what, row.why) == ("version 2 stays after all", "alias mine")


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (MlflowRegistry, "remove", False),
        (MlflowRegistry, "remove", True),
        (MlflowRegistry, "remove_model", False),
        (MlflowRegistry, "remove_model", True),
        (module.shutil, "rmtree", False),
        (module.shutil, "rmtree", True),
        (SqliteLedger, "put_state", False),
    ],
)
def test_killed_anywhere_the_next_call_goes_on(versions, monkeypatch, owner, name, after):
    real, calls = getattr(owner, name), [0]

    def killed(*given, **more):
        calls[0] += 1
        if calls[0] == 2 and not after:
            raise Killed
        found = real(*given, **more)
        if calls[0] == 2:
            raise Killed
        return found

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            collect_now(versions, by="eva", tell=str)
    # Whatever is in the registry can be fetched.
    registry = registry_of(versions.paths.root)
    for one in registry.versions():
        assert (registry.fetch(one.version) / "card.json").is_file()
    collect_now(versions, by="eva", tell=str)
    assert there(versions) == ["4", "5"]
    assert models_in_mlflow(versions) == 4
    assert sorted(one.name for one in versions.paths.models.iterdir()) == ["4", "5"]
    rows = SqliteLedger(versions.paths.ledger).decisions(kind="retired")
    assert [one.version for one in rows] == ["1", "2", "3"]


def test_one_writer_a_loop_that_runs_is_asked(versions):
    with lease(versions.paths.lease), pytest.raises(ConflictError, match="another loop runs"):
        collect_now(versions, by="eva", tell=str)
    assert len(there(versions)) == 5


def test_a_registry_that_does_not_answer_is_not_an_empty_one(versions, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def down(self, name):
        raise MlflowException("connection refused")

    monkeypatch.setattr(MlflowClient, "get_registered_model", down)
    with pytest.raises(TemporaryError, match="does not answer"):
        plan(versions)
    with pytest.raises(TemporaryError, match="does not answer"):
        collect_now(versions, by="eva", tell=str)
    assert len(list(versions.paths.models.iterdir())) == 5


def test_old_hours_of_the_log_go_where_the_project_says_so(project):
    edit(project, "mainspring.yaml", "", "\nkeep: {log: 60d}\n")
    loaded = load_project(project)
    writer = SegmentWriter(loaded.paths.segments, SegmentHeader("1", ""))
    for days in (100, 61, 59, 0):
        writer.append([LogRow(f"q{days}", 0, 0, 0, microseconds(NOW - timedelta(days=days)), 1, (0.5,))])
    writer.rotate()
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    found = plan(loaded)
    assert [one.kind for one in found.going] == ["log", "log"]
    collect_now(loaded, by="eva", tell=str)
    assert log.read().column("request_id").to_pylist() == ["q59", "q0"]
    assert len(list(loaded.paths.predictions.iterdir())) == 2


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("warm")
def test_a_run_after_its_version_was_deleted_registers_anew_and_does_not_name_it(project):
    assert pipeline_run(project, "run-1").version == "1"
    edit(project, "training.py", "max_iter=500", "max_iter=501")
    assert pipeline_run(project, "run-2").version == "2"
    edit(project, "mainspring.yaml", "", "\nkeep: {versions: 0}\n")
    loaded = load_project(project)
    ledger = SqliteLedger(loaded.paths.ledger)
    for version in ("1", "2"):
        ledger.append(Decision(f"promoted:{version}", "promoted", "", "", "p", NOW, version))
    ledger.append(Decision("rolled_back:1", "rolled_back", "", "", "p", NOW, "1"))
    ledger.put_state({ROLLOUT: dump(Rollout("1-to-2", "2"))})
    keys = json.loads((loaded.paths.runs / "run-1" / "request.json").read_bytes())["cache_keys"]
    assert leftovers(loaded.paths, {"1", "2"}, "", 0) == []
    collect_now(loaded, by="eva", tell=str)
    assert there(loaded) == ["2"]
    assert sorted(one.name for one in loaded.paths.runs.iterdir()) == ["run-2"]
    assert not kept_file(loaded.paths.steps, keys["register"]).exists()
    assert kept_file(loaded.paths.steps, keys["ingest"]).exists()  # the second run's, too
    # The second run is answered from the cache as before; the first recipe is trained and registered again.
    again = pipeline_run(project, "run-3")
    assert (again.version, ran(again)) == ("2", [])
    edit(project, "training.py", "max_iter=501", "max_iter=500")
    third = pipeline_run(project, "run-4")
    assert third.status == "succeeded"
    assert third.version == "3"
    assert "register" in ran(third)
