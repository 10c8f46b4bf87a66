"""Nouns to JSON and back, without loss; unknown fields are refused by name."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mainspring.domain.errors import DataError

T = TypeVar("T")


def to_json(noun: Any, *, indent: int = 0) -> bytes:
    """A noun, or a list of nouns, as JSON with keys in field order."""
    raw = msgspec.json.encode(noun)
    return msgspec.json.format(raw, indent=indent) if indent else raw


def from_json(kind: type[T], raw: bytes | str) -> T:
    """Parse what `to_json` wrote; a `DataError` says what does not fit.

    >>> from mainspring.domain.dataset import Column
    >>> from_json(Column, to_json(Column("temp", "float")))
    Column(name='temp', type='float', nullable=True)
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataError(f"not a valid {getattr(kind, '__name__', kind)}: {error}") from error
