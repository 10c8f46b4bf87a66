"""A project whose source lies on S3: check, the training set, and the cache that knows whether anything changed."""

import uuid
from datetime import UTC, datetime

import pytest
from tests.platforms.towns import edit, write_project

from mainspring.platforms.cache import cache_keys
from mainspring.platforms.check import check_project
from mainspring.platforms.laptop import LaptopFeatures
from mainspring.settings.load import load_project

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def project(tmp_path, s3, bucket, monkeypatch):
    write_project(tmp_path)
    prefix = f"{bucket}/{uuid.uuid4().hex}"
    with s3.files().open_output_stream(f"{prefix}/days.csv") as stream:
        stream.write((tmp_path / "days.csv").read_bytes())
    (tmp_path / "days.csv").unlink()
    edit(tmp_path, "mainspring.yaml", "path: days.csv", f'path: "s3://{prefix}/*.csv"')
    settings = s3.settings()
    monkeypatch.setenv("S3_SECRET", settings["secret"])
    given = f"endpoint: '{settings['endpoint']}', access_key: {settings['access_key']}, secret: '${{S3_SECRET}}', timeout: 2s"
    edit(tmp_path, "mainspring.yaml", "", f"\ns3: {{{given}}}\n")
    return tmp_path


def checked(folder, name):
    done = check_project(folder, lambda one: None, lambda one: None)
    return next(one for one in done if one.name == name)


def test_it_is_read_and_the_cache_knows_what_changed(project, s3):
    loaded = load_project(project)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert LaptopFeatures(loaded).training_set(now).num_rows == 2000
    parameters = {"known_at": now.isoformat(), "champion": ""}
    before = cache_keys(loaded, parameters)
    assert cache_keys(loaded, parameters) == before
    path = loaded.settings.sources["days"].path.removeprefix("s3://").replace("*", "more")
    with s3.files().open_output_stream(path) as stream:
        stream.write(b"day,at,temp,town,rain\nx1,2026-04-01T00:00:00Z,1.5,Ulm,1\n")
    assert cache_keys(loaded, parameters)["ingest"] != before["ingest"]
    assert LaptopFeatures(loaded).training_set(now).num_rows == 2001


def test_check_says_what_is_wrong(project, monkeypatch):
    edit(
        project, "mainspring.yaml", "column: rain", "column: no_such"
    )  # what comes after the sources is another test's
    assert checked(project, "sources").found.startswith("days: 2,000 rows")
    monkeypatch.setenv("S3_SECRET", "guessed")
    failed = checked(project, "sources")
    assert failed.what == "S3 does not know these keys"
    assert "guessed" not in str(failed)
    edit(project, "mainspring.yaml", "s3://logs/", "s3://lost-logs/")
    monkeypatch.undo()
