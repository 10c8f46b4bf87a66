"""A real PostgreSQL as a source."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.postgres import PASSWORD, cluster

from mainspring.adapters.sql.source import SqlSource
from mainspring.domain.errors import DataError
from mainspring.domain.time import TimeWindow
from mainspring.features.transforms import TransformSession
from mainspring.settings.load import load_project
from mainspring.settings.project import SourceSettings
from mainspring.sources.digest import content_digest

LATER = datetime(2030, 1, 1, tzinfo=UTC)
DAY = datetime(2013, 1, 1, tzinfo=UTC)
TARGET = "target: {source: orders, column: price}"
TABLE = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id UUID, "at" TIMESTAMPTZ, naive TIMESTAMP, day DATE, n SMALLINT, big BIGINT, price NUMERIC(10, 2), x DOUBLE PRECISION,
    ok BOOLEAN, kind TEXT, extra JSONB, seen TIMESTAMPTZ
);
INSERT INTO shop.orders
SELECT ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid,
       '2013-01-01T00:00:00Z'::timestamptz + i * interval '1 hour', '2013-01-01T00:00:00'::timestamp + i * interval '1 hour',
       '2013-01-01'::date + i, i, i * 10000000000, i + 0.25, nullif(i, 3) / 2.0, i % 2 = 0, 'k' || i, '{"a": 1}',
       '2013-01-01T00:00:00Z'::timestamptz + i * interval '2 hour'
FROM generate_series(0, 999) AS i ORDER BY random();
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a running cluster with `shop.orders`; its password is in the variable PG_PASSWORD."""
    with cluster(TABLE) as port:
        yield f"postgresql://owner:${{PG_PASSWORD}}@127.0.0.1:{port}/postgres"


def source(folder: Path, url: str, **declared: Any) -> SqlSource:
    """The source as a project file declares it, password by variable."""
    lines = [f"    {key}: {value}" for key, value in {"table": "shop.orders", **declared}.items() if value is not None]
    text = "\n".join(["name: shop", "task: regression", "sources:", "  orders:", f"    url: '{url}'", *lines, TARGET])
    (folder / "mainspring.yaml").write_text(text + "\n")
    settings = load_project(folder, {"PG_PASSWORD": PASSWORD}).settings
    return SqlSource("orders", settings.sources["orders"], folder)


def test_a_table_comes_typed_and_sorted(tmp_path: Path, url: str) -> None:
    rows = source(tmp_path, url, time="at", columns="{n: int, kind: category}").read(known_at=LATER)
    assert {field.name: field.type for field in rows.schema} == {
        "id": pa.string(), "at": pa.timestamp("us", "UTC"), "naive": pa.timestamp("us", "UTC"), "day": pa.date32(),
        "n": pa.int64(), "big": pa.int64(), "price": pa.float64(), "x": pa.float64(), "ok": pa.bool_(),
        "kind": pa.string(), "extra": pa.string(), "seen": pa.timestamp("us", "UTC"),
    }  # fmt: skip
    assert rows.column("n").to_pylist() == list(range(1000))
    assert rows.column("at")[5].as_py() == rows.column("naive")[5].as_py() == DAY + timedelta(hours=5)
    assert rows.column("price")[2].as_py() == 2.25
    assert rows.column("x")[3].as_py() is None
    assert rows.column("id")[1].as_py() == "00000000-0000-0000-0000-000000000001"


def test_the_digest_does_not_depend_on_the_order_of_the_heap(tmp_path: Path, url: str) -> None:
    first = content_digest(source(tmp_path, url, time="at").read(known_at=LATER))
    shuffled = source(tmp_path, url, time="at", table=None, query="SELECT * FROM shop.orders ORDER BY random()")
    assert content_digest(shuffled.read(known_at=LATER)) == first


@pytest.mark.parametrize("time", ["at", "naive"])
def test_time_is_asked_of_the_server(tmp_path: Path, url: str, time: str) -> None:
    rows = source(tmp_path, url, time=time, delay="30m")
    assert rows._fetch(DAY + timedelta(hours=2), None, None).num_rows == 2
    assert rows.read(known_at=DAY + timedelta(hours=2, minutes=30)).num_rows == 3
    window = TimeWindow(DAY + timedelta(hours=1), DAY + timedelta(hours=3))
    assert rows._fetch(LATER, window, None).num_rows == 2
    by_column = source(tmp_path, url, time=time, available_at="seen")
    assert by_column._fetch(DAY + timedelta(hours=3), None, None).num_rows == 2


def test_a_date_is_a_time_at_midnight(tmp_path: Path, url: str) -> None:
    rows = source(tmp_path, url, time="day").read(known_at=DAY + timedelta(days=1, hours=23))
    assert rows.column("n").to_pylist() == [0, 1]
    assert rows.schema.field("day").type == pa.timestamp("us", "UTC")


def test_what_does_not_fit_is_refused_as_in_a_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"`kind`: 1,000 of its values are not an int \(row 1: 'k0'"):
        source(tmp_path, url, time="at", columns="{kind: int}").read(known_at=LATER)
    with pytest.raises(DataError, match=r"no table 'shop.order'; did you mean 'orders'"):
        source(tmp_path, url, table="shop.order").read(known_at=LATER)
    with pytest.raises(DataError, match=r"no column `prise` \(did you mean `price`\?\)"):
        source(tmp_path, url, columns="{prise: float}").read(known_at=LATER)


def test_a_transform_runs_over_the_database(tmp_path: Path, url: str) -> None:
    orders = source(tmp_path, url, time="at")
    (tmp_path / "transforms.py").write_text(
        "def volume(db):\n    return 'SELECT tick AS event_timestamp, count(o.n) AS orders FROM ticks "
        "JOIN orders o ON o._available_at <= tick GROUP BY ALL'\n"
    )
    text = (tmp_path / "mainspring.yaml").read_text() + "features: {transforms: {volume: {every: 1d}}}\n"
    (tmp_path / "mainspring.yaml").write_text(text)
    loaded = load_project(tmp_path, {"PG_PASSWORD": PASSWORD})
    session = TransformSession(loaded.settings, tmp_path, {"orders": orders})
    rows = session.compute("volume", [DAY + timedelta(days=1), DAY + timedelta(days=2)])
    assert sorted(rows.column("orders").to_pylist()) == [25, 49]


def test_a_wrong_password_is_said_without_it(tmp_path: Path, url: str) -> None:
    wrong = url.replace("${PG_PASSWORD}", "hunter2")
    rows = SqlSource("orders", SourceSettings(url=wrong, table="orders"), tmp_path)
    with pytest.raises(Exception, match=r"did not answer.*password authentication failed") as error:
        rows.read(known_at=LATER)
    assert "hunter2" not in str(error.value)
