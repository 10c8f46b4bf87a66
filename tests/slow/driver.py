"""`python -m tests.slow.driver`: forks lives of the loop, and the loop's warm worker, from a process that has imported everything.

A life is a real process: it takes the lease, builds the laptop's parts and turns the loop until the scenario of `project`
ends, from wherever the life before it was killed. Commands come as JSON lines, and so do the answers.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import sys
import time
import warnings
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.slow.gaps import Gaps
from tests.slow.project import BROKEN, BROKEN_FROM, END, START, STEP, WISHES, questions

CLOCK, ASKING, ACKNOWLEDGED = "clock", "asking", "acknowledged"
_WAIT_SECONDS = 0.02
_STUCK_SECONDS = 400


class Life:
    """One process of the loop. What it has to remember beside the platform's own state lies in `diary`."""

    def __init__(self, folder: Path, diary: Path, gaps: Gaps):
        from mainspring.adapters.clock import ReplayedClock
        from mainspring.platforms.parts import laptop
        from mainspring.settings.load import load_project

        self._diary, self._gaps = diary, gaps
        at = _read(diary / CLOCK)
        self._clock = ReplayedClock(datetime.fromisoformat(at) if at else START)
        self._platform = laptop(
            load_project(folder), self._clock, replayed=True, error_shares={BROKEN: 1.0}, quiet=True
        )
        self._questions = questions(folder)
        self._connection = None

    def live(self):
        """Go on until the scenario ends."""
        while True:
            now = self._clock.now()
            if _read(self._diary / ASKING) != now.isoformat():
                # Between two batches, so that what is decided does not depend on how many a killed life had asked.
                self._settle()
                self._people()
                if now >= END:
                    return
                _put(self._diary / ASKING, now.isoformat())
            self._ask([one for one in self._questions if now <= one[0] < now + STEP])
            _put(self._diary / CLOCK, (now + STEP).isoformat())
            self._clock.advance(now + STEP)

    def _settle(self):
        from mainspring.loop import reconcile

        while True:
            last = self._platform.ledger.decisions()[-1:]
            self._gaps.context = f"{self._clock.now():%d} {last[0].id if last else ''}"
            tick = reconcile(self._platform)
            if not tick.moved and not tick.waiting:
                return
            if not tick.moved:
                time.sleep(_WAIT_SECONDS)

    def _people(self):
        """What people do on the way, each once: they end a rollout, begin it anew, and roll a broken build out."""
        from mainspring.loop.requests import ask
        from mainspring.loop.rollouts import start_build
        from mainspring.loop.state import rollout_of
        from mainspring.loop.wishes import PersonRequest

        ledger, now = self._platform.ledger, self._clock.now()
        asked = {one.id for one in ledger.decisions(kind="requested")}
        for at, wish, version in WISHES:
            request = PersonRequest(wish, "eva", at, version, "rehearsal")
            if now >= at and request.id not in asked:
                ask(ledger, request)
                self._settle()
        began = ledger.decisions(kind="rollout_started")
        idle = rollout_of(ledger).phase == "idle"
        if now >= BROKEN_FROM and idle and not any(BROKEN in one.id for one in began):
            assert start_build(self._platform, rollout_of(ledger).stable, BROKEN, "rehearsal") == "moved"
            self._settle()

    def _ask(self, questions):
        """Ask what was not acknowledged yet, each until it is answered, as a caller would."""
        before = {line.split()[0] for line in acknowledged(self._diary)}
        asked = [one for one in questions if one[1] not in before]
        with (self._diary / ACKNOWLEDGED).open("ab", buffering=0) as book:
            for at, name, body in asked:
                tries, version = 1, None
                while (version := self._answer(at, name, body)) is None:
                    tries += 1
                    self._settle()
                book.write(f"{name} {version} {tries}\n".encode())
        self._seen({one[1] for one in asked})

    def _answer(self, at, name, body):
        """The version that answered; None when nobody did."""
        if self._connection is None:
            self._connection = HTTPConnection(self._platform.router.address().removeprefix("http://"), timeout=15)
        headers = {"content-type": "application/json", "x-request-id": name, "mainspring-event-at": at.isoformat()}
        try:
            self._connection.request("POST", "/v2/models/towns/infer", body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            self._connection = None
            return None
        return answer.headers["mainspring-version"] if answer.status == 200 else None

    def _seen(self, asked):
        """Until Envoy has written down what was asked: a killed Envoy never will."""
        log = self._platform.router._folder / "access.log"
        until = time.monotonic() + 1.0
        while asked and time.monotonic() < until:
            text = log.read_text() if log.exists() else ""
            if all(f'"{one}"' in text for one in asked):
                return
            time.sleep(_WAIT_SECONDS)


def acknowledged(diary: Path):
    """The lines of what was acknowledged: request id, version, tries. A line that was cut off does not count."""
    path = diary / ACKNOWLEDGED
    return [one for one in path.read_text().split("\n")[:-1] if one] if path.exists() else []


def _read(path: Path):
    return path.read_text() if path.exists() else ""


def _put(path: Path, text: str):
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _live(command, gaps: Gaps):
    from mainspring.platforms.lease import lease
    from mainspring.settings.paths import ProjectPaths

    folder, diary = Path(command["project"]), Path(command["diary"])
    paths = ProjectPaths(folder)
    with lease(paths.lease):
        gaps.watch(paths.state, Path(command["book"]), command["mode"], command.get("stride", 1))
        Life(folder, diary, gaps).live()


def _work(command, gaps: Gaps):
    """The warm worker; the processes that it forks are watched as the loop is."""
    from mainspring.adapters.kfp import worker

    state = Path(command["project"]) / ".mainspring"
    state.mkdir(exist_ok=True)
    arm = lambda: gaps.watch(state, Path(command["book"]), command["mode"])  # noqa: E731
    os.register_at_fork(after_in_child=arm)
    worker.main(state, [])


def _child(command, gaps: Gaps):
    with open(command["output"], "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.setsid()
    code = 1
    try:
        if command["do"] == "live":
            faulthandler.dump_traceback_later(_STUCK_SECONDS, exit=True)
        {"live": _live, "worker": _work}[command["do"]](command, gaps)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main():
    """Import, then fork for every command until standard input ends."""
    warnings.simplefilter("ignore")
    from mainspring.adapters.kfp import execute
    from mainspring.adapters.processes import restarts
    from mainspring.platforms.step import WARM

    for name in [*WARM, "mainspring.platforms.parts", "mainspring.platforms.lease", "mainspring.loop.requests"]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gaps = Gaps()
    # What dies here by the dozen is not what a give-up is meant for; that has tests of its own.
    restarts.MOST_STARTS = execute._MOST_STARTS = 10_000
    restarts.FIRST_WAIT_SECONDS = 0.0
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "wait":
            _, status = os.waitpid(command["pid"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _child(command, gaps)
        print(json.dumps({"pid": pid}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
