"""Engines by their URL: a connection through Ibis, a table on it, and what goes wrong there in words for people."""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mainspring.adapters.sql.source import described, masked, open_file, table_names
from mainspring.domain.errors import ConfigError, DataError, MainspringError, TemporaryError

SCHEMES = {
    "duckdb": "duckdb:///x.db, or duckdb:// for files: --table 'folder/*.parquet'",
    "postgres": "postgres://user:password@host/database",
    "postgresql": "postgresql://user:password@host/database",
    "sc": "sc://host:15002, a Spark Connect server",
    "bigquery": "bigquery://project/dataset",
}
_EXTRAS = {"sc": "spark", "bigquery": "bigquery"}
_SCOPE = "https://www.googleapis.com/auth/bigquery"
_FILES = re.compile(r"\.(parquet|csv)$")
_RIGHTS = re.compile(r"permission|access denied|forbidden|privilege|not authorized|unauthorized|\b403\b", re.IGNORECASE)
_LOST = re.compile(
    r"connection (refused|reset|timed out|was closed|is lost|failed)|unavailable|could not connect|failed to connect"
    r"|server closed the connection|failed to resolve|name or service not known|terminating connection",
    re.IGNORECASE,
)


@contextmanager
def connected(url: str, root: Path, where: str) -> Iterator[Any]:
    """An Ibis backend while it is needed. Files of `duckdb:///x.db` lie in `root`, and are opened for reading only.

    Errors: `ConfigError` for an engine that cannot count or has no driver, `TemporaryError` for one that does not answer.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES or "://" not in url:
        raise ConfigError(
            f"{scheme!r} is no engine that counts", where=where, valid="; ".join(SCHEMES.values()),
            next_step="bring the rows into one of them, or read them as a source",
        )  # fmt: skip
    with spoken(where):
        backend = _connect(scheme, url, root, where)
    try:
        yield backend
    finally:
        backend.disconnect()


@contextmanager
def spoken(where: str) -> Iterator[None]:
    """Whatever an engine or its driver raises, as an error of ours."""
    try:
        yield
    except MainspringError:
        raise
    except ImportError as error:
        scheme = where.partition("://")[0]
        extra = _EXTRAS.get(scheme, scheme)
        raise ConfigError(
            f"there is no driver for {scheme!r}: {error}", where=where, next_step=f"pip install 'mainspring[{extra}]'"
        ) from error
    except Exception as error:
        text = masked(str(error)).strip() or type(error).__name__
        text = text if len(text) < 600 else f"{text[:600]}..."
        if type(error).__name__ == "DefaultCredentialsError":
            raise ConfigError(
                f"there are no credentials: {text}",
                where=where,
                valid="Google's application default credentials",
                next_step="gcloud auth application-default login, or name a service account's file in "
                "GOOGLE_APPLICATION_CREDENTIALS",
            ) from error
        if _RIGHTS.search(text):
            raise ConfigError(
                f"the engine refuses to show it: {text}",
                where=where,
                valid="a user who may read the table; nothing is written",
                next_step="ask for the right to SELECT from it, or name another user in the URL",
            ) from error
        if _LOST.search(text) or isinstance(error, OSError):
            raise TemporaryError(
                f"the engine does not answer: {text}",
                where=where,
                next_step="start it, or correct the URL, and try again",
            ) from error
        raise DataError(f"the engine cannot count it: {text}", where=where) from error


def table_of(backend: Any, name: str, where: str) -> Any:
    """A table or view, `schema.table`, or with DuckDB a pattern of Parquet or CSV files. Errors: `DataError`."""
    if backend.name == "duckdb" and _FILES.search(name):
        return described(backend, "SELECT * FROM '{}'".format(name.replace("'", "''")))
    schema, _, table = name.rpartition(".")
    there = table_names(backend, schema or None)
    if table not in there:
        near = difflib.get_close_matches(table, there, n=1)
        raise DataError(
            f"there is no table {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            where=where,
            valid=", ".join(sorted(there)[:20]) or "the database has no tables that this user sees",
            next_step="correct the name; a table that this user may not read is not seen: ask for the right to SELECT from it",
        )
    if backend.name == "duckdb":
        parts = (part.replace('"', '""') for part in (schema, table) if part)
        return described(backend, "SELECT * FROM " + ".".join(f'"{part}"' for part in parts))
    return backend.table(table, database=schema or None)


def _connect(scheme: str, url: str, root: Path, where: str) -> Any:
    import ibis

    place = urlsplit(url)
    if scheme == "duckdb":
        path = unquote(place.path[1:])
        return open_file("duckdb", root / path, where) if path else ibis.duckdb.connect()
    if scheme == "sc":
        return ibis.pyspark.connect(spark_session(url))
    if scheme == "bigquery":
        return _bigquery(place.netloc, place.path.strip("/"), parse_qs(place.query).get("endpoint", [""])[0])
    return ibis.connect(url.replace("postgresql://", "postgres://", 1))


def spark_session(url: str) -> Any:
    """A Spark Connect session of its own: ending it does not end that of somebody else.

    Queries are not reattachable. Spark 4.0's client shares one pool of threads for that among all sessions of a process and
    closes it with any of them, under a lock that the pool's own threads take when they drop an iterator: it waits for ever now
    and then (SPARK-55362, SPARK-55406). A query's stream is kept alive by the progress that the server reports.
    """
    from pyspark.sql import SparkSession

    place = urlsplit(url.partition(";")[0])
    _reached(place.hostname or "", place.port or 15002)
    session = SparkSession.builder.remote(url).create()
    session.client.disable_reattachable_execute()
    return session


def _bigquery(project: str, dataset: str, endpoint: str) -> Any:
    """With `?endpoint=http://...` another server speaks BigQuery's protocol, and asks for no credentials."""
    import google.auth
    import ibis
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client

    if not endpoint:
        # Ibis itself would open a browser where there are none.
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        return ibis.bigquery.connect(project_id=project, dataset_id=dataset, credentials=credentials)
    place = urlsplit(endpoint)
    _reached(place.hostname or "", place.port or (443 if place.scheme == "https" else 80))
    nobody = AnonymousCredentials()
    client = Client(project=project, credentials=nobody, client_options={"api_endpoint": endpoint})
    return ibis.bigquery.connect(project_id=project, dataset_id=dataset, client=client, credentials=nobody)


def _reached(host: str, port: int) -> None:
    """Both drivers would try again for ten minutes before they say that nobody is there."""
    socket.create_connection((host, port), timeout=10).close()
