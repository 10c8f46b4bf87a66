"""Models that MLflow's own functions logged, adopted: served by a real predictor, with the answers of the original."""

import json
from http.client import HTTPConnection

import mlflow
import numpy as np
import pytest

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.adapters.processes.server import LaptopModelServer, wait_ready
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import ConfigError, DataError, MainspringError, NotFound, TemporaryError
from mainspring.drift.storage import read_profile
from mainspring.platforms.adopt import AdoptionWish
from mainspring.settings.load import load_project
from mainspring.templates.adopted import adopt_here, adopt_into
from tests.platforms.foreign import FULL, NUMBERS, THREE, VIEWED, X, Y, log_models
from tests.platforms.towns import edit, write_project

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    uri = f"sqlite:///{folder}/mlflow.db"
    return uri, log_models(uri, folder / "artifacts")


@pytest.fixture
def reference(tmp_path):
    def write(frame, name="reference.csv", **more):
        path = tmp_path / name
        frame = frame.assign(**more)
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
        return path

    return write


def adopt(theirs, folder, name, reference, **wish):
    return adopt_into(
        folder, AdoptionWish(f"models:/{name}/1", reference, theirs[0], **wish), name="", by="eva", why=""
    )


def registry_of(folder):
    loaded = load_project(folder)
    return loaded, MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)


def served(folder, version, instances):
    """What a real predictor process answers."""
    loaded, registry = registry_of(folder)
    server = LaptopModelServer(loaded.settings, loaded.paths, replayed=False, online=lambda: None)
    one = next(each for each in registry.versions() if each.version == version)
    try:
        server.start(one, registry.fetch(version))
        endpoint = wait_ready(server, version)
        assert endpoint.ready, endpoint.reason
        connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
        body = json.dumps({"instances": instances})
        path = f"/v1/models/{loaded.settings.name}:predict"
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        return np.array(found["predictions"], float)
    finally:
        server.stop(version)


def questions(frame):
    return [
        {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        for row in frame.head(50).to_dict("records")
    ]


@pytest.mark.parametrize(
    ("name", "frame", "wish", "form"),
    [
        ("towns", X.drop(columns="wind").assign(wind=X.wind), {}, "onnx"),
        ("boosted", NUMBERS, {}, "onnx"),
        ("three", NUMBERS, {}, "onnx"),
        ("booster", NUMBERS, {}, "xgboost_ubj"),
        ("matrix", FULL, {}, "onnx"),
        ("line", FULL, {}, "onnx"),
        ("onnx", FULL, {"task": "binary", "label": "rain"}, "onnx"),
    ],
)
def test_a_real_predictor_answers_as_the_original(theirs, tmp_path, reference, name, frame, wish, form):
    path = reference(frame, "reference.parquet", **({"rain": Y} if wish else {}))
    folder = tmp_path / "project"
    done = adopt(theirs, folder, name, path, **wish)
    assert (done.version, done.format) == ("1", form)
    answers = served(folder, "1", questions(frame))
    original = theirs[1][{"booster": "boosted", "onnx": "matrix"}.get(name, name)]
    asked = (X if name == "towns" else frame).head(50)
    if name == "line":
        wanted = original.predict(asked)
    else:
        wanted = original.predict_proba(asked if name in ("towns", "boosted", "three", "booster") else asked.to_numpy())
        wanted = wanted if name == "three" else wanted[:, 1]
    np.testing.assert_allclose(answers, wanted, atol=1e-4)


def test_a_version_says_where_it_came_from_and_has_a_reference(theirs, tmp_path, reference):
    done = adopt(theirs, tmp_path / "p", "boosted", reference(NUMBERS, rain=Y), label="rain")
    loaded, registry = registry_of(tmp_path / "p")
    (version,) = registry.versions()
    assert version.verdict == "accepted"
    assert version.origin.startswith("models:/boosted/1 of sqlite:")
    assert version.tags["mainspring.origin"] == version.origin
    assert version.trained_by == "eva"
    assert version.signature.classes == ("0", "1")
    assert version.metrics["auc"] > 0.7
    assert version.metrics["auc"] == done.metrics["auc"]
    profile = read_profile(registry.fetch("1"))
    assert profile.rows == len(X)
    assert set(profile.cells) == {"temp", "wind", "prediction"}
    (row,) = SqliteLedger(loaded.paths.ledger).decisions(kind="adopted")
    assert (row.version, row.actor, row.numbers["rows"]) == ("1", "eva", len(X))


def test_adopting_the_same_again_is_one_version(theirs, tmp_path, reference):
    path = reference(NUMBERS)
    for _ in range(2):
        assert adopt(theirs, tmp_path / "p", "boosted", path).version == "1"
    loaded, registry = registry_of(tmp_path / "p")
    assert len(registry.versions()) == 1
    assert len(SqliteLedger(loaded.paths.ledger).decisions(kind="adopted")) == 1


def test_killed_before_the_ledgers_row_it_is_the_same_version_with_its_row(theirs, tmp_path, reference, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*given, **more):
        raise Killed

    path, folder = reference(NUMBERS), tmp_path / "p"
    with monkeypatch.context() as patched:
        patched.setattr(SqliteLedger, "append", killed)
        with pytest.raises(Killed):
            adopt(theirs, folder, "boosted", path)
    assert adopt(theirs, folder, "boosted", path).version == "1"
    loaded, registry = registry_of(folder)
    assert len(registry.versions()) == 1
    assert len(SqliteLedger(loaded.paths.ledger).decisions(kind="adopted")) == 1


def test_killed_before_the_settings_were_written_it_begins_anew(theirs, tmp_path, reference):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "reference.parquet").write_bytes(b"half of")
    (tmp_path / "p" / ".gitignore").write_text("")
    assert adopt(theirs, tmp_path / "p", "boosted", reference(NUMBERS)).version == "1"


