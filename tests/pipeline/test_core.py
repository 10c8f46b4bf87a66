"""Splitting, signatures, calling `train`, and the gate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.domain.errors import DataError, TrainingError
from mainspring.pipeline.gate import Beside, HeldOut, judge
from mainspring.pipeline.signature import frame, learn_signature, truth
from mainspring.pipeline.split import HOLDOUT, TRAIN, VALIDATION, divide, require_classes
from mainspring.pipeline.training import Part, answers, fit, load_recipe, training_data
from mainspring.settings.project import ProjectSettings, SplitSettings

START = datetime(2013, 1, 1, tzinfo=UTC)


def project(task="binary", **more):
    return ProjectSettings.model_validate(
        {"name": "m", "task": task, "sources": {"s": {"path": "s.csv"}}, "target": {"source": "s", "column": "y"}}
        | more
    )


def rows(count=400):
    return pa.table(
        {
            "event_timestamp": [START + timedelta(hours=hour) for hour in range(count)],
            "label": [hour % 3 == 0 for hour in range(count)],
            "town": ["Ulm" if hour % 2 else None for hour in range(count)],
            "temp": [None if hour == 5 else hour / 10 for hour in range(count)],
        }
    )


def test_the_newest_window_is_held_out_and_the_newest_of_the_rest_is_for_early_stopping():
    table = rows()
    split = divide(
        table, SplitSettings(holdout=timedelta(days=7), validation_share=0.1), time="event_timestamp", known_at=None
    )
    times = table.column("event_timestamp").to_pylist()
    by_part = {name: [at for at, part in zip(times, split.parts, strict=True) if part == name] for name in split.parts}
    assert max(by_part[TRAIN]) < min(by_part[VALIDATION]) < min(by_part[HOLDOUT])
    assert split.holdout_from == times[-1] - timedelta(days=7)
    assert len(by_part[HOLDOUT]) == 7 * 24


def test_rows_of_one_instant_are_not_torn_apart():
    table = pa.table({"event_timestamp": [START] * 300 + [START + timedelta(days=30)] * 10})
    split = divide(table, SplitSettings(validation_share=0.1), time="event_timestamp", known_at=None)
    assert set(split.parts[:300]) == {TRAIN}


def test_a_window_leaves_out_older_rows_and_too_few_rows_are_refused():
    settings = SplitSettings(holdout=timedelta(days=1), window=timedelta(days=5))
    split = divide(rows(), settings, time="event_timestamp", known_at=START + timedelta(hours=400))
    assert split.parts[0] == ""
    with pytest.raises(DataError, match="no row is left for train"):
        divide(rows(50), SplitSettings(), time="event_timestamp", known_at=None)


def test_without_times_the_same_row_is_always_in_the_same_part():
    table = rows().drop_columns(["event_timestamp"])
    parts = divide(table, SplitSettings(), time=None, known_at=None).parts
    turned = divide(table.take(list(range(399, -1, -1))), SplitSettings(), time=None, known_at=None).parts
    assert parts == turned[::-1]
    assert 0.1 < parts.count(HOLDOUT) / 400 < 0.3


def learn(table, task="binary", **more):
    return learn_signature(table, {"town": "request", "temp": "weather"}, task=task, target="y", label="label", **more)


def test_a_signature_knows_types_sources_nulls_categories_and_classes():
    signature = learn(rows())
    town, temp = signature.features
    assert (town.type, town.nullable, town.categories) == ("category", True, ("Ulm",))
    assert (temp.type, temp.source, temp.nullable) == ("float", "weather", True)
    assert signature.classes == ("False", "True")
    assert learn(rows(), positive=False).classes == ("True", "False")
    data = frame(rows(), signature)
    assert data.town.iloc[0] == ""
    assert np.isnan(data.temp.iloc[5])
    assert truth(rows().column("label"), signature)[:4].tolist() == [1, 0, 0, 1]


def test_nan_is_a_missing_value_that_training_saw():
    table = rows().set_column(3, "temp", [[float("nan") if hour == 5 else hour / 10 for hour in range(400)]])
    assert learn(table).features[1].nullable
    assert not learn(table.slice(6)).features[1].nullable


def test_every_label_has_rows_to_be_trained_on():
    labels = pa.chunked_array([[0, 1, 0, 1, 0, 2]])
    table = rows(6).set_column(1, "label", labels)
    signature = learn(table, task="multiclass")
    require_classes(labels, [TRAIN] * 5 + [TRAIN], signature)
    with pytest.raises(DataError, match="no row that is trained on has the label 2") as error:
        require_classes(labels, [TRAIN] * 5 + [HOLDOUT], signature)
    assert "split.holdout" in error.value.next_step


def test_labels_that_do_not_fit_the_task_are_refused():
    with pytest.raises(DataError, match="3 different labels"):
        learn(rows().set_column(1, "label", [[hour % 3 for hour in range(400)]]))
    with pytest.raises(DataError, match=r"target\.positive is 'yes'"):
        learn(rows(), positive="yes")
    with pytest.raises(DataError, match="which no model takes"):
        learn(rows().set_column(3, "temp", [[START] * 400]))


def recipe(tmp_path, code):
    (tmp_path / "training.py").write_text(code)
    return load_recipe(tmp_path)


def data_of(table):
    signature = learn(table)
    X, y = frame(table, signature), truth(table.column("label"), signature)
    return signature, training_data(X, y, signature, Part(X[:0], y[:0]))


def test_train_gets_the_seed_and_the_columns_and_its_answers_are_chances(tmp_path):
    found = recipe(
        tmp_path,
        "from sklearn.dummy import DummyClassifier\n"
        "def train(data, params):\n"
        "    assert params['seed'] == 11 and data.categoricals == ['town'] and data.numerics == ['temp']\n"
        "    return DummyClassifier(strategy='prior').fit(data.X, data.y)\n",
    )
    signature, data = data_of(rows())
    chances = answers(fit(found, data, {}, seed=11), data.X, signature, found)
    assert chances.shape == (400,)
    assert chances[0] == pytest.approx(134 / 400)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def trian(data, params): pass", "no function `train`"),
        ("import nothing_of_this_name", "cannot be imported"),
        ("def train(data, params):\n    return data.X.nothing", "train failed: AttributeError"),
        ("def train(data, params):\n    pass", "train returned nothing"),
        ("def train(data, params): pass\ndef save(model, folder): pass", "`save` without `load`, `predict`"),
    ],
)
def test_what_is_wrong_with_training_is_said_with_its_line(tmp_path, code, message):
    with pytest.raises(TrainingError, match=message) as error:
        fit(recipe(tmp_path, code), data_of(rows())[1], {}, seed=1)
    assert str(tmp_path / "training.py") in error.value.where


def held_out(good=0.6, champion=None, seed=1):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 3000)
    noise = generator.normal(0, 0.3, 3000)
    chance = 1 / (1 + np.exp(-(good * (labels - 0.5) + noise)))
    other = None if champion is None else 1 / (1 + np.exp(-(champion * (labels - 0.5) + noise)))
    towns = np.where(np.arange(3000) % 2, "Ulm", "Bonn")
    return HeldOut(labels, chance, np.arange(3000) // 200, other, {"town": towns})


def test_the_first_model_has_to_beat_the_base_rate():
    assert judge(held_out(), project()).passed
    refused = judge(held_out(good=0.0), project(gate={"floor": 0.6}))
    assert not refused.passed
    assert "not better than gate.floor" in refused.reason
    assert judge(held_out(), project()).base_rate["auc"] == pytest.approx(0.5)


def test_a_candidate_has_to_beat_the_champion_on_the_same_rows():
    better = judge(held_out(0.6, 0.3), project(), Beside("1"))
    assert better.passed
    assert better.gain is not None
    assert better.gain.low is not None
    assert better.gain.low > 0
    assert better.gain.blocks == 15
    worse = judge(held_out(0.3, 0.6), project(), Beside("1"))
    assert not worse.passed
    assert "of version 1" in worse.reason


def test_a_slice_that_loses_too_much_refuses_the_whole():
    rows = held_out(0.6, 0.3)
    candidate = np.where(rows.columns["town"] == "Ulm", 0.5, rows.candidate)
    lost = HeldOut(rows.truth, candidate, rows.blocks, rows.champion, rows.columns)
    refused = judge(lost, project(gate={"slices": ["town"]}), Beside("1"))
    assert not refused.passed
    assert "town=Ulm" in refused.reason
    assert judge(lost, project(gate={"slices": ["town"], "slice_min_rows": 5000}), Beside("1")).slices


def test_several_classes_and_values_are_judged_by_their_own_metrics():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 900)
    chances = np.eye(3)[labels] * 0.4 + 0.2
    assert judge(HeldOut(labels, chances, np.arange(900) // 90), project("multiclass")).metric == "log_loss"
    values = generator.normal(size=900)
    verdict = judge(HeldOut(values, values + 0.1, np.arange(900) // 90), project("regression"))
    assert verdict.passed
    assert verdict.candidate["rmse"].value == pytest.approx(0.1)
