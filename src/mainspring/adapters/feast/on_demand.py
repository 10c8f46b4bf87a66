"""On-demand views: Feast's own transformation objects, called in one way for training and for serving.

`transformed` computes a view from a table of its inputs; the feature store calls it with all rows of a training set, a
predictor with the rows of a request. A model folder keeps the definitions as they were at its training: the project's
`features.py`, or for an existing repository Feast's own description with the source text. Pickled code is never read.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mainspring.adapters.feast.types import arrow_type
from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.model_version import Signature
from mainspring.features.transforms import load_module
from mainspring.serving.on_demand import ViewFailed

DEFINITIONS = "features.py"
_PROTO = ".odfv"
_TRIED_ROWS = 8


def require_served(view: Any) -> None:
    """Refuse what is not the same at training and in a predictor; a `ConfigError` says what is."""
    where = f"features.py: {view.name}"
    if view.mode not in ("python", "pandas"):
        raise ConfigError(f"on-demand view {view.name!r} has mode {view.mode}", where=where, valid="python, pandas")
    if view.aggregations:
        raise ConfigError(f"on-demand view {view.name!r} has aggregations", where=where, valid="a function")
    if view.write_to_online_store:
        raise ConfigError(
            f"on-demand view {view.name!r} is written to the online store",
            where=where,
            valid="write_to_online_store=False: it is computed when it is asked for",
        )


def input_types(view: Any) -> dict[str, pa.DataType]:
    """What a view's function takes: fields of the request, features of its source views, and Arrow's type of each."""
    fields = [field for source in view.source_request_sources.values() for field in source.schema]
    fields += [field for source in view.source_feature_view_projections.values() for field in source.features]
    return {field.name: arrow_type(field.dtype) for field in fields}


def request_fields(view: Any) -> list[str]:
    """The columns that a view's function takes from the request."""
    return [field.name for source in view.source_request_sources.values() for field in source.schema]


def transformed(view: Any, inputs: pa.Table) -> pa.Table:
    """The view's features, one row for each row of `inputs`.

    Errors: `ViewFailed` when the function raises, or gives no such columns.
    """
    try:
        with warnings.catch_warnings():
            # What a user's function warns of is not for the callers of a service.
            warnings.simplefilter("ignore")
            found = _singly(view, inputs) if view.singleton else view.transform_arrow(inputs)
    except (Exception, SystemExit) as error:  # it is the project's own code, and may raise anything
        raise ViewFailed(f"{type(error).__name__}: {error}", where=f"features.py: {view.name}") from error
    wanted = [field.name for field in view.features]
    missing = [name for name in wanted if name not in found.column_names]
    if missing:
        raise ViewFailed(f"it gives no {', '.join(missing)}", where=f"features.py: {view.name}")
    if found.num_rows != inputs.num_rows:
        raise ViewFailed(f"it gives {found.num_rows} rows for {inputs.num_rows}", where=f"features.py: {view.name}")
    return found.select(wanted)


