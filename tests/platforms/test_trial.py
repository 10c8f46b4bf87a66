"""`mainspring train`: the pipeline's own rows and scores in this process, and nothing registered."""

import numpy as np
import pytest

from mainspring.domain.errors import TrainingError
from mainspring.platforms.trial import try_training
from mainspring.settings.load import load_project

pytestmark = pytest.mark.filterwarnings("ignore")


def trial(project, as_of=""):
    begun = []
    done = try_training(load_project(project), as_of, begun.append)
    assert begun == ["reading rows and features", "training", "scoring"]
    return done


def test_it_scores_every_metric_of_the_task_on_the_newest_rows_with_an_interval(project):
    done = trial(project)
    assert (done.estimator, done.trained_rows, done.held_out_rows, done.inputs) == ("LogisticRegression", 1664, 336, 2)
    assert f"{done.held_out_from:%m-%d %H}" == "03-11 08"
    scores = {one.metric: one for one in done.scores}
    assert set(scores) == {"auc", "average_precision", "brier", "calibration_error", "log_loss", "accuracy"}
    assert [one.metric for one in done.scores if one.decides] == ["auc"] == [done.scores[0].metric]
    assert scores["auc"].low < scores["auc"].value < scores["auc"].high
    assert scores["auc"].constant == 0.5
    assert scores["auc"].value > 0.7
    assert done.passes_floors
    assert not done.registered


def test_it_uses_what_was_known_and_leaves_no_model_behind(project):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    early = trial(project, "2026-02-10")
    assert early.trained_rows + early.held_out_rows == 40 * 24 + 1
    after = {
        path: path.read_bytes() for path in project.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert after == before


def test_its_numbers_are_those_of_the_gate(project):
    """The same split, the same fit, the same scores as the steps of a run give."""
    from sklearn.metrics import roc_auc_score

    replace = "return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)"
    text = (project / "training.py").read_text()
    assert replace in text
    keep = f"model = {replace.removeprefix('return ')}\n    import joblib\n    joblib.dump(model, params['out'])\n    return model"
    (project / "training.py").write_text(text.replace(replace, keep))
    with (project / "mainspring.yaml").open("a") as file:
        file.write(f"params: {{out: {project / 'model.joblib'}}}\n")
    done = trial(project)
    import joblib
    import pandas as pd

    held_out = pd.read_csv(project / "days.csv").iloc[-done.held_out_rows :]
    chances = joblib.load(project / "model.joblib").predict_proba(held_out[["temp", "town"]])[:, 1]
    assert done.scores[0].value == pytest.approx(roc_auc_score(held_out.rain, chances))


def test_the_projects_own_numbers_are_shown_and_its_faults_named_by_line(project):
    with (project / "training.py").open("a") as file:
        file.write("\ndef evaluate(model, data):\n    return {'rows': len(data.y)}\n")
    assert trial(project).own == {"rows": 336.0}
    (project / "training.py").write_text("def train(data, params):\n    return data.X / 'a'\n")
    with pytest.raises(TrainingError) as error:
        trial(project)
    assert error.value.where.endswith("training.py:2")


def test_a_project_without_times_is_held_out_by_a_hash(project):
    text = (project / "mainspring.yaml").read_text().replace("time: at, id", "id").replace("time: at, col", "col")
    (project / "mainspring.yaml").write_text(
        text.replace("columns: {at: time}", "columns: {}") + "features: {request: [temp]}\n"
    )
    done = trial(project)
    assert done.held_out_from is None
    assert 0.15 < done.held_out_rows / 2000 < 0.25
    assert np.isfinite(done.scores[0].value)
