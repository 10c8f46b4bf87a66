"""`init --from`: what is found in a file, what is written, and what is refused in which words."""

import shutil

import numpy as np
import pandas as pd
import pytest

from mainspring.domain.errors import ConfigError, DataError, MainspringError, NotFound
from mainspring.settings.load import load_project
from mainspring.sources.open import open_source
from mainspring.templates.roles import Wish
from mainspring.templates.write import project_name, write_from_file, write_template

FULL = Wish("survived", time="asked_at", key="passenger_id")


def written(tmp_path, file, wish=FULL):
    done = write_from_file(tmp_path / "new", file, wish)
    return done, load_project(tmp_path / "new").settings, (tmp_path / "new" / "mainspring.yaml").read_text()


def test_a_file_becomes_a_valid_project_that_says_what_it_left_out_and_why(tmp_path, csv):
    done, settings, text = written(tmp_path, csv())
    assert (settings.name, settings.task, settings.target.positive) == ("new", "binary", "yes")
    assert settings.features.request == ["sex", "age", "fare"]
    assert settings.sources["people"].columns == {
        "passenger_id": "str", "sex": "category", "age": "float", "fare": "float", "survived": "str",
    }  # fmt: skip
    assert (settings.question_time, settings.target.id) == ("asked_at", "passenger_id")
    assert done.roles.left_out == {
        "passenger_id": "the id",
        "name": "text, 100% of it different: it names rows",
        "cabin": "empty",
        "port": "always 'S'",
        "born": "a time: give what matters of it (weekday, days since) a column of its own",
        "asked_at": "the time of the question",
        "alive": "says the same as the target",
    }
    assert all(f"#   {name}: {reason}" in text for name, reason in done.roles.left_out.items())
    assert {path.name for path in done.files} == {"mainspring.yaml", "training.py", ".gitignore", "people.csv"}
    assert (tmp_path / "new" / "data" / "people.csv").read_bytes() == (tmp_path / "people.csv").read_bytes()
    assert ".mainspring/" in (tmp_path / "new" / ".gitignore").read_text()


def test_without_times_and_ids_a_hash_holds_out_drift_retrains_and_what_is_missing_is_said(tmp_path, csv):
    done, settings, _ = written(tmp_path, csv(), Wish("survived"))
    assert settings.question_time is None
    assert settings.retrain.policy == "on_alarm"
    hints = " ".join(done.roles.hints)
    assert "--key passenger_id" in hints
    assert "`born`, `asked_at` hold times" in hints


@pytest.mark.parametrize(
    ("values", "task", "positive"),
    [
        (["no", "yes"], "binary", "yes"),
        ([0, 1], "binary", 1),
        ([0.0, 1.0], "binary", 1),
        ([True, False], "binary", True),
        (["Bonn", "Kiel", "Ulm"], "multiclass", None),
        ([3, 4, 5, 6], "multiclass", None),
        (list(range(100)), "regression", None),
        ([0.5, 1.5, 2.5], "regression", None),
    ],
    ids=str,
)
def test_the_task_is_read_from_the_target(tmp_path, people, csv, values, task, positive):
    _, settings, _ = written(tmp_path, csv(survived=[values[row % len(values)] for row in range(len(people))]))
    assert (settings.task, settings.target.positive) == (task, positive)
    training = (tmp_path / "new" / "training.py").read_text()
    assert ("XGBRegressor" in training) == (task == "regression")


def test_the_user_may_say_otherwise(tmp_path, csv):
    wish = Wish("survived", task="multiclass", name="titanic-2", copy=False)
    done, settings, _ = written(tmp_path, csv(), wish)
    assert (settings.task, settings.name) == ("multiclass", "titanic-2")
    assert "by itself it would be binary" in done.roles.why
    assert settings.sources["people"].path == "../people.csv"
    assert not (tmp_path / "new" / "data").exists()
    shutil.rmtree(tmp_path / "new")
    _, settings, _ = written(tmp_path, csv(), Wish("survived", positive="no"))
    assert settings.target.positive == "no"


def read(tmp_path, settings, name="people"):
    from datetime import datetime

    return open_source(name, settings.sources[name], tmp_path / "new").read(known_at=datetime.max)


def test_marks_of_a_missing_number_are_found_and_declared(tmp_path, people, csv):
    gaps = np.arange(len(people)) % 7 == 0
    file = csv(
        age=people.age.astype(object).where(people.age.notna(), "NA"), fare=people.fare.astype(object).where(~gaps, "?")
    )
    _, settings, _ = written(tmp_path, file)
    assert settings.sources["people"].nulls == ["NA", "?"]
    rows = read(tmp_path, settings)
    assert rows.column("fare").null_count == gaps.sum()
    assert rows.column("age").null_count == people.age.isna().sum()


