"""The reference of a version's drift, from its training rows and from predictions on rows that it was not trained on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Signature
from mainspring.drift.profile import Profile, fit_profile, prediction_columns
from mainspring.features.questions import EVENT_TIME

if TYPE_CHECKING:
    import pyarrow as pa


def reference_profile(
    rows: pa.Table, held_out: pa.Table, signature: Signature, every: timedelta | None = None
) -> Profile:
    """The profile of `rows` and of the `output` of held-out rows.

    Both have windows of `every` where they have `event_timestamp`.
    """
    features = {one.name: rows.column(one.name) for one in signature.features}
    answered = prediction_columns(outputs_of(held_out.column("output")), signature)
    fitted = fit_profile(features, signature.features, _times(rows), every)
    return fitted.beside(fit_profile(answered, (), _times(held_out), every))


def outputs_of(column: pa.ChunkedArray) -> Any:
    """Lists of outputs as float64 [rows, outputs]; all rows are of one model."""
    import numpy as np

    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    rows = len(column)
    return np.asarray(flat, np.float64).reshape(rows, len(flat) // rows if rows else 0)


def _times(rows: pa.Table) -> Any:
    if EVENT_TIME not in rows.column_names:
        return None
    return rows.column(EVENT_TIME).to_numpy()
