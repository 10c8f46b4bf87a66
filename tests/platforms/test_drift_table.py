"""`mainspring drift --from`: a window of any table against a version's reference, as a person types it."""

import json
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from mainspring.platforms.drift import latest
from mainspring.settings.load import load_project
from tests.cli.running import mainspring
from tests.platforms.towns import Walk, write_project

SOURCE = """  warehouse: {url: 'duckdb:///warehouse.duckdb', table: hours, time: at}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, empty_store):
    """A project with one version, and a warehouse of the same hours and of colder ones."""
    folder = tmp_path_factory.mktemp("towns")
    (folder / ".mainspring").mkdir()
    shutil.copy(empty_store, folder / ".mainspring" / "mlflow.db")
    write_project(folder)
    settings = (folder / "mainspring.yaml").read_text()
    settings = settings.replace("sources:\n", f"sources:\n{SOURCE}")
    # Thresholds have tests of their own.
    (folder / "mainspring.yaml").write_text(settings + "drift: {statistic: psi, threshold: 0.2}\n")
    days = pd.read_csv(folder / "days.csv", parse_dates=["at"])
    colder = days.assign(at=days["at"] + pd.Timedelta(days=100), temp=days["temp"] - 15)
    colder.loc[::10, "temp"] = float("nan")
    colder.loc[::20, "town"] = "Paris"
    with duckdb.connect(str(folder / "warehouse.duckdb")) as db:
        db.register("rows", pd.concat([days, colder]))
        db.execute("CREATE TABLE hours AS SELECT * FROM rows")
        db.execute('CREATE VIEW renamed AS SELECT "at", temp AS degrees, town, 0.5 AS prediction FROM hours')
        db.execute(
            'CREATE VIEW dated AS SELECT "at"::DATE AS day, date_trunc(\'day\', "at") AS midnight, temp, town FROM hours'
        )
        db.execute('CREATE TABLE texts AS SELECT "at"::VARCHAR AS "at", temp::VARCHAR AS temp, town FROM hours')
    Walk(folder).until("register")
    return folder


def drift(project, *words, status=0):
    code, out, errors = mainspring(project, "drift", *words)
    assert code == status, errors
    return errors if status else out


def test_a_window_of_a_source_is_reported_on(project):
    same = json.loads(drift(project, "--from", "warehouse", "--until", "2026-03-25", "--json"))
    assert same["verdict"] == "quiet", same["reason"]
    told = drift(project, "--from", "warehouse", "--since", "2026-04-11", "--until", "2026-07-03")
    assert "version 1, 2026-04-11 00:00 to 2026-07-03 00:00 UTC" in told
    assert "temp (psi " in told
    page = told.rpartition("page: ")[2].strip()
    assert "temp" in Path(page).read_text()
    found = json.loads(Path(page).with_suffix(".json").read_text())
    temp, town = (next(one for one in found["features"] if one["feature"] == name) for name in ("temp", "town"))
    assert temp["drifted"]
    assert {one["name"] for one in temp["findings"]} == {"missing"} or temp["findings"]
    assert "Paris" in json.dumps(town) or town["findings"]
    # The loop decides by what was served; this was not.
    assert latest(load_project(project).paths.drift) is None


def test_weeks_before_are_a_second_reference(project):
    told = drift(
        project, "--from", "warehouse", "--since", "2026-04-20", "--until", "2026-04-21", "--trailing", "--json"
    )
    assert {one["reference"] for one in json.loads(told)["features"]} == {"training", "trailing"}


def test_any_url_and_columns_of_other_names(project):
    words = ("--from", "duckdb:///warehouse.duckdb", "--table", "renamed", "--column", "temp=degrees")
    features = {one["feature"]: one for one in json.loads(drift(project, *words, "--json"))["features"]}
    assert set(features) == {"temp", "town", "prediction"}
    assert features["temp"]["current_rows"] == 4000


def test_files_are_tables_of_duckdb(project):
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as db:
        db.execute(f"COPY hours TO '{project}/hours.parquet'")
    found = json.loads(drift(project, "--from", "duckdb://", "--table", f"{project}/hou*.parquet", "--json"))
    assert found["rows"] == 4000


def test_text_where_numbers_were_is_a_finding(project):
    found = json.loads(drift(project, "--from", "duckdb:///warehouse.duckdb", "--table", "texts", "--json"))
    temp = next(one for one in found["features"] if one["feature"] == "temp")
    assert "type_changed" in json.dumps(temp["findings"])


HERE = ("--from", "duckdb:///warehouse.duckdb", "--table")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "orders"), "'orders' is neither a URL nor a source with a url"),
        (("--from", "days"), "valid: warehouse"),
        (("--from", "duckdb:///warehouse.duckdb"), "which table?"),
        ((*HERE, "hour"), "there is no table 'hour'; did you mean 'hours'?"),
        ((*HERE, "renamed"), "the table has no column `temp`\n"),
        ((*HERE, "renamed"), "name the column: --column temp=COLUMN"),
        ((*HERE, "hours", "--column", "tmp=x"), "version 1 has no feature tmp"),
        ((*HERE, "hours", "--column", "temp"), "--column temp names no column"),
        ((*HERE, "hours", "--since", "2026-01-01"), "name it: --time COLUMN"),
        ((*HERE, "hours", "--since", "2026-01-01", "--time", "att"), "no time column `att` (did you mean `at`?)"),
        ((*HERE, "texts", "--since", "2026-01-01", "--time", "at"), "`at` is no time but string"),
        ((*HERE, "hours", "--time", "at", "--since", "2026-02-01", "--until", "2026-01-01"), "before it begins"),
        ((*HERE, "dated", "--time", "day", "--since", "2026-02-01T06:00", "--until", "2026-02-01T07:00"), "`day` is a date and has no hour"),
        ((*HERE, "dated", "--time", "day", "--since", "2026-02-01T06:00"), "next: --since 2026-02-01 --until 20"),
        ((*HERE, "hours", "--trailing"), "what is before all rows?"),
        (("--from", "duckdb:///none.duckdb", "--table", "hours"), "there is no duckdb database"),
        (("--from", "sqlite:///x.db", "--table", "hours"), "'sqlite' is no engine that counts"),
        (("--from", "postgres://me:hunter2@127.0.0.1:1/x", "--table", "t"), "the engine does not answer"),
        (("--table", "hours"), "--table is about a table"),
        ((*HERE, "hours", "--version", "9"), "9"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(project, words, says):
    told = drift(project, *words, status=2)
    assert says in told
    assert "hunter2" not in told


def test_parquet_files_are_counted_in_this_process_as_an_engine_counts_them(project):
    with duckdb.connect(str(project / "warehouse.duckdb")) as db:
        db.execute(f"COPY hours TO '{project}/hours.parquet' (FORMAT parquet)")
        db.execute(f"COPY (SELECT * FROM hours LIMIT 0) TO '{project}/empty.parquet' (FORMAT parquet)")
    window = ("--since", "2026-04-11", "--until", "2026-07-03", "--json")
    by_engine = json.loads(drift(project, "--from", "warehouse", *window))
    for path in ("hours.parquet", "*.parquet"):
        found = json.loads(drift(project, "--from", str(project / path), "--time", "at", *window))
        for one, other in zip(found["features"], by_engine["features"], strict=True):
            # Sums of floats depend on their order.
            assert one.pop("wasserstein") == pytest.approx(other["wasserstein"])
            assert one == {name: value for name, value in other.items() if name != "wasserstein"}
    assert "nor Parquet files" in drift(project, "--from", "days", status=2)
    assert "nor Parquet files" in drift(project, "--from", "nowhere.parquet", status=2)


def test_whole_days_of_a_date_are_those_of_its_midnights(project):
    with duckdb.connect(str(project / "warehouse.duckdb")) as db:
        db.execute(f"COPY dated TO '{project}/dated.parquet' (FORMAT parquet)")
    window = ("--since", "2026-04-11", "--until", "2026-07-03", "--trailing", "--json")

    def numbers(*words):
        found = json.loads(drift(project, *words))
        return found["rows"], [
            (one["feature"], one["reference"], one["current_rows"], one["psi"]) for one in found["features"]
        ]

    by_date = numbers(*HERE, "dated", "--time", "day", *window)
    assert by_date[0] == 83 * 24
    assert by_date == numbers(*HERE, "dated", "--time", "midnight", *window)
    assert by_date == numbers("--from", str(project / "dated.parquet"), "--time", "day", *window)
    # Without an end it goes up to now; today has no hour either, and what there is of it counts.
    open_end = json.loads(drift(project, *HERE, "dated", "--time", "day", "--since", "2026-06-02", "--json"))
    assert open_end["current"]["end"].endswith("T00:00:00Z")
    hours = ("--time", "day", "--since", "2026-05-01T06:00", "--until", "2026-05-01T07:00")
    assert "is a date and has no hour" in drift(project, "--from", str(project / "dated.parquet"), *hours, status=2)
