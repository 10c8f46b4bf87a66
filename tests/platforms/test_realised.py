"""What `on_loss` goes by, on a real log: answers of a version made by the six steps, and labels as they come."""

import shutil

import pytest

from mainspring.domain.scoring import score
from mainspring.platforms.performance import _Labels
from mainspring.platforms.realised import LaptopLosses
from mainspring.retrain.loss import loss_test
from mainspring.settings.load import load_project
from tests.platforms.answered import DAY, SERVED, Answered

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("realised")
    (folder / ".mainspring").mkdir()
    shutil.copy(empty_store, folder / ".mainspring" / "mlflow.db")
    return Answered(folder)


@pytest.fixture
def served(made):
    for folder in (made.loaded.paths.predictions, made.loaded.paths.segments):
        shutil.rmtree(folder, ignore_errors=True)
    made.rows = made.past
    return made


def blocks(served, at):
    loaded = load_project(served.folder)
    return LaptopLosses(loaded.settings, served.log, _Labels(loaded), served.registry).blocks("1", at)


def verdict(found):
    return loss_test(found.held_out, found.realised, higher_is_better=True, alpha=0.05)


def test_blocks_are_whole_days_of_what_was_answered_and_held_out(served):
    rows = served.answer(SERVED, 15)
    # At noon of the sixteenth day what was asked on it is no whole day yet, and all others have their labels.
    more = served.answer(SERVED + 15 * DAY, 1, seed=4)
    found = blocks(served, SERVED + 15.5 * DAY)
    assert len(found.realised) == 15
    assert len(found.held_out) == 15
    said = {row["request_id"]: row["output"][0] for row in served.log.read(None, ["request_id", "output"]).to_pylist()}
    first = rows[:240]
    assert found.realised[0] == pytest.approx(score("auc", first.rain.to_numpy(), first.day.map(said).to_numpy()))
    assert not verdict(found).worse
    assert more.day[0] in said


def test_a_world_that_changed_is_a_loss_after_the_second_week_at_the_latest(served):
    served.answer(SERVED, 15, wrong=0.4)
    told = verdict(blocks(served, SERVED + 15.5 * DAY))
    assert told.worse
    assert told.from_block in (7, 14)


def test_labels_count_as_they_are_known_now(served):
    rows = served.answer(SERVED, 10)
    assert len(blocks(served, SERVED + 5 * DAY).realised) == 5
    before = blocks(served, SERVED + 40 * DAY).realised
    changed = rows.copy()
    changed.loc[: 240 * 3, "rain"] = 1 - changed.loc[: 240 * 3, "rain"]
    served.rows = served.past
    served.label(changed)
    # By now the reports of these days are final, and say what was known then.
    after = blocks(served, SERVED + 41 * DAY).realised
    assert max(after[:3]) < 0.5 < min(before)
    assert after[4:] == before[4:]


def test_answers_of_others_and_of_a_build_are_none_of_its_own(served):
    served.answer(SERVED, 3)
    alone = blocks(served, SERVED + 9 * DAY).realised
    assert len(alone) == 3
    served.answer(SERVED + 3 * DAY, 2, version="2", seed=5)
    served.answer(SERVED + 5 * DAY, 2, build="broken", seed=6)
    assert blocks(served, SERVED + 9 * DAY).realised == alone


def test_without_labels_or_answers_nothing_is_realised(served):
    assert blocks(served, SERVED + 3 * DAY).realised == ()
    served.answer(SERVED, 3)
    text = (served.folder / "days.csv").read_text()
    served.rows = served.past
    served.label(served.past[:0])
    try:
        assert blocks(served, SERVED + 3 * DAY).realised == ()
    finally:
        (served.folder / "days.csv").write_text(text)
