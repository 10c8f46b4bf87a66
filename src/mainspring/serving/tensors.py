"""Tensors as bytes: the binary tensor extension of REST and the raw contents of gRPC.

Numbers are little-endian in row-major order; a BYTES element is its length as a u32 and then the bytes. Source: the Open
Inference Protocol, "binary tensor data extension" and "raw tensor contents".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import msgspec

from mainspring.serving.checks import DATATYPES, shown, shown_shape
from mainspring.serving.errors import RequestError

Raw = bytes | memoryview

_LENGTH = struct.Struct("<I")
_NUMPY = {"BOOL": "<u1", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{'u' if sign else 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}


class Tensor(msgspec.Struct, gc=False):
    """An input as values, nested or flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class RawTensor(msgspec.Struct, gc=False):
    """An input as its bytes."""

    name: str
    shape: list[int]
    datatype: str
    data: Raw


AnyTensor = Tensor | RawTensor


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: Raw) -> Any:
    """A flat numpy array of numbers, or a list of texts, from a tensor's bytes.

    Errors: `RequestError` when the bytes are not as many as shape and datatype say, or are no UTF-8, or no booleans.

    >>> from_raw("wind", "FP32", [2], b"\\x00\\x00\\x80\\x3f\\x00\\x00\\x00\\x40")
    array([1., 2.], dtype=float32)
    >>> from_raw("town", "BYTES", [1], b"\\x03\\x00\\x00\\x00Ulm")
    ['Ulm']
    """
    if datatype not in DATATYPES:
        raise RequestError(f"datatype {shown(datatype)}", where=name, valid=", ".join(sorted(DATATYPES)))
    count = prod(shape)
    if datatype == "BYTES":
        return _texts(name, shape, count, raw)
    import numpy as np

    dtype = np.dtype(_NUMPY[datatype])
    if len(raw) != count * dtype.itemsize:
        raise RequestError(
            f"{len(raw)} bytes for shape {shown_shape(list(shape))} of {datatype}",
            where=name,
            valid=f"{count * dtype.itemsize} bytes",
        )
    array = np.frombuffer(raw, dtype)
    if datatype == "BOOL" and array.size and array.max() > 1:
        raise RequestError("a byte that is neither 0 nor 1 under BOOL", where=name, valid="0 or 1")
    return array


def doubles(values: Sequence[float]) -> bytes:
    """Values as a tensor of FP64.

    >>> doubles([1.0]).hex()
    '000000000000f03f'
    """
    return struct.pack(f"<{len(values)}d", *values)


def texts(values: Sequence[bytes], name: str) -> list[str]:
    """BYTES elements as text; a `RequestError` says which is no UTF-8."""
    found = []
    for place, value in enumerate(values):
        try:
            found.append(value.decode())
        except UnicodeDecodeError as error:
            raise RequestError(f"value {place} is not UTF-8", where=name, valid="text in UTF-8") from error
    return found


def _texts(name: str, shape: Sequence[int], count: int, raw: Raw) -> list[str]:
    data = bytes(raw)
    elements: list[bytes] = []
    position, whole = 0, True
    while position < len(data) and whole and len(elements) <= count:
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack_from(data, position)[0] if start <= len(data) else start
        whole = position <= len(data)
        elements.append(data[start:position])
    if not whole or len(elements) != count:
        raise RequestError(
            f"{len(raw)} bytes do not hold the elements of shape {shown_shape(list(shape))} of BYTES",
            where=name,
            valid=f"{count} elements, each its length as a little-endian u32 and then its bytes",
        )
    return texts(elements, name)
