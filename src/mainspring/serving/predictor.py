"""`Predictor`: a request in, an answer out; each answer and each failure is in the log before it goes out.

No web framework here: `serving.process` hands over method, path, headers and body.
"""

from __future__ import annotations

import math
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mainspring.domain.errors import MainspringError
from mainspring.domain.log_record import ARMS, OUTCOMES, ROLES, LogRow, microseconds
from mainspring.domain.model_card import ModelCard
from mainspring.domain.time import utc
from mainspring.serving import protocol
from mainspring.serving.columns import REQUEST_ID, Columns, ColumnTable
from mainspring.serving.config import ServeConfig
from mainspring.serving.errors import (
    LogFailed,
    ModelFailed,
    NotReady,
    RequestError,
    TooLarge,
    UnknownModel,
    WrongContentType,
    WrongMethod,
)
from mainspring.serving.lookup import Looked, Lookup
from mainspring.serving.metrics import PredictorMetrics
from mainspring.serving.runtime import Output, Runtime
from mainspring.serving.segment_writer import SegmentWriter
from mainspring.telemetry.logs import Log
from mainspring.telemetry.slots import CONTENT_TYPE

JSON = "application/json"
_ANSWERED, _FAILED = OUTCOMES.index("answered"), OUTCOMES.index("failed")
_ARMS: dict[str, int] = {name: place for place, name in enumerate(ARMS)}
_ROLES: dict[str, int] = {name: place for place, name in enumerate(ROLES)}


