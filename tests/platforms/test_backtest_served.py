"""`mainspring backtest --from log`, as a person types it, on a project that has served for six weeks and got its labels late."""

import json
import shutil
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.log_record import OUTCOMES, ROLES, LogRow, SegmentHeader, microseconds
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.platforms.backtest.history import FOLDER, load_history
from mainspring.platforms.sink import shipper
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.cli.running import mainspring
from tests.platforms.answered import DAY, SERVED, Answered, weather

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]
DAYS = 42
TURN = SERVED + 21 * DAY
UNTIL = SERVED + DAYS * DAY
MORE = """
split: {holdout: 8d}
rollout: {steps: [10], step_time: 12h, guard: {time: 0s}}
drift: {every: 7d, trailing: 14d, persistence: 1}
retrain: {policy: on_demand}
"""
POLICIES = "alarmed: {policy: on_alarm, cooldown: 6d, budget: 9, ask_every: 4d}\n"
SPAN = ("--start", "2026-03-15", "--until", "2026-04-12")


def beside(made, rows, role, outcome):
    """A segment of rows that nobody was answered by: inputs that no other row has, and an answer that is always wrong."""
    writer = SegmentWriter(made.loaded.paths.segments, SegmentHeader("1", "", ("temp", "town"), ("number", "text")))
    writer.append(
        [
            LogRow(
                f"{role}-{outcome}-{row.day}", ROLES.index(role), 0, OUTCOMES.index(outcome),
                microseconds(row.at.to_pydatetime()), 1, (1.0 - row.rain,) if outcome == "answered" else (), (999.0, row.town),
            )
            for row in rows.itertuples()
        ]
    )  # fmt: skip
    writer.rotate()


@pytest.fixture(scope="module")
def served(tmp_path_factory, empty_store):
    """Six weeks in the log. For the last three it is much warmer, and what follows from the weather is turned round.

    A tenth of the questions never get a label, nor does any of the last three days. In the second and third week there are
    failures and shadow answers, too, on inputs that would be seen if they counted; what failed has labels.
    """
    folder = tmp_path_factory.mktemp("served")
    (folder / ".mainspring").mkdir()
    shutil.copy(empty_store, folder / ".mainspring" / "mlflow.db")
    made = Answered(folder, more=MORE)
    worlds = [(SERVED, 21, {}), (TURN, DAYS - 21, {"seed": 3, "warmer": 25.0})]
    some = weather(SERVED, 21)[12 * 240 :: 9]
    beside(made, some, "primary", "failed")
    beside(made, some, "shadow", "answered")
    rows = pd.concat([made.answer(start, days, **world) for start, days, world in worlds], ignore_index=True)
    turned = rows["at"] >= TURN
    rows["rain"] = np.where(turned, 1 - rows["rain"], rows["rain"])
    labelled = (rows.index % 10 != 0) & (rows["at"] < UNTIL - 3 * DAY)
    made.rows = made.past
    failed = some.assign(day="primary-failed-" + some["day"], rain=1 - some["rain"])
    made.label(pd.concat([rows[labelled], failed]))
    (folder / "policies.yaml").write_text(POLICIES)
    return folder, rows[labelled]


def replayed(folder, *words, status=0):
    code, out, errors = mainspring(folder, "backtest", "--from", "log", *words)
    assert code == status, errors
    return errors if status else out


@pytest.fixture(scope="module")
def found(served):
    folder, _ = served
    return json.loads(replayed(folder, *SPAN, "--policies", str(folder / "policies.yaml"), "--json"))


def policy(found, name):
    return next(one for one in found["results"] if one["name"] == name)


def test_questions_are_those_that_callers_were_answered_and_labels_those_that_came(served, found):
    _, labelled = served
    start, until = SERVED + 14 * DAY, UNTIL
    inside = labelled[(labelled["at"] >= start) & (labelled["at"] < until)]
    # Neither failures nor shadows are among them, though there are labels for the failures.
    assert found["rows"] == 28 * 240
    assert found["labelled"] == len(inside) == 25 * 216
    assert (found["source"], found["block"]) == ("log", "week")