def test_an_alias_is_pinned_to_the_version_that_has_it(theirs, tmp_path, reference):
    wish = AdoptionWish("models:/boosted@prod", reference(NUMBERS), theirs[0])
    assert adopt_into(tmp_path / "p", wish, name="", by="eva", why="").origin.startswith("models:/boosted/1 of")


def test_predictions_of_the_reference_are_held_against_what_is_served(theirs, tmp_path, reference):
    chances = theirs[1]["boosted"].predict_proba(NUMBERS)[:, 1]
    right = reference(NUMBERS, "right.csv", prediction=chances)
    assert adopt(theirs, tmp_path / "p", "boosted", right).compared_rows == len(X)
    decided = reference(NUMBERS, "decided.csv", said=(chances >= 0.5).astype(int))
    assert adopt(theirs, tmp_path / "q", "boosted", decided, prediction="said").compared_rows == len(X)
    wrong = reference(NUMBERS, "wrong.csv", prediction=np.where(NUMBERS.index == 7, 1 - chances, chances))
    with pytest.raises(DataError, match=r"answers 1 of 400 rows otherwise .*") as refused:
        adopt(theirs, tmp_path / "r", "boosted", wrong)
    assert "first in row 8" in refused.value.where
    assert not (tmp_path / "r").exists()


def test_a_file_that_runs_code_when_it_is_loaded_is_refused_and_never_opened(theirs, tmp_path, reference, monkeypatch):
    import cloudpickle

    monkeypatch.setattr(cloudpickle, "load", pytest.fail)
    with pytest.raises(ConfigError, match="stored as cloudpickle, which runs code") as refused:
        adopt(theirs, tmp_path / "p", "pickled", reference(X))
    assert "serialization_format='skops'" in refused.value.next_step
    # The artifact itself says that its function is to be trusted.
    with pytest.raises(ConfigError, match=r"holds tests\.platforms\.foreign\.double, which cannot be loaded"):
        adopt(theirs, tmp_path / "p", "custom", reference(FULL))
    with pytest.raises(ConfigError, match="has the flavour python_function, which cannot be loaded"):
        adopt(theirs, tmp_path / "p", "own", reference(X))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("models:/bosted/1", NotFound, "there is no registered model 'bosted'; did you mean 'boosted'?"),
        ("models:/boosted/9", NotFound, "model 'boosted' has no version 9"),
        ("models:/boosted@nobody", NotFound, "model 'boosted' has no alias 'nobody'"),
        ("boosted/1", ConfigError, "'boosted/1' names no registered version"),
    ],
)
def test_what_is_not_there_is_said(theirs, tmp_path, reference, uri, error, says):
    with pytest.raises(error) as refused:
        adopt_into(tmp_path / "p", AdoptionWish(uri, reference(NUMBERS), theirs[0]), name="", by="eva", why="")
    assert says in refused.value.what


