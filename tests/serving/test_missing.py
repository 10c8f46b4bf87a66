"""What a predictor does when a feature is not there: refuse, serve NaN, put in a default; and how that is said."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mainspring.domain.errors import ConfigError
from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature, OnDemandView, Signature
from mainspring.registry.export import Trained, export
from mainspring.serving.config import OnlineStoreConfig, OnlineView, ServeConfig
from mainspring.serving.lookup import Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.missing import Missing, policies
from mainspring.serving.on_demand import ViewFailed
from mainspring.serving.process import build
from mainspring.serving.runtime import load_runtime
from mainspring.telemetry.logs import Log
from tests.serving.models import infer, tensor
from tests.serving.served import AT, Served, Store

WIND = Feature("wind", "float")
TEMP = Feature("temp", "float", "weather")
HUMID = Feature("humid", "float", "weather", nullable=True)
SKY = Feature("sky", "category", "sky_view", categories=("clear", "grey"))
STEPS = Feature("steps", "int", "sky_view")
OPEN = Feature("open", "bool", "sky_view")
SIGNATURE = Signature("regression", (WIND, TEMP, HUMID, SKY, STEPS, OPEN), ("town",))
WHOLE = {"temp": 12, "sky": "grey", "steps": 3.0, "open": True}


def test_each_feature_has_the_nearest_policy():
    found = policies(
        SIGNATURE, "reject", {"sky_view": "default", "steps": "serve_and_flag"}, {"sky": "grey", "open": False}
    )
    assert found == [Missing(), Missing(True), Missing(), Missing(default="grey"), Missing(), Missing(default=0.0)]
    assert policies(SIGNATURE, "default", {}, WHOLE)[1:] == [
        Missing(default=12.0), Missing(), Missing(default="grey"), Missing(default=3.0), Missing(default=1.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "by", "defaults", "says"),
    [
        ("default", {}, {**WHOLE, "sky": "gray"}, ["'gray' is no category that training saw; did you mean 'grey'?", "clear, grey"]),
        ("default", {}, {**WHOLE, "sky": 1}, ["1 is no category", "features.defaults.sky"]),
        ("default", {}, {**WHOLE, "temp": "warm"}, ["'warm' is no float", "a number"]),
        ("default", {}, {**WHOLE, "temp": True}, ["True is no float"]),
        ("default", {}, {**WHOLE, "temp": float("nan")}, ["nan is no float"]),
        ("default", {}, {**WHOLE, "steps": 2.5}, ["2.5 is no int", "a whole number"]),
        ("default", {}, {**WHOLE, "open": 1}, ["1 is no bool", "true or false"]),
        ("default", {}, {"sky": "grey", "steps": 3, "open": True}, ["`temp` of weather has no default", "missing_by: {temp: reject}"]),
        ("default", {}, {**WHOLE, "tmep": 1}, ["no looked-up feature is called `tmep`; did you mean `temp`?"]),
        ("default", {}, {**WHOLE, "wind": 1}, ["`wind` is sent by callers"]),
        ("reject", {}, {"temp": 1}, ["`temp` has a default that is never used: its policy is reject"]),
        ("reject", {"wether": "default"}, {}, ["`wether`; did you mean `weather`?", "features.missing_by.wether"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_signature_is_named(policy, by, defaults, says):
    with pytest.raises(ConfigError) as error:
        policies(SIGNATURE, policy, by, defaults)
    for text in says:
        assert text in str(error.value)


def test_a_predictor_takes_names_that_its_version_does_not_know_and_no_wrong_default():
    assert policies(Signature("regression", (TEMP,)), "default", {"gone": "reject"}, WHOLE, strict=False) == [
        Missing(default=12.0)
    ]
    with pytest.raises(ConfigError, match="'warm' is no float"):
        policies(Signature("regression", (TEMP,)), "default", {}, {"temp": "warm"}, strict=False)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear model that never saw a null: it has no answer for NaN."""
    folder = tmp_path_factory.mktemp("linear") / "model"
    generator = np.random.default_rng(1)
    X = pd.DataFrame({"wind": generator.normal(size=50), "temp": generator.normal(size=50)})
    model = LinearRegression().fit(X, X.wind + 2 * X.temp)
    card = ModelCard("rain", "regression", "onnx", Signature("regression", (WIND, TEMP), ("town",)))
    replay = lambda at, card, rows: np.array(load_runtime(at, card).predict(rows))[:, 0]  # noqa: E731
    return folder, export(Trained(model, X.to_numpy().tolist(), model.predict(X)), card, folder, replay).card


