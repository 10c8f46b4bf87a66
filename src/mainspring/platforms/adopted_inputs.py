"""What an adopted model takes and tells apart: inputs in its own order, where each comes from, and its classes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.metric import Task
from mainspring.domain.model_version import Feature, label_name
from mainspring.platforms.reference import PREDICTION

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.mlflow.foreign import ForeignModel
    from mainspring.platforms.adopt import AdoptionWish
    from mainspring.platforms.laptop import LaptopFeatures
    from mainspring.registry.original import Original
    from mainspring.settings.load import LoadedProject


def features_of(foreign: ForeignModel, original: Original, table: pa.Table, wish: AdoptionWish) -> tuple[Feature, ...]:
    """The model's inputs in its own order, from itself, its signature, or the reference's columns.

    Errors: `DataError` for a reference that lacks one, or has another number or type.
    """
    roles = {wish.label, wish.time, wish.id, wish.prediction or PREDICTION}
    free = [name for name in table.column_names if name not in roles]
    types = {one.name: one.type for one in foreign.inputs or ()}
    names = list(original.names or types or free)
    missing = [name for name in names if name not in table.column_names]
    if missing:
        near = {name: difflib.get_close_matches(name, free, n=1) for name in missing}
        said = ", ".join(f"{name} (there is {found[0]})" if found else name for name, found in near.items())
        raise DataError(
            f"the reference has no column {said}",
            where=str(wish.reference),
            valid=f"all inputs of {foreign.uri}: {', '.join(names)}",
        )
    width = original.width or foreign.width
    if width is not None and width != len(names):
        raise DataError(
            f"{foreign.uri} takes {width} columns, and the reference has {len(names)}: {', '.join(names)}",
            where=str(wish.reference),
            valid=f"{width} columns in the model's order, beside --label, --time, --id and --prediction",
        )
    required = {one.name: one.required for one in foreign.inputs or ()}
    return tuple(_feature(name, table, types.get(name), required.get(name, True), wish) for name in names)


def _feature(name: str, table: pa.Table, wanted: str | None, required: bool, wish: AdoptionWish) -> Feature:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    number = number or pa.types.is_decimal(kind)
    if not (text or number) or (wanted is not None and (wanted == "str") != text):
        raise DataError(
            f"`{name}` is {column.type} in the reference",
            where=str(wish.reference),
            valid={None: "numbers, true or false, and text", "str": "text"}.get(wanted, "numbers"),
        )
    found = wanted or ("str" if text else "bool" if pa.types.is_boolean(kind) else "float")
    missing = bool(pc.any(pc.is_null(column, nan_is_null=True)).as_py())
    return Feature(name, found, "request", missing or not required)


def sourced(features: Sequence[Feature], loaded: LoadedProject | None) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """Inputs with where they come from: of a project's views those that they compute, the rest of the request."""
    if loaded is None:
        return tuple(features), ()
    from mainspring.platforms.laptop import LaptopFeatures

    views: LaptopFeatures = LaptopFeatures(loaded)
    sources: dict[str, str] = {}
    entities: dict[str, None] = {}
    for view in views.store.views() if views.store is not None else ():
        mine = {name for name, _ in view.features} & {one.name for one in features}
        if mine and not view.on_demand:
            sources |= dict.fromkeys(mine, view.name)
            entities |= dict.fromkeys(view.entities)
    given = tuple(
        Feature(one.name, one.type, sources.get(one.name, "request"), one.nullable, one.categories) for one in features
    )
    return given, tuple(entities)


def classes_of(original: Original, table: pa.Table, wish: AdoptionWish, task: Task) -> tuple[str, ...]:
    """Classes as the model names them; where it only numbers them, after the reference's labels in their sorted order."""
    if task == "regression":
        return ()
    labels: list[str] = []
    if wish.label:
        values = sorted(one for one in table.column(wish.label).unique().to_pylist() if one is not None)
        labels = [label_name(one) for one in values]
    classes = original.classes
    if not classes:
        if len(labels) < 2 or (task == "binary" and len(labels) != 2):
            raise ConfigError(
                f"the model does not name its classes, and the reference has {len(labels)} different labels",
                where=str(wish.reference),
                valid="a column with the labels of all classes, named by --label",
            )
        return tuple(labels)
    strange = [one for one in labels if one not in classes]
    if not strange:
        return classes
    numbered = classes == tuple(str(place) for place in range(len(classes)))
    if numbered and len(labels) == len(classes):
        return tuple(labels)  # Trained on positions; people know them by their names.
    raise DataError(
        f"labels that the model does not know: {', '.join(strange[:5])}",
        where=f"{wish.reference}: {wish.label}",
        valid=", ".join(classes),
    )