def test_windows_alarms_and_retrainings_are_those_of_the_days_they_are_about(found):
    def days(name, kind):
        return [one["at"][:10] for one in policy(found, name)["events"] if one["kind"] == kind]

    # Windows are weeks that end on Thursdays; the warmth came on a Sunday. Failures and shadows alone would alarm on the 19th.
    assert days("project", "alarm") == ["2026-03-26"]
    assert days("alarmed", "alarm")[0] == "2026-03-26"
    project, alarmed = policy(found, "project"), policy(found, "alarmed")
    assert (project["alarms"], project["retrainings"], project["promotions"]) == (1, 0, 0)
    asked = [one for one in alarmed["events"] if one["kind"] == "trigger"][1:]
    assert asked[0]["at"] == "2026-03-26T12:00:00Z"
    assert all("psi" in one["why"] for one in asked)
    # Days of the world before are held out, until a model has learnt enough of the new one.
    assert alarmed["retrainings"] == len(asked) == alarmed["refused"] + 1
    assert alarmed["refused"] >= 1
    assert (alarmed["promotions"], len(days("alarmed", "promoted"))) == (1, 2)
    last = "2026-04-05"
    assert alarmed["by_block"][last] > project["by_block"][last] + 0.1


def test_quality_is_that_of_the_model_that_would_have_been_in_service(served, found):
    folder, labelled = served
    start = SERVED + 14 * DAY
    known = labelled[labelled["at"] + timedelta(hours=6) <= start]
    share = load_project(folder).settings.split.validation_share
    kept = known.iloc[: len(known) - round(len(known) * share)]
    by_hand = {}

    def inputs(rows):
        return np.column_stack([rows["temp"], *(rows["town"] == town for town in ("Bonn", "Kiel", "Ulm"))])

    model = LogisticRegression(max_iter=500).fit(inputs(kept), kept["rain"])
    for week in range(4):
        begins = start + 7 * week * DAY
        rows = labelled[(labelled["at"] >= begins) & (labelled["at"] < begins + 7 * DAY)]
        by_hand[f"{begins:%Y-%m-%d}"] = roc_auc_score(rows["rain"], model.predict_proba(inputs(rows))[:, 1])
    static = policy(found, "static")
    assert static["by_block"] == pytest.approx(by_hand, abs=2e-3)
    assert static["quality"] == pytest.approx(np.mean(list(by_hand.values())), abs=2e-3)
    assert by_hand["2026-03-15"] > 0.7
    assert by_hand["2026-04-05"] < 0.3


def test_the_table_says_it_to_people(served, found):
    folder, _ = served
    told = replayed(folder, *SPAN, "--policies", str(folder / "policies.yaml"))
    assert f"towns, 2026-03-15 to 2026-04-12: {found['labelled']:,} labelled questions; auc (higher is better)" in told
    for name in ("static", "project", "alarmed"):
        one = policy(found, name)
        line = next(line.split() for line in told.splitlines() if line.split()[:1] == [name])
        assert line[1] == f"{one['quality']:.4f}"
        assert line[3:6] == [str(one["retrainings"]), str(one["refused"]), str(one["alarms"])]
    assert "0 models fitted" in told


def copied(served, tmp_path, days):
    """The project with so many days of its log, and without what an earlier backtest knew."""
    folder = tmp_path / "served"
    gone = [f"event_date={SERVED + day * DAY:%Y-%m-%d}" for day in range(days, DAYS)]
    shutil.copytree(served[0], folder, ignore=shutil.ignore_patterns("backtest", *gone))
    return folder, load_project(folder).paths


def refused(folder, *words):
    """The one error that is told, by its parts."""
    told = replayed(folder, *words, status=2)
    assert "Traceback" not in told
    lines = told[told.index("error: ") :].splitlines()
    parts = {name.strip(): text for name, _, text in (line.partition(": ") for line in lines)}
    assert {"error", "where", "valid", "next"} <= set(parts), told
    return parts


def test_slices_are_of_what_callers_sent(served, tmp_path):
    folder, paths = copied(served, tmp_path, 10)
    settings = folder / "mainspring.yaml"
    header = SegmentHeader("1", "", ("temp", "town"), ("number", "text"), ("zone",))
    writer = SegmentWriter(paths.segments, header)
    at = microseconds(SERVED + 3 * DAY)
    writer.append([LogRow("z", ROLES.index("primary"), 0, 0, at, 1, (0.5,), (9.0, "Ulm"), ("north",))])
    writer.rotate()
    text = settings.read_text()
    assert "gate: {slices: [town]}" in text
    assert "zone" not in load_history(load_project(folder), "log").rows.column_names
    settings.write_text(text.replace("slices: [town]", "slices: [town, zone]"))
    assert set(load_history(load_project(folder), "log").rows.column("zone").to_pylist()) == {"north", None}
    settings.write_text(text.replace("slices: [town]", "slices: [town, district]"))
    parts = refused(folder, "--start", "2026-03-05")
    assert parts["error"] == "there is no column district to slice by"
    assert parts["where"] == "mainspring.yaml: gate.slices"
    assert parts["valid"] == "temp, town"
    assert "backtest --from source" in parts["next"]