def test_names_that_yaml_or_onnx_would_trip_over_come_through(tmp_path, people):
    names = {"sex": "no: yes, {x}", "age": "größe (m²)", "fare": "on", "survived": "y's", "passenger_id": "#"}
    people.rename(columns=names).to_csv(tmp_path / "people.csv", index=False)
    _, settings, _ = written(tmp_path, tmp_path / "people.csv", Wish("y's", key="#"))
    assert settings.features.request == ["no: yes, {x}", "größe (m²)", "on"]
    assert (settings.target.column, settings.target.id) == ("y's", "#")
    assert read(tmp_path, settings).num_rows == len(people)


def test_an_id_stays_as_it_is_written_and_a_parquet_file_goes_into_a_folder_that_can_grow(tmp_path, people, csv):
    _, settings, _ = written(tmp_path, csv(passenger_id=[f"{place:05d}" for place in range(len(people))]))
    assert read(tmp_path, settings).column("passenger_id")[7].as_py() == "00007"
    shutil.rmtree(tmp_path / "new")
    people.to_parquet(tmp_path / "people.parquet")
    _, settings, _ = written(tmp_path, tmp_path / "people.parquet")
    assert settings.sources["people"].path == "data/people"
    people.assign(passenger_id=people.passenger_id + 600).to_parquet(
        tmp_path / "new" / "data" / "people" / "later.parquet"
    )
    assert read(tmp_path, settings).num_rows == 2 * len(people)


def test_names_of_the_platform_are_left_out_and_others_are_the_users(tmp_path, people):
    names = {"sex": "label", "age": "part", "fare": "filename", "alive": "request_id"}
    people.rename(columns=names).to_csv(tmp_path / "people.csv", index=False)
    done, settings, _ = written(tmp_path, tmp_path / "people.csv", Wish("survived"))
    assert settings.features.request == ["part", "filename"]
    assert "rename it" in done.roles.left_out["label"]


