"""What versions answered, day by day, as arrays: read from the prediction log once, met by labels as often as they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mainspring.domain.model_version import Signature, label_name
from mainspring.domain.time import TimeWindow
from mainspring.performance.reference import (
    PerformanceReference,
    estimate_rows,
    slices_of,
)
from mainspring.performance.row_estimates import RowEstimates
from mainspring.platforms.performance_reference import names_of, plain_values
from mainspring.ports import PredictionLog
from mainspring.prediction_log.requests import NEEDED, asked_once

if TYPE_CHECKING:
    import pyarrow as pa

DAY = timedelta(days=1)
MOST_ROWS = 200_000
"""Of a version's day with more rows so many, evenly spread, are measured; counted are all."""


@dataclass(frozen=True)
class Answers:
    """A version's answers on one day: how many (`rows`), and of those that are measured ids, hours, outputs, estimates, slices."""

    version: str
    day: datetime
    rows: int
    ids: pa.Array
    hours: Any
    outputs: Any
    estimates: RowEstimates | None
    slices: dict[str, Any]
    findings: tuple[str, ...] = ()

    def same(self, other: Answers) -> bool:
        """Whether these are the answers to the same requests: an answer is never changed."""
        return self.rows == other.rows and self.findings == other.findings and self.ids.equals(other.ids)


@dataclass(frozen=True)
class Known:
    """A version: what it takes, its reference, None where it has none, and what a person should know of that."""

    signature: Signature
    reference: PerformanceReference | None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Of some answers those with a label: places among them, and the labels as scores take them."""

    places: Any
    truth: Any
    strange: tuple[str, ...] = field(default=())

    @property
    def key(self) -> tuple[int, int]:
        """The same for the same labels of the same answers."""
        return len(self.places), hash((self.places.tobytes(), self.truth.tobytes()))


def read_day(
    log: PredictionLog,
    day: datetime,
    signatures: Sequence[Signature],
    known: Callable[[str], Known | None],
    slices: Sequence[str],
    hidden: Sequence[str],
    build: str | None = None,
) -> list[Answers]:
    """Every version's answers on a day, of every build or of one; `hidden` are columns that the log does not have as they were.

    Features are read for `signatures`, by which answers are estimated.
    """
    import pyarrow.compute as pc

    features = ({one.name for signature in signatures for one in signature.features} | {*slices}) - {*hidden}
    columns = [*NEEDED, "version", "event_at", "output", *(f"feature.{name}" for name in sorted(features))]
    columns += [f"entity.{name}" for name in slices if name not in hidden]
    rows = asked_once(log.read(TimeWindow(day, day + DAY), columns + ([] if build is None else ["build"])))
    if build is not None:
        rows = rows.filter(pc.equal(rows.column("build"), build))
    found = []
    for version in sorted(one for one in rows.column("version").unique().to_pylist() if one):
        own = rows.filter(pc.equal(rows.column("version"), version))
        found.append(_answers(version, day, own, known(version), slices, features))
    return found


def label_all(answers: Sequence[Answers], labels: pa.Table, known: Mapping[str, Known]) -> list[Labelled]:
    """Each one's labels. A label that the version never saw is none that it could have been right about: counted apart."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pa.chunked_array([one.ids for one in answers], pa.string())
    place = pc.index_in(ids, value_set=labels.column("request_id")).combine_chunks()
    place = place.fill_null(-1).to_numpy(zero_copy_only=False) if len(ids) else np.array([], np.int64)
    ends = np.cumsum([len(one.ids) for one in answers])[:-1]
    column = labels.column("label")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.combine_chunks()
    read: dict[str, tuple[Any, Any]] = {}
    found = []
    for one, where in zip(answers, np.split(place, ends), strict=True):
        if one.version not in known:
            found.append(Labelled(np.array([], np.int64), np.array([], np.float64)))
            continue
        if one.version not in read:
            read[one.version] = _as_scores_take_them(column, known[one.version].signature)
        values, names = read[one.version]
        having = np.flatnonzero(where >= 0)
        taken = values[where[having]] if len(having) else np.array([], np.float64)
        good = np.isfinite(taken)
        strange = {str(names[at]) for at in where[having][~good]} if names is not None else set()
        found.append(Labelled(having[good], taken[good], tuple(sorted(strange))))
    return found