ASK = infer(tensor("town", "BYTES", "Ulm"), tensor("wind", "FP64", 1.0))


class Linear(Served):
    """The linear model behind REST; `town` is a key and no feature."""

    def __init__(self, linear, tmp_path, **options):
        super().__init__(linear, tmp_path, features=(WIND, TEMP), **options)
        self.predictor.table._by_name |= {"town": self.key()}

    def key(self):
        from mainspring.serving.checks import Column, check_key

        return Column("town", True, "BYTES", check_key, key=True)

    def metrics(self):
        return self.ask(b"", "/metrics", "GET")[1]


def test_a_default_stands_in_is_counted_flagged_and_logged(linear, tmp_path):
    served = Linear(linear, tmp_path, missing="default", defaults={"temp": 3})
    served.store.put("Ulm", 5.0, AT)
    assert served.ask(ASK)[1]["outputs"][0]["data"] == pytest.approx([11.0])
    served.store.put("Ulm", 5.0, AT.replace(hour=9))
    status, body = served.ask(ASK)
    assert status == 200
    assert body["outputs"][0]["data"] == pytest.approx([7.0])
    assert body["parameters"] == {"flags": "stale:temp,defaulted:temp"}
    served.store.rows.clear()
    assert served.ask(ASK)[1]["parameters"] == {"flags": "missing:temp,defaulted:temp"}
    served.store.away = True
    assert served.ask(ASK)[1]["parameters"] == {"flags": "unavailable:temp,defaulted:temp"}
    text = served.metrics()
    for line in (
        'feature_missing_total{feature="temp"} 1', 'feature_stale_total{feature="temp"} 1',
        'feature_unavailable_total{feature="temp"} 1', 'feature_defaulted_total{feature="temp"} 3',
        "online_failures_total 1",
    ):  # fmt: skip
        assert f"mainspring_{line}" in text
    rows = served.logged()
    assert [row.features["temp"] for row in rows] == [5.0, 3.0, 3.0, 3.0]
    assert [row.flags for row in rows][1:] == [
        ("stale:temp", "defaulted:temp"), ("missing:temp", "defaulted:temp"), ("unavailable:temp", "defaulted:temp")
    ]  # fmt: skip


def test_a_value_that_was_sent_needs_no_default(linear, tmp_path):
    served = Linear(linear, tmp_path, missing="default", defaults={"temp": 3})
    served.store.away = True
    body = infer(tensor("town", "BYTES", "Ulm"), tensor("wind", "FP64", 1.0), tensor("temp", "FP64", 0.0))
    status, answer = served.ask(body)
    assert (status, answer["outputs"][0]["data"], answer.get("parameters")) == (200, pytest.approx([1.0]), None)
    assert "mainspring_online_failures_total 0" in served.metrics()


def test_reject_refuses_what_training_never_missed_and_says_why(linear, tmp_path):
    served = Linear(linear, tmp_path, missing="reject")
    status, body = served.ask(ASK)
    assert (status, body["error"].startswith("temp: its value is missing")) == (422, True)
    served.store.put("Ulm", 5.0, AT.replace(hour=9))
    assert served.ask(ASK)[1]["error"].startswith("temp: its value is stale")
    served.store.away = True
    status, body = served.ask(ASK)
    # A store that is away is no fault of the caller's, and the same request may be answered later.
    assert (status, body["error"].startswith("temp: its value is unavailable")) == (503, True)
    served.store.away = False
    served.store.put("Ulm", 5.0, AT)
    assert served.ask(ASK)[0] == 200


def test_a_model_that_cannot_do_without_refuses_and_has_not_failed(linear, tmp_path):
    served = Linear(linear, tmp_path)
    status, body = served.ask(ASK)
    assert status == 422
    assert "the model gave no number: missing:temp; valid: features.missing: reject, or default" in body["error"]
    assert served.logged() == []


def test_the_store_going_away_and_coming_back_is_logged_once_each(linear, tmp_path, capsys):
    served = Linear(linear, tmp_path, missing="default", defaults={"temp": 3})
    for away in (True, True, False, False, True):
        served.store.away = away
        served.ask(ASK)
    told = [line for line in capsys.readouterr().err.splitlines() if "online store" in line]
    assert [("is away" in line, "is back" in line) for line in told] == [(True, False), (False, True), (True, False)]
    assert "redis at cache:6379" in told[0]


