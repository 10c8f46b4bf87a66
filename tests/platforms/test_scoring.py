"""`mainspring score`: what a predictor answers, row by row; point in time; whole or not at all; once in the log."""

import errno
import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import ConfigError, ConflictError, DataError, MainspringError, NotFound
from mainspring.platforms import scoring as module
from mainspring.platforms.challenger import with_features
from mainspring.platforms.forget import forget
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.parts import online_store
from mainspring.platforms.scoring import score_file
from mainspring.platforms.steps.fitting import plain, replay
from mainspring.serving.runtime import load_card
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from mainspring.settings.log_key import concealment
from mainspring.sources.batches import BatchedFile
from tests.platforms.towns import Walk, write_project
from tests.serving.real import running

AS_OF = datetime(2026, 3, 20, 7, tzinfo=UTC)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_store):
    """A project with a view and a champion; made once, and copied for each test."""
    folder = tmp_path_factory.mktemp("scored") / "towns"
    (folder / ".mainspring").mkdir(parents=True)
    shutil.copy(empty_store, folder / ".mainspring" / "mlflow.db")
    write_project(folder, views=True)
    walk = Walk(folder, known_at="2026-03-20").until("register")
    walk.registry.set_alias("champion", "1")
    walk.registry.fetch("1")
    return folder


@pytest.fixture
def folder(made):
    """The project without what an earlier test scored."""
    for name in ("log", "scoring"):
        shutil.rmtree(made / ".mainspring" / name, ignore_errors=True)
    (made / ".mainspring" / "ledger.db").unlink(missing_ok=True)
    for path in made.glob("*.scored.*"):
        path.unlink()
    return made


def rows(count=40, seed=5):
    generator = np.random.default_rng(seed)
    towns = generator.choice(["Ulm", "Bonn", "Kiel", "Paris"], count)
    return pd.DataFrame({"day": [f"n{n}" for n in range(count)], "temp": generator.normal(10, 8, count), "town": towns})


def score(folder, frame, name="in.csv", out="out.scored.csv", as_of=AS_OF, **options):
    if isinstance(frame, str):
        (folder / name).write_text(frame)
    elif name.endswith(".parquet"):
        frame.to_parquet(folder / name, index=False)
    else:
        frame.to_csv(folder / name, index=False)
    done = score_file(load_project(folder), folder / name, folder / out, as_of, by="eva", **options)
    return done, pd.read_csv(folder / out, float_precision="round_trip") if out.endswith(".csv") else pq.read_table(
        folder / out
    ).to_pandas()


def body_of(frame, name):
    """The rows as one request."""
    inputs = [
        {"name": "temp", "shape": [len(frame)], "datatype": "FP64", "data": frame["temp"].tolist()},
        {"name": "town", "shape": [len(frame)], "datatype": "BYTES", "data": frame["town"].tolist()},
    ]
    return json.dumps({"id": name, "inputs": inputs})


def logged(folder):
    log = ParquetPredictionLog(load_project(folder).paths)
    log.compact()
    return log.read()


def test_each_row_gets_what_the_predictor_answers(folder, tmp_path):
    loaded, frame = load_project(folder), rows()
    features = LaptopFeatures(loaded)
    features.advance(AS_OF)
    done, found = score(folder, frame)
    assert (done.rows, done.version, done.refused) == (40, "1", 0)
    headers = {"content-type": "application/json", "mainspring-event-at": AS_OF.isoformat()}
    model = loaded.paths.models / "1"
    with running(model, tmp_path, replayed_clock=True, online=online_store(loaded, features)) as predictor:
        whole = predictor.ask("POST", "/v2/models/rain/infer", body_of(frame, "all"), headers)
        assert json.loads(whole[2])["outputs"][0]["data"] == found["probability"].tolist()
        for place, row in enumerate(found.itertuples()):
            one = body_of(frame.iloc[[place]], row.request_id)
            status, _, answer = predictor.ask("POST", "/v2/models/rain/infer", one, headers)
            answer = json.loads(answer)
            assert status == 200, answer
            # A runtime of 32 bits rounds the last bit otherwise for one row than for forty.
            assert answer["outputs"][0]["data"] == pytest.approx([row.probability], abs=2e-7)
            flags = answer.get("parameters", {}).get("flags", "")
            assert flags == ("" if pd.isna(row.flags) else row.flags)
        served = {one.request_id: one for one in predictor.logged()}
    for one in logged(folder).to_pylist():
        other = served[one["request_id"]]
        assert (one["role"], one["version"]) == ("batch", "1")
        assert {name: one[f"feature.{name}"] for name in other.features} == other.features
        assert one["entity.town"] == other.entities["town"]
        assert one["event_at"] == AS_OF
    assert done.missing == {"mean_temp": int((frame["town"] == "Paris").sum())}


