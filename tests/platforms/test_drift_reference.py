"""The reference that a version carries: all rows that it was trained on, predictions that it did not see, and their windows."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mainspring.drift.storage import FILE, read_profile
from mainspring.platforms.drift_reference import outputs_of
from mainspring.platforms.steps.evaluation import HELD_OUT
from tests.platforms.towns import Walk, edit

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_version_carries_the_reference_of_its_features_and_of_held_out_predictions(project):
    walk = Walk(project).until("register")
    profile = read_profile(walk.path("version") / "model")
    assert (walk.registry.fetch("1") / FILE).read_bytes() == (walk.path("version") / "model" / FILE).read_bytes()
    held = pq.read_table(walk.path("evaluation") / HELD_OUT)
    assert {name: cells.kind for name, cells in profile.cells.items()} == {
        "temp": "number",
        "town": "category",
        "prediction": "number",
    }
    assert profile.counts["temp"].rows == pq.read_table(walk.path("training_set") / "rows.parquet").num_rows
    assert profile.counts["prediction"].rows == held.num_rows < profile.rows
    outputs = outputs_of(held.column("output"))
    assert outputs.shape == (held.num_rows, 1)
    assert set(held.column("label").to_pylist()) == {0.0, 1.0}
    assert profile.cells["prediction"].edges[-1] == outputs.max()
    # Days, as `drift.every`; of predictions those of the held-out rows.
    assert profile.every_seconds == 86_400
    temp, prediction = profile.windows["temp"], profile.windows["prediction"]
    assert temp.counts.sum() == profile.rows
    assert str(temp.starts[0]) == "2026-01-01T00:00:00.000000"
    assert prediction.counts.sum() == held.num_rows
    assert prediction.starts[-1] == temp.starts[-1]
    assert 0 < len(prediction) < len(temp)


def test_predictions_are_held_out_also_where_the_champion_was_trained_on_the_rows(project):
    Walk(project, known_at="2026-03-20").until("register").registry.set_alias("champion", "1")
    walk = Walk(project, "run-2", "1").until("evaluate")
    held = pq.read_table(walk.path("evaluation") / HELD_OUT)
    assert walk.read("evaluation", "evaluation.json")["candidate"]["auc"]["rows"] < held.num_rows


def test_several_classes_and_rows_without_times(project):
    edit(project, "mainspring.yaml", "task: binary", "task: multiclass")
    edit(project, "mainspring.yaml", "column: rain, time: at", "column: kind")
    edit(project, "mainspring.yaml", "time: at, columns: {at: time}", "columns: {at: time}")
    table = (project / "days.csv").read_text().splitlines()
    kinds = np.random.default_rng(1).choice(["dry", "snow", "wet"], len(table) - 1)
    rows = [f"{table[0]},kind", *(f"{line},{kind}" for line, kind in zip(table[1:], kinds, strict=True))]
    (project / "days.csv").write_text("\n".join(rows) + "\n")
    edit(project, "mainspring.yaml", "", "features: {request: [temp, town]}\ngate: {floor: 0.0}\n")
    walk = Walk(project).until("evaluate")
    walk.step("register")
    profile = read_profile(walk.path("version") / "model")
    assert set(profile.cells["prediction"].categories) <= {"dry", "snow", "wet"}
    assert profile.cells["prediction.confidence"].kind == "number"
    assert profile.windows == {}
