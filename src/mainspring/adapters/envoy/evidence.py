"""`EnvoyEvidence`: requests by assigned arm, and failures that callers saw, from Envoy's access log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mainspring.adapters.envoy.bootstrap import ACCESS_LOG
from mainspring.adapters.envoy.tally import Tally, user_error
from mainspring.domain.log_record import ARMS, SegmentHeader, from_prediction
from mainspring.domain.prediction import Prediction
from mainspring.domain.rollout import Arm, ArmCounts, EvidenceBatch
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
    """`MetricsSource` on the access log, read on from where it was left. Only predictions (POST) count.

    Copies of requests (shadows) are counted for themselves. Latency is what the caller waited, fail-over included, or for
    a shadow what its answer took.
    """

    def __init__(self, paths: ProjectPaths) -> None:
        self._log = paths.proxy / ACCESS_LOG
        self._position = paths.proxy / _POSITION
        self._segments = paths.segments
        self._place = _Place()
        self._known: dict[str, Tally] = {}

    def counts(self, rollout_id: str) -> Mapping[Arm, ArmCounts]:
        """Counts since that rollout began, by assigned arm."""
        return self._tally(rollout_id).counts()

    def batches(self, rollout_id: str) -> Sequence[EvidenceBatch]:
        """The rollout's requests that were split by weight, in the order in which they ended, oldest first.

        A batch ends when it has `tally.BATCH_REQUESTS` or the weight changes: all but the last stay as they are. Cohorts are
        not among them: nobody knows the share of the traffic that they are.
        """
        return tuple(self._tally(rollout_id).batches())

    def shadows(self, rollout_id: str) -> ArmCounts:
        """The candidate's answers to copies of stable's requests. No user saw them, so there are no user errors."""
        return self._tally(rollout_id).shadows()

    def failed_attempts(self, rollout_id: str) -> Mapping[Arm, Mapping[str, int]]:
        """How often each arm's requests failed upstream, by status, or by Envoy's response flag where none came.

        An attempt at stable after the candidate's failed is the candidate's, too: it was assigned that request.
        """
        return {arm: dict(found) for arm, found in self._tally(rollout_id).failed_attempts.items()}

    def record_failures(self) -> int:
        """Write requests whose caller got no answer to the prediction log; returns how many.

        The position is written after the rows: a crash in between writes rows again that readers know already.
        """
        place = _Place(**json.loads(self._position.read_bytes())) if self._position.exists() else _Place()
        before = replace(place)
        failed = [_failure(line) for line in self._new_lines(place) if _seen_by_caller(line) and user_error(line)]
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

    def _tally(self, rollout_id: str) -> Tally:
        for line in self._new_lines(self._place):
            if line["arm"] in ARMS:
                self._known.setdefault(line["rollout"] or "", Tally()).add(line)
        return self._known.get(rollout_id, Tally())

    def _new_lines(self, place: _Place) -> Iterator[dict[str, Any]]:
        if not self._log.exists():
            return
        inode = self._log.stat().st_ino
        if place.inode != inode:
            old = self._log.with_suffix(".log.1")
            # Who starts from nothing reads the older part first: a rollout may have begun there.
            if old.exists() and place.inode in (0, old.stat().st_ino):
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


def _seen_by_caller(line: dict[str, Any]) -> bool:
    return "failed_attempt" not in line and line["role"] != "shadow"


def _failure(line: dict[str, Any]) -> Prediction:
    arm: Arm = "candidate" if line["arm"] == "candidate" else "stable"
    return Prediction(
        request_id=line["id"] or "",
        version="",
        role="primary",
        arm=arm,
        outcome="failed",
        event_at=_event_at(line),
        latency_seconds=(line["us"] or 0) / 1e6,
        reason=f"{line['code'] or 'no answer'} {line['flags'] or ''}".strip(),
    )


def _event_at(line: dict[str, Any]) -> datetime:
    for text in (line["event_at"], line["at"]):
        try:
            return utc(datetime.fromisoformat(text))
        except (TypeError, ValueError):
            continue
    raise AssertionError("Envoy writes the time of every request")
