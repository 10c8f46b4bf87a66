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
    """A request that was checked and whose features were looked up; it waits for the model."""

    id: str
    ids: list[str]
    looked: Looked
    arm: int
    role: int
    cohort: str
    event_at: int
    began: float


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
        """Look up what `count` rows need.

        `own_id` is the id in the request itself; without one it is the header `x-request-id`, else a new one. `began` is
        when the request came, on `time.perf_counter`. Errors: every `RequestError`, whatever wire the request came by.
        """
        whole = own_id or headers.get("x-request-id", "") or str(uuid.uuid4())
        event_at = self._event_at(headers)
        ids = _ids(whole, count, columns)
        return Pending(
            whole,
            ids,
            self._lookup.fill(count, columns, event_at),
            _ARMS.get(headers.get("mainspring-arm", ""), 0),
            _ROLES.get(headers.get("mainspring-role", ""), 0),
            headers.get("mainspring-cohort", ""),
            event_at,
            began,
        )

    def answer(self, pending: Sequence[Pending]) -> list[Answered | RequestError]:
        """What each request gets, from one run of the model; all of it is in the log, with one write, when this returns.

        Whoever was there at the same time shares a run: the model's own overhead is paid once. A model that raises is asked
        again for each request alone, so that one bad request fails nobody else's.
        """
        asked = [one for one in pending if not one.looked.failure]
        rows = asked[0].looked.rows if len(asked) == 1 else [row for one in asked for row in one.looked.rows]
        try:
            outputs = self._runtime.predict(rows) if rows else []
        except Exception as error:  # a project's own model may raise anything
            if len(pending) > 1:
                return [found for one in pending for found in self.answer([one])]
            return self._logged(pending, [(ModelFailed(f"{type(error).__name__}: {error}"), [()] * len(rows))])
        found: list[tuple[Answered | RequestError, Sequence[Output]]] = []
        place = 0
        for one in pending:
            count = len(one.ids)
            if one.looked.failure:
                found.append((ModelFailed(one.looked.failure), [()] * count))
                continue
            share = outputs[place : place + count]
            place += count
            refused = self._error(one, share)
            found.append((refused, [()] * count) if refused else (Answered(one.id, share, one.looked.flags), share))
        return self._logged(pending, found)

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

    def _error(self, one: Pending, outputs: list[Output]) -> RequestError | None:
        if self._broken_below and zlib.crc32(f"{self.config.build}:{one.ids[0]}".encode()) < self._broken_below:
            return ModelFailed("rehearsed failure")
        if all(isfinite(value) for output in outputs for value in output):
            return None
        always = {feature.name for feature in self.card.signature.features if not feature.nullable}
        lacking = [flag for flags in one.looked.flags for flag in flags if flag.partition(":")[2] in always]
        if lacking:
            # What the model cannot do without is no fault of its own.
            return Unanswerable(
                f"the model gave no number: {', '.join(dict.fromkeys(lacking))}",
                valid="features.missing: reject, or default",
            )
        return ModelFailed("the model gave no number")

    def _logged(
        self, pending: Sequence[Pending], found: Sequence[tuple[Answered | RequestError, Sequence[Output]]]
    ) -> list[Answered | RequestError]:
        now = time.perf_counter()
        rows: list[LogRow] = []
        for one, (result, outputs) in zip(pending, found, strict=True):
            if isinstance(result, Answered):
                rows += _log_rows(one, outputs, _ANSWERED, now, "")
            elif isinstance(result, ModelFailed):
                self._log.error("prediction failed", request_id=one.ids[0], reason=result.what)
                rows += _log_rows(one, outputs, _FAILED, now, result.what)
        try:
            self.metrics.logged(self._writer.append(rows))
        except OSError as error:
            self._not_logged(len(rows), error)
            if self.config.on_log_failure == "refuse":
                return [LogFailed(f"the answer could not be logged: {error.strerror}") for _ in found]
        else:
            if self._unlogged:
                self._log.warning("the prediction log is written again", rows_not_logged=self._unlogged)
                self._unlogged = 0
        for one, (result, _) in zip(pending, found, strict=True):
            if isinstance(result, Answered):
                self.metrics.predicted(len(one.ids), time.perf_counter() - one.began)
        return [result for result, _ in found]


def _log_rows(one: Pending, outputs: Sequence[Output], outcome: int, now: float, reason: str) -> list[LogRow]:
    latency = round((now - one.began) * 1e6)
    looked = one.looked
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
