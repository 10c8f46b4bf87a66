"""`mainspring.yaml`: what is read, what is refused, and in which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.domain.errors import ConfigError
from mainspring.settings.load import effective, find_project, json_schema, load_project

SHORTEST = """\
name: churn
task: binary
sources:
  customers: {path: customers.csv}
target: {source: customers, column: churned}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "mainspring.yaml").write_text(text)
    return folder


def test_the_shortest_project_is_valid_and_says_what_is_default(tmp_path: Path) -> None:
    loaded = load_project(write(tmp_path, SHORTEST), {})
    rows = {row.key: row for row in effective(loaded)}
    assert rows["task"].origin == "mainspring.yaml:2"
    assert rows["sources.customers.path"].origin == "mainspring.yaml:4"
    assert rows["retrain.policy"].origin == "default"
    assert rows["sources.customers.delay"].origin == "default"
    assert loaded.settings.metric.name == "auc"


def test_all_mistakes_are_reported_at_once_with_lines_and_suggestions(tmp_path: Path) -> None:
    text = SHORTEST.replace("task: binary", "task: binry") + "retrian: {policy: never}\ndrift: {evry: 1h}\n"
    with pytest.raises(ConfigError) as error:
        load_project(write(tmp_path, text), {})
    message = str(error.value)
    assert "mainspring.yaml:2: `task`" in message
    assert "mainspring.yaml:6: `retrian` is not a key; did you mean `retrain`?" in message
    assert "mainspring.yaml:7: `drift.evry` is not a key; did you mean `every`?" in message


def test_a_misspelt_key_of_a_source_gets_a_suggestion(tmp_path: Path) -> None:
    text = SHORTEST.replace("{path: customers.csv}", "{path: customers.csv, tme: day}")
    with pytest.raises(ConfigError, match="did you mean `time`"):
        load_project(write(tmp_path, text), {})


@pytest.mark.parametrize("url", ["postgres://me:hunter2@db/x", "postgresql://me:hunter2@db:5432/x"])
def test_a_password_in_plain_text_is_refused_without_being_repeated(tmp_path: Path, url: str) -> None:
    text = SHORTEST.replace("{path: customers.csv}", f"{{url: '{url}', table: customers}}")
    with pytest.raises(ConfigError, match="password in plain text") as error:
        load_project(write(tmp_path, text), {})
    assert "hunter2" not in str(error.value)


def test_a_variable_is_filled_in_and_masked_when_shown(tmp_path: Path) -> None:
    text = SHORTEST.replace("{path: customers.csv}", "{url: 'postgres://me:${PW}@db/x', table: '${TABLE:-customers}'}")
    loaded = load_project(write(tmp_path, text), {"PW": "hunter2"})
    assert loaded.settings.sources["customers"].url == "postgres://me:hunter2@db/x"
    rows = {row.key: row for row in effective(loaded)}
    assert "hunter2" not in rows["sources.customers.url"].value
    assert rows["sources.customers.url"].origin == "mainspring.yaml:4 with ${PW}"
    assert rows["sources.customers.table"].value == "customers"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    text = SHORTEST.replace("customers.csv", "'${WHERE}/customers.csv'")
    with pytest.raises(ConfigError, match="variable WHERE, which is not set"):
        load_project(write(tmp_path, text), {})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: [", "not YAML"),
        ("- a\n- b\n", "not a mapping"),
        (SHORTEST + "name: again\n", "there twice"),
        (SHORTEST.replace("source: customers,", "source: clients,"), "'clients' is not a source"),
        (SHORTEST + "gate: {metric: rmse}\n", "not a metric of a binary task"),
        (SHORTEST + "drift: {every: soon}\n", "not a duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        load_project(write(tmp_path, text), {})


def test_a_project_is_found_from_a_folder_inside_it(tmp_path: Path) -> None:
    inside = write(tmp_path, SHORTEST) / "a" / "b"
    inside.mkdir(parents=True)
    assert find_project(inside) == tmp_path.resolve()
    with pytest.raises(ConfigError, match="mainspring init"):
        find_project(Path("/"))


def test_durations_read_as_words_and_the_schema_says_so(tmp_path: Path) -> None:
    loaded = load_project(write(tmp_path, SHORTEST + "retrain: {cooldown: 3d}\n"), {})
    assert loaded.settings.retrain.cooldown == timedelta(days=3)
    assert json_schema()["$defs"]["RetrainSettings"]["properties"]["cooldown"]["type"] == "string"
