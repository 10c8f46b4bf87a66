"""A backtest: the loop's own decisions on the past, without the future, and nothing fitted twice."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from mainspring.domain.errors import ConfigError
from mainspring.drift.storage import read_profile
from mainspring.platforms.backtest import BacktestRequest, backtest
from mainspring.platforms.backtest.frontier import best_places
from mainspring.platforms.backtest.history import FOLDER, load_history
from mainspring.platforms.backtest.models import Models
from mainspring.platforms.backtest.page import backtest_page
from mainspring.settings.load import load_project
from mainspring.settings.retrain import RetrainSettings

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
SETTINGS = """
name: towns
task: binary
sources:
  days: {path: days.csv, time: at, columns: {at: time}}
target: {source: days, column: rain, time: at, id: day, delay: 2d}
split: {holdout: 8d}
rollout: {steps: [10], step_time: 12h, guard: {time: 0s}}
drift: {every: 7d, trailing: 14d, persistence: 1, min_rows: 20}
params: {C: 1.0}
"""
TRAINING = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def train(data, params):
    return make_pipeline(StandardScaler(), LogisticRegression(C=params["C"])).fit(data.X, data.y)
"""
QUICK = {"cooldown": "6d", "budget": 9, "ask_every": "4d", "ask_window": "11d"}  # labels are two days late
MORE = {
    "regret": RetrainSettings.model_validate({"policy": "on_regret", **QUICK}),
    "loss": RetrainSettings.model_validate({"policy": "on_loss", **QUICK, "windows": ["all", "14d", "since_change"]}),
    "alarm": RetrainSettings.model_validate({"policy": "on_alarm", **QUICK}),
}
TURN = datetime(2026, 2, 5, tzinfo=UTC)


def write(folder, *, turn=TURN, until=None):
    """Sixty days by the hour; from `turn` on rain follows `wind` in place of `temp`."""
    random = np.random.default_rng(2)
    at = pd.date_range("2026-01-01", periods=60 * 24, freq="h", tz="UTC")
    temp, wind = random.normal(size=(2, len(at)))
    rain = (np.where(at < turn, temp, wind) + random.normal(size=len(at)) > 0).astype(int)
    frame = pd.DataFrame({"day": [f"d{n}" for n in range(len(at))], "at": at, "temp": temp, "wind": wind, "rain": rain})
    folder.mkdir(exist_ok=True)
    frame[at < (until or at[-1])].to_csv(folder / "days.csv", index=False)
    (folder / "mainspring.yaml").write_text(SETTINGS)
    (folder / "training.py").write_text(TRAINING)
    return load_project(folder)


def run(loaded, *policies, **options):
    until = options.pop("until", datetime(2026, 3, 1, tzinfo=UTC))
    request = BacktestRequest(
        policies or ("static", "calendar", *MORE), MORE, datetime(2026, 1, 20, tzinfo=UTC), until, **options
    )
    return backtest(loaded, request, lambda text: None)


def of(found):
    return {one.name: one for one in found.results}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    loaded = write(tmp_path_factory.mktemp("turned") / "towns")
    return loaded, run(loaded, frontier=2)


def test_a_world_that_turned_is_answered_and_what_was_gained_is_told(turned):
    _, found = turned
    results = of(found)
    assert results["static"].retrainings == results["static"].promotions == 0
    assert results["calendar"].retrainings == 1
    for name in ("regret", "loss"):
        assert 1 <= results[name].retrainings <= 4, name
        assert results[name].quality > results["static"].quality + 0.03, name
        kinds = [one.kind for one in results[name].events]
        assert kinds.count("trigger") == kinds.count("gate_passed") + kinds.count("gate_refused")
    # Everything was decided by the loop's own words.
    assert any("gained" in one.why for one in results["regret"].events if one.kind == "trigger")
    assert any("held out" in one.why for one in results["loss"].events if one.kind == "trigger")


def test_the_frontier_holds_what_even_spacing_gains(turned):
    _, found = turned
    assert [one.retrainings for one in found.frontier] == [0, 1, 2]
    assert found.frontier[1].best > found.frontier[0].best
    assert all(one.best >= one.even - 1e-9 for one in found.frontier)


def test_another_policy_fits_nothing_that_is_known_and_comes_to_the_same(turned):
    loaded, found = turned
    again = run(loaded, frontier=2)
    assert again.fitted == 0
    assert again.reused > 0
    assert replace(again, seconds=0, fitted=0, reused=0) == replace(found, seconds=0, fitted=0, reused=0)


@pytest.mark.parametrize("section", [{"target": {"positive": "0"}}, {"features": {"categorical": ["wind"]}}])
def test_a_model_of_other_settings_is_another_model(turned, tmp_path, section):
    loaded, _ = turned
    folder = tmp_path / "towns"
    shutil.copytree(loaded.paths.root, folder)
    ((name, changed),) = section.items()
    own = load_project(folder)
    history = load_history(own, "source")
    places = np.arange(400)
    before = Models(own, history)
    before.on(places)
    again = Models(own, history)
    again.on(places)
    other = Models(replace(own, settings=own.settings.changed(name, **changed)), history)
    other.on(places)
    assert [(one.fitted, one.reused) for one in (again, other)] == [(0, 1), (1, 0)]


