"""Performance on real parts: a version made by the six steps, its answers in the log, labels that come later or not at all."""

import shutil

import numpy as np
import pytest

from mainspring.domain.codec import from_json
from mainspring.domain.log_record import ROLES, LogRow, SegmentHeader, microseconds
from mainspring.domain.performance_report import PerformanceReport
from mainspring.domain.scoring import score
from mainspring.performance.reference import PerformanceReference
from mainspring.platforms.performance_reference import FILE
from mainspring.serving.segment_writer import SegmentWriter
from tests.platforms.answered import DAY, SERVED, Answered

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_store):
    """The project with its version, before anything was answered."""
    folder = tmp_path_factory.mktemp("answered")
    (folder / ".mainspring").mkdir()
    shutil.copy(empty_store, folder / ".mainspring" / "mlflow.db")
    return Answered(folder)


@pytest.fixture
def served(made):
    """The same with an empty log and no reports."""
    paths = made.loaded.paths
    for folder in (paths.predictions, paths.segments, paths.performance):
        shutil.rmtree(folder, ignore_errors=True)
    made.rows = made.past
    return made


def test_a_version_is_registered_with_what_it_did_on_held_out_rows(made):
    raw = (made.registry.fetch("1") / FILE).read_bytes()
    reference = from_json(PerformanceReference, raw)
    assert reference.rows == 14 * 240
    assert len(reference.days) == 15  # fourteen times 24 hours, not from midnight
    assert reference.findings == ()
    whole = reference.of("auc").left_out
    assert whole.value == pytest.approx(made.numbers["evaluate"]["gate_auc"])
    assert {one.slice for one in reference.scores} == {"", "town=Bonn", "town=Kiel", "town=Ulm"}
    assert b"d2026" not in raw  # no rows, no ids


