"""A real `mainspring up` on a small project, callers that ask it, and what of it is left in the process table."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import pandas as pd

from mainspring.cli import main

COMMAND = [sys.executable, "-c", "from mainspring.cli import main; main()"]
SETTINGS = """
name: towns
task: binary
sources:
  days: {path: days.csv, time: at, columns: {at: time}}
target: {source: days, column: rain, time: at, id: day}
gate: {min_gain: -1}
rollout: {steps: [10], step_time: 1s, min_requests: 1000000, guard: {time: 0s}}
drift: {every: 3s, trailing: 30s, min_rows: 1}
serving: {port: 0, metrics_port: 0, grpc: true}
# A channel that is given nothing: its metrics are there.
notify: {email: {host: localhost, sender: a@example.com, to: [b@example.com]}, on: []}
"""
TRAINING = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data, params):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)
"""


def days(first, count):
    """Rows d<first>.. by the hour; row d1760 is ten days ago, d2000 about now."""
    generator = np.random.default_rng(first)
    temp = generator.normal(10, 8, count).round(2)
    town = generator.choice(["Ulm", "Bonn", "Kiel"], count)
    rain = generator.uniform(size=count) < 1 / (1 + np.exp(0.2 * (temp - 10) - (town == "Kiel")))
    begins = pd.Timestamp.now("UTC").floor("h") - pd.Timedelta(hours=2000 - first)
    at = pd.date_range(begins, periods=count, freq="h")
    names = [f"d{n}" for n in range(first, first + count)]
    return pd.DataFrame({"day": names, "at": at, "temp": temp, "town": town, "rain": rain.astype(int)})


def write_project(folder):
    days(0, 1760).to_csv(folder / "days.csv", index=False)
    (folder / "mainspring.yaml").write_text(SETTINGS)
    (folder / "training.py").write_text(TRAINING)
    return folder


class Up:
    """`mainspring up --json` as a process; what it says, as it says it."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = []
        self._news = threading.Condition()
        self.began = time.monotonic()
        with (folder / "up.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--json", "-C", str(folder)],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for raw in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(raw))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait(self, kind, text="", within=150, after=0):
        """The first line of a kind with a text, not among the first `after`; the place behind it."""
        until = time.monotonic() + within
        with self._news:
            while True:
                for place, line in enumerate(self.lines[after:], after):
                    if line["kind"] == kind and text in line["text"]:
                        return line["text"], place + 1
                left = until - time.monotonic()
                if left < 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    said = "\n".join(f"{line['kind']}: {line['text']}" for line in self.lines)
                    raise AssertionError(f"no {kind} {text!r} from up:\n{said}\n{(self.folder / 'up.err').read_text()}")
                self._news.wait(min(left, 0.5))

    def end(self, signal_, within=40):
        self.process.send_signal(signal_)
        return self.ended(within)

    def ended(self, within=40):
        status = self.process.wait(within)
        self._reader.join()
        self.process.stdout.close()
        return status


class Callers:
    """Asks for predictions one after the other until it is stopped; what was answered, and what was not."""

    def __init__(self, address):
        self.address = address.removeprefix("http://")
        self.acknowledged, self.failed = [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in "ab"]
        for one in self._threads:
            one.start()

    def _ask(self, name):
        connection = HTTPConnection(self.address, timeout=10)
        body = json.dumps({"instances": [{"temp": 3.5, "town": "Ulm"}]})
        place = 0
        while not self._stop.is_set():
            place += 1
            request = f"{name}{id(self)}-{place}"
            headers = {"content-type": "application/json", "x-request-id": request}
            try:
                connection.request("POST", "/v1/models/towns:predict", body, headers)
                answer = connection.getresponse()
                answer.read()
                (self.acknowledged if answer.status == 200 else self.failed).append(request)
            except (OSError, HTTPException):
                connection.close()
                self.failed.append(request)
                self._stop.wait(0.05)
            self._stop.wait(0.005)
        connection.close()

    def stop(self):
        self._stop.set()
        for one in self._threads:
            one.join()


def mainspring(folder, *arguments):
    """A verb as a person types it, in this process: exit status, output, errors."""
    out, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["mainspring", *arguments, "-C", str(folder)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as done:
        return done.code or 0, out.getvalue(), errors.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue(), errors.getvalue()


def typed(folder, *arguments):
    """The same in a process of its own."""
    command = [*COMMAND, *arguments, "-C", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def processes(folder):
    """Command lines of everything that runs for a project."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                state = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if str(folder) in words and state not in "ZX" and int(entry) != os.getpid():
                found.append(f"{entry} {words}")
    return found