def test_features_are_those_known_at_each_rows_own_time_and_never_later_than_as_of(folder):
    loaded = load_project(folder)
    features = LaptopFeatures(loaded)
    asked = features.questions(AS_OF).slice(900, 60)
    expected, _, _ = with_features(loaded, features, asked)
    card = load_card(loaded.paths.models / "1")
    answers = replay(loaded.paths.models / "1", card, plain(expected, card.signature))
    frame = pd.read_csv(folder / "days.csv").set_index("day").loc[asked.column("request_id").to_pylist()].reset_index()
    done, found = score(folder, frame)
    assert found["request_id"].tolist() == asked.column("request_id").to_pylist()
    assert found["probability"].tolist() == pytest.approx(answers.tolist(), abs=0)
    assert found["event_at"].str[:13].tolist() == [
        f"{at:%Y-%m-%d %H}" for at in asked.column("event_timestamp").to_pylist()
    ]
    assert len(set(logged(folder).column("feature.mean_temp").to_pylist())) > 5
    assert done.rows == 60
    # As known the day before, a town has one value, whenever it is asked.
    shutil.rmtree(folder / ".mainspring" / "log")
    score(folder, frame, out="early.scored.csv", as_of=asked.column("event_timestamp")[0].as_py() - timedelta(days=1))
    of_then = logged(folder).to_pandas().groupby("feature.town")["feature.mean_temp"].nunique()
    assert of_then.tolist() == [1, 1, 1]


def test_parquet_and_csv_give_the_same(folder):
    frame = rows()
    _, one = score(folder, frame, log=False)
    done, other = score(folder, frame, name="in.parquet", out="out.scored.parquet", log=False)
    assert one["probability"].tolist() == other["probability"].tolist()
    assert other["event_at"].tolist() == [pd.Timestamp(AS_OF)] * 40
    assert (done.logged, logged(folder).num_rows) == (False, 0)


def test_scored_again_it_is_the_same_file_and_in_the_log_once(folder):
    frame = rows().drop(columns="day")
    first, found = score(folder, frame)
    bytes_ = (folder / "out.scored.csv").read_bytes()
    again, _ = score(folder, frame)
    assert (again, (folder / "out.scored.csv").read_bytes()) == (first, bytes_)
    assert logged(folder).num_rows == 40
    assert found["request_id"].str.contains("#").all()
    (decision,) = SqliteLedger(load_project(folder).paths.ledger).decisions(kind="scored")
    assert (decision.actor, decision.version, decision.numbers["output_digest"]) == ("eva", "1", first.output_digest)
    later, _ = score(folder, frame, out="later.scored.csv", as_of=AS_OF + timedelta(days=1))
    assert later.decision != first.decision
    assert logged(folder).num_rows == 80  # They are other questions.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("temp,twon\n1,Ulm\n", "no column `town` (did you mean `twon`?)"),
        ("town\nUlm\n", "no column `temp`, which the model needs"),
        ("temp,town,wind\n1,Ulm,3\n", "the model has no input `wind`"),
    ],
)
def test_columns_that_are_missing_or_no_input_are_named(folder, text, says):
    with pytest.raises(ConfigError) as refused:
        score(folder, text)
    assert says in str(refused.value)
    assert not (folder / "out.scored.csv").exists()


