"""Many rows at once, answered as a predictor answers each of them: the same checks, the same missing values, the same model.

What a predictor looks up in the online store comes from the caller here, as it was known at each row's own instant.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature
from mainspring.serving.columns import Columns, ColumnTable, is_text
from mainspring.serving.errors import ModelFailed, RequestError
from mainspring.serving.lookup import Lookup, Reason
from mainspring.serving.missing import Missing
from mainspring.serving.on_demand import OnDemand
from mainspring.serving.runtime import Output, Runtime
from mainspring.serving.tensors import Tensor

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class BatchAnswers:
    """Answers to a batch's rows in their order, without those that were refused.

    `places` are the answered rows' places in the batch; `rows`, `entities`, `flags` and `outputs` are theirs. `refused` has
    the place of each other row, and what a caller would have been told.
    """

    places: list[int] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    entities: list[tuple[Any, ...]] = field(default_factory=list)
    flags: list[list[str]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


class _Uncounted:
    """A batch has no metrics page: the flags of its rows say what was missing."""

    def feature(self, reason: Reason, place: int) -> None:
        """Nothing."""

    def store_failed(self) -> None:
        """Nothing."""


class BatchPredictor:
    """One model version. `entities` are the columns with entity keys; `policies` say what becomes of a missing feature;
    `on_demand` are the version's own on-demand views."""

    def __init__(
        self,
        card: ModelCard,
        runtime: Runtime,
        entities: Sequence[str],
        policies: Sequence[Missing],
        on_demand: OnDemand | None = None,
    ) -> None:
        self.features = card.signature.features
        self.entities = tuple(entities)
        self._runtime = runtime
        self._lookup = Lookup(card.signature, (), None, policies, entities, _Uncounted(), on_demand)
        own = {one.name for one in self.features}
        keys = [name for name in entities if name not in own]
        self._table = ColumnTable(card.signature, keys, max_rows=sys.maxsize, largest=runtime.largest)
        self._kinds = {one.name: "BYTES" if is_text(one) else "FP64" for one in self.features}

    def answer(self, sent: Mapping[str, list[Any]], looked_up: Columns) -> BatchAnswers:
        """Answers to rows whose columns a caller sends, and whose other features were looked up for them.

        Where a row is refused, each is asked for itself, so that the others are answered. Errors: `ModelFailed` when the
        model itself raises.
        """
        count = len(next(iter(sent.values()), next(iter(looked_up.values()), [])))
        found = BatchAnswers()
        if not count:
            return found
        try:
            self._take(range(count), sent, looked_up, found)
        except ModelFailed:
            raise
        except RequestError:
            found = BatchAnswers()
            for place in range(count):
                try:
                    self._take(range(place, place + 1), sent, looked_up, found)
                except ModelFailed:
                    raise
                except RequestError as error:
                    found.refused.append((place, error.text))
        return found

    def _take(self, places: range, sent: Mapping[str, list[Any]], looked_up: Columns, found: BatchAnswers) -> None:
        own = slice(places.start, places.stop)
        columns: Columns = {}
        if sent:
            tensors = [
                Tensor(name, [len(places)], self._kinds.get(name, "BYTES"), values[own])
                for name, values in sent.items()
            ]
            _, columns = self._table.from_tensors(tensors)
        # Not through the table: what was looked up may be missing where what is sent may not.
        columns |= {name: values[own] for name, values in looked_up.items()}
        looked = self._lookup.fill(len(places), columns, 0)
        if looked.failure:
            raise RequestError(looked.failure)
        try:
            outputs = self._runtime.predict(looked.rows)
        except Exception as error:  # a project's own model may raise anything
            raise ModelFailed(f"the model failed: {type(error).__name__}: {error}") from error
        for place, row, entities, flags, output in zip(
            places, looked.rows, looked.entities, looked.flags, outputs, strict=True
        ):
            if not all(math.isfinite(value) for value in output):
                found.refused.append((place, "the model gave no number"))
                continue
            found.places.append(place)
            found.rows.append(row)
            found.entities.append(entities)
            found.flags.append(flags)
            found.outputs.append(output)


def sent_values(column: pa.ChunkedArray, feature: Feature | None) -> list[Any]:
    """A file's column as a caller would send it: text for text, numbers for numbers, keys as they are; null is None.

    What is no number stays as it is, for the check to refuse it by row.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8()) if feature is not None and not is_text(feature) else column
    try:
        if feature is None:
            column = column if text or pa.types.is_integer(kind) else column.cast(pa.string())
        else:
            column = column.cast(pa.string() if is_text(feature) else pa.float64())
        values: list[Any] = column.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [_number(one) if isinstance(one, str | None) else str(one) for one in column.to_pylist()]
    return values


def looked_up_values(column: pa.ChunkedArray, feature: Feature | None) -> list[Any]:
    """A joined feature's column as the online store would give it: floats with NaN, or text with None; what only an
    on-demand view looks at (no `feature` of the model's) as it is."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if feature is None:
        as_it_is: list[Any] = column.to_pylist()
        return as_it_is
    if pa.types.is_boolean(column.type) and not is_text(feature):
        column = column.cast(pa.uint8())
    column = column.cast(pa.string()) if is_text(feature) else column.cast(pa.float64()).fill_null(math.nan)
    values: list[Any] = column.to_pylist()
    return values


def _number(text: str | None) -> Any:
    """The number that a text is; `true` and `false`, as files write them, are numbers, too; else the text itself."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.strip().lower(), text)
