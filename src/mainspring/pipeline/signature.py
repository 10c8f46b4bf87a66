"""What a model takes, learnt from the rows it is trained on, and those rows as the frame that `train` gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mainspring.domain.errors import DataError
from mainspring.domain.metric import Task
from mainspring.domain.model_version import Feature, OnDemandView, Signature, label_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MOST_CATEGORIES = 10_000


def learn_signature(
    rows: pa.Table,
    features: Mapping[str, str],
    *,
    task: Task,
    target: str,
    label: str,
    entities: Sequence[str] = (),
    categorical: Sequence[str] = (),
    positive: object = None,
    on_demand: Mapping[str, Sequence[str]] | None = None,
    hidden: Mapping[str, str] | None = None,
) -> Signature:
    """The signature of the training rows.

    `features` maps a column to its source: `request`, or the feature view it comes from. `hidden` does so for what only
    on-demand views look at; `on_demand` has those views' inputs by their name. Text is a category; `nullable`
    says whether these rows hold nulls (NaN is one). Errors: `DataError` for a column no model can take and for labels
    that do not fit the task.
    """
    import pyarrow as pa

    found, inputs = [], []
    for name, source in features.items():
        column = rows.column(name)
        kind = _kind(column.type, name in categorical, pa)
        if kind == "":
            raise DataError(
                f"`{name}` is {column.type}, which no model takes",
                where="mainspring.yaml: features.request",
                valid="numbers, true or false, and text",
            )
        categories = _categories(name, column) if kind == "category" else ()
        found.append(Feature(name, kind, source, _has_missing(column), categories))
    for name, source in (hidden or {}).items():
        column = rows.column(name)
        inputs.append(Feature(name, _kind(column.type, False, pa) or "any", source, _has_missing(column)))
    classes = () if task == "regression" else _classes(rows.column(label), task, positive)
    if task == "regression" and _kind(rows.column(label).type, False, pa) not in ("int", "float"):
        raise DataError(f"the target is {rows.column(label).type}", valid="numbers, for a regression task")
    computed = tuple(OnDemandView(name, tuple(taken)) for name, taken in (on_demand or {}).items())
    return Signature(task, tuple(found), tuple(entities), classes, target, computed, tuple(inputs))


def frame(rows: pa.Table, signature: Signature) -> pd.DataFrame:
    """The features in order: numbers as float64 (NaN when missing), categories as text (empty when missing)."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    for feature in signature.features:
        column = rows.column(feature.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if feature.type in ("str", "category"):
            columns[feature.name] = pd.Series(
                pc.fill_null(column.cast(pa.string()), "").to_numpy(zero_copy_only=False), dtype=object
            )
        else:
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            columns[feature.name] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return pd.DataFrame(columns)


def truth(labels: pa.ChunkedArray, signature: Signature) -> Any:
    """Labels as scores and estimators take them: 0/1, class positions, or values."""
    import numpy as np
    import pyarrow as pa

    if signature.task == "regression":
        return labels.cast(pa.float64()).to_numpy(zero_copy_only=False)
    positions = {name: place for place, name in enumerate(signature.classes)}
    values = [positions.get(label_name(value)) for value in labels.to_pylist()]
    if None in values:
        strange = sorted({label_name(value) for value in labels.to_pylist()} - positions.keys())
        raise DataError(f"labels that training never saw: {', '.join(strange[:5])}", valid=", ".join(signature.classes))
    return np.array(values, np.int64)


def aligned(outputs: Any, theirs: Signature, ours: Signature) -> Any:
    """Answers of a model with the signature `theirs` in the classes of `ours`: to one that it never saw it gives no chance.

    >>> import numpy as np
    >>> known, now = (Signature("multiclass", (), classes=names) for names in (("a", "c"), ("a", "b", "c")))
    >>> aligned(np.array([[0.25, 0.75]]), known, now).tolist()
    [[0.25, 0.0, 0.75]]
    """
    import numpy as np

    if ours.task != "multiclass" or theirs.classes == ours.classes:
        return outputs
    found = np.zeros((len(outputs), len(ours.classes)), outputs.dtype)
    for place, name in enumerate(ours.classes):
        if name in theirs.classes:
            found[:, place] = outputs[:, theirs.classes.index(name)]
    return found


def _has_missing(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.is_null(column, nan_is_null=True)).as_py())


def _kind(arrow: Any, categorical: bool, pa: Any) -> str:
    text = pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_dictionary(arrow)
    if text or categorical:
        return "category"
    if pa.types.is_boolean(arrow):
        return "bool"
    if pa.types.is_integer(arrow):
        return "int"
    return "float" if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow) else ""


def _categories(name: str, column: pa.ChunkedArray) -> tuple[str, ...]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = sorted(str(value) for value in column.cast(pa.string()).unique().to_pylist() if value is not None)
    if len(values) > _MOST_CATEGORIES:
        raise DataError(
            f"`{name}` has {len(values):,} different values: it names rows, it does not describe them",
            where="mainspring.yaml: features.request",
            valid=f"at most {_MOST_CATEGORIES:,} categories",
            next_step="leave the column out of features.request",
        )
    return tuple(values)


def _classes(labels: pa.ChunkedArray, task: Task, positive: object) -> tuple[str, ...]:
    values = sorted(value for value in labels.unique().to_pylist() if value is not None)
    names = [label_name(value) for value in values]
    if task == "binary":
        if len(names) != 2:
            raise DataError(
                f"the target has {len(names)} different labels: {', '.join(names[:5])}",
                where="mainspring.yaml: task",
                valid="two labels for binary; task: multiclass for more, task: regression for values",
            )
        if positive is not None:
            if label_name(positive) not in names:
                raise DataError(
                    f"target.positive is {label_name(positive)!r}, which is no label",
                    where="mainspring.yaml: target.positive",
                    valid=", ".join(names),
                )
            names.sort(key=lambda name: name == label_name(positive))
    elif len(names) < 2:
        raise DataError("the target has fewer than two labels", valid="at least two classes")
    return tuple(names)
