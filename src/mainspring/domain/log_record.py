"""The prediction log's segment format: bytes of a header and of rows, and back; without files.

A segment is `MAGIC`, then frames. A frame is the payload's length and CRC-32 (two little-endian u32) and the payload.
The first payload is the `SegmentHeader` as JSON: everything that is the same for all rows. Every other payload is one
`LogRow` as MessagePack. A frame that was cut off, or whose checksum does not fit, ends what can be read.

The writer (serving) and the reader (prediction_log) meet only here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from mainspring.domain.errors import DataError
from mainspring.domain.prediction import Outcome, Prediction, Scalar
from mainspring.domain.rollout import Arm, Role

MAGIC = b"MSPL1\n"
ARMS: tuple[Arm, ...] = ("stable", "candidate")
ROLES: tuple[Role, ...] = ("primary", "shadow", "batch")
OUTCOMES: tuple[Outcome, ...] = ("answered", "failed")
ColumnKind = Literal["number", "text"]

_FRAME = struct.Struct("<II")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_PAYLOAD = 64 * 1024 * 1024


class SegmentHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all rows of a segment share. `kinds` belong to `features`; `views` name the ages of each row."""

    version: str
    build: str
    features: tuple[str, ...] = ()
    kinds: tuple[ColumnKind, ...] = ()
    entities: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    format: int = 1


class LogRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answer or failure, lean: arm, role and outcome are positions in `ARMS`, `ROLES`, `OUTCOMES`.

    Times are microseconds since 1970 UTC, the latency is in microseconds; `features`, `entities` and `ages` (seconds)
    are in the header's order, None where there is none.
    """

    request_id: str
    role: int
    arm: int
    outcome: int
    event_at: int
    latency: int
    output: tuple[float, ...]
    features: tuple[Scalar, ...] = ()
    entities: tuple[Scalar, ...] = ()
    ages: tuple[float | None, ...] = ()
    flags: tuple[str, ...] = ()
    cohort: str = ""
    reason: str = ""
    version: str = ""
    build: str = ""


_row_decoder = msgspec.msgpack.Decoder(LogRow)


def frame(payload: bytes) -> bytes:
    """The payload behind its length and checksum."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def open_segment(header: SegmentHeader) -> bytes:
    """The bytes a segment begins with."""
    return MAGIC + frame(msgspec.json.encode(header))


def encode_row(row: LogRow) -> bytes:
    """One row as a frame."""
    return frame(msgspec.msgpack.encode(row))


def decode_row(payload: bytes) -> LogRow:
    """A frame's payload as a row; a `DataError` when it is none."""
    try:
        return _row_decoder.decode(payload)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataError(f"a row of the prediction log cannot be read: {error}") from error


def frames(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Whole frames from `start` on, each with the position after it; ends at the first that is not whole.

    >>> data = frame(b"one") + frame(b"two")
    >>> [payload for _, payload in frames(data)], [payload for _, payload in frames(data[:-1])]
    ([b'one', b'two'], [b'one'])
    """
    position = start
    while position + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, position)
        end = position + _FRAME.size + length
        if length == 0 or length > _LONGEST_PAYLOAD or end > len(data):
            return
        payload = data[position + _FRAME.size : end]
        if zlib.crc32(payload) != checksum:
            return
        yield end, payload
        position = end


def read_header(data: bytes) -> tuple[SegmentHeader, int] | None:
    """The header and the position of the first row; None while the header is not whole.

    Errors: `DataError` when the bytes are no segment.
    """
    if not data.startswith(MAGIC[: len(data)]):
        raise DataError("this is not a segment of the prediction log", valid=f"a file that begins with {MAGIC!r}")
    for end, payload in frames(data, len(MAGIC)):
        try:
            return msgspec.json.decode(payload, type=SegmentHeader), end
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise DataError(f"a segment's header cannot be read: {error}") from error
    return None


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (at - _EPOCH) // timedelta(microseconds=1)


def to_prediction(header: SegmentHeader, row: LogRow) -> Prediction:
    """A row with its header's names."""
    return Prediction(
        request_id=row.request_id,
        version=row.version or header.version,
        role=ROLES[row.role],
        arm=ARMS[row.arm],
        outcome=OUTCOMES[row.outcome],
        event_at=_EPOCH + timedelta(microseconds=row.event_at),
        output=row.output,
        cohort=row.cohort,
        entities=dict(zip(header.entities, row.entities, strict=False)),
        features=dict(zip(header.features, row.features, strict=False)),
        feature_age_seconds={view: age for view, age in zip(header.views, row.ages, strict=False) if age is not None},
        flags=row.flags,
        latency_seconds=row.latency / 1e6,
        reason=row.reason,
        build=row.build or header.build,
    )


def from_prediction(header: SegmentHeader, prediction: Prediction) -> LogRow:
    """A prediction as a row below `header`; features, entities and views that the header does not name are left out."""
    return LogRow(
        request_id=prediction.request_id,
        role=ROLES.index(prediction.role),
        arm=ARMS.index(prediction.arm),
        outcome=OUTCOMES.index(prediction.outcome),
        event_at=microseconds(prediction.event_at),
        latency=round(prediction.latency_seconds * 1e6),
        output=prediction.output,
        features=tuple(prediction.features.get(name) for name in header.features),
        entities=tuple(prediction.entities.get(name) for name in header.entities),
        ages=tuple(prediction.feature_age_seconds.get(name) for name in header.views),
        flags=prediction.flags,
        cohort=prediction.cohort,
        reason=prediction.reason,
        version=prediction.version,
        build=prediction.build,
    )
