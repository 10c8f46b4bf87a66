"""Every engine that counts, with tables to count."""

import os
from urllib.parse import quote

import pytest
from tests.engines.servers import bigquery, spark
from tests.engines.tables import BigQueryTables, DuckDbTables, PostgresTables, SparkTables
from tests.postgres import PASSWORD, cluster

# The last two take seconds to start and seconds for each query.
ENGINES = ["duckdb", "postgres", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bigquery", "spark"))]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, tmp_path_factory):
    """One engine after the other; each has `url`, `root` and `put(name, rows)`."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "duckdb":
        yield DuckDbTables(folder)
    elif request.param == "postgres":
        with cluster() as port:
            yield PostgresTables(f"postgresql://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres")
    elif request.param == "bigquery":
        with bigquery(folder) as endpoint:
            yield BigQueryTables(endpoint)
    else:
        with spark(folder) as url:
            yield SparkTables(url, folder)


@pytest.fixture
def golden(request):
    """Compare with a file beside the tests; `MAINSPRING_GOLDEN=write` writes it."""

    def compare(name, text):
        path = request.path.parent / "golden" / name
        if os.environ.get("MAINSPRING_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text

    return compare
