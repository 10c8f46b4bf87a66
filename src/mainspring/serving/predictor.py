"""`Predictor`: checked columns in, an answer out; each answer and each failure is in the log before it goes out.

No wire here: `rest` and `grpc_api` read requests and write answers, each in its own words.
"""

from __future__ import annotations

import math
import time
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES, LogRow, microseconds
from mainspring.domain.model_card import ModelCard
from mainspring.domain.time import utc
from mainspring.serving.checks import shown
from mainspring.serving.columns import REQUEST_ID, Columns, ColumnTable
from mainspring.serving.config import ServeConfig
from mainspring.serving.errors import LogFailed, ModelFailed, NotReady, RequestError, Unanswerable, UnknownModel
from mainspring.serving.lookup import Looked, Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.runtime import Output, Runtime
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.telemetry.logs import Log

_ANSWERED, _FAILED = OUTCOMES.index("answered"), OUTCOMES.index("failed")
_ARMS: dict[str, int] = {name: place for place, name in enumerate(ARMS)}
_ROLES: dict[str, int] = {name: place for place, name in enumerate(ROLES)}


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
class _Request:
    """What a request says beside its columns."""

    ids: list[str]
    arm: int
    role: int
    cohort: str
    event_at: int
    began: float


class Predictor:
    """One model version. `ready` is set by the process around it."""

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
        self.ready = False
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
        self._broken_below = round(config.error_share * 2**32)

    def expect(self, name: str, version: str = "") -> None:
        """Refuse a model that is not served here; an empty version is whatever is served."""
        if name != self.config.name:
            raise UnknownModel(f"no model {name[:100]!r} here", valid=self.config.name)
        if version and version != self.config.version:
            raise UnknownModel(f"no version {version[:100]!r} of {name} here", valid=self.config.version)

    def expect_ready(self) -> None:
        """Refuse while starting, and when told to end."""
        if not self.ready:
            raise NotReady("not ready: starting, or ending")

    def expect_outputs(self, names: Sequence[str]) -> None:
        """Refuse names that are no output of the model, or that come twice."""
        for place, name in enumerate(names):
            if name != self.card.output:
                raise RequestError("the model has no such output", where=name[:100], valid=self.card.output)
            if place:
                raise RequestError("this output is asked for twice", where=name, valid="each output once")

    def predict(self, count: int, columns: Columns, own_id: str, headers: Headers, began: float) -> Answered:
        """Answer `count` rows and log them.

        `own_id` is the id in the request itself; without one it is the header `x-request-id`, else a new one. `began` is
        when the request came, on `time.perf_counter`. Errors: every `RequestError`, whatever wire the request came by.
        """
        whole = own_id or headers.get("x-request-id", "") or str(uuid.uuid4())
        request = _Request(
            _ids(whole, count, columns),
            _ARMS.get(headers.get("mainspring-arm", ""), 0),
            _ROLES.get(headers.get("mainspring-role", ""), 0),
            headers.get("mainspring-cohort", ""),
            self._event_at(headers),
            began,
        )
        looked = self._lookup.fill(count, columns, request.event_at)
        if looked.failure:
            raise self._failed(request, looked, looked.failure)
        outputs = self._run(request, looked)
        self._append(request, looked, outputs, _ANSWERED, "")
        self.metrics.predicted(count, time.perf_counter() - began)
        return Answered(whole, outputs, looked.flags)

    def exposition(self) -> str:
        """The predictor's series in Prometheus' text format."""
        return self.metrics.exposition(ready=self.ready)

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

    def _run(self, request: _Request, looked: Looked) -> list[Output]:
        salted = f"{self.config.build}:{request.ids[0]}".encode()
        if self._broken_below and zlib.crc32(salted) < self._broken_below:
            raise self._failed(request, looked, "rehearsed failure")
        try:
            outputs = self._runtime.predict(looked.rows)
        except Exception as error:  # a project's own model may raise anything
            raise self._failed(request, looked, f"{type(error).__name__}: {error}") from error
        if not all(math.isfinite(value) for output in outputs for value in output):
            self._expect_whole(looked)
            raise self._failed(request, looked, "the model gave no number")
        return outputs

    def _expect_whole(self, looked: Looked) -> None:
        """Refuse rows that lack what training always had: that the model cannot do without is no fault of its own."""
        always = {one.name for one in self.card.signature.features if not one.nullable}
        lacking = [flag for flags in looked.flags for flag in flags if flag.partition(":")[2] in always]
        if lacking:
            raise Unanswerable(
                f"the model gave no number: {', '.join(dict.fromkeys(lacking))}",
                valid="features.missing: reject, or default",
            )

    def _failed(self, request: _Request, looked: Looked, reason: str) -> ModelFailed:
        self._log.error("prediction failed", request_id=request.ids[0], reason=reason)
        self._append(request, looked, [()] * len(looked.rows), _FAILED, reason)
        return ModelFailed(reason)

    def _append(self, request: _Request, looked: Looked, outputs: Sequence[Output], outcome: int, reason: str) -> None:
        latency = round((time.perf_counter() - request.began) * 1e6)
        rows = [
            LogRow(
                request.ids[place],
                request.role,
                request.arm,
                outcome,
                request.event_at,
                latency,
                tuple(output),
                tuple([None if value != value else value for value in looked.rows[place]]),  # noqa: PLR0124
                looked.entities[place],
                looked.ages[place],
                tuple(looked.flags[place]),
                request.cohort,
                reason,
            )
            for place, output in enumerate(outputs)
        ]
        try:
            self.metrics.logged(self._writer.append(rows))
        except OSError as error:
            self.metrics.log_failed()
            self._log.error("the prediction log cannot be written", error=str(error))
            if self.config.on_log_failure == "refuse":
                raise LogFailed(f"the answer could not be logged: {error.strerror}") from error


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