def test_columns_that_are_no_input_are_taken_over_where_that_is_asked(folder):
    _, found = score(folder, "temp,town,wind\n1,Ulm,3\n", keep_extra=True)
    assert list(found.columns) == ["request_id", "event_at", "wind", "probability", "flags", "version"]
    assert found["wind"].tolist() == [3]
    with pytest.raises(ConfigError, match="`flags` is a column of the output's own"):
        score(folder, "temp,town,flags\n1,Ulm,3\n", keep_extra=True)


def test_a_feature_of_a_view_that_the_file_has_is_taken_from_it(folder):
    done, found = score(folder, "temp,town,mean_temp\n1,Ulm,55\n1,Paris,-3\n")
    assert (done.missing, len(found)) == ({}, 2)
    assert logged(folder).column("feature.mean_temp").to_pylist() == [55.0, -3.0]
    assert logged(folder).column("entity.town").to_pylist() == ["Ulm", "Paris"]


def test_rows_that_a_caller_would_not_be_answered_are_refused_or_left_out(folder):
    text = "day,temp,town\na,1.5,Ulm\nb,warm,Ulm\nc,,Ulm\nd,2,\ne,inf,Ulm\nf,3,Bonn\n"
    with pytest.raises(DataError) as refused:
        score(folder, text)
    said = str(refused.value)
    assert "4 rows cannot be answered, and nothing was written" in said
    assert "row 2: temp: 'warm' is not a number; valid: a number" in said
    assert "row 3: temp: null or NaN, which training never saw here" in said
    assert "row 4: town: " in said
    assert "row 5: temp: an infinite number" in said
    assert not (folder / "out.scored.csv").exists()
    assert (logged(folder).num_rows, list((folder / ".mainspring" / "scoring").glob("*/"))) == (0, [])
    done, found = score(folder, text, skip_bad=True)
    assert (done.rows, done.refused, found["request_id"].tolist()) == (2, 4, ["a", "f"])
    assert logged(folder).column("request_id").to_pylist() == ["a", "f"]


def test_what_is_asked_for_has_to_be_there(folder):
    with pytest.raises(NotFound, match="no version '9'"):
        score(folder, rows(), version="9")
    with pytest.raises(ConfigError, match="yet to come"):
        score(folder, rows(), as_of=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(ConfigError, match="into itself"):
        score(folder, rows(), name="same.scored.csv", out="same.scored.csv")
    with pytest.raises(ConfigError, match="cannot write"):
        score(folder, rows(), out="out.scored.xlsx")
    with pytest.raises(DataError, match="no row to score"):
        score(folder, "temp,town\n")
    with pytest.raises(DataError, match="row 2: `at` 'soon' is not an instant"):
        score(folder, "at,temp,town\n2026-03-01,1,Ulm\nsoon,1,Ulm\n")


def test_personal_data_of_a_scored_file_is_kept_out_of_the_log_and_can_be_forgotten(folder):
    settings = folder / "mainspring.yaml"
    text = settings.read_text()
    try:
        settings.write_text(f"{text}\nlog: {{drop: [tmp], hash: [town]}}\n")
        with pytest.raises(ConfigError, match="did you mean 'temp'"):
            score(folder, rows())
        settings.write_text(f"{text}\nlog: {{drop: [temp], hash: [town]}}\n")
        loaded = load_project(folder)
        _, found = score(folder, rows())
        assert found["request_id"].tolist() == rows()["day"].tolist()
        conceal = concealment(loaded.settings, loaded.paths)
        kept = logged(folder)
        assert "feature.temp" not in kept.column_names
        wanted = [conceal.hashed("town", town) for town in rows()["town"]]
        by_id = dict(zip(kept.column("request_id").to_pylist(), kept.column("entity.town").to_pylist(), strict=True))
        assert [by_id[name] for name in rows()["day"]] == wanted
        assert kept.column("feature.town").to_pylist() == kept.column("entity.town").to_pylist()
        done = forget(loaded, ["town=Ulm"], by="eva")
        of_ulm = rows()["town"].tolist().count("Ulm")
        assert (done.rows, logged(folder).num_rows) == (of_ulm, 40 - of_ulm)
    finally:
        settings.write_text(text)


@pytest.mark.parametrize("place", ["append", "publish", "_move"])
def test_killed_anywhere_the_same_command_makes_the_same(folder, monkeypatch, place):
    frame = rows().drop(columns="day")
    owner = {"append": SqliteLedger, "publish": module.ScoreOutput, "_move": module}[place]

    def killed(*given, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, killed)
        with pytest.raises(KeyboardInterrupt):
            score(folder, frame)
    assert not (folder / "out.scored.csv").exists()
    done, found = score(folder, frame)
    assert (done.rows, len(found), logged(folder).num_rows) == (40, 40, 40)
    assert len(SqliteLedger(load_project(folder).paths.ledger).decisions(kind="scored")) == 1
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []


def test_a_full_disk_leaves_nothing_half(folder, monkeypatch):
    def full(self, found):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "append", full)
    with pytest.raises(MainspringError, match="nothing was: No space left on device"):
        score(folder, rows())
    monkeypatch.undo()
    assert not (folder / "out.scored.csv").exists()
    assert (logged(folder).num_rows, list(folder.glob(".*.part"))) == (0, [])


