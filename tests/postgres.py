"""A real PostgreSQL: a private cluster of Debian's package, for the tests that ask for one."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "p@ss/w:rd%+1"


def binaries() -> Path:
    """Where Debian keeps `initdb`; the test is skipped with its reason where the package is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found[-1].parent if found else Path(str(on_path)).parent


@contextmanager
def cluster(sql: str = "SELECT 1") -> Iterator[int]:
    """The port of a running cluster on 127.0.0.1 whose owner is `owner`, after it executed `sql`."""
    bin_folder = binaries()
    # The server refuses to run as root: then it runs as the user that the package made, or as nobody.
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        names = {line.split(":", 1)[0] for line in Path("/etc/passwd").read_text().splitlines()}
        user = {"user": "postgres" if "postgres" in names else "nobody", "group": None}
    # Not below pytest's folder: nobody but root may enter that, and a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="mainspring-pg-"))
    (folder / "password").write_text(PASSWORD)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user["user"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str, **more: Any) -> None:
        done = subprocess.run(
            [str(bin_folder / command[0]), *command[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **more,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    data = str(folder / "data")
    try:
        run(
            "initdb",
            "-D",
            data,
            "-U",
            "owner",
            "-A",
            "scram-sha-256",
            "--pwfile",
            "password",
            "-E",
            "UTF8",
            "-N",
            **user,
        )
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        # Nothing of the server may keep the test's pipes open.
        subprocess.run(
            [str(bin_folder / "pg_ctl"), "-D", data, "-w", "-t", "60", "-l", "log", "-o", options, "start"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **user,
        )
        run(
            "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "owner", "-d", "postgres", "-v", "ON_ERROR_STOP=1",
            "-c", sql, env={**os.environ, "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        yield port
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            run("pg_ctl", "-D", data, "-m", "immediate", "stop", **user)
        shutil.rmtree(folder, ignore_errors=True)
