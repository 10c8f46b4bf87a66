"""Checks of the values of one column; every refusal names the column, what came and what would be taken.

Lists come from JSON and typed gRPC contents and are checked value by value; arrays come from tensors sent as bytes and
are checked by numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

from mainspring.serving.errors import RequestError

Check = Callable[[str, list[Any], bool], list[Any]]

INTEGER_LIMITS = {
    f"{sign}INT{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
"""Smallest and largest value of each integer datatype."""
FLOATS = frozenset({"FP16", "FP32", "FP64"})
DATATYPES = frozenset({"BOOL", "BYTES", *INTEGER_LIMITS, *FLOATS})
FLOAT32_LARGEST = 3.4028234663852886e38
FLOAT64_LARGEST = 1.7976931348623157e308
_TEXT = frozenset({"BYTES"})
_MOST_SHOWN = 40
_KEY_SMALLEST, _KEY_LARGEST = INTEGER_LIMITS["INT64"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the model's interface. `datatype` is what metadata recommends.

    `text` columns take BYTES, `key` columns (entity keys) BYTES or integers, all others numbers up to `largest`.
    """

    name: str
    text: bool
    datatype: str
    check: Check
    nullable: bool = False
    key: bool = False
    largest: float = FLOAT64_LARGEST

    @property
    def datatypes(self) -> tuple[str, ...]:
        """Every datatype that the column takes.

        >>> Column("town", True, "BYTES", check_text).datatypes
        ('BYTES',)
        """
        integers = tuple(INTEGER_LIMITS)
        if self.key:
            return ("BYTES", *integers)
        return ("BYTES",) if self.text else ("BOOL", *integers, *sorted(FLOATS))


def shown(value: Any) -> str:
    """A value as messages show it: short, whatever was sent.

    >>> shown("x" * 99), shown([[[]]])
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'...", 'a list')
    """
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value[:_MOST_SHOWN] if isinstance(value, str) else value)
    return text if len(str(value)) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN + 2]}..."


def shown_shape(shape: list[int]) -> str:
    """A shape as messages show it.

    >>> shown_shape([2, 1]), shown_shape([1] * 99)
    ('[2, 1]', '[1, 1, 1, ...] of 99 dimensions')
    """
    return str(shape) if len(shape) < 4 else f"[{', '.join(map(str, shape[:3]))}, ...] of {len(shape)} dimensions"


def check_datatype(column: Column, datatype: str) -> None:
    """Refuse a datatype that is none, or that the column does not take."""
    if datatype not in DATATYPES:
        raise RequestError(f"datatype {shown(datatype)}", where=column.name, valid=", ".join(column.datatypes))
    if datatype in FLOATS or datatype == "BOOL":
        fits = not column.text
    elif datatype == "BYTES":
        fits = column.text
    else:
        fits = not column.text or column.key
    if not fits:
        raise RequestError(f"datatype {datatype}", where=column.name, valid=", ".join(column.datatypes))


def check_list(column: Column, datatype: str, data: list[Any]) -> list[Any]:
    """A flat list under a datatype, as the model takes it."""
    if datatype in (_TEXT if column.text else FLOATS):
        return column.check(column.name, data, column.nullable)
    check_datatype(column, datatype)
    if datatype in INTEGER_LIMITS:
        low, high = INTEGER_LIMITS[datatype]
        for value in data:
            if value is not None and (type(value) is not int or not low <= value <= high):
                raise RequestError(
                    f"{shown(value)} under {datatype}", where=column.name, valid=f"integers from {low} to {high}"
                )
    elif datatype == "BOOL":
        for value in data:
            if type(value) is not bool and value is not None:
                raise RequestError(f"{shown(value)} under BOOL", where=column.name, valid="true or false")
    return column.check(column.name, data, column.nullable)


def check_array(column: Column, datatype: str, array: Any) -> list[Any]:
    """A one-dimensional numpy array of numbers, as the model takes it: floats, or an entity's integer keys."""
    import numpy as np

    check_datatype(column, datatype)
    if column.key:
        return column.check(column.name, array.tolist(), False)
    numbers = array.astype(np.float64)
    # One comparison finds what is not ordinary; NaN and infinities fail it.
    odd = ~(np.abs(numbers) <= column.largest)
    for value in numbers[odd].tolist():
        _odd_number(column.name, value, column.nullable, column.largest)
    listed: list[Any] = numbers.tolist()
    return listed


def number_check(largest: float) -> Check:
    """A check for numbers up to `largest` in size, beyond which the model's own arithmetic has no finite number.

    >>> number_check(FLOAT32_LARGEST)("temp", [1, 2.5, None], True)
    [1.0, 2.5, nan]
    """

    def check(name: str, data: list[Any], nullable: bool) -> list[Any]:
        out: list[Any] = []
        for value in data:
            kind = type(value)
            # One comparison lets every ordinary number through; NaN and infinities fail it.
            if kind is float and -largest <= value <= largest:
                out.append(value)
            elif kind is int or kind is bool:
                out.append(_from_integer(name, value, largest))
            elif value is None or kind is float:
                out.append(_odd_number(name, value, nullable, largest))
            else:
                raise RequestError(
                    f"{shown(value)} is not a number", where=name, valid=f"a number{', or null' if nullable else ''}"
                )
        return out

    return check


def check_text(name: str, data: list[Any], nullable: bool) -> list[Any]:
    """Text, and null where training saw null."""
    for value in data:
        if type(value) is not str:
            if value is None:
                if nullable:
                    continue
                raise RequestError("null, which training never saw here", where=name, valid="text")
            raise RequestError(
                f"{shown(value)} is not text", where=name, valid=f"text{', or null' if nullable else ''}"
            )
    return data


def check_key(name: str, data: list[Any], nullable: bool) -> list[Any]:
    """An entity's keys: text, or integers as a feature store keeps them."""
    for value in data:
        if type(value) is str or (type(value) is int and _KEY_SMALLEST <= value <= _KEY_LARGEST):
            continue
        raise RequestError(f"{shown(value)} is no entity key", where=name, valid="text or an integer of 64 bits")
    return data


def _from_integer(name: str, value: int, largest: float) -> float:
    # Compared as an integer: one of 400 digits has no float.
    if -largest <= value <= largest:
        return float(value)
    raise _too_large(name, largest)


def _odd_number(name: str, value: float | None, nullable: bool, largest: float) -> float:
    if value is None or value != value:  # noqa: PLR0124  # NaN is the one value that is not itself
        if nullable:
            return nan
        raise RequestError("null or NaN, which training never saw here", where=name, valid="a number")
    raise _too_large(name, largest)


def _too_large(name: str, largest: float) -> RequestError:
    return RequestError(
        "an infinite number, or one that the model cannot hold", where=name, valid=f"a number up to {largest:.6g}"
    )
