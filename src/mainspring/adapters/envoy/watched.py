"""`WatchedFile`: resources of one kind in a file that Envoy watches, and what Envoy says it made of them.

Only an atomic rename into the folder is picked up, so that Envoy never sees half a file. Envoy keeps what it has of an
update that it refuses, and so does the file: whoever starts Envoy anew starts it with what it had.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from mainspring.adapters.envoy.process import EnvoyProcess
from mainspring.adapters.envoy.routes import discovery
from mainspring.domain.errors import MainspringError, TemporaryError

CONFIRM_SECONDS = 10.0
_LOG_SECONDS = 2.0
_REJECTED = "config update rejected:"


class WatchedFile:
    """The file `name`.json in Envoy's folder; Envoy counts its versions under `stat`.

    `reported` is asked for what Envoy really has of the resources that were written: a word for each thing that is not
    as written, none when all is.
    """

    def __init__(
        self, envoy: EnvoyProcess, name: str, stat: str, differs: Callable[[Sequence[dict[str, Any]]], str]
    ) -> None:
        self._envoy = envoy
        self._name = name
        self._stat = stat
        self._differs = differs
        self._path = envoy.folder / f"{name}.json"
        self._log = envoy.log
        self._logged = 0

    def resources(self) -> list[dict[str, Any]]:
        """What was written last."""
        return list(json.loads(self._path.read_bytes())["resources"]) if self._path.exists() else []

    def write(self, resources: Sequence[dict[str, Any]]) -> None:
        """Write for an Envoy that is about to start."""
        self._rename(discovery(resources)[1])

    def put(self, resources: Sequence[dict[str, Any]]) -> None:
        """Write, and wait until Envoy says that it took it and shows it.

        Errors: `MainspringError` with Envoy's reason when it refuses, `TemporaryError` when it does not answer in time;
        after either the file is what it was.
        """
        version, raw = discovery(resources)
        before = self._path.read_bytes() if self._path.exists() else b""
        taken, refused = self._said()
        if taken != version:  # A file alone proves nothing: its writer may have been killed.
            self._rename(raw)
        try:
            self._confirm(version, resources, refused)
        except MainspringError:
            if before:
                self._rename(before)
            raise

    def confirm(self, resources: Sequence[dict[str, Any]]) -> None:
        """Wait until Envoy has what was written. Errors: as `put`."""
        self._confirm(discovery(resources)[0], resources, "0")

    def _confirm(self, version: str, resources: Sequence[dict[str, Any]], refused: str) -> None:
        until = time.monotonic() + CONFIRM_SECONDS
        differs = "its version"
        while time.monotonic() < until:
            taken, rejected = self._said()
            if taken == version:
                differs = self._differs(resources)
                if not differs:
                    return
            elif rejected != refused:
                raise MainspringError(f"Envoy refused the {self._name}: {self._why()}", where=str(self._path))
            time.sleep(0.005)
        raise TemporaryError(
            f"Envoy did not take the {self._name} in {CONFIRM_SECONDS:g} s: {differs} is another", where=str(self._path)
        )

    def _said(self) -> tuple[str, str]:
        """The version that Envoy took last, and how many it refused."""
        text = self._envoy.ask(f"/stats?filter=^{self._stat.replace('.', '[.]')}[.](version_text|update_rejected)$")
        said = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        return said.get(f"{self._stat}.version_text", "").strip('"'), said.get(f"{self._stat}.update_rejected", "0")

    def _why(self) -> str:
        """Envoy's admin page counts refusals; the reason is in its log alone, a moment later."""
        until = time.monotonic() + _LOG_SECONDS
        while time.monotonic() < until:
            said = self._log.read_bytes()[self._logged :].decode(errors="replace") if self._log.exists() else ""
            if _REJECTED in said:
                return said.split(_REJECTED, 1)[1].splitlines()[0].strip()
            time.sleep(0.02)
        return f"see {self._log}"

    def _rename(self, raw: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        part = self._path.with_name(f".{self._name}.part")
        part.write_bytes(raw)
        part.replace(self._path)
