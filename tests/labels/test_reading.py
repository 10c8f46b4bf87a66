"""Label files: each row is taken or refused with its line and why; a file that cannot be read says where it ends."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.labels.columns import label_columns
from mainspring.labels.reading import label_reader, read_labels
from mainspring.settings.project import ProjectSettings

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SETTINGS = {
    "name": "rain",
    "task": "binary",
    "sources": {"days": {"path": "days.csv", "time": "at"}, "said": {"path": "said.csv"}},
    "target": {"source": "days", "column": "rain", "id": "day"},
}


def read(path, task="binary", known_at=NOW, **labels):
    settings = ProjectSettings.model_validate(SETTINGS | {"labels": labels, "task": task})
    return read_labels(
        path,
        lambda present: label_columns(settings, present, where=str(path)),
        label_reader([] if task == "regression" else ["0", "1"]),
        now=NOW,
        known_at=known_at,
        file="digest",
    )


def written(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_with_the_usual_names_needs_no_settings(tmp_path):
    path = written(
        tmp_path, "request_id,label,known_at,event_at,note\na,1,2026-04-02T10:00Z,2026-04-01,x\n\nb,0,2026-04-03,,\n"
    )
    found = read(path)
    assert found.refused == []
    assert found.statements.to_pylist() == [
        {
            "request_id": "a", "event_at": datetime(2026, 4, 1, tzinfo=UTC), "label": "1",
            "known_at": datetime(2026, 4, 2, 10, tzinfo=UTC), "added_at": NOW, "file": "digest",
        },
        {
            "request_id": "b", "event_at": None, "label": "0", "known_at": datetime(2026, 4, 3, tzinfo=UTC),
            "added_at": NOW, "file": "digest",
        },
    ]  # fmt: skip


def test_the_projects_own_names_are_taken_and_the_moment_of_adding_is_when_it_became_known(tmp_path):
    found = read(written(tmp_path, "day;rain\nd1;1\n"), known_at=NOW - timedelta(days=1))
    assert found.statements.select(["request_id", "label", "known_at"]).to_pylist() == [
        {"request_id": "d1", "label": "1", "known_at": NOW - timedelta(days=1)}
    ]


def test_each_row_that_is_no_label_is_refused_by_line(tmp_path):
    text = (
        "request_id,label,known_at\n"
        "a,1,2026-04-01\n"  # 2
        "b,,2026-04-01\n"  # 3
        ",1,2026-04-01\n"  # 4
        "c,2,2026-04-01\n"  # 5
        "d,1,soon\n"  # 6
        "e,1\n"  # 7
        "f,1,2026-04-01,x\n"  # 8
        '"g\nh",1,2026-04-01\n'  # 9 and 10
        "i,1,\n"  # 11
        "j,1,2026-07-01\n"  # 12
    )
    found = read(written(tmp_path, text))
    assert found.statements.column("request_id").to_pylist() == ["a", "g\nh"]
    assert found.rows == 10
    reasons = {one.line: one.reason for one in found.refused}
    assert list(reasons) == [3, 4, 5, 6, 7, 8, 11, 12]
    assert "`label` is empty" in reasons[3]
    assert "`request_id` is empty" in reasons[4]
    assert "'2' is no label of this project; valid: 0, 1" in reasons[5]
    assert "`known_at` 'soon' is not an instant" in reasons[6]
    assert "2 values for 3 columns" in reasons[7]
    assert "4 values for 3 columns" in reasons[8]
    assert "when the label became known" in reasons[11]
    assert "2026-07-01 00:00 UTC, which is yet to come" in reasons[12]


def test_numbers_are_the_labels_of_a_regression(tmp_path):
    found = read(written(tmp_path, "request_id,label\na,1\nb,-2.5e3\nc,nan\nd,x\n"), task="regression")
    assert found.statements.column("label").to_pylist() == ["1.0", "-2500.0"]
    assert [one.line for one in found.refused] == [4, 5]


def test_parquet_is_read_in_its_own_types(tmp_path):
    at = pa.array([datetime(2026, 4, 1, 2), None], pa.timestamp("ns"))
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"request_id": [1, 2], "label": [1.0, 0.0], "event_at": at}), path)
    pq.write_table(pa.table({"request_id": [1.0, float("nan")], "label": [1, 1]}), tmp_path / "gaps.parquet")
    gaps = read(tmp_path / "gaps.parquet")
    assert (gaps.statements.column("request_id").to_pylist(), [one.line for one in gaps.refused]) == (["1"], [2])
    found = read(path)
    assert found.statements.column("request_id").to_pylist() == ["1", "2"]
    assert found.statements.column("label").to_pylist() == ["1", "0"]
    assert found.statements.column("event_at").to_pylist() == [datetime(2026, 4, 1, 2, tzinfo=UTC), None]


def test_keys_and_time_stand_for_an_id_where_the_project_says_so(tmp_path):
    labels = {"entities": {"town": "city"}, "time": "when", "tolerance": "5m"}
    found = read(written(tmp_path, "city,when,label\nUlm,2026-04-01T10:00,1\n,2026-04-01,1\nBonn,,1\n"), **labels)
    assert found.statements.column("entity.town").to_pylist() == ["Ulm"]
    assert found.statements.column("request_id").to_pylist() == [None]
    assert [(one.line, one.reason.split(":")[0]) for one in found.refused] == [
        (3, "`city` is empty"),
        (4, "`when` is empty"),
    ]
    assert read(written(tmp_path, "request_id,label\na,1\n"), **labels).statements.column("request_id").to_pylist() == [
        "a"
    ]


@pytest.mark.parametrize(
    ("text", "labels", "says"),
    [
        ("requestid,label\na,1\n", {}, "no column `request_id` or `day`; did you mean `requestid`?"),
        ("request_id,lable\na,1\n", {}, "no column `label` or `rain`; did you mean `lable`?"),
        ("key,label\na,1\n", {"id": "ky"}, "no column `ky` or `request_id` or `day`; did you mean `key`?"),
        ("town,label\nUlm,1\n", {"entities": {"town": "town"}}, "no column `event_at` or `at`"),
    ],
)
def test_a_column_that_is_missing_is_named(tmp_path, text, labels, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        read(written(tmp_path, text), **labels)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="cannot read labels"):
        read(written(tmp_path, "", "labels.txt"))
    with pytest.raises(DataError, match="empty"):
        read(written(tmp_path, ""))
    with pytest.raises(DataError, match="not UTF-8 text"):
        read(written(tmp_path, b"request_id,label\na,1\n\xff\xfe,1\n"))
    with pytest.raises(DataError, match="behind line 2"):
        read(written(tmp_path, 'request_id,label\na,1\n"b,1\n'))
    with pytest.raises(DataError, match="cannot be read"):
        read(written(tmp_path, "no parquet", "labels.parquet"))
