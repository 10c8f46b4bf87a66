"""`FileNotifier`: alerts as structured log lines, and kept in a file."""

from __future__ import annotations

from pathlib import Path

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.decision import Alert
from mainspring.domain.errors import DataError
from mainspring.telemetry.logs import Log


class FileNotifier:
    """`Notifier` for one machine: a line on stderr (unless quiet) and a line of JSON in `path`, once for each alert."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self._path = path
        self._log = None if quiet else Log()

    def notify(self, alert: Alert) -> None:
        """Send an alert; failing to send never stops the caller."""
        try:
            before = self._path.read_bytes() if self._path.exists() else b""
            if alert.id in {from_json(Alert, line).id for line in before.splitlines()}:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_bytes(before + to_json(alert) + b"\n")
            part.replace(self._path)
        except (OSError, DataError) as error:
            Log().error("an alert could not be kept", alert=alert.id, error=str(error))
        if self._log is not None:
            self._log.warning(
                alert.what, severity=alert.severity, next=alert.next_step, loop_will=alert.loop_will, why=alert.detail
            )
