"""An A/B step of a real `mainspring up`: users over HTTP, their orders in a file, a killed loop; the metric decides either way."""

import contextlib
import json
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime
from http.client import HTTPConnection

import pytest

from tests.cli.running import SETTINGS, TRAINING, Up, days, mainspring, processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROLLOUT = """
rollout:
  steps: [{ab: {user: x-user, percent: 50, time: 5s, min_users: 40, evidence: beat}}]
  min_requests: 40
  business: {source: orders, join: user, key: customer, kind: any, range: [0, 1], window: 2s, wait: 1s}
  undecided: {after: 1h}
  guard: {time: 0s}
"""


@pytest.fixture
def service(tmp_path):
    """A function that begins a loop on the project; what runs in the end is killed."""
    begun = []

    def begin():
        begun.append(Up(tmp_path))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.returncode is None:
            one.end(signal.SIGKILL)
    for one in processes(tmp_path):
        os.kill(int(one.split()[0]), signal.SIGKILL)


@pytest.fixture
def folder(tmp_path):
    days(0, 1760).to_csv(tmp_path / "days.csv", index=False)
    settings = SETTINGS.replace(
        "  days:", "  orders: {path: orders.csv, time: at, columns: {customer: str, at: time}}\n  days:"
    )
    lines = [one for one in settings.splitlines() if not one.startswith("rollout:")]
    (tmp_path / "mainspring.yaml").write_text("\n".join(lines) + ROLLOUT)
    (tmp_path / "training.py").write_text(TRAINING)
    (tmp_path / "orders.csv").write_text("customer,at\n0,2026-01-01T00:00:00Z\n")
    return tmp_path


def split(folder):
    """Until Envoy splits by half: the decision comes before the routes."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if json.loads(mainspring(folder, "status", "--json")[1])["serving"]["weights_percent"].get("candidate") == 50:
            return
        time.sleep(0.1)
    raise AssertionError("nothing is split")


def ask(address, user):
    """The version that answered that user."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        body = json.dumps({"instances": [{"temp": 3.5, "town": "Ulm"}]})
        connection.request(
            "POST", "/v1/models/towns:predict", body, {"content-type": "application/json", "x-user": user}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return answer.headers["mainspring-version"]
    finally:
        connection.close()


@pytest.mark.parametrize("better", ["2", "1"])
def test_what_users_bring_decides_and_a_killed_loop_forgets_nobody(folder, service, better):
    up = service()
    address = up.wait("serving")[0].split()[4]
    assert mainspring(folder, "retrain", "--why", "a second version")[0] == 0
    up.wait("weight", "50 % of users to version 2")
    split(folder)
    users = [f"user{place}" for place in range(150)]
    versions = {user: ask(address, user) for user in users}
    assert {user: ask(address, user) for user in users[:50]} == {user: versions[user] for user in users[:50]}
    now = datetime.now(UTC).isoformat()
    with (folder / "orders.csv").open("a") as orders:
        for place, user in enumerate(users):
            if (place % 10 < 8) == (versions[user] == better):
                orders.write(f"{user},{now}\n")
    code, out, errors = mainspring(folder, "rollout", "status")
    assert code == 0, errors
    print(out)
    assert "A/B with 50 % of the users" in out
    assert "INCONCLUSIVE" in out
    assert json.loads(mainspring(folder, "rollout", "status", "--json")[1])["salt"] == ""
    up.end(signal.SIGKILL)
    up = service()
    kind, text = ("promoted", "version 2 is") if better == "2" else ("alert", "version 2 was rolled back")
    told, _ = up.wait(kind, text, within=90)
    print(told)
    assert "users of the candidate brought" in told
    code, out, errors = mainspring(folder, "ledger", "--json", "--kind", "promoted" if better == "2" else "rolled_back")
    assert code == 0, errors
    assert "users of the candidate brought" in json.loads(out)[-1]["numbers"]["business"]
    with contextlib.closing(sqlite3.connect(folder / ".mainspring" / "envoy" / "users.db")) as db:
        assert db.execute("SELECT count(*) FROM user").fetchone()[0] == 150
    written = b"".join(one.read_bytes() for one in (folder / ".mainspring" / "envoy").iterdir() if one.is_file())
    assert b"user17" not in written
    assert up.end(signal.SIGTERM) == 0