@pytest.mark.parametrize(
    ("wish", "message", "detail"),
    [
        (Wish("survivd"), "there is no column 'survivd'; did you mean 'survived'", "passenger_id, name"),
        (Wish("Survived"), "did you mean 'survived'", ""),
        (Wish(""), "--from needs --target", "passenger_id, name"),
        (Wish("survived", time="askd_at"), "did you mean 'asked_at'", "--time"),
        (Wish("survived", key="sex"), "`sex` is no id of a row: 'female' is there 302 times", "passenger_id"),
        (Wish("survived", key="cabin"), "600 rows have no `cabin`", ""),
        (Wish("survived", time="survived"), "one column cannot have two roles", ""),
        (Wish("survived", task="regresion"), "there is no task 'regresion'", "regression"),
        (Wish("survived", task="regression"), "a regression needs numbers", "binary"),
        (Wish("age", task="binary"), "a binary task has two labels", "regression"),
        (Wish("survived", positive="maybe"), "'maybe' is no label", "no, yes"),
        (Wish("age", positive="3"), "a regression task has no positive label", ""),
        (Wish("name"), "too many to be classes", "--target"),
        (Wish("born"), "the target is DATE", ""),
        (Wish("cabin"), "only 0 of 600 rows have a value of the target", ""),
        (Wish("port"), "the target has one value in all 600 rows: 'S'", ""),
        (Wish("survived", time="sex"), "600 of 600 values of `sex` are not a time", "ISO 8601"),
        (Wish("survived", name="Bad Name"), "cannot be a project's name", "small letter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wish_that_does_not_fit_the_file_is_refused_and_nothing_is_written(tmp_path, csv, wish, message, detail):
    with pytest.raises(MainspringError) as error:
        write_from_file(tmp_path / "new", csv(), wish)
    assert message in error.value.what
    assert detail in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("a,y\n", "the file has no rows"),
        ("1,2\n3,4\n5,6\n", "the first line seems to be a row: 1, 2"),
        ("a,y\n1,2,3\n4,5\n", "1 line has another number of values than the 2 columns of the first (line 2: 3)"),
        ("a,y\n1,M\udcfcller\n", "is not UTF-8 text: line 2"),
        ("\n".join(["a,y", *(f"text {place},{place % 2}" for place in range(60))]), "no column is left"),
    ],
    ids=["empty", "names alone", "no names", "ragged", "latin-1", "no input"],
)
def test_a_file_that_is_no_table_is_refused_by_line(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        write_from_file(tmp_path / "new", tmp_path / "x.csv", Wish("y"))
    assert message in error.value.what
    assert "DuckDB" not in str(error.value)


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path, csv):
    csv()
    with pytest.raises(NotFound, match=r"did you mean .*people\.csv"):
        write_from_file(tmp_path / "new", tmp_path / "poeple.csv", FULL)
    (tmp_path / "people.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"a \.xlsx file is not read"):
        write_from_file(tmp_path / "new", tmp_path / "people.xlsx", FULL)
    with pytest.raises(DataError, match="it is a folder"):
        write_from_file(tmp_path / "new", tmp_path, FULL)


@pytest.mark.parametrize("full", ["notes.txt", "mainspring.yaml"])
def test_a_folder_that_is_not_empty_is_left_alone_and_a_new_repository_is_not(tmp_path, csv, full):
    folder = tmp_path / "new"
    (folder / ".git").mkdir(parents=True)
    (folder / full).write_text("mine")
    with pytest.raises(ConfigError, match=f"not empty: it has {full}"):
        write_from_file(folder, csv(), FULL)
    with pytest.raises(ConfigError, match="not empty"):
        write_template(folder, "blank")
    assert (folder / full).read_text() == "mine"
    (folder / full).unlink()
    assert all(".git" not in path.relative_to(folder).parts for path in write_from_file(folder, csv(), FULL).files)


@pytest.mark.parametrize(
    ("times", "message", "mend"),
    [
        (lambda at: at.dt.strftime("%d/%m/%Y %H:%M"), "they look like %d/%m/%Y %H:%M", "format='%d/%m/%Y %H:%M'"),
        (lambda at: at.astype("int64") // 10**9, "counts seconds since 1970", "unit='s'"),
        (lambda at: at.astype("int64") // 10**6, "counts milliseconds since 1970", "unit='ms'"),
        (lambda at: at.astype(str).where(at.index != 6, "soon"), "1 of 600 values of `asked_at`", "mend"),
        (lambda at: at.where(at.index != 6), "1 row has no time (row 7)", "mend"),
        (lambda at: at.where(at.index < 0, at.iloc[0]), "all labelled rows have the same time", ""),
    ],
    ids=["day first", "seconds", "milliseconds", "one word", "one gap", "one instant"],
)
def test_times_that_cannot_be_read_are_shown_with_what_would_make_them_readable(
    tmp_path, people, csv, times, message, mend
):
    with pytest.raises(DataError) as error:
        write_from_file(tmp_path / "new", csv(asked_at=times(people.asked_at)), FULL)
    assert message in error.value.what
    assert mend in error.value.next_step


def test_what_a_message_says_to_type_makes_the_times_readable(tmp_path, people, csv, monkeypatch):
    import shlex

    file = csv(asked_at=people.asked_at.dt.strftime("%d/%m/%Y %H:%M"))
    with pytest.raises(DataError) as error:
        write_from_file(tmp_path / "new", file, FULL)
    exec(shlex.split(error.value.next_step)[2], {})
    assert written(tmp_path, file)[1].question_time == "asked_at"


@pytest.mark.parametrize(
    ("freq", "holdout", "every", "policy"),
    [
        ("37min", "96h", "7d", "on_regret"),
        ("1min", "2h", "1d", "on_regret"),
        ("6h", "14d", "28d", "on_schedule"),
        ("3D", "360d", "28d", "on_schedule"),
    ],
)
def test_held_out_windows_and_schedules_fit_how_often_questions_come(
    tmp_path, people, csv, freq, holdout, every, policy
):
    from mainspring.domain.time import parse_duration

    at = pd.date_range("2020-01-01", periods=len(people), freq=freq)
    done, settings, _ = written(tmp_path, csv(asked_at=at))
    # Fourteen days where that leaves enough on both sides, else a fifth.
    assert 50 <= done.times.held_out <= 160
    assert settings.split.holdout == parse_duration(holdout)
    assert settings.drift.every == parse_duration(every)
    assert settings.retrain.policy == policy


def test_a_name_comes_from_the_folder(tmp_path):
    assert project_name("", tmp_path / "My Churn (2)") == "my-churn-2"
    assert project_name("", tmp_path / "2026") == "model-2026"


def test_the_blank_template_is_short_and_takes_the_folders_name(tmp_path):
    write_template(tmp_path / "late-orders", "blank")
    settings = load_project(tmp_path / "late-orders").settings
    assert settings.name == "late-orders"
    lines = [line for line in (tmp_path / "late-orders" / "mainspring.yaml").read_text().splitlines() if line.strip()]
    assert len([line for line in lines if not line.lstrip().startswith("#")]) <= 14
    with pytest.raises(ConfigError, match="there is no template 'blnk'"):
        write_template(tmp_path / "other", "blnk")