def test_what_was_realised_is_the_metric_of_the_labelled_rows(served):
    rows = served.answer(SERVED, 15)
    report = served.job().run("1", SERVED + 15 * DAY)
    days = report.of_slice()
    assert [one.window.start for one in days] == [SERVED + place * DAY for place in range(15)]
    assert {one.rows for one in days} == {240}
    # Labels come six hours later: of the last day's rows those up to 18:00 have one.
    assert [one.labelled for one in days] == [240] * 14 + [181]
    log = served.log.read(None, ["request_id", "output"]).to_pydict()
    said = dict(zip(log["request_id"], log["output"], strict=True))
    first = rows[:240]
    expected = score("auc", first.rain.to_numpy(), [said[one][0] for one in first.day])
    assert days[0].realised["auc"].value == pytest.approx(expected)
    assert days[0].realised["auc"].blocks == 24
    assert report.realised_loss.labelled == report.realised_loss.rows
    assert not report.realised_loss.worse
    assert report.verdict == "as on held-out rows"
    assert report.findings == ()
    weeks = from_json(PerformanceReport, (served.loaded.paths.performance / "week.json").read_bytes())
    # Weeks begin on Mondays, 2 March is one: its seven days are the observations.
    assert [(f"{one.window.start:%m-%d}", one.rows // 240) for one in weeks.of_slice()] == [
        ("02-23", 1),
        ("03-02", 7),
        ("03-09", 7),
    ]
    assert weeks.of_slice()[1].realised["auc"].blocks == 7
    ulm = report.of_slice("town=Ulm")
    assert 0 < ulm[0].rows < 240
    assert set(ulm[0].realised) == {"auc"}
    assert (served.loaded.paths.performance / "day.html").read_text().count("<svg") == 6


def test_before_labels_come_what_is_expected_is_what_they_will_say(served):
    served.answer(SERVED, 14, warmer=8.0)
    at = SERVED + 14 * DAY
    silent = served.job()
    silent._labels = Silent()
    before = silent.run("1", at).of_slice()
    after = served.job().run("1", at + DAY).of_slice()[:14]
    assert not any(one.realised for one in before)
    assert before[0].coverage == 0
    for metric in ("auc", "log_loss", "brier", "accuracy"):
        expected = np.array([one.expected[metric].value for one in before])
        real = np.array([one.realised[metric].value for one in after])
        reference = from_json(PerformanceReference, (served.registry.fetch("1") / FILE).read_bytes())
        then = reference.of(metric).left_out.value
        assert abs(expected - real).mean() < abs(then - real).mean() or metric == "auc", metric
        inside = [
            one.expected[metric].low <= found <= one.expected[metric].high
            for one, found in zip(before, real, strict=True)
        ]
        # Days share what the estimate does not know of weather this warm; tests/performance counts over many worlds.
        assert sum(inside) >= 8, metric


class Silent:
    """Nothing is known yet."""

    def labels(self, known_at, window=None):
        import pyarrow as pa

        return pa.table({"request_id": pa.array([], pa.string()), "label": pa.array([], pa.int64())})


def test_a_changed_world_is_seen_by_labels_and_by_nothing_else(served):
    served.answer(SERVED, 15, wrong=0.3)
    report = served.job().run("1", SERVED + 15 * DAY)
    assert report.realised_loss.worse
    assert report.realised_loss.p_value < 0.001
    assert report.realised_loss.loss.low > 0.03
    assert not report.expected_loss.worse
    assert report.verdict == "worse"
    assert "worse" in report.reason
    outside = [report.band("1", "auc").excludes(one.realised["auc"].value) for one in report.of_slice()]
    assert sum(outside) >= 10


def test_labels_that_come_late_change_the_past_until_it_is_final(served):
    rows = served.answer(SERVED, 10)
    served.rows = served.past
    served.label(rows[: 240 * 5])
    (served.folder / "mainspring.yaml").write_text(
        (served.folder / "mainspring.yaml").read_text() + "performance: {mature_after: 7d}\n"
    )
    job = served.job()
    first = job.run("1", SERVED + 10 * DAY).of_slice()
    assert [one.labelled for one in first] == [240] * 5 + [0] * 5
    assert [one.settled for one in first] == [True] * 3 + [False] * 7
    # All labels come, those of final days otherwise than before.
    changed = rows.copy()
    changed.loc[: 240 * 3, "rain"] = 1 - changed.loc[: 240 * 3, "rain"]
    served.rows = served.past
    served.label(changed)
    for found in (job.run("1", SERVED + 11 * DAY), served.job().run("1", SERVED + 11 * DAY)):
        second = found.of_slice()
        assert [one.realised for one in second[:3]] == [one.realised for one in first[:3]]
        assert [one.labelled for one in second] == [240] * 10
        assert [one.settled for one in second] == [True] * 4 + [False] * 6
    text = (served.folder / "mainspring.yaml").read_text()
    (served.folder / "mainspring.yaml").write_text(text.replace("performance: {mature_after: 7d}\n", ""))


def test_what_is_odd_is_a_finding_and_no_end(served):
    rows = served.answer(SERVED, 9)
    served.answer(SERVED + 9 * DAY, 1, version="7", seed=5)
    served.rows = served.past
    strange = rows.astype({"rain": object})
    strange.loc[:9, "rain"] = "hail"
    served.label(strange)
    report = served.job().run("1", SERVED + 10 * DAY)
    assert any("never saw" in text and "hail" in text for text in report.findings), report.findings
    assert any("version 7 is not in the registry" in text for text in report.findings)
    assert report.of_slice()[0].labelled == 230
    gone = report.of_slice()[-1]
    assert (gone.version, gone.rows, gone.realised, gone.expected) == ("7", 240, {}, {})


def test_what_is_damaged_is_computed_again(served):
    served.answer(SERVED, 9)
    (served.loaded.paths.performance).mkdir()
    (served.loaded.paths.performance / "settled-day.json").write_text('{"until": 5')
    (served.loaded.paths.performance / ".day.json.part").write_text("half of a")
    report = served.job().run("1", SERVED + 9 * DAY)
    assert len(report.of_slice()) == 9


def test_an_empty_log_is_no_evidence(served):
    report = served.job().run("1", SERVED + 9 * DAY)
    assert (report.blocks, report.realised_loss, report.verdict) == ((), None, "no evidence")
    assert report.reason == "nothing was answered yet"


def test_a_version_without_held_out_rows_on_record_still_has_what_was_realised(served, monkeypatch):
    served.answer(SERVED, 9)
    monkeypatch.setattr("mainspring.platforms.performance.read_reference", lambda folder: None)
    report = served.job().run("1", SERVED + 9 * DAY)
    assert report.of_slice()[0].realised["auc"].value > 0.6
    assert (report.bands, report.realised_loss) == ((), None)
    assert "no held-out rows on record" in report.reason


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks(task, tmp_path, empty_store):
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(empty_store, tmp_path / ".mainspring" / "mlflow.db")
    made = Answered(tmp_path, task=task)
    made.answer(SERVED, 8)
    report = made.job().run("1", SERVED + 8 * DAY)
    day = report.of_slice()[0]
    names = {"rmse", "mae", "r2"} if task == "regression" else {"log_loss", "accuracy", "macro_f1", "calibration_error"}
    assert set(day.realised) == names
    assert set(day.expected) == names
    for name in day.expected:
        inside = [
            one.expected[name].low <= one.realised[name].value <= one.expected[name].high for one in report.of_slice()
        ]
        assert sum(inside) >= 5, name
    # That one look in twenty calls what is chance a loss is tested in tests/performance.
    assert report.realised_loss.p_value > 0.005
    assert report.expected_loss.p_value > 0.005
    if task == "regression":
        reference = from_json(PerformanceReference, (made.registry.fetch("1") / FILE).read_bytes())
        assert set(reference.whole.trees) == {"absolute", "squared"}


def test_answers_that_are_no_numbers_are_left_out_and_counted(served):
    served.answer(SERVED, 8)
    read = served.log.read

    class Odd:
        """Some answers of each day came out as NaN, some with too many numbers."""

        def read(self, window=None, columns=None):
            rows = read(window, columns)
            if "output" not in rows.column_names or rows.num_rows < 10:
                return rows
            said = rows.column("output").to_pylist()
            said[0], said[1], said[2] = [float("nan")], [0.2, 0.8], []
            place = rows.column_names.index("output")
            return rows.set_column(place, "output", [said])

        def hours(self, window):
            return served.log.hours(window)

    job = served.job()
    job._log = Odd()
    report = job.run("1", SERVED + 8 * DAY)
    assert any("3 answers of 2026-03-01 are no numbers" in text for text in report.findings)
    assert report.of_slice()[0].rows == 240
    assert report.of_slice()[0].realised["auc"].rows == 237


class Killed(BaseException):
    """Nothing runs after it."""


def test_killed_before_any_file_is_in_place_the_next_look_has_the_same_report(served, monkeypatch):
    import shutil
    from pathlib import Path

    served.answer(SERVED, 9)
    whole, folder, replace = served.job().run("1", SERVED + 9 * DAY), served.loaded.paths.performance, Path.replace
    left = 0

    def killing(part, path):
        nonlocal left
        left -= 1
        if left < 0:
            part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
            raise Killed
        return replace(part, path)

    for fuse in range(99):
        shutil.rmtree(folder)
        left = fuse
        monkeypatch.setattr(Path, "replace", killing)
        try:
            served.job().run("1", SERVED + 9 * DAY)
            break
        except Killed:
            monkeypatch.undo()
        assert served.job().run("1", SERVED + 9 * DAY) == whole
        assert served.job().latest() == whole
    assert fuse > 2


def test_two_writers_at_once_leave_whole_files(served):
    """As a loop and a person take them."""
    import threading

    served.answer(SERVED, 8)
    jobs = [served.job() for _ in range(2)]
    found = []
    threads = [threading.Thread(target=lambda job=job: found.append(job.run("1", SERVED + 8 * DAY))) for job in jobs]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found[0] == found[1]
    assert served.job().latest() == found[0]


def test_a_full_disk_leaves_the_report_before(served, monkeypatch):
    served.answer(SERVED, 9)
    first = served.job().run("1", SERVED + 8 * DAY)

    def full(path, raw):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        served.job().run("1", SERVED + 9 * DAY)
    monkeypatch.undo()
    assert served.job().latest() == first
    assert len(served.job().run("1", SERVED + 9 * DAY).of_slice()) == 9


def test_the_verb_says_what_the_report_says(served, capsys):
    from mainspring.cli.performance_commands import performance
    from mainspring.domain.errors import ConfigError, NotFound

    with pytest.raises(NotFound, match="no performance report yet"):
        performance(served.folder, False, "", "", "", 28, False)
    served.answer(SERVED, 9)
    report = served.job().run("1", SERVED + 9 * DAY)
    performance(served.folder, False, "", "town=Kiel", "", 3, False)
    out = capsys.readouterr().out
    assert "as on held-out rows" in out
    assert out.count("not final") == 3
    assert f"{report.of_slice('town=Kiel')[-1].realised['auc'].value:.3f}" in out
    performance(served.folder, False, "week", "", "brier", 28, True)
    assert from_json(PerformanceReport, capsys.readouterr().out).by == "week"
    for words, error, said in (
        (("month", "", ""), ConfigError, "no blocks of a 'month'"),
        (("", "town=Rome", ""), NotFound, "no slice 'town=Rome'"),
        (("", "", "bleu"), ConfigError, "no metric 'bleu'"),
    ):
        with pytest.raises(error, match=said):
            performance(served.folder, False, *words, 28, False)


def test_gauges_are_of_the_version_in_service(served):
    from mainspring.platforms.performance_metrics import PerformanceMetrics
    from mainspring.telemetry.page import MetricsPage

    served.answer(SERVED, 9)
    report = served.job().run("1", SERVED + 9 * DAY)
    page = MetricsPage()
    gauges = PerformanceMetrics(page)
    gauges.look(None, report.at)
    gauges.look(report, report.at + DAY)
    value = page.registry.get_sample_value
    assert value("mainspring_performance_age_seconds") == DAY.total_seconds()
    newest = report.of_slice()[-1]
    labels = {"metric": "auc", "basis": "realised"}
    assert value("mainspring_performance_metric", labels) == newest.realised["auc"].value
    assert value("mainspring_performance_worse", {"basis": "expected"}) == 0
    assert value("mainspring_performance_band", {"metric": "auc", "bound": "low"}) == report.band("1", "auc").low
    assert value("mainspring_performance_coverage_ratio") == newest.coverage


def test_a_reference_that_cannot_be_fitted_ends_no_run(tmp_path, empty_store, monkeypatch):
    def broken(*given):
        raise ValueError("no luck")

    monkeypatch.setattr("mainspring.platforms.performance_reference.fit_reference", broken)
    (tmp_path / ".mainspring").mkdir()
    shutil.copy(empty_store, tmp_path / ".mainspring" / "mlflow.db")
    made = Answered(tmp_path)
    assert made.numbers["register"]["version"] == 1
    assert not (made.registry.fetch("1") / FILE).exists()


def test_what_was_measured_is_not_measured_again(served, monkeypatch):
    served.answer(SERVED, 8)
    job = served.job()
    first = job.run("1", SERVED + 8 * DAY)
    measured = []
    whole = job._measures.blocks
    monkeypatch.setattr(job._measures, "blocks", lambda *given: measured.append(given[1].start) or whole(*given))
    # The last day's labels are all there by now, and nothing else is new.
    second = job.run("1", SERVED + 9 * DAY)
    assert set(measured) == {SERVED + 7 * DAY, SERVED + DAY}  # the day, and the week from Monday, 2 March
    assert second.of_slice()[:7] == first.of_slice()[:7]
    assert second.of_slice()[7].labelled == 240


def test_rows_that_come_late_count_in_their_day(served):
    served.answer(SERVED, 6)
    job = served.job()
    assert job.run("1", SERVED + 6 * DAY).of_slice()[0].rows == 240
    header = SegmentHeader("1", "", ("temp", "town"), ("number", "text"))
    late = LogRow("late", ROLES.index("batch"), 0, 0, microseconds(SERVED), 1, (0.5,), (10.0, "Ulm"))
    writer = SegmentWriter(served.loaded.paths.segments, header)
    writer.append([late, late])
    writer.rotate()
    served.log.compact()
    days = job.run("1", SERVED + 7 * DAY).of_slice()
    assert (days[0].rows, days[0].labelled) == (241, 240)
    assert days[1].rows == 240
