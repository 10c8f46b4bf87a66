"""What goes wrong with an engine, in words for people: no rights, no server, a server that goes away, no driver."""

import builtins
from pathlib import Path
from urllib.parse import quote

import google.auth
import google.auth.exceptions
import numpy as np
import psycopg
import pytest
from tests.postgres import PASSWORD, cluster

from mainspring.adapters.ibis.counter import IbisCounter
from mainspring.adapters.ibis.engine import connected, spoken
from mainspring.domain.errors import ConfigError, DataError, TemporaryError
from mainspring.drift.cells import Cells

CELLS = {"x": Cells("number", np.array([0.0, 1.0]))}
SETUP = """
CREATE TABLE t AS SELECT i / 3.0::float8 AS x FROM generate_series(1, 9) AS i;
CREATE ROLE guest LOGIN PASSWORD 'guest';
CREATE TABLE secret AS SELECT * FROM t;
CREATE TABLE partly AS SELECT x, x AS y FROM t;
GRANT SELECT (y) ON partly TO guest;
CREATE VIEW broken AS SELECT 1 / (x - x)::int AS x FROM t;
"""


@pytest.fixture(scope="module")
def port():
    with cluster(SETUP) as port:
        yield port


def url(port, user="owner", password=PASSWORD):
    return f"postgres://{user}:{quote(password, safe='')}@127.0.0.1:{port}/postgres"


def test_a_user_without_the_right_to_read(port):
    guest = url(port, "guest", "guest")
    with pytest.raises(DataError, match="there is no table 'secret'") as told:
        IbisCounter(guest, "secret").count(CELLS)
    assert "a table that this user may not read is not seen" in str(told.value)
    with pytest.raises(ConfigError, match="the engine refuses to show it: permission denied") as told:
        IbisCounter(guest, "partly").count(CELLS)
    assert "nothing is written" in str(told.value)
    assert "guest:guest" not in str(told.value)


def test_a_wrong_password_is_not_shown(port):
    with pytest.raises((ConfigError, TemporaryError), match="password authentication failed") as told:
        IbisCounter(url(port, password="hunter2"), "t").count(CELLS)
    assert "hunter2" not in str(told.value)


def test_a_server_that_ends_the_connection_is_asked_again_later(port):
    with connected(url(port), Path(), "here") as backend:
        with psycopg.connect(url(port), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [backend.con.info.backend_pid])
        with pytest.raises(TemporaryError, match="the engine does not answer"), spoken("here"):
            backend.con.execute("SELECT 1")


def test_what_the_engine_cannot_compute_is_about_the_data(port):
    with pytest.raises(DataError, match="the engine cannot count it: division by zero"):
        IbisCounter(url(port), "broken").count(CELLS)


def test_nothing_is_written(port):
    with psycopg.connect(url(port), autocommit=True) as connection:
        connection.execute("GRANT SELECT ON t TO guest")
        connection.execute("ALTER ROLE guest SET default_transaction_read_only = on")
    found = IbisCounter(url(port, "guest", "guest"), "t").count(CELLS)
    assert found["x"].vector.tolist() == [0, 3, 6, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [("sc://h:1", "pyspark.sql", "spark"), ("bigquery://p/d", "google.cloud.bigquery", "bigquery")],
)
def test_a_driver_that_is_not_installed_is_named(monkeypatch, scheme, module, extra):
    real = builtins.__import__

    def without(name, *rest):
        if name == module or name.startswith("ibis.backends"):
            raise ImportError(f"No module named {module!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("mainspring.adapters.ibis.engine._bigquery", lambda *_: without(module))
    with pytest.raises(ConfigError, match="there is no driver") as told:
        IbisCounter(scheme, "t").count(CELLS)
    assert f"mainspring[{extra}]" in str(told.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("there", [url(1), "sc://127.0.0.1:1", "bigquery://p/d?endpoint=http://127.0.0.1:1"])
def test_an_engine_that_is_not_there_is_soon_said_to_be_so(there):
    with pytest.raises(TemporaryError, match="the engine does not answer"):
        IbisCounter(there, "t").count(CELLS)


def test_no_credentials_open_no_browser(monkeypatch):
    def default(**_):
        raise google.auth.exceptions.DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", default)
    with pytest.raises(ConfigError, match="there are no credentials") as told:
        IbisCounter("bigquery://p/d", "t").count(CELLS)
    assert "gcloud auth application-default login" in str(told.value)


def test_no_secret_of_a_url_is_shown():
    for one in ("sc://host:1/;token=hunter2", "postgres://me:hunter2@host/x", "postgres://host/x?password=hunter2"):
        assert "hunter2" not in IbisCounter(one, "t").uri
