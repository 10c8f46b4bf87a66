"""A project's log with a sink, in this process or in one that is killed."""

import os
import signal
from datetime import UTC, datetime, timedelta

from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
from mainspring.adapters.sinks.parquet_store import ParquetHours
from mainspring.adapters.sinks.shipper import Shipper
from mainspring.domain.log_record import LogRow, SegmentHeader, microseconds
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.log_sink import SinkSettings
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.storage import S3Settings

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = SegmentHeader("1", "", ("temp", "user"), ("number", "text"), ("user",), ("weather",))


def row(name, minutes=0, temp=1.5, user="eva", outcome=0, **more):
    at = microseconds(AT + timedelta(minutes=minutes))
    output = (0.5,) if outcome == 0 else ()
    return LogRow(name, 0, 0, outcome, at, 900, output, (temp, user), (user,), (60.0,), (), **more)


class Project:
    """A project's log with a sink, as a loop has it: answers become Parquet, and are sent."""

    def __init__(self, folder, sink, s3=None, store=None):
        self.paths = ProjectPaths(folder)
        self.log = ParquetPredictionLog(self.paths)
        self.settings = SinkSettings.model_validate({"url": sink} if isinstance(sink, str) else sink)
        self.store = store or ParquetHours(self.settings, S3Settings.model_validate(s3 or {}))
        self.shipper = Shipper(self.settings, self.paths, self.log, self.store)

    def answer(self, *rows, header=HEADER):
        writer = SegmentWriter(self.paths.segments, header)
        writer.append(rows)
        writer.rotate()
        self.log.compact()

    def there(self):
        """Request ids in the sink, of all writers."""
        return sorted(
            name
            for hour in self.store.hours()
            for name in self.store.get(hour, ["request_id"]).column("request_id").to_pylist()
        )


def turns(folder, sink, s3, now, times):
    """Send again and again."""
    one = Project(folder, sink, s3)
    for _ in range(times):
        one.shipper.turn(now, everything=True)


class _Killing:
    """A store or a state that ends its process at the n-th write that any of them is asked for, before or after it is done."""

    def __init__(self, behind, left, after, end):
        self._behind, self._left, self._after, self._end = behind, left, after, end

    def __getattr__(self, name):
        found = getattr(self._behind, name)
        if name not in ("put", "remove", "forget"):
            return found

        def called(*given, **named):
            self._left[0] -= 1
            if self._left[0] == 0 and not self._after:
                self._end()
            done = found(*given, **named)
            if self._left[0] == 0:
                self._end()
            return done

        return called


def kill():
    """What no process survives."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    """The same for the rows, without a new process: nothing catches it."""
    raise KeyboardInterrupt


def killed(folder, sink, s3, at, after, now, end=kill):
    """One turn, that ends at its n-th write."""
    one = Project(folder, sink, s3)
    left = [at]
    one.shipper.store = _Killing(one.store, left, after, end)
    one.shipper.state = _Killing(one.shipper.state, left, after, end)
    one.shipper.turn(now)
