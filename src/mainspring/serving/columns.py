"""From what a caller sent to checked columns: names, types, shapes and missing values, by the model's signature.

A column is a feature, an entity key, or `request_id`. Numbers become floats (NaN when missing), text stays text (None
when missing). Every refusal names the column.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isinf, nan, prod
from typing import Any

from mainspring.domain.model_version import Feature, Signature
from mainspring.serving.errors import RequestError

REQUEST_ID = "request_id"
"""A column that a caller may send to give every row an id of its own."""

Columns = dict[str, list[Any]]
Check = Callable[[str, list[Any], bool], list[Any]]

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
DATATYPES = frozenset({"BOOL", "BYTES"}) | _INTEGERS | _FLOATS


def is_text(feature: Feature) -> bool:
    """Whether the model takes the feature as text."""
    return feature.type in ("str", "category")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the model's interface. `datatype` is what metadata recommends."""

    name: str
    text: bool
    datatype: str
    check: Check
    nullable: bool


class ColumnTable:
    """The columns that a model takes, by name, and the two ways to read them from a request."""

    def __init__(self, signature: Signature, entities: Sequence[str], *, max_rows: int) -> None:
        self.features = [_feature_column(feature) for feature in signature.features]
        self.entities = [Column(name, True, "BYTES", _check_key, False) for name in entities]
        own = Column(REQUEST_ID, True, "BYTES", _check_text, False)
        self._by_name = {column.name: column for column in (own, *self.entities, *self.features)}
        self._matrix = all(not column.text for column in self.features)
        self._max_rows = max_rows

    def from_tensors(self, tensors: Sequence[Any]) -> tuple[int, Columns]:
        """OIP v2 inputs (name, shape, datatype, data) as columns, with the number of rows.

        One numeric input of shape [rows, features] whose name is no column is taken as all features in order.
        """
        if not tensors:
            raise RequestError("no input", where="inputs", valid="one tensor for each column")
        if len(tensors) == 1 and self._is_matrix(tensors[0]):
            return self._from_matrix(tensors[0])
        rows = -1
        columns: Columns = {}
        by_name = self._by_name
        for tensor in tensors:
            name, data, shape = tensor.name, tensor.data, tensor.shape
            column = by_name.get(name)
            if column is None:
                raise self._unknown(name)
            if name in columns:
                raise RequestError("this input is there twice", where=name)
            if data and type(data[0]) is list:
                data = _flatten(data)
            if rows < 0:
                rows = shape[0] if shape else 0
                self._check_rows(rows)
            if len(data) != rows or shape[0] != rows or prod(shape) != rows:
                raise RequestError(
                    f"shape {shape} with {len(data)} values", where=name, valid=f"shape [{rows}] or [{rows}, 1]"
                )
            _check_datatype(column, tensor.datatype, data)
            columns[name] = column.check(name, data, column.nullable)
        return rows, columns

    def from_instances(self, instances: Sequence[Any]) -> tuple[int, Columns]:
        """KServe v1 instances, each an object by column name or a list of all features in order, as columns."""
        self._check_rows(len(instances))
        first = instances[0]
        if isinstance(first, dict):
            raw = self._from_objects(first, instances)
        elif isinstance(first, list):
            raw = self._from_lists(instances)
        else:
            raise RequestError(
                "an instance is neither an object nor a list",
                where="instances[0]",
                valid="an object by column name, or a list of all features in order",
            )
        columns = {}
        for name, data in raw.items():
            column = self._by_name.get(name)
            if column is None:
                raise self._unknown(name)
            columns[name] = column.check(name, data, column.nullable)
        return len(instances), columns

    def _from_objects(self, first: dict[str, Any], instances: Sequence[Any]) -> Columns:
        names = first.keys()
        for position, instance in enumerate(instances):
            if not isinstance(instance, dict) or instance.keys() != names:
                raise RequestError(
                    "has other columns than the first instance", where=f"instances[{position}]", valid=", ".join(names)
                )
        return {name: [instance[name] for instance in instances] for name in names}

    def _from_lists(self, instances: Sequence[Any]) -> Columns:
        for position, instance in enumerate(instances):
            if not isinstance(instance, list) or len(instance) != len(self.features):
                raise RequestError(
                    "is not a list of all features in order",
                    where=f"instances[{position}]",
                    valid=f"{len(self.features)} values: " + ", ".join(column.name for column in self.features),
                )
        return {
            column.name: [instance[position] for instance in instances] for position, column in enumerate(self.features)
        }

    def _is_matrix(self, tensor: Any) -> bool:
        return self._matrix and tensor.name not in self._by_name and len(tensor.shape) == 2

    def _from_matrix(self, tensor: Any) -> tuple[int, Columns]:
        rows, width = tensor.shape
        self._check_rows(rows)
        data = _flatten(tensor.data) if tensor.data and type(tensor.data[0]) is list else tensor.data
        if width != len(self.features) or len(data) != rows * width:
            raise RequestError(
                f"shape {tensor.shape} with {len(data)} values",
                where=tensor.name,
                valid=f"shape [rows, {len(self.features)}]",
            )
        if tensor.datatype not in _FLOATS and tensor.datatype not in _INTEGERS:
            raise RequestError(f"datatype {tensor.datatype}", where=tensor.name, valid="FP32, FP64, INT32 or INT64")
        return rows, {
            column.name: column.check(column.name, data[position::width], column.nullable)
            for position, column in enumerate(self.features)
        }

    def _check_rows(self, rows: Any) -> None:
        if type(rows) is not int or rows < 1:
            raise RequestError("no rows", where="shape or instances", valid="at least one row")
        if rows > self._max_rows:
            raise RequestError(f"{rows} rows", where="shape or instances", valid=f"at most {self._max_rows} rows")

    def _unknown(self, name: str) -> RequestError:
        close = difflib.get_close_matches(name, self._by_name, n=1)
        valid = f"did you mean {close[0]!r}?" if close else ", ".join(self._by_name)
        return RequestError("the model has no such column", where=name, valid=valid)


