"""What a cache key depends on: everything that a step's result does, and nothing else."""

import pytest

from mainspring.platforms.cache import cache_keys
from mainspring.settings.load import load_project

ALL = {"ingest", "validate", "engineer", "train", "evaluate", "register", "refuse"}
LATER = {"train", "evaluate", "register", "refuse"}


def keys(project, known_at="2026-04-01", champion="1"):
    return cache_keys(load_project(project), {"known_at": f"{known_at}T00:00:00+00:00", "champion": champion})


def append(name, text):
    def edit(project):
        with (project / name).open("a") as file:
            file.write(text)

    return edit


def replace(name, old, new):
    def edit(project):
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new, 1))

    return edit


def touch(project):
    import os

    os.utime(project / "days.csv", (1, 1))


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (replace("training.py", "500", "400"), LATER),
        (append("helpers.py", "x = 1"), LATER),
        (append("mainspring.yaml", "params: {depth: 3}\n"), LATER),
        (append("mainspring.yaml", "features: {request: [temp]}\n"), ALL),
        (append("mainspring.yaml", "gate: {min_gain: 0.1}\n"), {"evaluate", "register", "refuse"}),
        (append("mainspring.yaml", "split: {holdout: 9d}\n"), ALL - {"ingest", "validate"}),
        (append("expectations.py", "expectations = []"), ALL - {"ingest"}),
        (append("transforms.py", "x = 1"), ALL - {"ingest", "validate"}),
        (append("requirements.txt", "scikit-learn==1.9.1"), ALL),
        (replace("days.csv", ",Ulm,", ",Kiel,"), ALL),
        (touch, set()),
        (append("notes.md", "nothing"), set()),
        (append("mainspring.yaml", "serving: {port: 0}\n"), set()),
    ],
    ids=[
        "training.py", "a helper", "a parameter", "features", "gate", "split", "expectations", "transforms", "the lock",
        "one row", "the file's time", "notes", "the port",
    ],
)  # fmt: skip
def test_an_edit_changes_the_keys_of_what_it_touches(project, edit, changed):
    before = keys(project)
    assert before == keys(project)
    edit(project)
    after = keys(project)
    assert {step for step in ALL if before[step] != after[step]} == changed


def test_asking_later_is_the_same_question_unless_something_became_known(project):
    assert keys(project) == keys(project, known_at="2027-01-01")
    assert keys(project, known_at="2026-02-01") != keys(project, known_at="2026-02-02")


def test_another_champion_is_another_evaluation(project):
    one, two = keys(project), keys(project, champion="2")
    assert {step for step in ALL if one[step] != two[step]} == {"evaluate", "register", "refuse"}


def test_no_two_steps_have_the_same_key(project):
    assert len(set(keys(project).values())) == len(ALL)


def test_another_window_is_another_training_set(project):
    loaded = load_project(project)
    asked = {"known_at": "2026-04-01T00:00:00+00:00", "champion": "1"}
    whole, since = cache_keys(loaded, asked), cache_keys(loaded, {**asked, "train_from": "2026-02-10T00:00:00+00:00"})
    assert {name for name in whole if whole[name] != since[name]} == ALL - {"ingest", "validate"}
