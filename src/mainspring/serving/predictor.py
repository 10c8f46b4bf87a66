"""`Predictor`: checked columns in, an answer out; each answer and each failure is in the log before it goes out.

No wire here: `rest` and `grpc_api` read requests and write answers, each in its own words.
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Literal, Protocol

from mainspring.domain.errors import MainspringError
from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES, LogRow, microseconds
from mainspring.domain.model_card import ModelCard
from mainspring.domain.time import utc
from mainspring.serving.checks import shown
from mainspring.serving.columns import REQUEST_ID, Columns, ColumnTable
from mainspring.serving.config import ServeConfig
from mainspring.serving.errors import LogFailed, ModelFailed, NotReady, RequestError, Unanswerable, UnknownModel
from mainspring.serving.lookup import Looked, Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.runtime import Output, Row, Runtime
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.telemetry.logs import Log

State = Literal["starting", "ready", "ending"]

_ANSWERED, _FAILED = OUTCOMES.index("answered"), OUTCOMES.index("failed")
_ARMS: dict[str, int] = {name: place for place, name in enumerate(ARMS)}
_ROLES: dict[str, int] = {name: ROLES.index(name) for name in ("primary", "shadow")}
"""Who asks a predictor is one of these; a header that says `batch` is believed no more than any other."""


class Headers(Protocol):
    """Request headers (of gRPC: metadata) by lower-case name."""

    def get(self, key: str, default: str, /) -> str:
        """The header's value, or the default."""
        ...


@dataclass(slots=True)
class Answered:
    """What a request got: its id, and for each row the model's output and what was unusual."""

    id: str
    outputs: list[Output]
    flags: list[list[str]]

    @property
    def flags_text(self) -> str:
        """Flags as callers get them, `3:missing:temp` for the fourth row of several."""
        many = len(self.flags) > 1
        return ",".join(f"{place}:{flag}" if many else flag for place, row in enumerate(self.flags) for flag in row)


@dataclass(slots=True)
class Pending:
    """A request that was checked; it waits for its features and for the model."""

    id: str
    ids: list[str]
    count: int
    columns: Columns
    arm: int
    role: int
    cohort: str
    event_at: int
    began: float


@dataclass(slots=True)
class _Ended:
    """What became of a request; rows of the log are written where it was `looked` up."""

    result: Answered | RequestError
    looked: Looked | None = None
    outputs: Sequence[Output] = ()


