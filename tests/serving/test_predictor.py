"""The predictor: protocols, features, flags, refusals, and the log."""

import json

import pytest

from mainspring.serving.predictor import warm_up
from mainspring.serving.runtime import load_runtime
from mainspring.telemetry.registry import DEFINITIONS
from tests.serving.models import RAIN, infer, tensor
from tests.serving.served import AT, Served


def test_an_answer_comes_from_request_and_store_and_is_logged(served):
    served.store.put("Ulm", 12.5, AT)
    status, body = served.ask()
    assert status == 200
    assert (body["id"], body["model_version"]) == ("q1", "1")
    assert "parameters" not in body
    (row,) = served.logged()
    assert row.output == tuple(body["outputs"][0]["data"])
    assert row.features == {"town": "Ulm", "wind": 7.5, "temp": 12.5}
    assert (row.request_id, row.arm, row.role, row.outcome, row.event_at) == (
        "q1", "candidate", "primary", "answered", AT
    )  # fmt: skip
    assert row.feature_age_seconds == {"weather": 0.0}


def test_a_value_in_the_request_is_taken_before_the_stores(served):
    served.store.put("Ulm", 12.5, AT)
    body = infer(tensor("town", "BYTES", "Ulm"), tensor("wind", "FP64", 7.5), tensor("temp", "FP64", -3.0))
    assert served.ask(body)[0] == 200
    assert served.logged()[0].features["temp"] == -3.0


def test_missing_and_stale_are_flagged_and_counted_never_zero(served):
    assert served.ask()[1]["parameters"] == {"flags": "missing:temp"}
    served.store.put("Ulm", 12.5, AT.replace(hour=10))
    assert served.ask()[1]["parameters"] == {"flags": "stale:temp"}
    served.store.put("Bonn", None, AT)
    both = infer(tensor("town", "BYTES", "Ulm", "Bonn"), tensor("wind", "FP64", 1.0, 2.0))
    assert served.ask(both)[1]["parameters"] == {"flags": "0:stale:temp,1:missing:temp"}
    text = served.ask(b"", "/metrics", "GET")[1]
    assert 'mainspring_feature_missing_total{feature="temp"} 2' in text
    assert 'mainspring_feature_stale_total{feature="temp"} 2' in text
    rows = served.logged()
    assert [row.features["temp"] for row in rows] == [None] * 4
    assert [row.request_id for row in rows][2:] == ["q1#0", "q1#1"]
    assert rows[1].feature_age_seconds == {"weather": 7200.0}


def test_kserve_v1_answers_the_same(served):
    served.store.put("Ulm", 12.5, AT)
    new = served.ask()[1]["outputs"][0]["data"]
    body = json.dumps({"instances": [{"town": "Ulm", "wind": 7.5}]}).encode()
    assert served.ask(body, "/v1/models/rain:predict") == (200, {"predictions": new})


def test_a_policy_of_reject_refuses_what_training_never_missed(model, tmp_path):
    served = Served(model, tmp_path, missing="reject")
    assert served.ask()[0] == 200  # training saw nulls in temp
    body = infer(tensor("town", "BYTES", "Ulm"), tensor("wind", "FP64", None))
    assert served.ask(body)[0] == 400