class Doubled:
    """Stands for Feast's objects: `twice` is a town's temperature twice, unless it fails."""

    failing = ""

    def compute(self, view, columns, rows):
        if self.failing:
            raise ViewFailed(self.failing)
        assert view == "doubled"
        return {"twice": [None if math.isnan(value) else 2 * value for value in columns["temp"]]}


def computed(policy, tmp_path, **options):
    """A lookup of `wind` and `twice`; `temp` is only an on-demand view's input."""
    twice = Feature("twice", "float", "doubled")
    signature = Signature(
        "regression", (WIND, twice), ("town",), (), "", (OnDemandView("doubled", ("temp",)),), (TEMP,)
    )
    metrics = PredictorMetrics("rain", "1", "", ["wind", "twice", "temp"])
    store, views = Store(), Doubled()
    how = policies(signature, policy, **options)
    weather = OnlineView("weather", ("town",), ("temp",), ttl_seconds=3600.0)
    return store, views, metrics, Lookup(signature, [weather], store, how, ("town",), metrics, views)


NOW = int(AT.timestamp() * 1e6)


def test_an_on_demand_view_is_computed_from_what_the_model_does_not_see(tmp_path):
    store, _, metrics, lookup = computed("serve_and_flag", tmp_path)
    store.put("Ulm", 4.0, AT)
    store.put("Bonn", 5.0, AT.replace(hour=1))
    found = lookup.fill(3, {"wind": [1.0, 2.0, 3.0], "town": ["Ulm", "Bonn", "Kiel"]}, NOW)
    assert found.rows[0] == [1.0, 8.0]
    assert [len(row) for row in found.rows] == [2, 2, 2]
    assert found.flags == [[], ["stale:temp", "missing:twice"], ["missing:temp", "missing:twice"]]
    assert 'mainspring_feature_stale_total{feature="temp"} 1' in metrics.exposition()


def test_a_default_of_an_input_is_what_the_view_computes_from(tmp_path):
    options = {"by": {"temp": "default", "twice": "reject"}, "defaults": {"temp": 10}}
    _, _, _, lookup = computed("serve_and_flag", tmp_path, **options)
    found = lookup.fill(1, {"wind": [1.0], "town": ["Kiel"]}, NOW)
    assert (found.rows, found.flags) == ([[1.0, 20.0]], [["missing:temp", "defaulted:temp"]])


def test_a_function_that_fails_is_no_answer_and_sent_values_need_none(tmp_path):
    store, views, _, lookup = computed("serve_and_flag", tmp_path)
    views.failing = "ZeroDivisionError: division by zero"
    store.put("Ulm", 4.0, AT)
    found = lookup.fill(1, {"wind": [1.0], "town": ["Ulm"]}, NOW)
    assert found.failure == "on-demand view doubled: ZeroDivisionError: division by zero"
    sent = lookup.fill(1, {"wind": [1.0], "town": ["Ulm"], "twice": [9.0]}, NOW)
    assert (sent.rows, sent.failure) == ([[1.0, 9.0]], "")


def test_a_failing_on_demand_view_is_a_logged_failure_of_the_version(linear, tmp_path, monkeypatch, capsys):
    served = Linear(linear, tmp_path)
    fill_all = served.predictor._lookup.fill_all

    def failing(asked):
        found = fill_all(asked)
        for looked in found:
            looked.failure = "on-demand view doubled: KeyError: 'x'"
        return found

    monkeypatch.setattr(served.predictor._lookup, "fill_all", failing)
    status, body = served.ask(ASK)
    assert (status, body["error"]) == (500, "on-demand view doubled: KeyError: 'x'")
    (row,) = served.logged()
    assert (row.outcome, row.reason) == ("failed", "on-demand view doubled: KeyError: 'x'")


def test_a_predictor_does_not_start_with_a_default_that_does_not_fit(linear, tmp_path):
    online = OnlineStoreConfig(str(tmp_path / "none.db"), "rain", (OnlineView("weather", ("town",), ("temp",)),))
    config = ServeConfig("rain", "1", str(linear[0]), str(tmp_path), 1, online=online, missing="default")
    with pytest.raises(ConfigError, match="`temp` of weather has no default"):
        build(config, PredictorMetrics.of(config, linear[1]), Log())
