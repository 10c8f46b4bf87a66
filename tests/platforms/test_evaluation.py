"""Evaluation by the steps themselves: what the gate sees beside the metrics, the project's own numbers, the page."""

import json

import pytest

from mainspring.domain.errors import ConfigError, DataError, TrainingError
from tests.platforms.towns import Walk, edit

pytestmark = pytest.mark.filterwarnings("ignore")
COST = """

def evaluate(model, data):
    rain = model.predict_proba(data.X)[:, 1] > 0.4
    assert set(model.predict(data.X)) == {0, 1} and list(data.X.columns) == data.columns
    return {"missed": float((data.y * ~rain).mean()), "called": float(rain.mean())}
"""


def champion_of(project, **more):
    """Version 1, trained until March."""
    first = Walk(project, "run-1", known_at="2026-03-01", **more).until("register")
    first.registry.set_alias("champion", "1")
    return first


def test_calibration_slices_base_rate_and_training_metrics_are_in_the_artifact_and_on_the_page(project):
    edit(project, "mainspring.yaml", "", "gate: {slices: [town], slice_min_rows: 50}\n")
    champion_of(project)
    walk = Walk(project, "run-2", "1").until("evaluate")
    found = walk.read("evaluation", "evaluation.json")
    assert found["base_rate"]["auc"] == pytest.approx(0.5)
    assert found["training"]["auc"] == pytest.approx(walk.numbers["train"]["train_auc"])
    assert found["champion_build"] == "shipped"
    bins = found["calibration"]
    assert len(bins) == 10
    assert [one["said"] for one in bins] == sorted(one["said"] for one in bins)
    assert sum(one["rows"] for one in bins) == found["candidate"]["auc"]["rows"]
    assert {one["value"] for one in found["slices"]} == {"Bonn", "Kiel", "Ulm"}
    assert all(one["judged"] and one["champion"] is not None for one in found["slices"])
    page = walk.path("page").read_text()
    for text in ("on its training rows", "town = Kiel", "perfect", "Importance", "Learning curve", "version 1"):
        assert text in page
    assert found["reason"] in page


def test_a_slice_below_its_floor_refuses_the_model_even_without_a_champion(project):
    edit(project, "mainspring.yaml", "", "gate: {slices: [town], slice_min_rows: 50, slice_floor: 0.99}\n")
    walk = Walk(project).until("evaluate")
    assert walk.numbers["evaluate"]["passed"] == 0
    assert "auc is too low in town=Bonn" in walk.read("evaluation", "evaluation.json")["reason"]


def test_a_slice_of_one_label_only_is_not_judged_and_can_be_read_back(project):
    text = (project / "days.csv").read_text().splitlines()
    text[-1] = ",".join([*text[-1].split(",")[:3], "Hof", "1"])
    (project / "days.csv").write_text("\n".join(text) + "\n")
    edit(project, "mainspring.yaml", "", "gate: {slices: [town], slice_min_rows: 1}\n")
    walk = Walk(project).until("register")
    hof = next(one for one in walk.read("evaluation", "evaluation.json")["slices"] if one["value"] == "Hof")
    assert (hof["candidate"], hof["judged"], hof["passed"]) == (None, False, True)
    assert walk.numbers["register"]["version"] == 1


def test_a_column_to_slice_by_that_is_not_there_is_said_before_training(project):
    edit(project, "mainspring.yaml", "", "gate: {slices: [twon]}\n")
    with pytest.raises(ConfigError, match="no column twon to slice by") as error:
        Walk(project).until("register")
    assert error.value.valid == "temp, town"
    assert Walk(project).record("engineer")["status"] == "failed"


def test_slices_and_expectations_may_be_about_columns_that_are_no_inputs(project):
    edit(project, "mainspring.yaml", "", "features: {request: [temp]}\ngate: {slices: [town], slice_min_rows: 50}\n")
    walk = Walk(project).until("evaluate")
    assert len(walk.read("evaluation", "evaluation.json")["slices"]) == 3
    assert [one["name"] for one in walk.read("training_set", "signature.json")["features"]] == ["temp"]


