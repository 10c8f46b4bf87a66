"""`Concealment`: what of a row the prediction log does not get to see, before it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from mainspring.domain.log_record import LogRow, SegmentHeader
from mainspring.domain.prediction import Scalar

_DIGEST_BYTES = 16
_WITHHELD = " (its text is withheld, for it may hold what log.drop and log.hash keep out)"


class Concealment:
    """Columns that are left out, and columns of which only a keyed hash is written; features and entities alike.

    >>> one = Concealment(["name"], ["user"], b"k" * 32)
    >>> one.hashed("user", 7) == one.hashed("user", "7") == one.hashed("user", 7.0), one.hashed("user", None)
    (True, None)
    >>> one.hashed("user", 7) == one.hashed("friend", 7)
    False
    """

    def __init__(self, drop: Sequence[str], hash: Sequence[str], key: bytes) -> None:
        if not key:
            raise ValueError("a hash without a key is reversed by trying")
        self.drop = frozenset(drop)
        self.hash = frozenset(hash)
        self._key = key

    def hashed(self, column: str, value: Scalar) -> str | None:
        """The text that stands for a value of a column; None stays None. A number and its text are the same value."""
        if value is None:
            return None
        text = f"{column}\0{canonical(value)}"
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=_DIGEST_BYTES).hexdigest()

    def bound(self, header: SegmentHeader) -> tuple[SegmentHeader, Callable[[LogRow], LogRow]]:
        """The header as it is written, and what makes each row fit it."""
        features, entities = self._plan(header.features), self._plan(header.entities)
        kinds = dict(zip(header.features, header.kinds, strict=True))
        written = msgspec.structs.replace(
            header,
            features=tuple(name for _, name, _ in features),
            kinds=tuple("text" if hashed else kinds[name] for _, name, hashed in features),
            entities=tuple(name for _, name, _ in entities),
        )

        def conceal(row: LogRow) -> LogRow:
            reason = row.reason.split(":", 1)
            return msgspec.structs.replace(
                row,
                features=self._picked(row.features, features),
                entities=self._picked(row.entities, entities),
                reason=reason[0] + _WITHHELD if len(reason) > 1 else row.reason,
            )

        return written, conceal

    def _plan(self, names: Sequence[str]) -> list[tuple[int, str, bool]]:
        return [(place, name, name in self.hash) for place, name in enumerate(names) if name not in self.drop]

    def _picked(self, values: tuple[Scalar, ...], plan: list[tuple[int, str, bool]]) -> tuple[Scalar, ...]:
        # A row may have fewer values than its header has names.
        return tuple(
            self.hashed(name, values[place]) if hashed else values[place]
            for place, name, hashed in plan
            if place < len(values)
        )


def canonical(value: Scalar) -> str:
    """A value as text: 7, 7.0 and "7" are one value.

    >>> canonical(7.0), canonical(0.5), canonical("Ulm"), canonical(True)
    ('7', '0.5', 'Ulm', '1')
    """
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)
