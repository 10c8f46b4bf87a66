"""What drifted features do to a real model's answers, from rows of a real log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.domain.codec import to_json
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.drift.cells import Windows
from mainspring.drift.page import page, rows_of
from mainspring.drift.profile import count_window, fit_profile
from mainspring.drift.ranking import ranked
from mainspring.drift.storage import write_profile
from mainspring.pipeline.insight import Importance
from mainspring.platforms.drift import LaptopDrift
from mainspring.platforms.steps.call import IMPORTANCE
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.load import load_project
from tests.platforms.one_folder import Registry
from tests.platforms.towns import edit, write_project
from tests.serving.models import write_model

AT = datetime(2026, 5, 2, tzinfo=UTC)
ROWS = 3000


@pytest.fixture
def world(tmp_path):
    """A model that looks at `wind` and `town`, and hardly at `temp`; its reference; and a log of what callers asked."""
    write_project(tmp_path)
    edit(
        tmp_path,
        "mainspring.yaml",
        "",
        "drift: {reference: training, trailing: 1d, persistence: 1}\nfeatures: {units: {wind: m/s}}\n",
    )
    loaded = load_project(tmp_path)
    card = write_model(tmp_path / "model")
    generator = np.random.default_rng(1)

    def columns(rows):
        return {
            "town": generator.choice(["Bonn", "Ulm"], rows).astype(object),
            "wind": generator.normal(5, 2, rows),
            "temp": generator.normal(10, 5, rows),
        }

    before = {name: pa.chunked_array([pa.array(one)]) for name, one in columns(20_000).items()}
    profile = fit_profile(before, card.signature.features)
    # Its own forty days, which end where the log begins.
    starts = np.datetime64("2026-05-01", "us") - np.arange(40, 0, -1) * np.timedelta64(86_400_000_000, "us")
    days = [
        count_window(profile, {name: one.slice(500 * day, 500) for name, one in before.items()}) for day in range(40)
    ]
    windows = {name: Windows(starts, np.array([day[name].vector for day in days])) for name in profile.cells}
    write_profile(replace(profile, windows=windows, every_seconds=86400.0), tmp_path / "model")
    (tmp_path / "model" / IMPORTANCE).write_bytes(to_json([Importance("wind", 0.2), Importance("temp", 0.001)]))
    log = ParquetPredictionLog(loaded.paths)

    def run(change, names=("town", "wind", "temp"), reference=""):
        asked = columns(ROWS)
        change(asked)
        kinds = tuple("text" if name == "town" else "number" for name in names)
        at = microseconds(AT - timedelta(hours=1))
        rows = zip(*(asked[name].tolist() for name in names), strict=True)
        writer = SegmentWriter(loaded.paths.segments, SegmentHeader("1", "", names, kinds))
        writer.append([LogRow(f"q{place}", 0, 0, 0, at, 1, (0.5,), row, (), (), ()) for place, row in enumerate(rows)])
        writer.rotate()
        log.compact()
        settings = loaded.settings.changed("drift", **({"reference": reference} if reference else {}))
        return LaptopDrift(replace(loaded, settings=settings), Registry(tmp_path / "model"), log).run("1", AT)

    return run


def of(report, name):
    return next(one for one in report.features if (one.feature, one.reference) == (name, "training"))


def test_what_moves_the_answers_comes_first_however_far_something_else_has_moved(world):
    def change(asked):
        asked["wind"] += 2
        asked["temp"] -= 20

    report = world(change)
    wind, temp = of(report, "wind"), of(report, "temp")
    assert temp.psi > wind.psi > 0.2
    # A fifth of the answers and more go up; the other feature does next to nothing.
    assert wind.effect.mean > 0.2
    assert wind.effect.mean_absolute > 5 * temp.effect.mean_absolute
    assert [one.acted_on.feature for one in ranked(report) if one.acted_on.drifted] == ["wind", "temp"]
    assert (wind.importance, temp.importance) == (0.2, 0.001)
    assert wind.sentence.startswith("`wind` moved to higher values: ")
    assert "m/s, was " in wind.sentence
    assert temp.sentence.startswith("`temp` moved to lower values: ")
    assert of(report, "town").effect is None  # it did not drift


def test_the_weeks_before_a_young_log_are_training_s(world):
    report = world(lambda asked: asked["wind"].__iadd__(2), reference="trailing")
    wind = next(one for one in report.features if (one.feature, one.reference) == ("wind", "trailing"))
    assert (report.acted_on, wind.drifted) == ("trailing", True)
    assert wind.reference_rows == 500  # a day of training
    assert wind.effect.mean > 0.2
    assert wind.sentence.startswith("`wind` moved to higher values: ")


def test_the_effect_is_that_of_the_change_alone(world, tmp_path):
    def change(asked):
        asked["wind"] = np.where(np.arange(ROWS) % 10 < 3, 0.0, asked["wind"])

    wind = of(world(change), "wind")
    assert wind.sentence.startswith("`wind` has more of one value: 30 % lie between -0.0")
    assert wind.sentence.endswith(" m/s, was under 0.1 %")
    # Three tenths no longer answer as half of them did: 0.3 * (0 - about 0.6).
    assert -0.24 < wind.effect.mean < -0.12


def test_a_renamed_category_is_called_so(world):
    def change(asked):
        asked["town"] = np.where(asked["town"] == "Bonn", "BONN", asked["town"])

    town = of(world(change), "town")
    assert town.drifted
    assert town.sentence.startswith("`town`: Bonn is gone, was ")
    assert town.sentence.endswith(" are categories that were not there before: renamed, perhaps")
    # To the model, who is not from Bonn is from Ulm.
    assert town.effect.mean > 0.03


def test_missing_values_are_told_with_their_effect(world):
    report = world(lambda asked: asked["wind"].__setitem__(slice(0, 900), np.nan))
    wind = of(report, "wind")
    assert wind.sentence == "`wind` is missing in 30 %, was 0 %"


def test_where_the_log_lacks_a_feature_nothing_is_asked_again(world):
    report = world(lambda asked: asked["wind"].__iadd__(2), names=("wind", "temp"))
    wind = of(report, "wind")
    assert (wind.drifted, wind.effect, wind.importance) == (True, None, 0.2)
    assert ranked(report)[0].acted_on.feature == "wind"


def test_a_person_reads_it_on_a_page_and_on_a_terminal(world):
    def change(asked):
        asked["wind"] += 2
        asked["town"] = np.where(asked["town"] == "Ulm", "<b>&", asked["town"])

    report = world(change)
    text = page(report)
    assert text.index("wind</h2>" if "wind</h2>" in text else "wind drifted") < text.index("temp did not drift")
    assert "<b>&" not in text.replace("<b>&amp;", "")
    assert text.count("<svg") == 6  # three features against two references
    rows = rows_of(report)
    assert [row[5] for row in rows if row[0] in ("wind", "town") and row[1] == "training"] == ["drifted", "drifted"]
    assert all(row[7] for row in rows if row[5] == "drifted" and row[1] == "training")
