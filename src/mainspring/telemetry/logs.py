"""Structured logs: one JSON object a line on stderr, with the ids of run and request where there are any.

structlog is imported on the first log line, not with this module: the command line has to stay quick.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO


class Log:
    """A logger bound to fields. Methods take the event in words and further fields.

    >>> import io
    >>> out = io.StringIO()
    >>> Log(run_id="r1", out=out).info("step ended", step="train")
    >>> import json; line = json.loads(out.getvalue())
    >>> line["event"], line["level"], line["run_id"], line["step"]
    ('step ended', 'info', 'r1', 'train')
    """

    def __init__(self, *, out: TextIO | None = None, **fields: Any) -> None:
        self._out = out
        self._fields = fields
        self._logger: Any = None

    def bind(self, **fields: Any) -> Log:
        """The same log with more fields, such as `request_id` or `run_id`."""
        return Log(out=self._out, **{**self._fields, **fields})

    def info(self, event: str, **fields: Any) -> None:
        """Something happened as it should."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something that a person may want to look at."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed; pass `exc_info=True` inside an `except` to write the traceback."""
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        # Where the log lies on a disk that is full, what it is about goes on.
        with contextlib.suppress(OSError):
            getattr(self._structlog(), level)(event, **fields)

    def _structlog(self) -> Any:
        if self._logger is None:
            import structlog

            self._logger = structlog.wrap_logger(
                structlog.WriteLogger(self._out or sys.stderr),
                processors=[
                    structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(default=str),
                ],
            ).bind(**self._fields)
        return self._logger
