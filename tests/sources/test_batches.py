"""Files in batches: the same rows whatever the kind and size, and what cannot be read is named with its row."""

import gzip
import resource
import subprocess
import sys
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.domain.errors import ConfigError, DataError, NotFound
from mainspring.sources.batches import BatchedFile


def read(path, **options):
    file = BatchedFile(path, **options)
    found = list(file.batches())
    return file.names, [one.first for one in found], [row for one in found for row in one.rows.to_pylist()]


def test_rows_come_in_order_with_their_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid;temp;"note"\n1;3.5;x\n2;;"a;\nb"\n007;NA;\n', encoding="utf-8")
    names, firsts, rows = read(path, nulls=["NA"], batch_rows=2)
    assert names == ["id", "temp", "note"]
    assert firsts == [1, 3]
    assert rows == [
        {"id": "1", "temp": "3.5", "note": "x"},
        {"id": "2", "temp": None, "note": "a;\nb"},
        {"id": "007", "temp": None, "note": None},
    ]
    with gzip.open(tmp_path / "a.csv.gz", "wb") as packed:
        packed.write(path.read_bytes())
    assert read(tmp_path / "a.csv.gz", nulls=["NA"])[2] == rows


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table({"id": [1, 2, 3], "temp": [1.5, None, 2.0]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    names, firsts, rows = read(tmp_path / "a.parquet", batch_rows=2)
    assert (names, firsts, rows) == (["id", "temp"], [1, 3], table.to_pylist())


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("none.csv", None, NotFound, "no such file"),
        ("a.txt", b"a\n", ConfigError, "cannot read a"),
        ("a.csv", b"", DataError, "empty"),
        ("a.csv", b"x,x\n1,2\n", DataError, "more than one column `x`"),
        ("a.csv", b"x,y\n1,2\n3\n", DataError, "Expected 2 columns, got 1"),
        ("a.csv", b"x,y\n1,2\n\xff,2\n", DataError, "cannot be read: .utf-8. codec"),
        ("a.parquet", b"x", DataError, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, kind, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=says):
        read(tmp_path / name)


def test_a_file_that_is_many_times_longer_takes_no_more_memory(tmp_path):
    path = tmp_path / "long.csv"
    line = "a,2.5,some text that is of no use\n" * 1000
    with path.open("w") as file:
        file.write("id,temp,note\n")
        for _ in range(1500):
            file.write(line)
    code = """
        import resource, sys
        from pathlib import Path
        from mainspring.sources.batches import BatchedFile
        batches = BatchedFile(Path(sys.argv[1])).batches()
        rows = next(batches).rows.num_rows
        first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows += sum(one.rows.num_rows for one in batches)
        print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, check=True
    )
    rows, grown = map(int, done.stdout.split())
    assert rows == 1_500_000
    assert grown * resource.getpagesize() < 60 * 1024 * resource.getpagesize()  # kilobytes: less than the file
