"""`FileNotifier`: alerts as structured log lines, and kept in a file."""

from __future__ import annotations

from pathlib import Path

from mainspring.domain.codec import to_json
from mainspring.domain.decision import Alert
from mainspring.telemetry.logs import Log


class FileNotifier:
    """`Notifier` for one machine: a line on stderr (unless quiet) and a line of JSON in `path`."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self._path = path
        self._log = None if quiet else Log()

    def notify(self, alert: Alert) -> None:
        """Send an alert; failing to send never stops the caller."""
        if self._log is not None:
            self._log.warning(alert.what, severity=alert.severity, next=alert.next_step, loop_will=alert.loop_will)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(to_json(alert) + b"\n")
        except OSError as error:
            Log().error("an alert could not be kept", alert=alert.id, error=str(error))