def _feature_column(feature: Feature) -> Column:
    if is_text(feature):
        return Column(feature.name, True, "BYTES", _check_text, feature.nullable)
    datatype = {"int": "INT64", "bool": "BOOL"}.get(feature.type, "FP64")
    return Column(feature.name, False, datatype, _check_number, feature.nullable)


def _check_datatype(column: Column, datatype: str, data: list[Any]) -> None:
    if datatype in _FLOATS:
        fits = not column.text
    elif datatype == "BYTES":
        fits = column.text
    elif datatype in _INTEGERS:
        fits = not column.text or column.check is _check_key
        if fits and any(type(value) is not int and value is not None for value in data):
            raise RequestError(f"a value that is no integer under {datatype}", where=column.name)
    elif datatype == "BOOL":
        fits = not column.text
        if fits and any(type(value) is not bool and value is not None for value in data):
            raise RequestError("a value that is neither true nor false under BOOL", where=column.name)
    else:
        raise RequestError(f"datatype {datatype!r}", where=column.name, valid=", ".join(sorted(DATATYPES)))
    if not fits:
        raise RequestError(
            f"datatype {datatype}", where=column.name, valid="BYTES" if column.text else "BOOL, INT64, FP32 or FP64"
        )


def _check_number(name: str, data: list[Any], nullable: bool) -> list[Any]:
    out: list[Any] = []
    for value in data:
        kind = type(value)
        # One comparison lets every ordinary number through; NaN and infinities fail it.
        if kind is float and -inf < value < inf:
            out.append(value)
        elif kind is int or kind is bool:
            out.append(_from_integer(name, value))
        elif value is None or kind is float:
            out.append(_odd_number(name, value, nullable))
        else:
            raise RequestError(f"{value!r} is not a number", where=name, valid="a number, or null where allowed")
    return out


def _from_integer(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise RequestError("an integer beyond every number", where=name, valid="a finite number") from None


def _odd_number(name: str, value: float | None, nullable: bool) -> float:
    if value is not None and isinf(value):
        raise RequestError("an infinite number", where=name, valid="a finite number")
    if nullable:
        return nan
    raise RequestError("null or NaN, which training never saw here", where=name, valid="a number")


def _check_text(name: str, data: list[Any], nullable: bool) -> list[Any]:
    for value in data:
        if type(value) is not str:
            if value is None:
                if nullable:
                    continue
                raise RequestError("null, which training never saw here", where=name, valid="text")
            raise RequestError(f"{value!r} is not text", where=name, valid="text")
    return data


def _check_key(name: str, data: list[Any], nullable: bool) -> list[Any]:
    for value in data:
        if type(value) is not str and type(value) is not int:
            raise RequestError(f"{value!r} is no entity key", where=name, valid="text or an integer")
    return data


def _flatten(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in data:
        if type(value) is list:
            flat += _flatten(value)
        else:
            flat.append(value)
    return flat
