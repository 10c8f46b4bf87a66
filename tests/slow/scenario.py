"""`Scenario`: lives of the loop on one project, one after the other, and who else is killed meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.slow.endings import MARK, census, ending
from tests.slow.project import write_project

_ROOT = Path(__file__).parents[2]
_SHORTEST, _LONGEST = 0.03, 3.0
"""Seconds from one random kill to the next, drawn evenly on a logarithmic scale: some hit a life that just began."""
VICTIMS = {"loop": 55, "run": 12, "step": 9, "executor": 4, "predictor": 10, "envoy": 5, "worker": 5}
"""Who is killed at a random instant, in percent; the loop when there is no such process then."""


class Driver:
    """The process that lives are forked from; `mark` tells everything that it started, however indirectly."""

    def __init__(self):
        self.mark = f"{os.getpid()}-{time.time_ns():x}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.slow.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, MARK: self.mark},
        )
        self.pid = self._hear()["ready"]

    def say(self, **command):
        """Send a command; its answer."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self):
        line = self._process.stdout.readline()
        assert line, "the driver ended"
        return json.loads(line)

    def clear(self):
        """End everything that was started, but the driver."""
        for pids in census(self.mark).values():
            for pid in pids:
                if pid != self.pid:
                    _kill(pid)

    def close(self):
        """End everything."""
        self.clear()
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Scenario:
    """One project from its first run to its end, in `folder`."""

    def __init__(self, driver: Driver, folder: Path, mode="off", stride=1, died=()):
        """`died`: lines of the book of gaps in which processes have died before, and do not die again."""
        self.folder, self.project, self.diary = folder, folder / "p", folder / "diary"
        self.book = folder / "gaps"
        self.lives, self.killed = 0, Counter()
        self._driver = driver
        self._command = {
            "project": str(self.project), "diary": str(self.diary), "book": str(self.book),
            "mode": mode, "stride": stride,
        }  # fmt: skip
        folder.mkdir(parents=True)
        self.diary.mkdir()
        self.book.write_text("".join(f"{line}\n" for line in died))
        write_project(self.project)
        self._worker = self._start("worker")

    def live(self):
        """Start a life; its process id."""
        self.lives += 1
        return self._start("live")

    def wait(self, pid):
        """Wait for a life's end; True when the scenario ended with it, False when it was killed."""
        code = self._driver.say(do="wait", pid=pid)["code"]
        if code in (0, -signal.SIGKILL):
            self.killed["loop"] += code != 0
            return code == 0
        raise AssertionError(f"a life ended with {code}; {self.last_gap()}:\n{self._said()}")

    def live_until_the_end(self, told=lambda scenario: None):
        """One life after the other; `told` hears of each that was killed."""
        while not self.wait(self.live()):
            told(self)

    def kill_at_random(self, seed, most):
        """Kill somebody at a random instant, at most `most` times, while the scenario goes on to its end."""
        draw, left, pid = random.Random(seed), most, self.live()
        while True:
            instant = time.monotonic() + _SHORTEST * (_LONGEST / _SHORTEST) ** draw.random()
            victim = draw.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            both = draw.random() < 0.5
            while time.monotonic() < instant and left and not _zombie(pid):
                time.sleep(0.005)
            if not left or _zombie(pid):
                if self.wait(pid):
                    return
                pid = self.live()
                continue
            left -= 1
            if victim != "loop" and self._kill(victim, draw):
                self.killed[victim] += 1
                if not both or not left:
                    continue
                left -= 1
            _kill(pid)

    def ending(self):
        """What is left, and the processes that still run."""
        running = {kind: len(pids) for kind, pids in census(self._driver.mark).items()}
        return ending(self.project, self.diary) | {"processes": running}

    @property
    def kills(self):
        """How many there were."""
        return sum(self.killed.values())

    def book_lines(self):
        """The gaps in the book."""
        return self.book.read_text().splitlines() if self.book.exists() else []

    def last_gap(self):
        """The newest of them."""
        return (self.book_lines() or [""])[-1]

    def _kill(self, victim, draw):
        """Kill one of these; whether there was one."""
        from mainspring.adapters.processes.locks import held

        found = census(self._driver.mark)
        rollout = self._rollout()
        if victim in ("run", "step"):
            locks = (self.project / ".mainspring" / "runs").glob(f"*/{victim}.lock")
            pids = [signed[0] for signed in map(held, locks) if signed]
        elif victim == "worker":
            pids = [self._worker]
        elif victim == "executor":
            pids = found.get("kfp.dsl.executor_main", [])
        elif rollout.get("candidate_build") or (
            victim == "predictor" and rollout.get("phase") in ("shadow", "canary", "guard")
        ):
            # A version that is killed while it is judged goes back, and a broken one sooner: rightly so, but another ending.
            return False
        else:
            pids = found.get({"predictor": "mainspring.serving.process"}.get(victim, victim), [])
        if not pids:
            return False
        _kill(draw.choice(sorted(pids)))
        if victim == "worker":
            self._worker = self._start("worker")
        return True

    def _rollout(self):
        from mainspring.adapters.sql.ledger import SqliteLedger
        from mainspring.settings.paths import ProjectPaths

        path = ProjectPaths(self.project).ledger
        return json.loads(SqliteLedger(path).state("rollout") or "{}") if path.exists() else {}

    def _start(self, what):
        return self._driver.say(do=what, output=str(self.folder / f"{what}.log"), **self._command)["pid"]

    def _said(self):
        return (self.folder / "live.log").read_text(errors="replace")[-4000:]


def _kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