def test_other_windows_of_drift_are_held_against_references_of_their_own(turned, tmp_path):
    loaded, _ = turned
    shutil.copytree(loaded.paths.root, tmp_path / "towns")
    settings = tmp_path / "towns" / "mainspring.yaml"
    profiles = loaded.paths.state.relative_to(loaded.paths.root) / FOLDER / "profiles"

    def windows():
        return {read_profile(one).every_seconds for one in (tmp_path / "towns" / profiles).iterdir()}

    assert windows() == {7 * 86400}
    settings.write_text(settings.read_text().replace("every: 7d", "every: 1d"))
    assert run(load_project(tmp_path / "towns"), "alarm").fitted == 0
    assert windows() == {7 * 86400, 86400}


def test_slices_of_the_gate_may_be_columns_that_are_no_inputs(tmp_path):
    loaded = write(tmp_path / "towns")
    root = loaded.paths.root
    days = pd.read_csv(root / "days.csv")
    days.assign(town=np.where(days.index % 3, "Ulm", "Bonn"), note="-").to_csv(root / "days.csv", index=False)
    settings = SETTINGS + "features: {request: [temp, wind]}\ngate: {slices: [town], slice_min_rows: 20}\n"
    (root / "mainspring.yaml").write_text(settings)
    found = of(run(load_project(root), "regret"))["regret"]
    assert found.retrainings >= 1
    assert "auc" in next(one.why for one in found.events if one.kind == "gate_passed")
    assert {"town", "note"} & set(load_history(load_project(root), "source").rows.column_names) == {"town"}
    (root / "mainspring.yaml").write_text(settings.replace("[town]", "[twon]"))
    with pytest.raises(ConfigError, match="there is no column twon to slice by"):
        run(load_project(root), "regret")


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(tmp_path):
    loaded = write(tmp_path / "towns")

    def die(text):
        if "loss" in text:
            raise KeyboardInterrupt

    request = BacktestRequest(
        ("regret", "loss"), MORE, datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    )
    with pytest.raises(KeyboardInterrupt):
        backtest(loaded, request, die)
    found = backtest(loaded, request, lambda text: None)
    assert found.reused >= of(found)["regret"].fits


def test_nothing_that_was_decided_knew_of_what_came_later(tmp_path):
    seen = {}
    at = datetime(2026, 2, 20, tzinfo=UTC)
    for name, later in (("as it was", {}), ("another future", {"turn": at}), ("no future", {"until": at})):
        loaded = write(tmp_path / name.replace(" ", "-"), **({"turn": at + timedelta(days=300)} | later))
        found = of(run(loaded, *MORE, until=None if name == "no future" else datetime(2026, 3, 1, tzinfo=UTC)))
        seen[name] = {policy: [one for one in found[policy].events if one.at < at] for policy in MORE}
    assert all(seen["as it was"].values())
    assert seen["as it was"] == seen["another future"] == seen["no future"]


def test_a_label_counts_from_when_it_was_known(tmp_path):
    loaded = write(tmp_path / "towns")
    found = of(run(loaded, "static"))["static"]
    assert found.events[0].at == datetime(2026, 1, 20, tzinfo=UTC)
    # Nineteen days by the hour, of which the last two days' labels are not known yet; the gate's model held eight days out.
    assert found.train_rows == (17 * 24 + 1) + (9 * 24 + 1)


def test_the_page_stands_alone_and_the_json_is_whole(turned):
    _, found = turned
    page = backtest_page(found)
    assert page.count("<svg") == 2
    assert "http" not in page
    assert all(f"{one.name}" in page for one in found.results)


def test_a_policy_or_a_start_that_there_is_not_is_said(turned):
    loaded, _ = turned
    with pytest.raises(ConfigError, match="is no policy"):
        run(loaded, "on_regrets")
    with pytest.raises(ConfigError, match="nothing is replayed"):
        backtest(loaded, BacktestRequest(start=datetime(2020, 1, 1, tzinfo=UTC)), lambda text: None)


def test_the_best_places_are_those_of_trying_all():
    from itertools import combinations

    worth = np.triu(np.random.default_rng(1).normal(size=(9, 9)))
    for count in range(5):

        def total(places):
            ends = [*places, 9]
            return sum(worth[one, one:end].sum() for one, end in zip([0, *places], ends, strict=True))

        assert total(best_places(worth, count)) == pytest.approx(max(map(total, combinations(range(1, 9), count))))


def test_the_command_prints_a_table_and_writes_the_page(turned, capsys, tmp_path):
    from mainspring.cli.backtest_commands import backtest as command

    loaded, _ = turned
    policies = tmp_path / "policies.yaml"
    policies.write_text("weekly: {policy: on_schedule, schedule: 7d, cooldown: 7d, budget: 20}\n")
    command(loaded.paths.root, None, policies, "source", "2026-01-20", "2026-02-20", 0, tmp_path / "page.html", False)
    assert "weekly" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    command(loaded.paths.root, None, None, "source", "2026-01-20", "2026-02-20", 0, tmp_path / "page.html", True)
    assert json.loads(capsys.readouterr().out)["metric"] == "auc"
