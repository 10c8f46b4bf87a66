"""`mainspring.yaml`: what is read, what is refused, and in which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.domain.errors import ConfigError, NotFound
from mainspring.settings.describe import keys_of
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


def test_words_of_yaml_1_1_are_words(tmp_path: Path) -> None:
    text = (
        SHORTEST.replace("column: churned}", "column: churned, positive: yes}")
        + "params: {on: off, t: 12:30, d: 2013-01-01}\n"
    )
    settings = load_project(write(tmp_path, text), {}).settings
    assert settings.target.positive == "yes"
    assert settings.params == {"on": "off", "t": "12:30", "d": "2013-01-01"}


def test_numbers_and_booleans_keep_their_type(tmp_path: Path) -> None:
    settings = load_project(
        write(tmp_path, SHORTEST + "params: {a: 7, b: 0.5, c: true, d: 1.0e-3, e: '7'}\n"), {}
    ).settings
    assert [repr(value) for value in settings.params.values()] == ["7", "0.5", "True", "0.001", "'7'"]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:hunter2@${HOST}/x",
        "postgres://me:${PW:-hunter2}@db/x",
        "postgres://db/x?user=me&password=hunter2",
    ],
)
def test_a_password_beside_a_variable_is_still_plain_text(tmp_path: Path, url: str) -> None:
    text = SHORTEST.replace("{path: customers.csv}", f"{{url: '{url}', table: customers}}")
    with pytest.raises(ConfigError, match="password in plain text") as error:
        load_project(write(tmp_path, text), {"HOST": "db", "PW": "x"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "http://127.0.0.1:5000/", "https://mlflow:8443/models?x=a@b"])
def test_a_port_is_no_password(tmp_path: Path, uri: str) -> None:
    loaded = load_project(write(tmp_path, SHORTEST + f"tracking: {{uri: '{uri}'}}\n"), {})
    assert loaded.settings.tracking.uri == uri
    assert [row.value for row in effective(loaded) if row.key == "tracking.uri"] == [uri]


def test_a_secret_never_shows_whatever_is_in_it(tmp_path: Path) -> None:
    text = SHORTEST.replace(
        "{path: customers.csv}", "{url: 'postgres://me:${PW}@db/x?token=${TOKEN}', table: customers}"
    )
    loaded = load_project(write(tmp_path, text), {"PW": "a/b:c@d", "TOKEN": "xyzzy"})
    shown = " ".join(row.value for row in effective(loaded))
    assert "a/b" not in shown
    assert "xyzzy" not in shown
    assert "postgres://me:********@db/x" in shown


def test_a_secret_in_the_wrong_place_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"serving\.port") as error:
        load_project(write(tmp_path, SHORTEST + "serving: {port: '${PW}'}\n"), {"PW": "hunter2"})
    assert "hunter2" not in str(error.value)


def test_a_column_may_be_called_token(tmp_path: Path) -> None:
    text = SHORTEST.replace("{path: customers.csv}", "{path: customers.csv, columns: {token: str}}")
    assert load_project(write(tmp_path, text), {}).settings.sources["customers"].columns == {"token": "str"}


def test_a_duration_without_a_unit_is_refused_with_its_line(tmp_path: Path) -> None:
    text = SHORTEST + "retrain:\n  cooldown: 3\n  schedule: soon\nsplit: {holdout: 0}\n"
    with pytest.raises(ConfigError) as error:
        load_project(write(tmp_path, text), {})
    assert "mainspring.yaml:7: `retrain.cooldown`: 3 has no unit; valid: 3s" in str(error.value)
    assert "mainspring.yaml:8: `retrain.schedule`: 'soon' is not a duration" in str(error.value)


def test_effective_values_read_as_they_would_be_written(tmp_path: Path) -> None:
    rows = {row.key: row.value for row in effective(load_project(write(tmp_path, SHORTEST), {}))}
    assert rows["retrain.cooldown"] == "14d"
    assert rows["serving.fsync"] == "false"
    assert rows["gate.metric"] == "null"


def test_an_unfinished_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no variable"):
        load_project(write(tmp_path, SHORTEST.replace("customers.csv", "'${WHERE'")), {})


def test_the_flights_template_is_valid() -> None:
    folder = Path(__file__).parents[2] / "src" / "mainspring" / "templates" / "flights"
    assert load_project(folder, {}).settings.name == "flights"


def test_defaults_in_the_schema_are_as_they_would_be_written(tmp_path: Path) -> None:
    retrain = json_schema()["$defs"]["RetrainSettings"]["properties"]
    assert retrain["cooldown"]["default"] == "14d"
    write(tmp_path, SHORTEST + f"retrain: {{cooldown: {retrain['cooldown']['default']}}}\n")
    assert load_project(tmp_path, {}).settings.retrain.cooldown == timedelta(days=14)


def test_every_key_has_a_meaning_and_a_part_can_be_asked_for() -> None:
    keys = {one.key: one for one in keys_of()}
    assert all(one.meaning for one in keys.values()), [one.key for one in keys.values() if not one.meaning]
    assert keys["sources.<name>.path"].default == "null"
    assert keys["name"].default == "required"
    assert keys["rollout.steps"].default == '[{"shadow": {"percent": 100}}, {"canary": {"weight": 10}}]'
    assert keys["rollout.steps[].canary.weight"].default == "required"
    assert {one.key.split(".")[0] for one in keys_of("drift")} == {"drift"}
    assert [one.default for one in keys_of("target.delay")] == ["0s"]
    with pytest.raises(NotFound, match="did you mean `drift`"):
        keys_of("drif")
