"""A real Spark to connect to, and a server that speaks BigQuery's protocol."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bigquery_emulator import Emulator
from tests.engines.environment import packages_of, python_of


@contextmanager
def spark(folder: Path, cores: int = 2) -> Iterator[str]:
    """The URL of a Spark Connect server in local mode."""
    if shutil.which("java") is None:
        reason = "Java is not installed: apt-get install openjdk-17-jre-headless"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    python = python_of("spark")
    home, port = packages_of(python) / "pyspark", _free_port()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": str(cores),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    command = [
        str(home / "bin" / "spark-submit"), "--master", f"local[{cores}]",
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
        "spark-internal",
    ]  # fmt: skip
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder)}
    with _running(command, folder, environ, port):
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def bigquery(folder: Path, project: str = "shop") -> Iterator[str]:
    """The endpoint of an emulator."""
    emulator = Emulator(folder, project)
    try:
        yield emulator.endpoint
    finally:
        emulator.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _running(command: list[str], folder: Path, environ: dict[str, str], port: int) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd=folder, start_new_session=True
        )
    try:
        until = time.monotonic() + 90
        while not _answers(port):
            alive = process.poll() is None and time.monotonic() < until
            assert alive, (folder / "server.log").read_text()[-3000:]
            time.sleep(0.1)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0
