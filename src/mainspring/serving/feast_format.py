"""Feast's own bytes, without Feast: entity keys (serialisation version 3) and protobuf values.

Feast takes seconds to import and its SDK answers a few hundred requests a second; what it stores is a documented,
stable format: `feast/infra/key_encoding_utils.py` and `protos/feast/types/Value.proto`. A test holds this module
against `get_online_features`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mainspring.domain.errors import DataError

EntityValue = str | int | bytes
FeatureValue = str | int | float | bool | bytes | None

BYTES, STRING, INT32, INT64, UNIX_TIMESTAMP = 1, 2, 3, 4, 8
DUMMY_JOIN_KEY = "__dummy_id"
"""The join key of views without entities; its value is the empty string."""

_U32 = struct.Struct("<I")
_TWO_U32 = struct.Struct("<II")
_PACK_INT = {INT32: struct.Struct("<i"), INT64: struct.Struct("<q"), UNIX_TIMESTAMP: struct.Struct("<q")}
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")

# Fields of feast.types.Value that hold one value: numbers by wire format.
_TEXT_FIELDS = {2, 32, 36, 37, 44}
_SIGNED_FIELDS = {3, 4, 8}
_NULL_FIELD = 19


def key_prefix(join_keys: Sequence[str]) -> bytes:
    """The part of an entity key that its join keys make; they are sorted."""
    parts = [_U32.pack(len(join_keys))]
    for name in sorted(join_keys):
        raw = name.encode()
        parts += [_TWO_U32.pack(STRING, len(raw)), raw]
    return b"".join(parts)


def encode_value(kind: int, value: EntityValue) -> bytes:
    """One value of an entity key, of the value type `kind`; a `ValueError` when it does not fit that type."""
    if kind == STRING:
        raw = value.encode() if isinstance(value, str) else str(value).encode()
    elif kind == BYTES:
        raw = value if isinstance(value, bytes) else str(value).encode()
    elif kind in _PACK_INT:
        try:
            raw = _PACK_INT[kind].pack(int(value))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{value!r} does not fit the entity key's integer type") from error
    else:
        raise ValueError(f"entity keys of Feast's value type {kind} are not supported")
    return _TWO_U32.pack(kind, len(raw)) + raw


def value_kinds(entity_key: bytes) -> tuple[int, ...]:
    """The value types in a stored entity key, in the order of the sorted join keys."""
    (count,) = _U32.unpack_from(entity_key, 0)
    position = 4
    kinds: list[int] = []
    for _ in range(count):
        _, length = _TWO_U32.unpack_from(entity_key, position)
        position += 8 + length
    while position < len(entity_key):
        kind, length = _TWO_U32.unpack_from(entity_key, position)
        kinds.append(kind)
        position += 8 + length
    return tuple(kinds)


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    shift = result = 0
    while True:
        byte = raw[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7


def decode_value(raw: bytes) -> FeatureValue:
    """A serialised `feast.types.Value` that holds one value; None for null and for an empty message.

    Errors: `DataError` for lists, sets, maps and structs: a model's feature is one value.

    >>> decode_value(bytes([0x18, 3])), decode_value(b"")
    (3, None)
    """
    value: FeatureValue = None
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        number, wire = tag >> 3, tag & 7
        if wire == 1:
            value = _DOUBLE.unpack_from(raw, position)[0]
            position += 8
        elif wire == 5:
            value = _FLOAT.unpack_from(raw, position)[0]
            position += 4
        elif wire == 0:
            unsigned, position = _varint(raw, position)
            value = _from_varint(number, unsigned)
        elif wire == 2:
            length, position = _varint(raw, position)
            content = raw[position : position + length]
            position += length
            if number in _TEXT_FIELDS:
                value = content.decode()
            elif number == 1:
                value = content
            else:
                raise DataError(f"a feature that holds a list, a set or a map (field {number} of Feast's Value)")
        else:
            raise DataError(f"bytes that are no value of Feast's (wire type {wire})")
    return value


def _from_varint(number: int, unsigned: int) -> FeatureValue:
    if number in _SIGNED_FIELDS:
        return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
    if number == _NULL_FIELD:
        return None
    return bool(unsigned)
