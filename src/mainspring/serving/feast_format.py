"""Feast's own bytes, without Feast: entity keys (serialisation version 3) and protobuf values.

Feast takes seconds to import and its SDK answers a few hundred requests a second; what it stores is a documented,
stable format: `feast/infra/key_encoding_utils.py` and `protos/feast/types/Value.proto`. A test holds this module
against `get_online_features`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from mainspring.domain.errors import DataError
from mainspring.serving.config import KeyType, OnlineView

EntityValue = str | int | float | bytes
FeatureValue = str | int | float | bool | bytes | list[Any] | None

BYTES, STRING, INT32, INT64, UNIX_TIMESTAMP = 1, 2, 3, 4, 8
_KINDS: dict[KeyType, int] = {
    "BYTES": BYTES, "STRING": STRING, "INT32": INT32, "INT64": INT64, "UNIX_TIMESTAMP": UNIX_TIMESTAMP
}  # fmt: skip
DUMMY_JOIN_KEY = "__dummy_id"
"""The join key of views without entities; its value is the empty string."""

_U32 = struct.Struct("<I")
_TWO_U32 = struct.Struct("<II")
_PACK_INT = {INT32: struct.Struct("<i"), INT64: struct.Struct("<q"), UNIX_TIMESTAMP: struct.Struct("<q")}
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_DOUBLE_TAG = 0x29
"""Field 5 of Feast's Value, wire type 1."""

# Fields of feast.types.Value by number. Texts are also maps, JSON, UUIDs and decimals, which Feast gives as text.
_TEXT_FIELDS = {2, 32, 36, 37, 44}
_SIGNED_FIELDS = {3, 4, 8}
_NULL_FIELD = 19
_NULL_INSTANT = -(1 << 63)
"""What Feast writes for an instant that is null."""
_LIST_FIELDS: dict[int, int] = {11: 1, 12: 2, 13: 3, 14: 4, 15: 5, 16: 6, 17: 7, 18: 8}
"""Lists, by the field that holds one such value."""


class KeyEncoder:
    """Entity keys of one view as Feast serialises them (version 3): sorted join keys, then their values."""

    def __init__(self, view: OnlineView) -> None:
        names = view.entities or (DUMMY_JOIN_KEY,)
        types: Sequence[KeyType] = view.key_types or ["STRING"] * len(names)
        self._order = sorted(range(len(names)), key=names.__getitem__)
        self._kinds = [_KINDS[types[place]] for place in self._order]
        self._prefix = key_prefix(names)
        self._dummy = not view.entities
        self._one_text = self._kinds == [STRING]

    def encode(self, keys: Sequence[EntityValue]) -> bytes | None:
        """The key's bytes; None for a value that the key's type cannot hold: no such entity is there.

        >>> KeyEncoder(OnlineView("v", ("shop", "day"), (), key_types=("STRING", "INT64"))).encode(("a", "x"))
        """
        if self._dummy:
            keys = ("",)
        if self._one_text and type(keys[0]) is str:
            raw = keys[0].encode()
            return self._prefix + _TWO_U32.pack(STRING, len(raw)) + raw
        try:
            return self._prefix + b"".join(
                [encode_value(kind, keys[place]) for kind, place in zip(self._kinds, self._order, strict=True)]
            )
        except ValueError:
            return None


def key_prefix(join_keys: Sequence[str]) -> bytes:
    """The part of an entity key that its join keys make; they are sorted."""
    parts = [_U32.pack(len(join_keys))]
    for name in sorted(join_keys):
        raw = name.encode()
        parts += [_TWO_U32.pack(STRING, len(raw)), raw]
    return b"".join(parts)


