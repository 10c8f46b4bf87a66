"""Many rows at once are answered as a predictor answers each: the same refusals, the same missing values."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.model_version import Feature
from mainspring.serving.batch import BatchPredictor, looked_up_values, sent_values
from mainspring.serving.errors import ModelFailed
from mainspring.serving.missing import policies
from mainspring.serving.runtime import load_runtime
from tests.serving.models import FEATURES, SIGNATURE, infer, tensor
from tests.serving.served import AT, Served

TOWN, WIND, TEMP = FEATURES


def batch(model, missing="serve_and_flag", runtime=None, nullable=True):
    folder, card = model
    features = (TOWN, WIND, replace(TEMP, nullable=nullable))
    card = replace(card, signature=replace(SIGNATURE, features=features))
    how = policies(card.signature, missing, strict=False)
    return BatchPredictor(card, runtime or load_runtime(folder, card), ["town"], how)


VALUES = st.tuples(
    st.sampled_from(["Ulm", "Bonn", "Paris", None]),
    st.sampled_from([7.5, -1.0, 0.0, float("nan"), 1e39, None, "warm"]),
    st.sampled_from([3.0, 12.5, None]),
)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(VALUES, min_size=1, max_size=6))
def test_each_row_has_the_predictors_own_answer_or_refusal(model, tmp_path_factory, rows):
    served = Served(model, tmp_path_factory.mktemp("served"))
    temps = {town: temp for town, _, temp in rows}
    for town, temp in temps.items():
        served.store.put(town, temp, AT)
    towns, winds = [row[0] for row in rows], [row[1] for row in rows]
    looked_up = {"temp": [float("nan") if temps[town] is None else temps[town] for town in towns]}
    found = batch(model).answer({"town": towns, "wind": winds}, looked_up)
    refused, answered = (
        dict(found.refused),
        dict(zip(found.places, zip(found.outputs, found.flags, strict=True), strict=True)),
    )
    assert sorted([*refused, *answered]) == list(range(len(rows)))
    for place, (town, wind) in enumerate(zip(towns, winds, strict=True)):
        status, body = served.ask(infer(tensor("town", "BYTES", town), tensor("wind", "FP64", wind)))
        if status != 200:
            assert (status, body["error"]) == (400, refused[place])
            continue
        output, flags = answered[place]
        assert body["outputs"][0]["data"] == pytest.approx(list(output), abs=2e-7)
        assert body.get("parameters", {}).get("flags", "") == ",".join(flags)
    served.writer.rotate()


def test_a_missing_feature_is_refused_where_the_policy_says_so_and_training_saw_none(model):
    sent, looked_up = {"town": ["Ulm", "Bonn"], "wind": [1.0, 2.0]}, {"temp": [float("nan"), 3.0]}
    assert batch(model, "reject").answer(sent, looked_up).refused == []
    found = batch(model, "reject", nullable=False).answer(sent, looked_up)
    assert found.places == [1]
    assert found.refused == [(0, "temp: its value is missing; valid: features.missing: serve_and_flag, or default")]
    assert batch(model, nullable=False).answer(sent, looked_up).flags == [["missing:temp"], []]


def test_a_model_that_gives_no_number_refuses_the_row_and_one_that_raises_all(model):
    class Odd:
        largest = 1e300

        def predict(self, rows):
            if rows[0][1] == 13.0:
                raise ZeroDivisionError("thirteen")
            return [(float("nan") if row[1] == 1.0 else 0.5,) for row in rows]

    odd = batch(model, runtime=Odd())
    found = odd.answer({"town": ["Ulm"] * 2, "wind": [1.0, 2.0]}, {"temp": [1.0, 1.0]})
    assert (found.places, found.refused) == ([1], [(0, "the model gave no number")])
    with pytest.raises(ModelFailed, match="ZeroDivisionError: thirteen"):
        odd.answer({"town": ["Ulm"], "wind": [13.0]}, {"temp": [1.0]})
    assert odd.answer({"town": [], "wind": []}, {"temp": []}).places == []


@pytest.mark.parametrize(
    ("column", "feature", "expected"),
    [
        (["1.5", " 2 ", None, "True", "x"], WIND, [1.5, 2.0, None, 1.0, "x"]),
        (["1.5", None], WIND, [1.5, None]),
        ([True, None], WIND, [1.0, None]),
        (pa.array([1, 2], pa.int8()), WIND, [1.0, 2.0]),
        (pa.array([1.5], pa.float32()), WIND, [1.5]),
        (pa.array([0], pa.date32()), WIND, ["1970-01-01"]),
        ([12, None], TOWN, ["12", None]),
        (pa.array(["Ulm"]).dictionary_encode(), TOWN, ["Ulm"]),
        (["007"], None, ["007"]),
        ([7], None, [7]),
        ([7.5], None, ["7.5"]),
    ],
)
def test_a_files_values_are_those_that_a_caller_would_send(column, feature, expected):
    assert sent_values(pa.chunked_array([column]), feature) == expected


def test_what_was_looked_up_is_as_the_online_store_gives_it():
    found = looked_up_values(pa.chunked_array([[1.5, None]]), TEMP)
    assert found[0] == 1.5
    assert np.isnan(found[1])
    assert looked_up_values(pa.chunked_array([[True]]), Feature("wet", "bool")) == [1.0]
    assert looked_up_values(pa.chunked_array([["a", None]]), TOWN) == ["a", None]


def test_a_caller_who_says_that_he_is_a_batch_is_a_caller(served):
    assert served.ask(**{"mainspring-role": "batch"})[0] == 200
    assert [one.role for one in served.logged()] == ["primary"]