def test_a_server_that_is_not_there_is_said_soon_and_without_its_password(tmp_path, reference):
    wish = AdoptionWish("models:/boosted/1", reference(NUMBERS), "http://eva:hunter2@127.0.0.1:9")
    with pytest.raises(TemporaryError, match="the tracking server does not answer: Connection refused") as refused:
        adopt_into(tmp_path / "p", wish, name="", by="eva", why="")
    assert "hunter2" not in str(refused.value)
    wish = AdoptionWish("models:/boosted/1", reference(NUMBERS), f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(NotFound, match="no such MLflow database"):
        adopt_into(tmp_path / "p", wish, name="", by="eva", why="")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("name", "frame", "wish", "error", "says"),
    [
        ("boosted", NUMBERS.rename(columns={"wind": "winds"}), {}, DataError, "no column wind (there is winds)"),
        ("matrix", NUMBERS[["temp"]], {}, DataError, "takes 2 columns, and the reference has 1"),
        ("towns", X.assign(temp="warm"), {}, DataError, "`temp` is"),
        ("boosted", NUMBERS, {"task": "regression"}, ConfigError, "models:/boosted/1 is a binary model"),
        ("boosted", NUMBERS, {"label": "rain"}, ConfigError, "the reference has no column 'rain'"),
        ("boosted", NUMBERS.assign(rain=THREE), {"label": "rain"}, DataError, "labels that the model does not know"),
        ("onnx", FULL, {}, ConfigError, "does not say what it answers"),
        ("onnx", FULL, {"task": "binary"}, ConfigError, "does not name its classes"),
        ("zipmap", FULL.assign(rain=Y), {"task": "binary", "label": "rain"}, MainspringError, "no output of numbers"),
        ("boosted", NUMBERS.head(3), {}, DataError, "the reference has 3 rows"),
    ],
)
def test_a_reference_or_a_wish_that_does_not_fit_is_refused(
    theirs, tmp_path, reference, name, frame, wish, error, says
):
    with pytest.raises(error) as refused:
        adopt(theirs, tmp_path / "p", name, reference(frame), **wish)
    assert says in str(refused.value)
    assert not (tmp_path / "p").exists()


def test_in_a_project_it_becomes_the_next_version_with_the_projects_roles(theirs, tmp_path, reference):
    first = reference(NUMBERS, "first.csv", rain=Y)
    folder = tmp_path / "p"
    adopt(theirs, folder, "boosted", first, label="rain")
    other = mlflow.MlflowClient(theirs[0])
    assert other.get_model_version("boosted", "1").tags == {}  # the owner's registry is only read
    wish = AdoptionWish("models:/booster/1", reference(NUMBERS, "second.csv", rain=Y), theirs[0])
    assert adopt_here(load_project(folder), wish, by="eva", why="").version == "2"
    _, registry = registry_of(folder)
    assert registry.versions()[-1].signature.target == "rain"
    edit(folder, "mainspring.yaml", "column: rain", "column: rain\n  positive: 0")
    with pytest.raises(ConfigError, match="gives the chance of '1', and the project asks for that of '0'"):
        adopt_here(load_project(folder), wish, by="eva", why="")


def test_in_a_project_with_views_they_give_the_inputs_that_they_have(theirs, tmp_path, reference):
    path, folder = reference(VIEWED), tmp_path / "p"
    folder.mkdir()
    loaded = load_project(write_project(folder, views=True))
    wish = AdoptionWish("models:/viewed/1", path, theirs[0])
    assert adopt_here(loaded, wish, by="eva", why="").inputs == ("temp", "mean_temp")
    signature = registry_of(folder)[1].versions()[0].signature
    assert [(one.name, one.source) for one in signature.features] == [("temp", "request"), ("mean_temp", "town_rain")]
    assert signature.entities == ("town",)


def test_what_is_served_otherwise_than_the_original_answers_is_not_adopted(theirs, tmp_path, reference, monkeypatch):
    from mainspring.registry import original

    real = original.answers
    monkeypatch.setattr(original, "answers", lambda *given: 1 - real(*given))
    with pytest.raises(MainspringError, match=r"cannot be served.*its answers differ by up to"):
        adopt(theirs, tmp_path / "p", "boosted", reference(NUMBERS))
    assert not (tmp_path / "p").exists()
