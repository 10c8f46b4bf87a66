"""From what a caller sent to checked columns: names, types, shapes and missing values, by the model's signature.

A column is a feature, an entity key, or `request_id`. Numbers become floats (NaN when missing), text stays text (None
when missing). Every refusal names the column.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from mainspring.domain.model_version import Feature, Signature
from mainspring.serving.checks import (
    FLOAT64_LARGEST,
    FLOATS,
    INTEGER_LIMITS,
    Column,
    check_array,
    check_datatype,
    check_key,
    check_list,
    check_text,
    number_check,
    shown,
    shown_shape,
)
from mainspring.serving.errors import RequestError
from mainspring.serving.tensors import AnyTensor, Raw, from_raw

REQUEST_ID = "request_id"
"""A column that a caller may send to give every row an id of its own."""

Columns = dict[str, list[Any]]

_LONGEST_NAME = 100
"""More of a name that is no column's is not repeated to the caller."""


def is_text(feature: Feature) -> bool:
    """Whether the model takes the feature as text."""
    return feature.type in ("str", "category")


class ColumnTable:
    """The columns that a model takes, by name, and the two ways to read them from a request.

    `entities` are keys that are no features. `max_rows` is the most rows of a request, `largest` the size of the largest
    number that the model can hold. Errors: every method raises `RequestError`, which names the column.

    >>> from mainspring.serving.tensors import Tensor
    >>> table = ColumnTable(Signature("regression", (Feature("wind", "float", nullable=True),)), ["town"], max_rows=10)
    >>> table.from_tensors([Tensor("town", [2], "BYTES", ["Ulm", "Bonn"]), Tensor("wind", [2, 1], "FP64", [[7.5], [None]])])
    (2, {'town': ['Ulm', 'Bonn'], 'wind': [7.5, nan]})
    >>> table.from_instances([{"town": "Ulm", "wind": 7}, {"town": "Bonn", "wind": None}])
    (2, {'town': ['Ulm', 'Bonn'], 'wind': [7.0, nan]})
    """

    def __init__(
        self, signature: Signature, entities: Sequence[str], *, max_rows: int, largest: float = FLOAT64_LARGEST
    ) -> None:
        self.features = [_feature_column(feature, largest) for feature in signature.features]
        self.entities = [Column(name, True, "BYTES", check_key, key=True) for name in entities]
        own = Column(REQUEST_ID, True, "BYTES", check_text)
        self._by_name = {column.name: column for column in (own, *self.entities, *self.features)}
        self.takes_matrix = all(not column.text for column in self.features)
        self._max_rows = max_rows

    def from_tensors(self, tensors: Sequence[AnyTensor]) -> tuple[int, Columns]:
        """OIP v2 inputs as columns, with the number of rows.

        One numeric input of shape [rows, features] whose name is no column is taken as all features in order.
        """
        if not tensors:
            raise RequestError("no input", where="inputs", valid="one tensor for each column")
        if len(tensors) == 1 and self._is_matrix(tensors[0]):
            return self._from_matrix(tensors[0])
        rows = -1
        shapes: tuple[list[int], ...] = ()
        columns: Columns = {}
        by_name = self._by_name
        for tensor in tensors:
            name, data, shape = tensor.name, tensor.data, tensor.shape
            column = by_name.get(name)
            if column is None:
                raise self._unknown(name)
            if name in columns:
                raise RequestError("this input is there twice", where=name, valid="one tensor for each column")
            if rows < 0:
                rows = shape[0] if shape else 0
                self._check_rows(rows, name)
                shapes = ([rows], [rows, 1])
            if shape not in shapes:
                raise RequestError(
                    f"shape {shown_shape(shape)}", where=name, valid=f"[{rows}] or [{rows}, 1], as the first input"
                )
            if not isinstance(data, list):
                columns[name] = _from_bytes(column, tensor.datatype, shape, data)
                continue
            if data and type(data[0]) is list:
                data = _flat(name, data, len(shape))
            if len(data) != rows:
                raise RequestError(
                    f"{len(data)} values for shape {shown_shape(shape)}", where=name, valid=f"{rows} values"
                )
            columns[name] = check_list(column, tensor.datatype, data)
        return rows, columns

    def from_instances(self, instances: Sequence[Any]) -> tuple[int, Columns]:
        """KServe v1 instances, each an object by column name or a list of all features in order, as columns."""
        self._check_rows(len(instances), "instances")
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
                    "has other columns than the first instance",
                    where=f"instances[{position}]",
                    valid=", ".join([name[:_LONGEST_NAME] for name in names][:_LONGEST_NAME]),
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

    def _is_matrix(self, tensor: AnyTensor) -> bool:
        return self.takes_matrix and tensor.name not in self._by_name and len(tensor.shape) == 2

    def _from_matrix(self, tensor: AnyTensor) -> tuple[int, Columns]:
        name, data, shape, datatype = tensor.name, tensor.data, tensor.shape, tensor.datatype
        rows, width = shape
        self._check_rows(rows, name)
        if width != len(self.features):
            raise RequestError(f"shape {shown_shape(shape)}", where=name, valid=f"[rows, {len(self.features)}]")
        if datatype not in FLOATS and datatype not in INTEGER_LIMITS:
            raise RequestError(f"datatype {shown(datatype)}", where=name, valid="FP32, FP64, INT32 or INT64")
        if not isinstance(data, list):
            matrix = from_raw(name, datatype, shape, data).reshape(rows, width)
            return rows, {
                column.name: check_array(column, datatype, matrix[:, place])
                for place, column in enumerate(self.features)
            }
        data = _flat(name, data, 2)
        if len(data) != rows * width:
            raise RequestError(
                f"{len(data)} values for shape {shown_shape(shape)}", where=name, valid=f"{rows * width} values"
            )
        return rows, {
            column.name: check_list(column, datatype, data[place::width]) for place, column in enumerate(self.features)
        }

    def _check_rows(self, rows: int, where: str) -> None:
        if rows < 1:
            raise RequestError("no rows", where=where, valid="at least one row")
        if rows > self._max_rows:
            raise RequestError(f"{shown(rows)} rows", where=where, valid=f"at most {self._max_rows} rows")

    def _unknown(self, name: str) -> RequestError:
        close = difflib.get_close_matches(name[:_LONGEST_NAME], self._by_name, n=1)
        valid = f"did you mean {close[0]!r}?" if close else ", ".join(self._by_name)
        return RequestError("the model has no such column", where=name[:_LONGEST_NAME], valid=valid)


def _feature_column(feature: Feature, largest: float) -> Column:
    if is_text(feature):
        return Column(feature.name, True, "BYTES", check_text, feature.nullable)
    datatype = {"int": "INT64", "bool": "BOOL"}.get(feature.type, "FP64")
    return Column(feature.name, False, datatype, number_check(largest), feature.nullable, largest=largest)


def _from_bytes(column: Column, datatype: str, shape: list[int], data: Raw) -> list[Any]:
    check_datatype(column, datatype)
    found = from_raw(column.name, datatype, shape, data)
    return check_list(column, datatype, found) if datatype == "BYTES" else check_array(column, datatype, found)


def _flat(name: str, data: list[Any], dimensions: int) -> list[Any]:
    """`data` as a flat list: it is one already, or nested as deep as the shape has dimensions."""
    for _ in range(dimensions - 1):
        if not data or type(data[0]) is not list:
            break
        if any(type(one) is not list for one in data):
            raise RequestError("data is nested in some places only", where=name, valid="flat, or nested like its shape")
        data = [value for one in data for value in one]
    return data
