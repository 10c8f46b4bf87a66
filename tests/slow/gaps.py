"""Where a process may be killed: in the gap before each of its external writes.

A write is what Python's own audit events tell (a file opened to be written, renamed or removed, a process started or
signalled, the worker asked) and every commit of SQLite. A gap's name says what is written and through which of our
functions, so that the same gap has the same name in every process. `Book` keeps the names in a file: each gap is met
once, by a process that writes its name down and then ends itself by SIGKILL.
"""

import os
import re
import signal
import sqlite3
import sys
from pathlib import Path

_FILE_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR
_NO_WRITE = (".lock", ".lease", ".sock", "output.log", "worker.log", "-wal", "-shm")
_CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "COMMIT")
_STARTED = ("mainspring.serving.process", "mainspring.adapters.kfp.execute")
_ALIKE = (
    (r"event_date=\d{4}-\d\d-\d\d|event_hour=\d\d", "#"),
    (r"artifacts/mainspring-[\d-]+", "artifacts/#"),
    (r"mlflow-artifacts/.*", "mlflow-artifacts/#"),
    (r"runs/[^/]+", "runs/#"),
    (r"\.kfp_cache_\w+", ".kfp_cache_#"),
    (r"-\d+-[0-9a-f]{12,16}-\d+(-\d+)?", "-#"),
    (r"\.[0-9a-f]+\.part", ".#.part"),
    (r"[0-9a-f]{16,}", "#"),
)
"""What is another one in every process or run."""
_OURS = f"{os.sep}mainspring{os.sep}"


class Book:
    """Names of gaps in a file: one line each, whole even when its writer is killed right after."""

    def __init__(self, path: Path):
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def names(self):
        """The names so far, in order."""
        return self.path.read_text().splitlines()

    def add(self, name):
        """Write one name down."""
        os.write(self._fd, name.encode() + b"\n")


class Gaps:
    """Watches one process. `mode`: off; record (write every gap down); sweep (end in the `stride`th new gap)."""

    def __init__(self):
        self.mode, self.context = "off", ""
        self._state, self._book, self._known = "", None, set()
        self._left, self._busy = 0, False
        sys.addaudithook(self._hear)
        _count_commits(self._commit)

    def watch(self, state: Path, book: Path, mode: str, stride: int = 1):
        """From now on, for writes below the folder `state`."""
        self._busy = True
        self._state, self._book = f"{state}{os.sep}", Book(book)
        self._known, self._left = set(self._book.names()), stride
        self.mode, self._busy = mode, False

    def _hear(self, event, args):
        if self.mode == "off" or self._busy:
            return
        if event == "open":
            path, _, flags = args
            if flags & _WRITING and isinstance(path, str | bytes | os.PathLike):
                self._file("open", path)
        elif event in _FILE_EVENTS and not (event == "os.mkdir" and os.path.isdir(args[0])):
            if isinstance(args[0], str | bytes | os.PathLike):
                self._file(event, args[1] if event == "os.rename" else args[0])
        elif event == "subprocess.Popen":
            words = [str(one) for one in args[1]]
            if words[0] != "git":
                self._meet("start", next((one for one in words if one in _STARTED), Path(words[0]).name))
        elif event in ("os.kill", "os.killpg"):
            self._meet("signal", str(args[1]))
        elif event == "socket.connect" and isinstance(args[1], str):
            self._meet("ask", "worker")

    def _file(self, event, path):
        text = os.fsdecode(path)
        if text.startswith(self._state) and not text.endswith(_NO_WRITE):
            self._meet(event, text.removeprefix(self._state))

    def _commit(self, database):
        if self.mode != "off" and not self._busy:
            self._meet("commit", database)

    def _meet(self, event, what):
        self._busy = True
        try:
            through = _through(sys._getframe(1))
            if not through:
                return
            name = " ".join([event, _plain(what), "<" + ">".join(through) + ">", self.context])
            if self.mode == "record":
                self._book.add(name)
            elif name not in self._known:
                self._left -= 1
                if self._left <= 0:
                    self._book.add(name)
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            self._busy = False


def _plain(what):
    """Without what is another one in every process or run: ids, digests, times."""
    for pattern, short in _ALIKE:
        what = re.sub(pattern, short, what)
    return what


def _through(frame):
    """Our functions on the way here, outermost first."""
    found = []
    while frame is not None:
        file = frame.f_code.co_filename
        if _OURS in file and "/tests/" not in file:
            name = f"{Path(file).stem}.{frame.f_code.co_name}"
            if not found or found[-1] != name:
                found.append(name)
        frame = frame.f_back
    return found[::-1]


def _count_commits(commit):
    """Every connection made from now on tells of its commits before it makes them."""

    class Connection(sqlite3.Connection):
        place = ""

        def execute(self, sql, *arguments):
            word = sql.lstrip()[:7].upper()
            if word.startswith("COMMIT") or (
                self.isolation_level is None and not self.in_transaction and word.startswith(_CHANGES)
            ):
                commit(self.place)
            return super().execute(sql, *arguments)

        def executescript(self, sql):
            commit(self.place)
            return super().executescript(sql)

        def commit(self):
            if self.in_transaction:
                commit(self.place)
            super().commit()

        def __exit__(self, kind, *more):
            if kind is None and self.in_transaction:
                commit(self.place)
            return super().__exit__(kind, *more)

    plain = sqlite3.connect

    def connect(database, *arguments, **options):
        options.setdefault("factory", Connection)
        found = plain(database, *arguments, **options)
        if isinstance(found, Connection):
            found.place = Path(os.fsdecode(database)).name
        return found

    sqlite3.connect = sqlite3.dbapi2.connect = connect