def encode_value(kind: int, value: EntityValue) -> bytes:
    """One value of an entity key, of the value type `kind`; a `ValueError` when it does not fit that type."""
    if type(value) is float:
        # A column that is also an input of the model comes as floats.
        if not value.is_integer():
            raise ValueError(f"{value!r} is no entity key")
        value = int(value)
    if kind == STRING:
        raw = value.encode() if isinstance(value, str) else str(value).encode()
    elif kind == BYTES:
        raw = value if isinstance(value, bytes) else str(value).encode()
    else:
        try:
            raw = _PACK_INT[kind].pack(int(value))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{value!r} does not fit the entity key's integer type") from error
    return _TWO_U32.pack(kind, len(raw)) + raw


def decode_value(raw: bytes) -> FeatureValue:
    """A serialised `feast.types.Value`: one value, or a list of values; None for null and for an empty message.

    Errors: `DataError` for sets, maps and structs, and for bytes that are no such message.

    >>> decode_value(bytes([0x18, 3])), decode_value(b""), decode_value(bytes([0x72, 4, 10, 2, 1, 2]))
    (3, None, [1, 2])
    """
    # Most features are doubles, and in the request path every microsecond counts.
    if len(raw) == 9 and raw[0] == _DOUBLE_TAG:
        value: float = _DOUBLE.unpack_from(raw, 1)[0]
        return value
    try:
        return _decode(raw)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise DataError(f"bytes that are no value of Feast's: {error}") from error


def decode_instant(raw: bytes) -> int:
    """A serialised `google.protobuf.Timestamp` as microseconds since 1970 UTC.

    >>> decode_instant(bytes([8, 2, 16, 0xD0, 0x0F]))
    2000002
    """
    seconds = nanos = 0
    for number, value in _fields(raw):
        if number == 1:
            seconds = _signed(value)
        elif number == 2:
            nanos = _signed(value)
    return seconds * 1_000_000 + nanos // 1_000


def _decode(raw: bytes) -> FeatureValue:
    value: FeatureValue = None
    for number, found in _fields(raw):
        value = _decode_list(found, _LIST_FIELDS[number]) if number in _LIST_FIELDS else _one(number, found)
    return value


def _decode_list(raw: bytes, number: int) -> list[Any]:
    """A list message: its field 1 is repeated, numbers packed into one piece."""
    values: list[Any] = []
    for _, piece in _fields(raw):
        if number in (1, 2) or not isinstance(piece, bytes):
            values.append(_one(number, piece))
        elif number in (5, 6):
            width, struct_ = (8, _DOUBLE) if number == 5 else (4, _FLOAT)
            values += [struct_.unpack_from(piece, at)[0] for at in range(0, len(piece), width)]
        else:
            at = 0
            while at < len(piece):
                unsigned, at = _varint(piece, at)
                values.append(_one(number, unsigned))
    return values


def _one(number: int, found: Any) -> Any:
    if isinstance(found, float):
        return found
    if isinstance(found, int):
        if number == _NULL_FIELD:
            return None
        if number in _SIGNED_FIELDS:
            signed = _signed(found)
            return None if number == UNIX_TIMESTAMP and signed == _NULL_INSTANT else signed
        return bool(found)
    if number in _TEXT_FIELDS:
        return found.decode()
    if number == 1:
        return found
    raise DataError(f"a feature that holds a set, a map or a struct (field {number} of Feast's Value)")


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers with floats, unsigned integers or bytes."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(raw, position)
            yield tag >> 3, value
        elif wire == 1:
            yield tag >> 3, _DOUBLE.unpack_from(raw, position)[0]
            position += 8
        elif wire == 5:
            yield tag >> 3, _FLOAT.unpack_from(raw, position)[0]
            position += 4
        elif wire == 2:
            length, position = _varint(raw, position)
            if position + length > len(raw):
                raise DataError("bytes that are no value of Feast's: they are cut off")
            yield tag >> 3, raw[position : position + length]
            position += length
        else:
            raise DataError(f"bytes that are no value of Feast's (wire type {wire})")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    shift = result = 0
    while True:
        byte = raw[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7


def _signed(unsigned: int) -> int:
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