class Predictor:
    """One model version. `state` is set by the process around it."""

    def __init__(
        self,
        config: ServeConfig,
        card: ModelCard,
        runtime: Runtime,
        lookup: Lookup,
        table: ColumnTable,
        writer: SegmentWriter,
        metrics: PredictorMetrics,
        log: Log,
    ) -> None:
        self.state: State = "starting"
        self.config = config
        self.card = card
        self.table = table
        self.metrics = metrics
        self.single = card.task != "multiclass"
        """Whether a row's output is one number."""
        self._runtime = runtime
        self._lookup = lookup
        self._writer = writer
        self._log = log
        self._unlogged = 0
        self._broken_below = round(config.error_share * 2**32)

    def expect(self, name: str, version: str = "") -> None:
        """Refuse a model that is not served here; an empty version is whatever is served."""
        if name != self.config.name:
            raise UnknownModel(f"no model {name[:100]!r} here", valid=self.config.name)
        if version and version != self.config.version:
            raise UnknownModel(f"no version {version[:100]!r} of {name} here", valid=self.config.version)

    @property
    def ready(self) -> bool:
        """Whether callers should come here. One that is ending answers whoever still comes."""
        return self.state == "ready"

    def expect_ready(self) -> None:
        """Refuse while starting."""
        if self.state == "starting":
            raise NotReady("not ready: starting")

    def expect_outputs(self, names: Sequence[str]) -> None:
        """Refuse names that are no output of the model, or that come twice."""
        for place, name in enumerate(names):
            if name != self.card.output:
                raise RequestError("the model has no such output", where=name[:100], valid=self.card.output)
            if place:
                raise RequestError("this output is asked for twice", where=name, valid="each output once")

    def predict(self, count: int, columns: Columns, own_id: str, headers: Headers, began: float) -> Answered:
        """Answer `count` rows and log them: `prepare` and `answer` of one request, whose error is raised."""
        found = self.answer([self.prepare(count, columns, own_id, headers, began)])[0]
        if isinstance(found, RequestError):
            raise found
        return found

    def prepare(self, count: int, columns: Columns, own_id: str, headers: Headers, began: float) -> Pending:
        """A request of `count` rows that is ready to be answered.

        `own_id` is the id in the request itself; without one it is the header `x-request-id`, else a new one. `began` is
        when the request came, on `time.perf_counter`. Errors: `RequestError`, whatever wire the request came by.
        """
        whole = own_id or headers.get("x-request-id", "") or str(uuid.uuid4())
        event_at = self._event_at(headers)
        return Pending(
            whole,
            _ids(whole, count, columns),
            count,
            columns,
            _ARMS.get(headers.get("mainspring-arm", ""), 0),
            _ROLES.get(headers.get("mainspring-role", ""), 0),
            headers.get("mainspring-cohort", ""),
            event_at,
            began,
        )

    def answer(self, pending: Sequence[Pending]) -> list[Answered | RequestError]:
        """What each request gets, from one look into the online store and one run of the model.

        Whoever was there at the same time shares both: their overhead is paid once. All of it is in the log, with one write,
        when this returns. A model that raises is asked again for each request alone, so that one bad request fails nobody
        else's.
        """
        looked = self._lookup.fill_all(pending)
        whole = [one for one in looked if isinstance(one, Looked) and not one.failure]
        rows = whole[0].rows if len(whole) == 1 else [row for one in whole for row in one.rows]
        return self._logged(pending, self._run(pending, looked, rows))

    def _run(
        self, pending: Sequence[Pending], looked: Sequence[Looked | MainspringError], rows: Sequence[Row]
    ) -> list[_Ended]:
        try:
            outputs = self._runtime.predict(rows) if rows else []
        except Exception as error:  # a project's own model may raise anything
            if len(pending) > 1:
                return [self._run([one], [of], _rows(of))[0] for one, of in zip(pending, looked, strict=True)]
            assert isinstance(looked[0], Looked)
            return [_failed(f"{type(error).__name__}: {error}", looked[0])]
        ended: list[_Ended] = []
        place = 0
        for one, of in zip(pending, looked, strict=True):
            if isinstance(of, RequestError):
                ended.append(_Ended(of))
            elif isinstance(of, MainspringError):
                ended.append(_Ended(NotReady(of.what, where=of.where)))
            elif of.failure:
                ended.append(_failed(of.failure, of))
            else:
                ended.append(self._judged(one, of, outputs[place : place + one.count]))
                place += one.count
        return ended

    def exposition(self) -> str:
        """The predictor's series in Prometheus' text format."""
        self.metrics.readiness(self.ready)
        return self.metrics.exposition()

    def _event_at(self, headers: Headers) -> int:
        text = headers.get("mainspring-event-at", "") if self.config.replayed_clock else ""
        if not text:
            return time.time_ns() // 1000
        try:
            return microseconds(utc(datetime.fromisoformat(text)))
        except (ValueError, OverflowError):
            raise RequestError(
                f"{shown(text)} is not an instant", where="mainspring-event-at", valid="RFC 3339"
            ) from None

    def _not_logged(self, rows: int, error: OSError) -> None:
        self.metrics.log_failed(rows)
        # Said once: each of ten thousand requests a second would fill what is left of the disk.
        if not self._unlogged:
            then = "answers are refused" if self.config.on_log_failure == "refuse" else "answers go out unlogged"
            self._log.error("the prediction log cannot be written", error=str(error), until_it_can=then)
        self._unlogged += rows

    def _judged(self, one: Pending, looked: Looked, outputs: list[Output]) -> _Ended:
        if self._broken_below and zlib.crc32(f"{self.config.build}:{one.ids[0]}".encode()) < self._broken_below:
            return _failed("rehearsed failure", looked)
        if all(isfinite(value) for output in outputs for value in output):
            return _Ended(Answered(one.id, outputs, looked.flags), looked, outputs)
        always = {feature.name for feature in self.card.signature.features if not feature.nullable}
        lacking = [flag for flags in looked.flags for flag in flags if flag.partition(":")[2] in always]
        if lacking:
            # What the model cannot do without is no fault of its own.
            return _Ended(
                Unanswerable(
                    f"the model gave no number: {', '.join(dict.fromkeys(lacking))}",
                    valid="features.missing: reject, or default",
                )
            )
        return _failed("the model gave no number", looked)

    def _logged(self, pending: Sequence[Pending], ended: Sequence[_Ended]) -> list[Answered | RequestError]:
        now = time.perf_counter()
        rows: list[LogRow] = []
        for one, of in zip(pending, ended, strict=True):
            if of.looked is None:
                continue
            if isinstance(of.result, Answered):
                rows += _log_rows(one, of.looked, of.outputs, _ANSWERED, now, "")
            else:
                self._log.error("prediction failed", request_id=one.ids[0], reason=of.result.what)
                rows += _log_rows(one, of.looked, of.outputs, _FAILED, now, of.result.what)
        if rows and (refused := self._append(rows)) is not None:
            return [refused if of.looked is not None else of.result for of in ended]
        for one, of in zip(pending, ended, strict=True):
            if isinstance(of.result, Answered):
                self.metrics.predicted(one.count, time.perf_counter() - one.began)
        return [of.result for of in ended]

    def _append(self, rows: Sequence[LogRow]) -> LogFailed | None:
        """Write the rows; what callers are told where they are refused because it failed."""
        try:
            self.metrics.logged(self._writer.append(rows))
        except OSError as error:
            self._not_logged(len(rows), error)
            if self.config.on_log_failure == "refuse":
                return LogFailed(f"the answer could not be logged: {error.strerror}")
        else:
            if self._unlogged:
                self._log.warning("the prediction log is written again", rows_not_logged=self._unlogged)
                self._unlogged = 0
        return None


