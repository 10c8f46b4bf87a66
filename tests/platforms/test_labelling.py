"""Labels beside the target's source: used for what its own are used for, as they were known, whichever way they came."""

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from prometheus_client import generate_latest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sql.ledger import SqliteLedger
from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.domain.model_version import ModelVersion, Signature
from mainspring.domain.rollout import Rollout
from mainspring.labels.known import KnownLabels
from mainspring.platforms.adding_labels import add_labels, in_words
from mainspring.platforms.cache import cache_keys
from mainspring.platforms.coverage import Coverage, coverage, known_labels
from mainspring.platforms.label_report import label_report
from mainspring.platforms.labelling import labels_of
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.platforms.loop_metrics import LoopMetrics
from mainspring.platforms.prediction_rows import newest_rows
from mainspring.platforms.shadow import LaptopShadow
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from mainspring.settings.log_key import concealment
from mainspring.telemetry.page import MetricsPage
from tests.platforms.towns import edit, write_project

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path):
    """The towns; every question's own label is known an hour after it, that of d5 never."""
    write_project(tmp_path)
    days = pd.read_csv(tmp_path / "days.csv", dtype=str)
    days.loc[days["day"] == "d5", "rain"] = ""
    days.to_csv(tmp_path / "days.csv", index=False)
    edit(tmp_path, "mainspring.yaml", "id: day}", "id: day, delay: 1h}")
    return tmp_path


def log(folder, *rows):
    """(request, town, event time, role) each, into the prediction log."""
    paths = load_project(folder).paths
    writer = SegmentWriter(paths.segments, SegmentHeader("1", "", ("town",), ("text",), ("town",), ()))
    writer.append(
        [
            LogRow(name, ROLES.index(role), 0, 0, microseconds(at), 900, (0.5,), (town,), (town,))
            for name, town, at, role in rows
        ]
    )
    writer.rotate()
    ParquetPredictionLog(paths).compact()


def add(folder, text, name="labels.csv", now=NOW, **more):
    (folder / name).write_text(text)
    return add_labels(load_project(folder), folder / name, now, by="eva", **more)


def known(folder, at=NOW):
    found = known_labels(load_project(folder), at)
    return dict(zip(found.column("request_id").to_pylist(), found.column("label").to_pylist(), strict=True))


def own(folder, *names):
    """The target's own labels."""
    days = pd.read_csv(folder / "days.csv").set_index("day")["rain"]
    return [int(days[name]) for name in names]


def test_a_correction_is_used_from_the_instant_at_which_it_was_known(folder):
    (before,) = own(folder, "d7")
    add(folder, f"request_id,label,known_at\nd7,{1 - before},2026-03-01\nnobody,1,2026-03-02\n")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert known(folder, at - DAY)["d7"] == before
    assert known(folder, at)["d7"] == 1 - before
    assert "nobody" not in known(folder, at)
    assert known(folder)["nobody"] == 1


def test_questions_get_their_label_for_training_and_only_questions_are_trained_on(folder):
    features = LaptopFeatures(load_project(folder))
    assert features.training_set(NOW).num_rows == 1999
    add(folder, "request_id,label,known_at\nd5,1,2026-03-01\nnobody,1,2026-03-01\n")
    rows = features.training_set(NOW)
    assert rows.num_rows == 2000
    found = next(one for one in rows.to_pylist() if one["request_id"] == "d5")
    assert (found["label"], found["label_known_at"]) == (1, datetime(2026, 3, 1, tzinfo=UTC))
    assert features.training_set(datetime(2026, 2, 28, tzinfo=UTC)).column("request_id").to_pylist().count("d5") == 0


def test_a_run_sees_that_labels_came(folder):
    def ingest(at):
        return cache_keys(load_project(folder), {"known_at": at, "champion": ""})["ingest"]

    june, july = "2026-06-02T00:00:00+00:00", "2026-07-02T00:00:00+00:00"
    before = ingest(june)
    assert before == ingest(july)
    add(folder, "request_id,label\nd5,1\n", now=datetime(2026, 6, 10, tzinfo=UTC))
    assert ingest(june) != before
    assert ingest(june) != ingest(july)  # It was not known in June.
    assert ingest(july) == ingest("2026-08-01T00:00:00+00:00")


def test_the_same_file_again_changes_nothing_and_is_told_once(folder):
    text = "request_id,label\nd5,1\nd6,0\n"
    record, written = add(folder, text)
    assert written
    again, written = add(folder, text, name="other.csv", now=NOW + DAY)
    assert (again, written) == (record, False)
    decisions = SqliteLedger(load_project(folder).paths.ledger).decisions(kind="labels_added")
    assert [(one.what, one.actor, one.numbers["new"]) for one in decisions] == [("2 labels of labels.csv", "eva", 2)]


