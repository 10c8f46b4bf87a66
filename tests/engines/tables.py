"""Arrow tables on every engine, as each of them keeps them."""

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.adapters.ibis.engine import spark_session

POSTGRES = {
    pa.float64(): "double precision",
    pa.float32(): "real",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.string(): "text",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", "UTC"): "timestamptz",
}
BIGQUERY = {
    pa.float64(): "FLOAT64",
    pa.float32(): "FLOAT64",
    pa.int64(): "INT64",
    pa.bool_(): "BOOL",
    pa.string(): "STRING",
    pa.date32(): "DATE",
    pa.timestamp("us"): "DATETIME",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}


class DuckDbTables:
    """Tables of a database file."""

    def __init__(self, folder: Path) -> None:
        self.url = "duckdb:///rows.duckdb"
        self.root = folder

    def put(self, name: str, rows: pa.Table) -> str:
        with duckdb.connect(str(self.root / "rows.duckdb")) as db:
            db.register("_rows", rows)
            db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM _rows")
        return name


class PostgresTables:
    """Tables of a cluster."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = Path()

    def put(self, name: str, rows: pa.Table) -> str:
        import psycopg

        columns = ", ".join(f'"{one.name}" {POSTGRES.get(one.type, "numeric")}' for one in rows.schema)
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns})")
            with cursor.copy(f"COPY {name} FROM STDIN") as copy:
                for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                    copy.write_row(row)
        return name


class SparkTables:
    """Tables of Parquet files in Spark's catalog."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.root = folder

    def put(self, name: str, rows: pa.Table) -> str:
        pq.write_table(rows, self.root / f"{name}.parquet")
        session = spark_session(self.url)
        session.sql(f"DROP TABLE IF EXISTS {name}").collect()
        session.sql(f"CREATE TABLE {name} USING parquet LOCATION '{self.root / name}.parquet'").collect()
        session.stop()
        return name


class BigQueryTables:
    """Tables of a dataset behind an endpoint."""

    def __init__(self, endpoint: str) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        self.url = f"bigquery://shop/sales?endpoint={endpoint}"
        self.root = Path()
        self._client = bigquery.Client(
            project="shop", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
        )
        self._client.create_dataset("sales", exists_ok=True)

    def put(self, name: str, rows: pa.Table) -> str:
        from google.cloud import bigquery

        columns = ", ".join(f"`{one.name}` {BIGQUERY.get(one.type, 'NUMERIC')}" for one in rows.schema)
        self._client.query(f"DROP TABLE IF EXISTS sales.{name}").result()
        self._client.query(f"CREATE TABLE sales.{name} ({columns})").result()
        file: Any = io.BytesIO()
        pq.write_table(rows, file)
        file.seek(0)
        config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
        self._client.load_table_from_file(file, f"shop.sales.{name}", job_config=config).result()
        return name
