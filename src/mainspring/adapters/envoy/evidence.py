"""`EnvoyEvidence`: requests by assigned arm, and failures that callers saw, from Envoy's access log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.envoy.access_log import ACCESS_LOG, failure, flags, is_prediction, user_error
from mainspring.adapters.envoy.tally import Tally
from mainspring.adapters.envoy.user_book import Place, UserBook
from mainspring.domain.log_record import ARMS, SegmentHeader, from_prediction, microseconds
from mainspring.domain.prediction import Prediction
from mainspring.domain.rollout import Arm, ArmCounts, EvidenceBatch, UserRound
from mainspring.domain.time import utc
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.settings.paths import ProjectPaths
from mainspring.settings.rollout import RolloutSettings
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    import pyarrow as pa

_POSITION = "failures.json"
_USERS = "users.db"
_LINES_AT_ONCE = 10_000


@dataclass
class _Place:
    """How far a file was read; the inode tells a new file from an old one of the same name."""

    inode: int = 0
    offset: int = 0


class EnvoyEvidence:
    """`MetricsSource` on the access log, read on from where it was left. Only requests for predictions count.

    Copies of requests (shadows) are counted for themselves. Latency is what the caller waited, fail-over included, or for
    a shadow what its answer took. Users are remembered in a file (`user_book`); without `writes` only what a loop wrote there
    is seen. With `replayed`, callers say when it is.
    """

    def __init__(
        self,
        paths: ProjectPaths,
        settings: RolloutSettings | None = None,
        *,
        replayed: bool = False,
        writes: bool = True,
    ) -> None:
        settings = settings or RolloutSettings()
        # Whose request it was is asked by who joins by it. Where nobody keeps his arm, a request is a unit of its own.
        by_request = settings.business is not None and settings.business.join == "request_id"
        self._requests_are_units = by_request and not settings.sticky_header
        self._book = UserBook(
            paths.proxy / _USERS,
            settings.user_window.total_seconds(),
            keeps_requests=by_request and not self._requests_are_units,
            writes=writes,
        )
        self._replayed, self._writes = replayed, writes
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

    def users(self, rollout_id: str) -> Sequence[UserRound]:
        """The rollout's users who were split by weight, round by round. Cohorts are not among them."""
        if self._writes:
            self._count_users(rollout_id)
        return self._book.rounds(rollout_id)

    def members(self, rollout_id: str, weight_percent: int) -> pa.Table:
        """Each user at that weight, oldest first: `user` (a hash, or the id of a request that is a unit of its own), `arm`,
        `since`, and the ids of his `requests` where they are kept."""
        return self._book.members(rollout_id, weight_percent)

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

    def _count_users(self, rollout_id: str) -> None:
        known = self._book.place()
        place = _Place(known.inode, known.offset)
        lines = self._new_lines(place)
        while some := list(islice(lines, _LINES_AT_ONCE)):
            split = [one for one in some if one["rollout"] == rollout_id and _is_split(one)]
            units = [(self._unit(one), microseconds(self._at(one)), one) for one in split]
            self._book.take(rollout_id, units, Place(place.inode, place.offset))

    def _unit(self, line: Mapping[str, Any]) -> str:
        return str((line["id"] if self._requests_are_units else line.get("user")) or "")

    def _at(self, line: dict[str, Any]) -> datetime:
        return _event_at(line if self._replayed else {**line, "event_at": None})

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
            if is_prediction(line):
                yield line


def _is_split(line: dict[str, Any]) -> bool:
    """Whether chance assigned it: no copy, no cohort."""
    if not _seen_by_caller(line) or line["arm"] not in ARMS or line["cohort"]:
        return False
    return 0 < int(line["weight"] or 0) < 100


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
        reason=f"{failure(line) or 'no answer'} {flags(line)}".strip(),
    )


def _event_at(line: dict[str, Any]) -> datetime:
    for text in (line["event_at"], line["at"]):
        try:
            return utc(datetime.fromisoformat(text))
        except (TypeError, ValueError):
            continue
    raise AssertionError("Envoy writes the time of every request")
