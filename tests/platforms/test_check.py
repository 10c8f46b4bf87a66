"""`mainspring check`: what a sound project shows, and what the first fault of a broken one says."""

import pytest

from mainspring.platforms.check import check_project

pytestmark = pytest.mark.filterwarnings("ignore")
FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)
warmth = FeatureView(
    name="warmth", entities=[town], ttl=timedelta(days=3),
    schema=[Field(name="town", dtype=String), Field(name="warmth_24h", dtype=Float64)],
    source=FileSource(name="warmth", path="warmth", timestamp_field="event_timestamp"),
)
towns = FeatureService(name="towns", features=[warmth])
"""
TRANSFORMS = '''
def warmth(db):
    return """
        SELECT t.tick AS event_timestamp, d.town, avg(d.temp) AS warmth_24h
        FROM ticks t JOIN days d ON d._available_at <= t.tick AND d._available_at > t.tick - INTERVAL 24 HOUR
        GROUP BY ALL
    """
'''
EXPECTATIONS = """
import great_expectations.expectations as gxe
expectations = [
    gxe.ExpectColumnValuesToBeBetween(column="temp", max_value={most}, severity="critical"),
    gxe.ExpectColumnMeanToBeBetween(column="rain", max_value=0.01, severity="warning"),
]
"""

BUSINESS = "rollout: {sticky: x-user, business: {source: days, column: temp, key: customer, range: [0, 50]}}"


def check(project):
    begun, told = [], []
    done = check_project(project, begun.append, told.append)
    assert told == done
    assert begun == [one.name for one in done if one.status != "not reached"]
    return done


def first_failure(project):
    done = check(project)
    place = next(place for place, one in enumerate(done) if one.status == "failed")
    assert [one.status for one in done] == ["passed"] * place + ["failed"] + ["not reached"] * (len(done) - place - 1)
    return done[place]


def with_views(project, transforms=TRANSFORMS, features=FEATURES):
    (project / "features.py").write_text(features)
    (project / "transforms.py").write_text(transforms)
    with (project / "mainspring.yaml").open("a") as file:
        file.write("features: {request: [temp, town], transforms: {warmth: {every: 6h}}}\n")


def replaced(name, old, new):
    def edit(project):
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return edit


def test_a_sound_project_passes_and_nothing_is_left_behind(project):
    before = sorted(project.rglob("*"))
    done = {one.name: one for one in check(project)}
    assert {one.status for one in done.values()} == {"passed"}
    assert "2,000 rows x 5 columns, 2026-01-01 to 2026-03-25" in done["sources"].found
    assert "2,000 asked, 2,000 with their label; 336 held out" in done["questions"].found
    assert done["training"].found == "LogisticRegression on 1,000 rows x 2 columns"
    assert "served as onnx" in done["export"].found
    assert [path for path in sorted(project.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize(
    ("edit", "name", "message", "detail"),
    [
        (replaced("mainspring.yaml", "task: binary", "task: binry"), "configuration", "`task`", "mainspring.yaml"),
        (replaced("mainspring.yaml", "days.csv", "day.csv"), "sources", "there is no such file", "sources.days.path"),
        (replaced("mainspring.yaml", "at: time}", "temp: int}"), "sources", "`temp`: 2,000 of its values", "row 1"),
        (replaced("days.csv", "2026-01-01 05:00:00+00:00", "soon"), "sources", "not a time (row 6: 'soon')", "ISO"),
        (
            replaced("mainspring.yaml", "name: towns", "name: towns\n" + BUSINESS),
            "sources",
            "source 'days' has no column 'customer'",
            "rollout.business.key",
        ),
        (replaced("mainspring.yaml", "column: rain", "column: rian"), "questions", "target.column (rian)", "rain"),
        (
            replaced("mainspring.yaml", "id: day", "id: town"),
            "questions",
            "ids are there more than once",
            "one row for",
        ),
        (replaced("mainspring.yaml", "column: rain", "column: town"), "questions", "3 different labels", "multiclass"),
        (
            replaced("mainspring.yaml", "name: towns", "name: towns\ngate: {slices: [twon]}"),
            "features",
            "there is no column twon to slice by",
            "temp, town",
        ),
        (replaced("mainspring.yaml", "time: at, id", "delay: 9999d, time: at, id"), "questions", "2,000 wait", ""),
        (replaced("training.py", "def train", "def trian"), "training", "no function `train`", "training.py"),
        (replaced("training.py", "data.y)", "data.z)"), "training", "AttributeError", "training.py:10"),
    ],
    ids=[
        "yaml",
        "file",
        "type",
        "time",
        "business",
        "target",
        "id",
        "task",
        "slice",
        "no label yet",
        "no train",
        "train fails",
    ],
)
def test_the_first_fault_says_what_where_and_what_next(project, edit, name, message, detail):
    edit(project)
    failed = first_failure(project)
    assert failed.name == name
    assert message in failed.what
    assert detail in f"{failed.where} {failed.valid} {failed.what} {failed.next_step}"
    assert failed.next_step


def test_an_estimator_that_nothing_carries_fails_at_the_export(project):
    edit = replaced("training.py", "LogisticRegression(max_iter=500)", "Mine(max_iter=500)")
    replaced("training.py", "def train", "class Mine(LogisticRegression): ...\n\n\ndef train")(project)
    edit(project)
    failed = first_failure(project)
    assert failed.name == "export"
    assert "cannot be served without pickle" in failed.what
    assert "save(model, folder)" in failed.next_step


def test_held_out_rows_of_one_label_and_a_label_that_is_only_held_out_are_seen_before_training(project):
    rows = (project / "days.csv").read_text().splitlines()
    dry = [row[:-1] + "0" if place > 1600 else row for place, row in enumerate(rows)]
    (project / "days.csv").write_text("\n".join(dry) + "\n")
    failed = first_failure(project)
    assert (failed.name, failed.next_step) == ("questions", "lengthen split.holdout; then mainspring check")
    assert "auc is not defined on the 336 held-out rows" in failed.what
    late = [row[:-1] + ("0" if place < 1700 else row[-1]) if place else row for place, row in enumerate(rows)]
    (project / "days.csv").write_text("\n".join(late) + "\n")
    failed = first_failure(project)
    assert "no row that is trained on has the label 1" in failed.what
    assert "shorten split.holdout" in failed.next_step


def test_views_are_computed_for_a_few_questions_and_looked_at_for_look_ahead(project):
    with_views(project)
    done = {one.name: one for one in check(project)}
    assert done["features"].found == "2 inputs of the request, 1 of 1 view; 1 transform without look-ahead"
    assert not (project / ".mainspring" / "features").exists()
    replaced("transforms.py", "d._available_at <= t.tick AND", "")(project)
    failed = first_failure(project)
    assert failed.name == "features"
    assert "transform 'warmth' looks ahead" in failed.what


def test_a_view_whose_keys_meet_nothing_is_no_feature(project):
    with_views(project, TRANSFORMS.replace("d.town,", "'the ' || d.town AS town,"))
    failed = first_failure(project)
    assert "view 'warmth' has no value for any of 1,000 questions" in failed.what


def test_expectations_are_held_where_there_are_any(project):
    (project / "expectations.py").write_text(EXPECTATIONS.format(most=60))
    done = {one.name: one for one in check(project)}
    assert done["expectations"].found.startswith("1 of 2 hold; warning: expect_column_mean_to_be_between on rain")
    (project / "expectations.py").write_text(EXPECTATIONS.format(most=20))
    failed = first_failure(project)
    assert failed.name == "expectations"
    assert "expect_column_values_to_be_between on temp" in failed.what
