"""Sources on S3: the same rows and the same refusals as of files here, fetched once for each ETag."""

import uuid
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import object_store

from mainspring.adapters.s3.source import S3Files
from mainspring.domain.errors import ConfigError, DataError, NotFound, TemporaryError
from mainspring.settings.project import SourceSettings
from mainspring.settings.storage import S3Settings
from mainspring.sources.open import open_source

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Place:
    """A prefix of a bucket, and sources that read it."""

    def __init__(self, store, bucket, folder):
        self.store, self.folder = store, folder
        self.prefix = f"{bucket}/{uuid.uuid4().hex}"
        self.files = store.files()

    def put(self, name, data):
        with self.files.open_output_stream(f"{self.prefix}/{name}") as stream:
            if isinstance(data, pa.Table):
                pq.write_table(data, stream)
            else:
                stream.write(data.encode())

    def source(self, path, s3=None, **more):
        settings = SourceSettings(path=f"s3://{self.prefix}/{path}", **more)
        given = S3Settings.model_validate(s3 or self.store.settings())
        remote = lambda name, settings, root: S3Files(name, settings, given, self.folder / name)  # noqa: E731
        return open_source("trips", settings, self.folder, None, remote)


@pytest.fixture
def place(s3, bucket, tmp_path):
    return Place(s3, bucket, tmp_path)


def test_objects_folders_and_globs_are_read_as_files_are(place):
    place.put("a/one.parquet", pa.table({"x": [1, 2]}))
    place.put("a/two.parquet", pa.table({"x": [3]}))
    place.put("a/note.txt", "no rows")
    place.put("b/day=2013-01-01/part.parquet", pa.table({"x": [4]}))
    place.put("c.csv", "x,y\n5,a\n6,b\n")
    read = lambda path: place.source(path).read(known_at=NOW).to_pydict()  # noqa: E731
    assert read("a/one.parquet") == {"x": [1, 2]}
    assert read("a") == {"x": [1, 2, 3]}
    assert read("a/*.parquet") == {"x": [1, 2, 3]}
    assert read("**/*.parquet")["x"] == [1, 2, 3, 4]
    assert str(read("b")["day"][0]) == "2013-01-01"
    assert read("c.csv") == {"x": [5, 6], "y": ["a", "b"]}


def test_rows_that_do_not_fit_are_refused_by_object_and_row(place):
    place.put("a/one.csv", "x\n1\n")
    place.put("a/two.csv", "x\n1\nseven\n")
    with pytest.raises(DataError, match=r"row 2 of two\.csv: 'seven'") as error:
        place.source("a", columns={"x": "int"}).read(known_at=NOW)
    assert f"s3://{place.prefix}/a" in error.value.where


def test_what_did_not_change_is_not_fetched_again(place, monkeypatch):
    place.put("a/one.csv", "x\n1\n")
    place.put("a/two.csv", "x\n2\n")
    source = place.source("a")
    before = source.state()
    assert source.read(known_at=NOW).to_pydict() == {"x": [1, 2]}
    assert source.state() == before
    fetched = []
    files = type(source._remote._files)
    original = files.open_input_stream
    monkeypatch.setattr(S3Files, "_files", _Counting(place.source("a")._remote._files, fetched, original), raising=True)
    place.put("a/two.csv", "x\n3\n")
    assert source.state() != before
    assert place.source("a").read(known_at=NOW).to_pydict() == {"x": [1, 3]}
    assert [path.rpartition("/")[2] for path in fetched] == ["two.csv"]


class _Counting:
    """A file system that writes down what is fetched of it."""

    def __init__(self, files, fetched, original):
        self._files, self._fetched = files, fetched

    def __getattr__(self, name):
        if name == "open_input_stream":
            return lambda path: (self._fetched.append(path), self._files.open_input_stream(path))[1]
        return getattr(self._files, name)


def test_an_object_that_changes_while_it_is_fetched_is_never_taken(place, monkeypatch):
    place.put("one.csv", "x\n1\n")
    source = place.source("one.csv")
    original, count = S3Files._etag, iter(range(100))
    monkeypatch.setattr(S3Files, "_etag", lambda self, path: f"{original(self, path)}{next(count)}")
    with pytest.raises(TemporaryError, match="change while they are fetched"):
        source.read(known_at=NOW)


def test_what_is_not_there_or_not_allowed_is_said(place, s3):
    place.put("one.csv", "x\n1\n")
    settings = s3.settings()
    reader = {**settings, "access_key": object_store.READER, "secret": object_store.READERS_SECRET}
    assert place.source("one.csv", reader).read(known_at=NOW).num_rows == 1
    with pytest.raises(NotFound, match="there is no such object"):
        place.source("two.csv").read(known_at=NOW)
    with pytest.raises(NotFound, match="there is no such object"):
        place.source("none/*.csv").read(known_at=NOW)
    with pytest.raises(ConfigError, match="not known"):
        place.source("one.csv", {**settings, "secret": "guessed"}).read(known_at=NOW)
    with pytest.raises(TemporaryError, match="S3 does not answer"):
        place.source("one.csv", {**settings, "endpoint": "http://127.0.0.1:1", "timeout": "1s"}).read(known_at=NOW)
    place.prefix = "no-such-bucket"
    with pytest.raises(NotFound, match="there is no bucket 'no-such-bucket'"):
        place.source("a/*.csv").read(known_at=NOW)