def test_what_only_the_sink_has_is_of_the_past_too(served, tmp_path):
    folder, paths = copied(served, tmp_path, 4)
    (tmp_path / "mounted").mkdir()
    whole = load_history(load_project(folder), "log")
    with (folder / "mainspring.yaml").open("a") as settings:
        settings.write(f"\nlog: {{sink: {{url: 'file://{tmp_path}/mounted', local: 31d}}}}\nkeep: {{log: 9000d}}\n")
        settings.write("labels: {entities: {town: town}}\n")
    loaded = load_project(folder)
    # What is sent is let go of at a later turn, once it is old enough.
    for turn in (SERVED + 4 * DAY, SERVED + 5 * DAY, SERVED + 33 * DAY):
        shipper(loaded).turn(turn)
    assert 0 < ParquetPredictionLog(paths).read().num_rows < 4 * 240
    shutil.rmtree(paths.state / FOLDER)
    again = load_history(loaded, "log")
    assert (again.rows.num_rows, again.digest) == (4 * 240, whole.digest)
    # A label that came for keys and a time meets its request there, too.
    (unlabelled,) = again.rows.filter(pc.is_null(again.rows.column(LABEL))).slice(0, 1).to_pylist()
    told = tmp_path / "told.csv"
    told.write_text(f"town,at,rain,known_at\n{unlabelled['town']},{unlabelled[EVENT_TIME].isoformat()},1,2026-03-20\n")
    assert mainspring(folder, "labels", "add", str(told))[0] == 0
    more = load_history(loaded, "log").rows.column(LABEL)
    assert more.null_count == again.rows.column(LABEL).null_count - 1


def test_a_project_that_never_served_has_no_past(served, tmp_path):
    folder, paths = copied(served, tmp_path, 0)
    told = refused(folder)
    assert told["error"].endswith("the prediction log has no request that a version answered")
    assert told["where"] == str(paths.predictions)
    assert "mainspring up" in told["next"]
    # Nor has one that never ran.
    shutil.rmtree(paths.state)
    assert refused(folder)["error"] == told["error"]


def test_a_log_without_labels_has_no_past(served, tmp_path):
    folder, _ = copied(served, tmp_path, 3)
    text = (folder / "days.csv").read_text().splitlines()
    (folder / "days.csv").write_text("\n".join(text[: 1 + 59 * 240]) + "\n")
    told = refused(folder)
    assert told["error"].endswith("720 requests were answered, and no label has the id of any")
    assert told["where"] == "mainspring.yaml: target.id: day"
    assert told["next"] == "mainspring labels"


def test_a_log_shorter_than_what_is_held_out_is_too_short(served, tmp_path):
    folder, _ = copied(served, tmp_path, 7)
    for words in ((), ("--start", "2026-03-05")):
        told = refused(folder, *words)
        assert told["error"].startswith("the past is too short: no first model can be trained in it")
        assert "from 2026-03-01 to 2026-03-07, and 8d of those with a label are held out" in told["error"]
        assert told["where"] == "mainspring.yaml: split.holdout"
        assert "--from source" in told["next"]


@pytest.mark.parametrize(
    ("words", "says", "then"),
    [
        # Eight days are held out, and labels are six hours late.
        (("--start", "2026-03-08"), "no first model can be trained on 2026-03-08", "--start 2026-03-10"),
        (("--start", "2026-03-20", "--until", "2026-03-24"), "nothing is replayed from 2026-03-20", "--until DAY"),
        (("--start", "2026-04-20"), "nothing is replayed from 2026-04-20", "--start DAY"),
        (("--start", "2026-04-10", "--until", "2026-04-17"), "none of the 480 questions from 2026-04-10", "mainspring labels"),
    ],
)  # fmt: skip
def test_a_span_in_which_nothing_can_be_told_is_refused(served, found, words, says, then):
    told = refused(served[0], *words)
    assert says in told["error"]
    assert then in told["next"]
    # The start that is named does.
    if "2026-03-10" in then:
        assert "\nstatic " in replayed(served[0], "--start", "2026-03-10", "--until", "2026-03-17")