def test_the_projects_own_numbers_are_recorded_for_both_and_can_be_the_gates(project):
    edit(project, "training.py", "", COST)
    champion_of(project)
    walk = Walk(project, "run-2", "1").until("register")
    found = walk.read("evaluation", "evaluation.json")
    assert found["own"].keys() == found["champion_own"].keys() == {"missed", "called"}
    assert found["reason"].startswith("auc ")
    assert walk.mlflow_run().data.metrics["own_missed"] == found["own"]["missed"]
    edit(project, "mainspring.yaml", "", "gate: {own: missed, own_higher_is_better: false, min_gain: -1}\n")
    found = Walk(project, "run-3", "1").until("evaluate").read("evaluation", "evaluation.json")
    assert found["passed"]
    assert found["reason"].startswith("missed ")
    assert found["gain"]["value"] == pytest.approx(found["champion_own"]["missed"] - found["own"]["missed"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return 0.3", "evaluate returned a float"),
        ("return {'cost': 'much'}", "cost is 'much'"),
        ("return {'cost': float('nan')}", "cost is nan"),
        ("return {'cost': data.nothing}", "evaluate failed: AttributeError"),
    ],
)
def test_an_evaluate_that_gives_no_numbers_is_named_with_its_line(project, code, message):
    edit(project, "training.py", "", f"\ndef evaluate(model, data):\n    {code}\n")
    with pytest.raises(TrainingError, match=message) as error:
        Walk(project).until("evaluate")
    assert "training.py" in error.value.where


def test_a_number_that_evaluate_does_not_give_cannot_decide(project):
    edit(project, "mainspring.yaml", "", "gate: {own: cost}\n")
    with pytest.raises(ConfigError, match=r"gate\.own is 'cost'"):
        Walk(project).until("evaluate")


def test_an_edited_recipe_meets_the_champion_as_it_was_evaluated_when_no_label_has_come_since(project):
    champion_of(project)
    edit(project, "training.py", "max_iter=500", "max_iter=500, C=1e-6")
    walk = Walk(project, "run-2", "1", known_at="2026-03-01").until("register")
    found = walk.read("evaluation", "evaluation.json")
    assert (found["champion_build"], found["passed"]) == ("evaluated", False)
    assert "as it was evaluated" in found["reason"]
    assert found["champion"]["auc"]["rows"] == 14 * 24
    assert walk.registry.versions()[1].verdict == "refused"


def test_without_times_the_champion_is_compared_on_rows_that_its_evaluated_model_never_saw(project):
    text = (
        (project / "mainspring.yaml")
        .read_text()
        .replace(", time: at, columns: {at: time}", "")
        .replace(", time: at", "")
    )
    (project / "mainspring.yaml").write_text(text + "features: {request: [temp, town]}\n")
    first = Walk(project).until("register")
    first.registry.set_alias("champion", "1")
    edit(project, "training.py", "500", "400")
    found = Walk(project, "run-2", "1").until("evaluate").read("evaluation", "evaluation.json")
    assert found["champion_build"] == "evaluated"
    assert found["champion"]["auc"]["value"] == pytest.approx(
        first.read("evaluation", "evaluation.json")["candidate"]["auc"]["value"]
    )


def test_a_champion_that_takes_what_is_no_longer_there_is_not_compared_silently(project):
    champion_of(project)
    edit(project, "mainspring.yaml", "", "features: {request: [temp]}\n")
    assert Walk(project, "run-2", "1").until("evaluate").numbers["evaluate"]["passed"] in (0, 1)  # the column is there
    text = (project / "days.csv").read_text().splitlines()
    (project / "days.csv").write_text(
        "\n".join(",".join([*one.split(",")[:3], one.split(",")[4]]) for one in text) + "\n"
    )
    with pytest.raises(ConfigError, match=r"version 1 takes town \(request\)") as error:
        Walk(project, "run-3", "1").until("evaluate")
    assert "--without-champion" in error.value.next_step


def test_labels_of_one_kind_in_the_held_out_window_refuse_with_the_reason(project):
    text = (project / "days.csv").read_text().splitlines()
    mended = [",".join([*one.split(",")[:4], "0"]) for one in text[-337:]]
    (project / "days.csv").write_text("\n".join([*text[:-337], *mended]) + "\n")
    walk = Walk(project).until("register")
    assert "auc is not defined on the held-out rows" in walk.read("evaluation", "evaluation.json")["reason"]
    assert json.loads((walk.path("version") / "version.json").read_bytes())["verdict"] == "refused"


def test_without_a_row_that_no_build_of_the_champion_saw_there_is_nothing_to_compare_on(project):
    champion_of(project)
    with pytest.raises(DataError, match="no labelled row that version 1 was not trained on"):
        Walk(project, "run-2", "1", known_at="2026-02-01").until("evaluate")