def test_killed_between_the_labels_and_the_ledger_the_next_try_tells_it(folder, monkeypatch):
    def killed(self, decision, *, state=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteLedger, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        add(folder, "request_id,label\nd5,1\n")
    monkeypatch.undo()
    assert known(folder)["d5"] == 1
    assert add(folder, "request_id,label\nd5,1\n")[1] is False
    assert len(SqliteLedger(load_project(folder).paths.ledger).decisions(kind="labels_added")) == 1


def test_a_file_with_rows_that_are_no_labels_is_refused_whole_or_taken_without_them(folder):
    text = "request_id,label\nd5,1\nd6,maybe\n,1\n"
    with pytest.raises(DataError) as refused:
        add(folder, text)
    assert "2 of 3 rows are no labels, and none was added" in str(refused.value)
    assert "line 3: 'maybe' is no label of this project; valid: 0, 1" in str(refused.value)
    assert "mainspring labels add --skip-bad labels.csv" in str(refused.value)
    assert "d5" not in known(folder)
    record, _ = add(folder, text, skip_bad=True)
    assert (record.rows, record.new, record.refused) == (3, 1, 2)
    assert known(folder)["d5"] == 1
    with pytest.raises(ConfigError, match="later than now"):
        add(folder, "request_id,label\nd8,1\n", known_at=NOW + DAY)


def test_predictions_meet_their_labels_and_what_is_odd_is_counted(folder):
    log(
        folder,
        ("d5", "Ulm", NOW - DAY, "primary"),
        ("d5", "Ulm", NOW - DAY, "shadow"),
        ("x1", "Ulm", NOW - DAY, "primary"),
        ("x1", "Ulm", NOW - DAY, "batch"),
        ("x2", "Ulm", NOW - 2 * DAY, "batch"),
        ("x3", "Kiel", NOW - 2 * DAY, "primary"),
    )
    edit(folder, "mainspring.yaml", "", "labels: {late_after: 12h}\n")
    loaded = load_project(folder)
    assert coverage(loaded, NOW).in_words() == "0 of 4 predictions of the last 21d have their label"
    add(folder, "request_id,label\nd5,1\nx1,1\nx9,0\n", now=NOW - DAY / 4)
    record, _ = add(folder, "request_id,label\nd5,0\nx1,1\nx2,1\n", name="more.csv")
    assert in_words(record) == "3 rows: 2 new, 1 doubles; 1 correct an earlier label"
    found = coverage(loaded, NOW)
    assert (found.predictions, found.labelled, found.late, found.contradicting) == (4, 3, 3, 1)
    assert "; 1 were contradicted" in found.in_words()
    report = label_report(loaded, NOW, days=5)
    assert [(f"{one.day:%d}", one.predictions, one.labelled) for one in report.days] == [("30", 2, 1), ("31", 2, 2)]
    assert (report.said, report.contradicting, report.unmatched, report.doubles) == (4, 1, 1, 1)
    assert report.overruled == 0  # d5 had no label of its own.
    (own_label,) = own(folder, "d7")
    add(folder, f"request_id,label\nd7,{1 - own_label}\nd8,{own(folder, 'd8')[0]}\n", name="third.csv")
    assert label_report(loaded, NOW, days=5).overruled == 1
    # As it was known before the second file.
    earlier = label_report(loaded, NOW - DAY / 8, days=5)
    assert (sum(one.labelled for one in earlier.days), earlier.contradicting, len(earlier.added)) == (2, 0, 1)
    shown = {(one["request_id"], one["role"]): one["label"] for one in newest_rows(loaded, last=10, labels=True)}
    assert (shown["d5", "primary"], shown["d5", "shadow"], shown["x3", "primary"]) == (0, 0, None)


def test_labels_wait_for_predictions_that_come_later(folder):
    record, _ = add(folder, "request_id,label\nlater,1\n")
    assert record.unmatched == 1
    log(folder, ("later", "Ulm", NOW - DAY, "primary"))
    assert coverage(load_project(folder), NOW).labelled == 1
    assert label_report(load_project(folder), NOW, days=5).unmatched == 0


def test_a_source_of_labels_is_read_as_it_was_known(folder):
    (folder / "said.csv").write_text("day,rain,told\nd5,1,2026-03-01\nd7,,2026-03-01\nd8,1,\n")
    edit(folder, "mainspring.yaml", "sources:\n", "sources:\n  said: {path: said.csv, available_at: told}\n")
    edit(folder, "mainspring.yaml", "", "labels: {source: said}\n")
    assert "d5" not in known(folder, datetime(2026, 2, 28, tzinfo=UTC))
    assert known(folder)["d5"] == 1
    assert known(folder)["d7"] == own(folder, "d7")[0]
    add(folder, "request_id,label,known_at\nd5,0,2026-03-02\n")
    assert [known(folder, datetime(2026, 3, day, tzinfo=UTC))["d5"] for day in (1, 2)] == [1, 0]
    (folder / "said.csv").write_text("day,rain,told,when\nd5,1,2026-03-01,noon\n")
    edit(folder, "mainspring.yaml", "labels: {source: said}", "labels: {source: said, available_at: when}")
    with pytest.raises(DataError, match="`when` is not a time, it is string"):
        known(folder)
    edit(folder, "mainspring.yaml", "labels: {source: said, available_at: when}", "labels: {source: said}")
    (folder / "said.csv").write_text("day,rain,told\nd5,7,2026-03-01\n")
    with pytest.raises(DataError, match="'7' is no label of this project"):
        known(folder)
    (folder / "said.csv").write_text("day,rain,told\n,1,2026-03-01\n")
    with pytest.raises(DataError, match="1 labels have no `day`"):
        known(folder)


def test_labels_meet_predictions_and_questions_by_key_and_time(folder):
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    edit(
        folder,
        "mainspring.yaml",
        "",
        "features: {entities: {town_id: town}}\nlabels: {entities: {town: place}, time: when, tolerance: 10m}\n",
    )
    log(
        folder,
        ("near", "Ulm", at + timedelta(minutes=5), "primary"),
        ("far", "Ulm", at + timedelta(minutes=25), "primary"),
        ("other", "Kiel", at, "primary"),
    )
    days = pd.read_csv(folder / "days.csv")
    question = days[days["at"].str.startswith("2026-01-02 03:00")].iloc[0]
    text = f"place,when,label\nUlm,{at:%Y-%m-%dT%H:%M},1\n{question.town},{at:%Y-%m-%dT%H:%M},{1 - question.rain}\nBonn,2026-05-01,0\n"
    record, _ = add(folder, text)
    loaded = load_project(folder)
    found = known(folder)
    assert found["near"] == (1 if question.town != "Ulm" else 1 - question.rain)
    assert "far" not in found
    rows = LaptopFeatures(loaded).questions(NOW).to_pylist()
    corrected = next(one for one in rows if one["request_id"] == question.day)
    assert corrected["label"] == 1 - question.rain
    assert record.unmatched >= 1


def test_labels_meet_predictions_whose_keys_are_logged_as_a_hash(folder):
    """And those that were logged before the project hashed them."""
    at = datetime(2026, 5, 2, 3, tzinfo=UTC)
    labels = "labels: {entities: {town: place}, time: when}\n"
    edit(folder, "mainspring.yaml", "", labels)
    log(folder, ("clear", "Ulm", at, "primary"))
    edit(folder, "mainspring.yaml", "", "log: {hash: [town]}\n")
    loaded = load_project(folder)
    header = SegmentHeader("1", "", ("town",), ("text",), ("town",), ())
    writer = SegmentWriter(loaded.paths.segments, header, concealment=concealment(loaded.settings, loaded.paths))
    rows = [("hashed", "Ulm", at), ("other", "Kiel", at), ("later", "Ulm", at + DAY)]
    writer.append([LogRow(name, 0, 0, 0, microseconds(when), 9, (0.5,), (town,), (town,)) for name, town, when in rows])
    writer.rotate()
    ParquetPredictionLog(loaded.paths).compact()
    record, _ = add(folder, f"place,when,label\nUlm,{at:%Y-%m-%dT%H:%M},1\nBonn,{at:%Y-%m-%dT%H:%M},1\n")
    found = known(folder)
    assert [found.get(name) for name in ("clear", "hashed", "other", "later")] == [1, 1, None, None]
    assert record.unmatched == 1
    assert coverage(loaded, at + 2 * DAY).labelled == 0  # not known then
    assert coverage(loaded, NOW).predictions == 0
    edit(folder, "mainspring.yaml", "log: {hash: [town]}", "log: {drop: [town]}")
    with pytest.raises(ConfigError, match=r"labels.entities: predictions cannot meet labels by town, which log.drop"):
        load_project(folder)


def test_a_project_without_ids_meets_labels_that_have_them(folder):
    edit(folder, "mainspring.yaml", ", id: day", "")
    loaded = load_project(folder)
    log(folder, ("x1", "Ulm", NOW - DAY, "primary"))
    assert coverage(loaded, NOW) is None
    add(folder, "request_id,label\nx1,1\n")
    assert (coverage(loaded, NOW).labelled, known(folder)) == (1, {"x1": 1})


def test_the_loops_own_labels_are_the_same(folder):
    add(folder, "request_id,label\nd5,1\nx1,0\n")
    loaded = load_project(folder)
    features = LaptopFeatures(loaded)
    found = KnownLabels(features.questions, features.labels.beside).labels(NOW)
    assert dict(zip(*(found.column(name).to_pylist() for name in ("request_id", "label")), strict=True)) == known(
        folder
    )
    assert json.dumps(labels_of(loaded).state()) == json.dumps(features.labels.state())


class Versions:
    """A registry with version 1."""

    def versions(self):
        return [ModelVersion("towns", "1", "", "", "", False, "", "onnx", Signature("binary", (), classes=("0", "1")))]


def test_added_labels_are_evidence_of_quality_in_a_rollout_from_when_they_were_known(folder):
    """Forty requests that no row of the target's source stands for, answered by both arms of a shadow."""
    loaded, began = load_project(folder), NOW - 3 * DAY
    for version, role, output in (("1", "primary", 0.4), ("2", "shadow", 0.6)):
        writer = SegmentWriter(loaded.paths.segments, SegmentHeader(version, ""))
        at = microseconds(began + timedelta(hours=1))
        writer.append([LogRow(f"x{n}", ROLES.index(role), 0, 0, at, 900, (output,)) for n in range(40)])
        writer.rotate()
    log = ParquetPredictionLog(loaded.paths)
    log.compact()
    features = LaptopFeatures(loaded)
    labels = KnownLabels(features.questions, features.labels.beside)
    shadow = LaptopShadow(loaded.settings, log, labels, Versions())
    rollout = Rollout("1-to-2-1", "1", "2", phase="shadow", mirror_percent=100, phase_since=began)
    assert shadow.compare(rollout, NOW).blocks == ()
    told = NOW - DAY
    add(folder, "request_id,label\n" + "".join(f"x{n},{n % 2}\n" for n in range(40)), known_at=told)
    assert shadow.compare(rollout, told - timedelta(hours=1)).blocks == ()
    (block,) = shadow.compare(rollout, NOW).blocks
    assert (block.rows, block.primary, block.shadow) == (40, 0.5, 0.5)


def test_a_source_of_labels_may_be_a_table(folder):
    with contextlib.closing(sqlite3.connect(folder / "said.db")) as database, database:
        database.execute("CREATE TABLE said (day TEXT, rain INTEGER, told TEXT)")
        database.execute("INSERT INTO said VALUES ('d5', 1, '2026-03-01 12:00:00'), ('d6', NULL, '2026-03-01')")
    source = f"  said: {{url: 'sqlite:///{folder / 'said.db'}', table: said, available_at: told}}\n"
    edit(folder, "mainspring.yaml", "sources:\n", "sources:\n" + source)
    edit(folder, "mainspring.yaml", "", "labels: {source: said}\n")
    assert "d5" not in known(folder, datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert known(folder, datetime(2026, 3, 1, 12, tzinfo=UTC))["d5"] == 1
    loaded = load_project(folder)
    labels = labels_of(loaded)
    assert labels.beside(NOW).num_rows == 1
    with contextlib.closing(sqlite3.connect(folder / "said.db")) as database, database:
        database.execute("INSERT INTO said VALUES ('d6', 1, '2026-03-02')")
    assert labels.beside(NOW).num_rows == 2


def test_the_loop_exposes_what_became_of_labels(folder):
    add(folder, "request_id,label\nd5,1\nd5,1\nd6,x\n", skip_bad=True)
    page = MetricsPage()
    LoopMetrics(page).labelled(Coverage(40, 30, DAY, 4, 2), labels_of(load_project(folder)).store.added())
    text = generate_latest(page.registry).decode()
    assert "mainspring_label_coverage_ratio 0.75" in text
    assert "mainspring_label_late_rows 4.0" in text
    assert "mainspring_label_contradicting_rows 2.0" in text
    for result, count in {"new": 1, "doubles": 1, "refused": 1, "unmatched": 0, "corrections": 0}.items():
        assert f'mainspring_label_added_rows{{result="{result}"}} {count}.0' in text


def test_values_of_a_regression_are_numbers_whatever_the_target_has(folder):
    edit(folder, "mainspring.yaml", "task: binary", "task: regression")
    loaded = load_project(folder)
    add(folder, "request_id,label\nx1,2.5\n")
    assert known(folder)["x1"] == 2.5
    add(folder, "request_id,label\nd5,7.25\nx2,1\n", name="more.csv")
    assert (known(folder)["d5"], known(folder)["x2"], known(folder)["d6"]) == (7.25, 1.0, own(folder, "d6")[0])
    assert LaptopFeatures(loaded).training_set(NOW).num_rows == 2000
    with pytest.raises(DataError, match="line 2: 'wet' is not a number"):
        add(folder, "request_id,label\nd5,wet\n", name="wet.csv")