def test_rows_of_a_killed_score_go_with_the_next_one_or_when_somebody_is_forgotten(folder):
    """Also where nobody scores into that file again; those of one that goes on stay."""
    loaded = load_project(folder)
    score(folder, rows(3))
    for ask in (
        lambda: score(folder, rows(3), out="other.scored.csv"),
        lambda: forget(loaded, ["town=Nowhere"], by=""),
    ):
        left = loaded.paths.scoring / "0123456789abcdef"
        left.mkdir()
        (left / "1.closed").write_bytes(b"rows")
        with module._alone(loaded, folder / "busy.scored.csv") as busy:
            busy.mkdir()
            assert not left.exists()
            left.mkdir()
            ask()
            assert (left.exists(), busy.exists()) == (False, True)


def test_two_at_once_into_one_file_are_one(folder):
    with module._alone(load_project(folder), folder / "out.scored.csv"):
        with pytest.raises(ConflictError, match="another `mainspring score` writes this file"):
            score(folder, rows())
        score(folder, rows(), out="other.scored.csv")


def test_batches_make_no_difference(folder, monkeypatch):
    frame = rows(25)
    _, whole = score(folder, frame, log=False)
    small = partial(BatchedFile, batch_rows=4)
    monkeypatch.setattr(module, "BatchedFile", small)
    _, parts = score(folder, frame, out="parts.scored.csv", log=False)
    pd.testing.assert_frame_equal(whole, parts)


def test_a_parquet_file_with_other_types_is_taken_or_refused_by_name(folder):
    table = pa.table({"temp": pa.array([1, 2], pa.int16()), "town": pa.array(["Ulm", "Kiel"]).dictionary_encode()})
    pq.write_table(table, folder / "typed.parquet")
    done = score_file(load_project(folder), folder / "typed.parquet", folder / "t.scored.csv", AS_OF, log=False)
    assert done.rows == 2
    wrong = pa.table({"temp": pa.array([AS_OF], pa.timestamp("us", "UTC")), "town": ["Ulm"]})
    pq.write_table(wrong, folder / "typed.parquet")
    with pytest.raises(DataError, match="row 1: temp: '2026"):
        score_file(load_project(folder), folder / "typed.parquet", folder / "t.scored.csv", AS_OF, log=False)
