"""A warm worker: a process that has imported what steps need, and forks for each of them.

Importing Feast, Great Expectations and MLflow takes fifteen seconds; forking a process that has done so takes none. It
ends when the process that started it ends. Without one, whoever asks does the work in a process of its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from mainspring.adapters.processes.restarts import start_due
from mainspring.settings.machine import die_with_parent

SOCKET, OUTPUT = "worker.sock", "worker.log"
_LONGEST = 1 << 20
_LOOK_SECONDS = 1.0
_PRINTS = (1, 2)
"""What a process prints to: a worker's fork gets its asker's."""


def ask(folder: Path, call: str, arguments: list[Any], *, output: Path | None = None) -> dict[str, Any] | None:
    """Have `call` (`module:function`) called with JSON arguments; its answer, or None when no worker answers there.

    The answer has `value`, or `error` with the text of what was raised. What the call prints comes out where this process
    prints. With `output` the call goes on by itself, in a session of its own that writes there, and the answer comes at
    once.
    """
    with _place(folder) as path, socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError:
            return None
        request = {"call": call, "arguments": arguments, "output": str(output) if output else ""}
        line = b""
        with contextlib.suppress(ConnectionError), connection.makefile("rb") as stream:
            sent = json.dumps(request).encode() + b"\n"
            connection.sendall(sent[socket.send_fds(connection, [sent], _PRINTS) :])
            line = stream.readline(_LONGEST)
    if not line.endswith(b"\n"):
        return {"error": "the worker's process ended before it answered", "kind": "RuntimeError"}
    found: dict[str, Any] = json.loads(line)
    return found


def answers(folder: Path) -> bool:
    """Whether a worker answers there."""
    return ask(folder, "builtins:len", [""]) is not None


def main(folder: Path, modules: list[str]) -> int:
    """Import `modules`, then fork for every request, until the starter is gone.

    A name with a function (`module:function`) is called with the folder, in a process of its own.
    """
    warnings.simplefilter("ignore")
    starter = os.getppid()
    die_with_parent()  # imports take long, and nobody looks at the starter meanwhile
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name.partition(":")[0])
    # A collection in a forked process writes to every object that it looks at, and so copies the parent's memory.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for module, _, function in (name.partition(":") for name in modules if ":" in name):
        if module in sys.modules and os.fork() == 0:
            _prepare(getattr(sys.modules[module], function), folder)
    with _place(folder) as path, socket.socket(socket.AF_UNIX) as listener:
        new = f"{path}.{os.getpid()}"
        listener.bind(new)
        listener.listen(64)
        os.replace(new, path)
        listener.settimeout(_LOOK_SECONDS)
        while os.getppid() == starter:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listener.close()
                _work(connection)
            connection.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return 0


def _prepare(call: Callable[[str], Any], folder: Path) -> NoReturn:
    try:
        call(str(folder))
    except BaseException:
        traceback.print_exc()  # whoever needs it will say what is wrong
    finally:
        os._exit(0)


def _work(connection: socket.socket) -> None:
    """In the forked process: one call, its answer, and the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        connection.setblocking(True)
        first, prints, _, _ = socket.recv_fds(connection, _LONGEST, len(_PRINTS))
        for mine, theirs in zip(_PRINTS, prints, strict=False):
            os.dup2(theirs, mine)
            os.close(theirs)
        with connection.makefile("rb") as stream:
            request = json.loads(first if first.endswith(b"\n") else first + stream.readline(_LONGEST))
        module, function = request["call"].split(":")
        if request["output"]:
            os.setsid()
            file = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(file, 1)
            os.dup2(file, 2)
            connection.sendall(b'{"value": null}\n')
        else:
            threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        try:
            answer = {"value": getattr(importlib.import_module(module), function)(*request["arguments"])}
        except BaseException as error:
            traceback.print_exc()
            answer = {"error": str(error), "kind": type(error).__name__}
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _end_with(asker: socket.socket) -> None:
    """When whoever asked is gone, nobody wants the answer: a cancelled run's step ends at once."""
    with contextlib.suppress(OSError):
        if asker.recv(1, socket.MSG_PEEK) == b"":
            os._exit(1)


class WarmWorker:
    """A worker that its starter looks after. Called, it waits so many seconds until the worker is warm, and says if it is."""

    def __init__(self, folder: Path, modules: list[str]) -> None:
        self._folder = folder
        self._modules = modules
        self._starts, self._ended_at = 1, 0.0
        self._start()

    def __call__(self, seconds: float) -> bool:
        """Wait until it is warm, it ended, or the time is over."""
        until = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < until:
            if (self._folder / SOCKET).exists():
                return True
            time.sleep(0.05)
        return False

    def keep(self) -> bool:
        """Start it again when it ended, after longer and longer waits; whether it did."""
        if self._process.poll() is None:
            return False
        self._ended_at = self._ended_at or time.time()
        due, starts = start_due(self._starts, self._started_at, self._ended_at)
        if time.time() < due:
            return False
        self._starts, self._ended_at = starts, 0.0
        self._start()
        return True

    def close(self) -> None:
        """End it, and what it forked for steps."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        (self._folder / SOCKET).unlink(missing_ok=True)

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / SOCKET).unlink(missing_ok=True)
        self._started_at = time.time()
        with (self._folder / OUTPUT).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mainspring.adapters.kfp.worker", str(self._folder.resolve()), *self._modules],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


@contextlib.contextmanager
def warm_worker(folder: Path, modules: list[str]) -> Iterator[WarmWorker]:
    """A worker for as long as the block lasts."""
    worker = WarmWorker(folder, modules)
    try:
        yield worker
    finally:
        worker.close()


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[str]:
    """A socket's path may have 108 characters: one below an open folder is always short enough."""
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{place}/{SOCKET}"
    finally:
        os.close(place)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