def _failed(reason: str, looked: Looked) -> _Ended:
    return _Ended(ModelFailed(reason), looked, [()] * len(looked.entities))


def _rows(looked: Looked | MainspringError) -> Sequence[Row]:
    return looked.rows if isinstance(looked, Looked) and not looked.failure else []


def _log_rows(
    one: Pending, looked: Looked, outputs: Sequence[Output], outcome: int, now: float, reason: str
) -> list[LogRow]:
    latency = round((now - one.began) * 1e6)
    return [
        LogRow(
            one.ids[place],
            one.role,
            one.arm,
            outcome,
            one.event_at,
            latency,
            output,
            tuple([None if value != value else value for value in looked.rows[place]]),  # noqa: PLR0124
            looked.entities[place],
            looked.ages[place],
            tuple(looked.flags[place]),
            one.cohort,
            reason,
        )
        for place, output in enumerate(outputs)
    ]


def _ids(whole: str, count: int, columns: Columns) -> list[str]:
    own = columns.pop(REQUEST_ID, None)
    if own is not None:
        return [str(one) for one in own]
    return [whole] if count == 1 else [f"{whole}#{place}" for place in range(count)]


def warm_up(runtime: Runtime, card: ModelCard, requests: int) -> None:
    """Ask the runtime itself, so that the first caller does not pay for what is set up lazily; nothing is logged."""
    blank: list[Any] = []
    for feature in card.signature.features:
        text = feature.type in ("str", "category")
        blank.append((feature.categories[0] if feature.categories else "") if text else 0.0)
    for _ in range(requests):
        runtime.predict([blank])