@pytest.mark.parametrize(
    ("body", "path", "method", "headers", "status", "says"),
    [
        (b"{", "/v2/models/rain/infer", "POST", {}, 400, "body"),
        (infer(tensor("town", "BYTES", "Ulm")), "/v2/models/rain/infer", "POST", {}, 400, "wind: this column"),
        (infer(tensor("twon", "BYTES", "Ulm")), "/v2/models/rain/infer", "POST", {}, 400, "did you mean 'town'"),
        (infer(tensor("wind", "BYTES", "x")), "/v2/models/rain/infer", "POST", {}, 400, "wind: datatype BYTES"),
        (infer(tensor("wind", "FP64", "x")), "/v2/models/rain/infer", "POST", {}, 400, "'x' is not a number"),
        (infer(), "/v2/models/rain/infer", "POST", {}, 400, "no input"),
        (b'{"instances": []}', "/v1/models/rain:predict", "POST", {}, 400, "no rows"),
        (RAIN, "/v2/models/snow/infer", "POST", {}, 404, "no model 'snow' here; valid: rain"),
        (RAIN, "/v2/models/rain/versions/9/infer", "POST", {}, 404, "no version '9'"),
        (RAIN, "/v2/models/rain/infer", "GET", {}, 405, "valid: POST"),
        (RAIN, "/v2/nothing", "GET", {}, 404, "there is nothing at /v2/nothing"),
        (RAIN, "/v2/models/rain/infer", "POST", {"content-type": "text/csv"}, 415, "text/csv"),
        (RAIN, "/v2/models/rain/infer", "POST", {"mainspring-event-at": "noon"}, 400, "'noon' is not an instant"),
    ],
)
def test_a_callers_mistake_is_named_and_not_logged(served, body, path, method, headers, status, says):
    found, answer = served.ask(body, path, method, **headers)
    assert found == status
    assert says in answer["error"]
    assert served.logged() == []


def test_a_model_that_fails_is_logged_as_a_failure(served, monkeypatch, capsys):
    monkeypatch.setattr(served.predictor._runtime, "predict", lambda rows: [(float("nan"),)])
    assert served.ask()[0] == 500
    (row,) = served.logged()
    assert (row.outcome, row.reason) == ("failed", "the model gave no number")


def test_a_rehearsed_build_fails_its_share_and_always_the_same_requests(model, tmp_path, capsys):
    served = Served(model, tmp_path, build="broken", error_share=0.2)
    statuses = [served.ask(**{"x-request-id": f"q{n}"})[0] for n in range(500)]
    assert 60 < statuses.count(500) < 140
    assert statuses == [served.ask(**{"x-request-id": f"q{n}"})[0] for n in range(500)]
    rows = served.logged()
    assert {row.build for row in rows} == {"broken"}
    assert sum(row.outcome == "failed" for row in rows) == 2 * statuses.count(500)


def test_a_full_disk_refuses_or_serves_as_the_project_says(model, tmp_path, monkeypatch, capsys):
    def full(rows):
        raise OSError(28, "No space left on device")

    for policy, status in (("refuse", 503), ("serve", 200)):
        served = Served(model, tmp_path / policy, on_log_failure=policy)
        monkeypatch.setattr(served.writer, "append", full)
        assert served.ask()[0] == status
        assert "mainspring_log_failures_total 1" in served.ask(b"", "/metrics", "GET")[1]


def test_health_metadata_and_readiness(served):
    assert served.ask(b"", "/v2", "GET")[1]["name"] == "mainspring"
    inputs = served.ask(b"", "/v2/models/rain", "GET")[1]["inputs"]
    assert [(one["name"], one["parameters"]["source"]) for one in inputs] == [
        ("town", "request"), ("wind", "request"), ("temp", "weather")
    ]  # fmt: skip
    assert served.ask(b"", "/v2/health/ready", "GET")[0] == 200
    served.predictor.state = "starting"
    assert served.ask(b"", "/v2/health/ready", "GET")[0] == 503
    assert served.ask(b"", "/v2/health/live", "GET")[0] == 200
    assert served.ask()[0] == 503


def test_what_is_exposed_is_what_is_registered(served):
    names = {
        line.split()[2] for line in served.ask(b"", "/metrics", "GET")[1].splitlines() if line.startswith("# TYPE")
    }
    assert names == {one.name for one in DEFINITIONS.values() if one.process == "predictor"}


def test_warming_up_logs_nothing(model, tmp_path):
    folder, card = model
    warm_up(load_runtime(folder, card), card, 3)
    assert Served(model, tmp_path).logged() == []