def _answers(
    version: str, day: datetime, rows: pa.Table, known: Known | None, slices: Sequence[str], features: set[str]
) -> Answers:
    import numpy as np
    import pyarrow as pa

    count = rows.num_rows
    if known is None:
        finding = f"version {version} is not in the registry any more: its answers are counted, and not measured"
        nothing = np.array([], np.float64)
        hours = nothing.astype("datetime64[h]")
        return Answers(version, day, count, pa.array([], pa.string()), hours, nothing, None, {}, (finding,))
    if count > MOST_ROWS:
        rows = rows.take(np.linspace(0, count - 1, MOST_ROWS).astype(int))
    width = len(known.signature.classes) if known.signature.task == "multiclass" else 1
    outputs, good = _outputs(rows.column("output"), width)
    findings = [f"version {version}: {finding}" for finding in known.findings]
    if not good.all():
        wrong = int((~good).sum())
        findings.append(f"version {version}: {wrong:,} answers of {day:%Y-%m-%d} are no numbers, and are not measured")
        rows = rows.filter(pa.array(good))
    columns = {}
    for name in slices:
        column = logged_as(rows, name)
        if column is not None:
            columns[name] = names_of(rows.column(column))
    estimates = None
    if known.reference is not None and known.reference.estimates:
        seen = [one for one in known.signature.features if one.name in features]
        estimates = estimate_rows(known.reference, outputs, plain_values(rows, seen, "feature."))
    ids = rows.column("request_id").combine_chunks().cast(pa.string())
    hours = rows.column("event_at").to_numpy().astype("datetime64[h]")
    return Answers(version, day, count, ids, hours, outputs, estimates, slices_of(columns), tuple(findings))


def logged_as(rows: pa.Table, slice_: str) -> str | None:
    """The log's column that a slice of the gate is in: a feature, or an entity key that callers sent; None where it has no value."""
    names = (f"{kind}.{slice_}" for kind in ("feature", "entity"))
    return next(
        (one for one in names if one in rows.column_names and rows.column(one).null_count < rows.num_rows), None
    )


def _outputs(column: pa.ChunkedArray, width: int) -> tuple[Any, Any]:
    """Answers [good rows] or [good rows, classes], and which rows are good: as many numbers as there should be, all finite."""
    import numpy as np
    import pyarrow.compute as pc

    whole = column.combine_chunks()
    fits = pc.fill_null(pc.equal(pc.list_value_length(whole), width), False).to_numpy(zero_copy_only=False)
    flat = pc.list_flatten(whole.filter(fits)).to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, width)
    finite = np.isfinite(flat).all(axis=1)
    good = fits.copy()
    good[np.flatnonzero(fits)[~finite]] = False
    flat = flat[finite]
    return (flat if width > 1 else flat[:, 0]), good


def _as_scores_take_them(labels: pa.Array, signature: Signature) -> tuple[Any, Any]:
    """Values (NaN: nothing that the version knows), and of classes each label's name."""
    import numpy as np
    import pyarrow as pa

    if signature.task == "regression":
        try:
            return labels.cast(pa.float64()).to_numpy(zero_copy_only=False), None
        except pa.ArrowInvalid:
            return np.full(len(labels), np.nan), names_of(pa.chunked_array([labels]))
    coded = labels.dictionary_encode()
    positions = {name: float(place) for place, name in enumerate(signature.classes)}
    names = [label_name(one) for one in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    values = np.array([*(positions.get(name, np.nan) for name in names), np.nan])
    return values[codes], np.array([*names, ""], object)[codes]
