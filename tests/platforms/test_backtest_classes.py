"""A backtest of three classes: the metric that such a project has by default, and a class that there is only later."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from mainspring.settings.load import load_project
from tests.cli.running import mainspring
from tests.platforms.towns import Walk

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
SETTINGS = """
name: skies
task: multiclass
sources:
  hours: {path: hours.csv, time: at, columns: {at: time}}
target: {source: hours, column: sky, time: at, id: hour, delay: 1d}
split: {holdout: 8d}
rollout: {steps: [10], step_time: 12h, guard: {time: 0s}}
drift: {every: 7d, trailing: 14d, persistence: 1, min_rows: 20}
retrain: {policy: on_demand}
params: {max_iter: 15}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, data.categoricals), remainder="passthrough")
    model = HistGradientBoostingClassifier(max_iter=params["max_iter"], early_stopping=False, random_state=0)
    return make_pipeline(columns, model).fit(data.X, data.y)
"""
POLICIES = """
lost: {policy: on_loss, cooldown: 6d, budget: 9, ask_every: 4d}
weekly: {policy: on_schedule, schedule: 7d, cooldown: 6d, budget: 9, ask_every: 1d}
"""
START, FOG = pd.Timestamp("2026-01-20", tz="UTC"), pd.Timestamp("2026-02-05", tz="UTC")
CLASSES = ["clear", "fog", "rain"]
SPAN = ("--start", "2026-01-20", "--until", "2026-03-01")


def write(folder, *, fog):
    """Sixty days by the hour of a sky that follows from temperature and wind; from `fog` on it is foggy where there is no wind."""
    random = np.random.default_rng(5)
    at = pd.date_range("2026-01-01", periods=60 * 24, freq="h", tz="UTC")
    temp, wind, noise = random.normal(size=(3, len(at)))
    town = random.choice(["Ulm", "Bonn", "Kiel"], len(at))
    sky = np.where(temp + 0.5 * (town == "Kiel") + 0.5 * noise > 0, "rain", "clear")
    sky = np.where((at >= fog) & (wind < -0.3), "fog", sky)
    names = [f"h{n}" for n in range(len(at))]
    rows = pd.DataFrame({"hour": names, "at": at, "temp": temp, "wind": wind, "town": town, "sky": sky})
    folder.mkdir(exist_ok=True)
    rows.to_csv(folder / "hours.csv", index=False)
    (folder / "mainspring.yaml").write_text(SETTINGS)
    (folder / "training.py").write_text(TRAINING)
    (folder / "policies.yaml").write_text(POLICIES)
    return rows


def replayed(folder):
    words = ("backtest", *SPAN, "--policies", str(folder / "policies.yaml"), "--frontier", "1", "--json")
    code, out, errors = mainspring(folder, *words)
    assert code == 0, errors
    found = json.loads(out)
    return found, {one["name"]: one for one in found["results"]}


def by_hand(folder, rows, at, classes):
    """What a model trained at an instant says of each row, by the project's own code: chances in the order of CLASSES."""
    known = rows[rows["at"] + pd.Timedelta(days=1) <= at]
    kept = known.iloc[: len(known) - round(len(known) * load_project(folder).settings.split.validation_share)]
    module = {}
    exec(TRAINING, module)
    given = SimpleNamespace(
        X=kept[["temp", "wind", "town"]], y=kept["sky"].map(classes.index).to_numpy(), categoricals=["town"]
    )
    chances = module["train"](given, {"max_iter": 15}).predict_proba(rows[["temp", "wind", "town"]])
    found = np.zeros((len(rows), 3))
    found[:, [CLASSES.index(name) for name in classes]] = chances
    return found


def weeks(rows, chances):
    """The mean log loss of each week from the start on."""
    week = ((rows["at"] - START) // pd.Timedelta(days=7)).to_numpy()
    found = {}
    for one in range(week.max() + 1):
        here = (week == one) & (rows["at"] < "2026-03-01")
        said = np.clip(chances[here], 1e-15, None)
        known = rows["sky"][here].map(CLASSES.index)
        found[f"{START + pd.Timedelta(days=7 * one):%Y-%m-%d}"] = -np.log(said[np.arange(len(said)), known]).mean()
    return found


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """All three classes from the first day on; later there is more of one."""
    folder = tmp_path_factory.mktemp("three")
    rows = write(folder, fog=pd.Timestamp("2026-01-01", tz="UTC"))
    return folder, rows, *replayed(folder)


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """The third class is there from February on."""
    folder = tmp_path_factory.mktemp("later")
    rows = write(folder, fog=FOG)
    return folder, rows, *replayed(folder)


@pytest.mark.slow
def test_quality_is_the_log_loss_over_all_classes(three):
    folder, rows, found, results = three
    assert (found["metric"], found["higher_is_better"]) == ("log_loss", False)
    expected = weeks(rows, by_hand(folder, rows, START, CLASSES))
    assert results["static"]["by_block"] == pytest.approx(expected, rel=1e-4)
    # The same from a library.
    week = rows[(rows["at"] >= START) & (rows["at"] < START + pd.Timedelta(days=7))]
    chances = by_hand(folder, rows, START, CLASSES)[week.index]
    assert expected["2026-01-20"] == pytest.approx(log_loss(week["sky"], chances, labels=CLASSES), rel=1e-4)
    # Nothing changed: nobody retrains by what he lost.
    assert results["lost"]["retrainings"] == 0
    assert results["weekly"]["retrainings"] == 5
    assert results["calendar"]["quality"] == pytest.approx(results["static"]["quality"], abs=0.01)
    assert [one["best"] <= one["even"] for one in found["frontier"]] == [True, True]


def test_a_class_that_there_was_not_is_lost_until_it_is_learnt(later):
    folder, rows, _, results = later
    assert results["static"]["by_block"] == pytest.approx(
        weeks(rows, by_hand(folder, rows, START, ["clear", "rain"])), rel=1e-4
    )
    lost, static = results["lost"], results["static"]
    assert lost["promotions"] >= 1
    # It is in service from the second of the week's five days on.
    assert lost["by_block"]["2026-02-24"] < static["by_block"]["2026-02-24"] / 2
    assert any("base rate" in one["why"] for one in lost["events"] if one["kind"] == "gate_passed")
    # As in the loop: what is only among the rows held out cannot be learnt, and the run fails with these words.
    failed = [one for one in results["weekly"]["events"] if one["kind"] == "run_failed"]
    assert [one["at"][:10] for one in failed] == ["2026-02-10"]
    assert failed[0]["why"] == "no row that is trained on has the label fog: it is only among those held out"


@pytest.mark.slow
def test_the_loop_itself_judges_a_champion_that_never_saw_the_class(tmp_path):
    write(tmp_path, fog=FOG)
    Walk(tmp_path, known_at="2026-02-01").until("register")
    found = Walk(tmp_path, "run-2", champion="1", known_at="2026-02-25").until("evaluate").numbers["evaluate"]
    assert found["passed"] == 1