def require_by_row(view: Any, inputs: pa.Table, whole: pa.Table) -> None:
    """Refuse a view whose rows depend on each other, such as one that subtracts their mean: a request has one row.

    A few rows of `inputs` are computed alone and compared with `whole`. Errors: `ViewFailed` shows a row that differs.
    """
    if view.mode == "pandas":
        for place, field in enumerate(inputs.schema):
            if pa.types.is_integer(field.type) and inputs.column(place).null_count:
                inputs = inputs.set_column(place, field.name, inputs.column(place).cast(pa.float64()))
    step = max(1, inputs.num_rows // _TRIED_ROWS)
    for place in range(0, inputs.num_rows, step):
        alone = transformed(view, inputs.slice(place, 1))
        for name in whole.column_names:
            one, among = alone.column(name)[0].as_py(), whole.column(name)[place].as_py()
            if one != among and not (_missing(one) and _missing(among)):
                raise ViewFailed(
                    f"`{name}` is {one!r} for a row alone and {among!r} for the same row among {inputs.num_rows}",
                    where=f"features.py: {view.name}",
                )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _singly(view: Any, inputs: pa.Table) -> pa.Table:
    """A function that takes one row at a time."""
    rows = [view.transform_dict({name: [value] for name, value in row.items()}) for row in inputs.to_pylist()]
    names = [field.name for field in view.features]
    types = [arrow_type(field.dtype) for field in view.features]
    return pa.table(
        {name: pa.array([row[name] for row in rows], kind) for name, kind in zip(names, types, strict=True)}
    )


def keep_module(definitions: Path, folder: Path) -> None:
    """Copy the project's `features.py` to a model's folder."""
    folder.mkdir(parents=True)
    shutil.copyfile(definitions, folder / DEFINITIONS)


def keep_described(views: Iterable[Any], folder: Path) -> None:
    """Write Feast's own description of each view to a model's folder, for an existing repository.

    Errors: `ConfigError` for a function that its source text alone does not make again.
    """
    folder.mkdir(parents=True)
    for view in views:
        described = view.to_proto()
        described.spec.feature_transformation.user_defined_function.body = b""
        # When it was applied says nothing, and would give the same model another digest.
        described.ClearField("meta")
        path = folder / f"{view.name}{_PROTO}"
        path.write_bytes(described.SerializeToString(deterministic=True))
        _read(path)


def open_views(folder: Path, signature: Signature) -> FeastOnDemand:
    """The on-demand views that a model folder keeps, for a predictor."""
    if (folder / DEFINITIONS).is_file():
        views = _of_module(folder)
    else:
        views = {path.stem: _read(path) for path in sorted(folder.glob(f"*{_PROTO}"))}
    missing = [one.name for one in signature.on_demand if one.name not in views]
    if missing:
        raise ConfigError(
            f"the model folder does not define the on-demand views {', '.join(missing)}", where=str(folder)
        )
    return FeastOnDemand({one.name: views[one.name] for one in signature.on_demand}, signature)


class FeastOnDemand:
    """The on-demand views of one model version."""

    def __init__(self, views: Mapping[str, Any], signature: Signature) -> None:
        self._views = views
        self._types = {name: input_types(view) for name, view in views.items()}
        nullable = {one.name for one in (*signature.features, *signature.inputs) if one.nullable}
        for name, view in views.items():
            if view.mode == "pandas":
                # pandas has integers with nulls as floats, so that is what the function was trained with.
                self._types[name] |= {
                    one: pa.float64()
                    for one, kind in self._types[name].items()
                    if one in nullable and pa.types.is_integer(kind)
                }

    def compute(self, view: str, columns: Mapping[str, Sequence[Any]], rows: int) -> Mapping[str, Sequence[Any]]:
        """The view's features from its inputs."""
        table = pa.table({name: _array(name, columns[name], kind) for name, kind in self._types[view].items()})
        found = transformed(self._views[view], table)
        return {name: found.column(name).to_pylist() for name in found.column_names}


def _array(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of a request or of the online store in an input's own type; NaN is missing."""
    known = [None if _missing(value) else value for value in values]
    try:
        if pa.types.is_timestamp(kind):
            # Feast stores seconds.
            return pa.array(known, pa.timestamp("s")).cast(kind)
        if pa.types.is_integer(kind):
            # Columns of a request are floats, whatever the model's input is; Arrow would cut off what is no integer.
            known = [_whole(name, value, kind) if isinstance(value, float) else value for value in known]
        if pa.types.is_boolean(kind):
            known = [None if value is None else bool(value) for value in known]
        return pa.array(known, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"{error}", where=name, valid=str(kind)) from error


def _whole(name: str, value: float, kind: pa.DataType) -> int:
    if not value.is_integer():
        raise DataError(f"{value:g} is not a whole number, as an on-demand view takes it", where=name, valid=str(kind))
    return int(value)


def _of_module(folder: Path) -> dict[str, Any]:
    from feast import OnDemandFeatureView

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = load_module(folder / DEFINITIONS, "mainspring_served_features")
    views: dict[str, Any] = {}
    for value in vars(module).values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, OnDemandFeatureView):
                views[one.name] = one
    return views


def _read(path: Path) -> Any:
    from feast import OnDemandFeatureView
    from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView as Proto

    described = Proto.FromString(path.read_bytes())
    if described.spec.feature_transformation.user_defined_function.body:
        raise ConfigError("the description holds pickled code", where=str(path))
    try:
        return OnDemandFeatureView.from_proto(described)
    except Exception as error:  # Feast executes the text, which may raise anything
        raise ConfigError(
            f"the function of on-demand view {path.stem!r} cannot be made from its source text: {error}",
            where=str(path),
            valid="a function that imports what it needs",
        ) from error
