"""A version's `PerformanceReference` beside its files: fitted from held-out rows when it is registered, read when it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.model_version import Feature, Signature, label_name
from mainspring.features.questions import EVENT_TIME, LABEL
from mainspring.performance.booster import columns_of
from mainspring.performance.reference import HeldOutRows, PerformanceReference, fit_reference
from mainspring.pipeline.signature import truth
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "performance.json"


def write_reference(
    folder: Path, held_out: pa.Table, outputs: Any, signature: Signature, settings: ProjectSettings, label: str = LABEL
) -> PerformanceReference:
    """Fit from labelled rows that the model was not trained on and what it answered to them, and write into the model folder."""
    import numpy as np
    import pyarrow as pa

    known, outputs = truth(held_out.column(label), signature), np.asarray(outputs, np.float64)
    good = np.isfinite(np.asarray(known, np.float64)) & np.isfinite(outputs.reshape(len(known), -1)).all(axis=1)
    if not good.all():
        held_out, known, outputs = held_out.filter(pa.array(good)), known[good], outputs[good]
    timed = EVENT_TIME in held_out.column_names
    count = held_out.num_rows
    blocks = held_out.column(EVENT_TIME).to_numpy().astype("datetime64[D]") if timed else np.arange(count) // 50
    columns = [name for name in settings.gate.slices if name in held_out.column_names]
    rows = HeldOutRows(
        known,
        outputs,
        blocks,
        {name: names_of(held_out.column(name)) for name in columns},
        plain_values(held_out, signature.features),
        timed,
    )
    found = fit_reference(rows, signature.task, settings.metric.name, columns_of(signature.features))
    (folder / FILE).write_bytes(to_json(found))
    return found


def read_reference(folder: Path) -> PerformanceReference | None:
    """None for a version that has none: adopted without labels, or registered before there were any."""
    path = folder / FILE
    return from_json(PerformanceReference, path.read_bytes()) if path.exists() else None


def plain_values(rows: pa.Table, features: Sequence[Feature], prefix: str = "") -> dict[str, Any]:
    """Features as trees take them, by name: numbers as float64 with NaN, categories as objects with None.

    A feature that the rows lack, or whose column is of another kind than it was in training, is not among them.
    """
    import pyarrow as pa

    found = {}
    for feature in features:
        if f"{prefix}{feature.name}" not in rows.column_names:
            continue
        values = rows.column(f"{prefix}{feature.name}")
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        try:
            values = values.cast(pa.string() if feature.type in ("category", "str") else pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        found[feature.name] = values.to_numpy(zero_copy_only=False)
    return found


def names_of(values: pa.ChunkedArray) -> Any:
    """A slice column's values as slices are named, the same from training rows and from the log: 1.0 is 1, True is 1."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    coded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    names = np.array([label_name(one) for one in coded.dictionary.to_pylist()] or [""], object)
    return names[coded.indices.to_numpy(zero_copy_only=False)] if len(values) else np.array([], object)