class Headers(Protocol):
    """Request headers by lower-case name."""

    def get(self, key: str, default: str = "") -> str:
        """The header's value."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Request:
    """What a prediction request says beside its columns."""

    protocol: str
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
        self._config = config
        self._card = card
        self._runtime = runtime
        self._lookup = lookup
        self._table = table
        self._writer = writer
        self._metrics = metrics
        self._log = log
        self._single = card.task != "multiclass"
        self._shape = () if self._single else (len(card.signature.classes),)
        self._broken_below = round(config.error_share * 2**32)
        self._stamp = [("content-type", JSON), ("mainspring-version", config.version)]
        if config.build:
            self._stamp.append(("mainspring-build", config.build))
        self._pages = self._make_pages()

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """Answer one request; an error of the caller or of the model becomes a status and a text."""
        speaks = "v1" if path.endswith(":predict") else "v2" if path.endswith("/infer") else ""
        try:
            if speaks:
                answer = self._predict(speaks, method, path, headers, body)
            else:
                return self._page(method, path)
        except RequestError as error:
            answer = self._refusal(error)
        except MainspringError as error:
            answer = self._refusal(NotReady(error.what, where=error.where))
        self._metrics.answered(speaks, answer.status)
        return answer

    def _predict(self, speaks: str, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        began = time.perf_counter()
        self._expect(speaks, method, path, headers, body)
        body_id = ""
        if speaks == "v2":
            asked = protocol.decode_infer(body)
            body_id = asked.id
            count, columns = self._table.from_tensors(asked.inputs)
        else:
            count, columns = self._table.from_instances(protocol.decode_predict(body).instances)
        whole = body_id or headers.get("x-request-id", "") or str(uuid.uuid4())
        request = _Request(
            speaks,
            _ids(whole, count, columns),
            _ARMS.get(headers.get("mainspring-arm", ""), 0),
            _ROLES.get(headers.get("mainspring-role", ""), 0),
            headers.get("mainspring-cohort", ""),
            self._event_at(headers),
            began,
        )
        looked = self._lookup.fill(count, columns, request.event_at)
        outputs = self._run(request, looked)
        self._append(request, looked, outputs, _ANSWERED, "")
        self._metrics.predicted(count, time.perf_counter() - began)
        return Answer(
            200, self._body(request, whole, outputs, looked), [*self._stamp, ("mainspring-request-id", whole)]
        )

    def _expect(self, speaks: str, method: str, path: str, headers: Headers, body: bytes) -> None:
        if not self.ready:
            raise NotReady("not ready: starting, or ending")
        self._named(path.removesuffix(":predict").removesuffix("/infer"))
        if method != "POST":
            raise WrongMethod(f"{method} {path}", valid="POST")
        if not headers.get("content-type", JSON).startswith(JSON):
            raise WrongContentType(f"content type {headers.get('content-type', '')}", valid=JSON)
        if len(body) > self._config.max_body_bytes:
            raise TooLarge(f"a body of {len(body):,} bytes", valid=f"at most {self._config.max_body_bytes:,}")

    def _named(self, path: str) -> None:
        """`/v2/models/{name}[/versions/{version}]` or `/v1/models/{name}` is what is served here."""
        parts = path.strip("/").split("/")
        name = parts[2] if len(parts) > 2 else ""
        version = parts[4] if len(parts) == 5 and parts[3] == "versions" else ""
        if parts[1:2] != ["models"] or len(parts) not in (3, 5) or (len(parts) == 5 and not version):
            raise UnknownModel(f"there is nothing at {path}", valid=f"/v2/models/{self._config.name}/infer")
        if name != self._config.name:
            raise UnknownModel(f"no model {name!r} here", valid=self._config.name)
        if version and version != self._config.version:
            raise UnknownModel(f"no version {version!r} of {name} here", valid=self._config.version)

    def _event_at(self, headers: Headers) -> int:
        text = headers.get("mainspring-event-at", "") if self._config.replayed_clock else ""
        if not text:
            return time.time_ns() // 1000
        try:
            return microseconds(utc(datetime.fromisoformat(text)))
        except ValueError:
            raise RequestError(f"{text!r} is not an instant", where="mainspring-event-at", valid="RFC 3339") from None

    def _run(self, request: _Request, looked: Looked) -> list[Output]:
        salted = f"{self._config.build}:{request.ids[0]}".encode()
        if self._broken_below and zlib.crc32(salted) < self._broken_below:
            raise self._failed(request, looked, "rehearsed failure")
        try:
            outputs = self._runtime.predict(looked.rows)
        except Exception as error:  # a project's own model may raise anything
            raise self._failed(request, looked, f"{type(error).__name__}: {error}") from error
        if not all(math.isfinite(value) for output in outputs for value in output):
            raise self._failed(request, looked, "the model gave no number")
        return outputs

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
            self._metrics.logged(self._writer.append(rows))
        except OSError as error:
            self._metrics.log_failed()
            self._log.error("the prediction log cannot be written", error=str(error))
            if self._config.on_log_failure == "refuse":
                raise LogFailed(f"the answer could not be logged: {error.strerror}") from error

    def _body(self, request: _Request, whole: str, outputs: list[Output], looked: Looked) -> bytes:
        if request.protocol == "v1":
            return protocol.encode({"predictions": [one[0] if self._single else one for one in outputs]})
        data = [value for output in outputs for value in output]
        count = len(outputs)
        tensor = protocol.TensorOut(protocol.output_name(self._card), (count, *self._shape), "FP64", data)
        flags = [flag if count == 1 else f"{place}:{flag}" for place, row in enumerate(looked.flags) for flag in row]
        return protocol.encode(
            protocol.InferResponse(
                self._config.name,
                self._config.version,
                whole,
                (tensor,),
                {"flags": ",".join(flags)} if flags else {},
            )
        )

    def _refusal(self, error: RequestError) -> Answer:
        return Answer(error.status, protocol.encode({"error": error.text}), self._stamp)

    def _page(self, method: str, path: str) -> Answer:
        make = self._pages.get(path)
        if make is None:
            return self._refusal(UnknownModel(f"there is nothing at {path}", valid=", ".join(self._pages)))
        if method not in ("GET", "HEAD"):
            return self._refusal(WrongMethod(f"{method} {path}", valid="GET"))
        return make()

    def _make_pages(self) -> dict[str, Callable[[], Answer]]:
        name = self._config.name

        def page(body: bytes) -> Callable[[], Answer]:
            return lambda: Answer(200, body, self._stamp)

        def readiness() -> Answer:
            return Answer(200 if self.ready else 503, protocol.encode({"name": name, "ready": self.ready}), self._stamp)

        def metrics() -> Answer:
            text = self._metrics.exposition(ready=self.ready, lookup=self._lookup)
            return Answer(200, text.encode(), [("content-type", CONTENT_TYPE)])

        metadata = protocol.model_metadata(name, self._config.version, self._card, self._table)
        pages = {
            "/v2": page(protocol.server_metadata()),
            "/v2/health/live": page(protocol.encode({"live": True})),
            "/v2/health/ready": readiness,
            "/v1/models": page(protocol.encode({"models": [name]})),
            f"/v1/models/{name}": readiness,
            "/metrics": metrics,
        }
        for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._config.version}"):
            pages |= {base: page(metadata), f"{base}/ready": readiness}
        return pages


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
