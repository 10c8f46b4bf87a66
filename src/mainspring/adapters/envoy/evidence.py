"""`EnvoyEvidence`: requests by assigned arm, and failures that callers saw, from Envoy's access log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.envoy.router import ACCESS_LOG
from mainspring.domain.log_record import ARMS, SegmentHeader, from_prediction
from mainspring.domain.prediction import Prediction
from mainspring.domain.rollout import Arm, ArmCounts
from mainspring.domain.time import utc
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths
from mainspring.telemetry.logs import Log

_POSITION = "failures.json"


@dataclass
class _Place:
    """How far a file was read; the inode tells a new file from an old one of the same name."""

    inode: int = 0
    offset: int = 0


class EnvoyEvidence:
    """`MetricsSource` on the access log, read on from where it was left. Only predictions (POST) count."""

    def __init__(self, paths: ProjectPaths) -> None:
        self._log = paths.proxy / ACCESS_LOG
        self._position = paths.proxy / _POSITION
        self._segments = paths.segments
        self._place = _Place()
        self._counts: dict[str, dict[Arm, ArmCounts]] = {}

    def counts(self, rollout_id: str) -> Mapping[Arm, ArmCounts]:
        """Counts since that rollout began, by assigned arm."""
        for line in self._new_lines(self._place):
            self._add(line)
        return dict(self._counts.get(rollout_id, {}))

    def record_failures(self) -> int:
        """Write requests whose caller got no answer to the prediction log; returns how many.

        The position is written after the rows: a crash in between writes rows again that readers know already.
        """
        place = _Place(**json.loads(self._position.read_bytes())) if self._position.exists() else _Place()
        before = replace(place)
        failed = [_failure(line) for line in self._new_lines(place) if _user_error(line)]
        if failed:
            header = SegmentHeader("", "")
            writer = SegmentWriter(self._segments, header)
            writer.append([from_prediction(header, one) for one in failed])
            writer.rotate()
        if place != before:
            part = self._position.with_suffix(".part")
            part.write_text(json.dumps({"inode": place.inode, "offset": place.offset}), encoding="ascii")
            part.replace(self._position)
        return len(failed)

    def _add(self, line: dict[str, Any]) -> None:
        arm = line["arm"]
        if arm not in ARMS:
            return
        counts = self._counts.setdefault(line["rollout"] or "", {})
        upstream = _user_error(line) or (line["attempts"] or 0) > 1
        counts[arm] = counts.get(arm, ArmCounts()) + ArmCounts(
            1, int(upstream), int(_user_error(line)), (line["ms"] or 0) / 1000
        )

    def _new_lines(self, place: _Place) -> Iterator[dict[str, Any]]:
        if not self._log.exists():
            return
        inode = self._log.stat().st_ino
        if place.inode and place.inode != inode:
            old = self._log.with_suffix(".log.1")
            if old.exists() and old.stat().st_ino == place.inode:
                yield from _read(old, place)
            place.offset = 0
        place.inode = inode
        yield from _read(self._log, place)


def _read(path: Path, place: _Place) -> Iterator[dict[str, Any]]:
    with path.open("rb") as log:
        log.seek(place.offset)
        for raw in log:
            if not raw.endswith(b"\n"):
                return  # still being written
            place.offset += len(raw)
            try:
                line = json.loads(raw)
            except ValueError:
                # An Envoy that was killed may leave half a line, and the next one goes on behind it.
                Log().warning("a line of the access log cannot be read", path=str(path), offset=place.offset)
                continue
            if line["method"] == "POST":
                yield line


def _user_error(line: dict[str, Any]) -> bool:
    code = line["code"] or 0
    return bool(code == 0 or code >= 500)


def _failure(line: dict[str, Any]) -> Prediction:
    arm: Arm = "candidate" if line["arm"] == "candidate" else "stable"
    return Prediction(
        request_id=line["id"] or "",
        version="",
        role="primary",
        arm=arm,
        outcome="failed",
        event_at=_event_at(line),
        latency_seconds=(line["ms"] or 0) / 1000,
        reason=f"{line['code'] or 'no answer'} {line['flags'] or ''}".strip(),
    )


def _event_at(line: dict[str, Any]) -> datetime:
    for text in (line["event_at"], line["at"]):
        try:
            return utc(datetime.fromisoformat(text))
        except (TypeError, ValueError):
            continue
    raise AssertionError("Envoy writes the time of every request")
