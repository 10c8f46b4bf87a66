"""REST: method, path, headers and body in; status, headers and body out. The only place with HTTP's rules.

No web framework here: `serving.http1` hands requests over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainspring.domain.errors import MainspringError
from mainspring.serving import protocol
from mainspring.serving.errors import NotReady, RequestError, TooLarge, UnknownModel, WrongContentType, WrongMethod
from mainspring.serving.openapi import document
from mainspring.serving.predictor import Answered, Headers, Pending, Predictor
from mainspring.serving.protocol import BINARY, JSON
from mainspring.serving.tensors import AnyTensor, doubles
from mainspring.telemetry.slots import CONTENT_TYPE

HeaderList = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes
    headers: HeaderList = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prediction request between its check and the model's answer, which `write` writes."""

    pending: Pending
    speaks: str
    write: Callable[[Answered], Answer]


class RestApi:
    """OIP v2 and KServe v1 for one `Predictor`, with its metadata, health, metrics and OpenAPI document."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._config = config = predictor.config
        self._stamp = [("mainspring-version", config.version)]
        if config.build:
            self._stamp.append(("mainspring-build", config.build))
        self._json_stamp = [("content-type", JSON), *self._stamp]
        self._shape = () if predictor.single else (len(predictor.card.signature.classes),)
        self._output = protocol.output_name(predictor.card)
        bases = [f"/v2/models/{config.name}", f"/v2/models/{config.name}/versions/{config.version}"]
        self._predicting: dict[str, tuple[str, Callable[[Headers, bytes], Waiting]]] = {
            **{f"{base}/infer": ("v2", self._infer) for base in bases},
            f"/v1/models/{config.name}:predict": ("v1", self._predict),
        }
        self._pages = self._make_pages(bases)

    def answer(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """Answer one request: `begin` and `finish`."""
        found = self.begin(method, path, headers, body)
        return found if isinstance(found, Answer) else self.finish([found])[0]

    def begin(self, method: str, path: str, headers: Headers, body: bytes) -> Answer | Waiting:
        """The answer to a request that needs no model, or what waits for it; an error becomes a status and a text."""
        predicting = self._predicting.get(path)
        if predicting is None:
            return self._elsewhere(method, path)
        speaks, read = predicting
        error: RequestError
        try:
            self._predictor.expect_ready()
            if method != "POST":
                raise WrongMethod(f"{method} {path}", valid="POST")
            return read(headers, body)
        except RequestError as one:
            error = one
        except MainspringError as one:
            error = NotReady(one.what, where=one.where)
        self._predictor.metrics.answered(speaks, error.status)
        return self._refusal(error)

    def finish(self, waiting: Sequence[Waiting]) -> list[Answer]:
        """The answers to requests that waited for the model, which is asked once for all of them."""
        answers = []
        found = self._predictor.answer([one.pending for one in waiting])
        for one, result in zip(waiting, found, strict=True):
            answer = self._refusal(result) if isinstance(result, RequestError) else one.write(result)
            self._predictor.metrics.answered(one.speaks, answer.status)
            answers.append(answer)
        return answers

    def refuse(self, path: str, error: RequestError) -> Answer:
        """The answer to a request that was not read to its end, or could not be."""
        answer = self._refusal(error)
        if path in self._predicting:
            self._predictor.metrics.answered(self._predicting[path][0], answer.status)
        return answer

    def body_too_large(self, size: int) -> TooLarge:
        """The error for a body of at least `size` bytes."""
        most = self._config.max_body_bytes
        return TooLarge(f"{size:,} bytes", where="body", valid=f"at most {most:,} bytes")

    def _infer(self, headers: Headers, body: bytes) -> Waiting:
        began = time.perf_counter()
        binary_length = headers.get(protocol.HEADER_LENGTH, "")
        _expect_content(headers, binary=bool(binary_length))
        inputs: Sequence[AnyTensor]
        asked: protocol.InferRequest | protocol.BinaryRequest
        try:
            if binary_length:
                inputs, asked = protocol.decode_binary(body, binary_length)
            else:
                plain = protocol.decode_infer(body)
                inputs, asked = plain.inputs, plain
        except RequestError:
            _expect_plain(headers)
            raise
        write = self._inferred_in_binary if self._wants_binary(asked) else self._inferred
        count, columns = self._predictor.table.from_tensors(inputs)
        return Waiting(self._predictor.prepare(count, columns, asked.id or "", headers, began), "v2", write)

    def _wants_binary(self, asked: protocol.InferRequest | protocol.BinaryRequest) -> bool:
        """Whether the model's one output goes back as bytes; refuses outputs that it has not."""
        whole = asked.parameters is not None and asked.parameters.binary_data_output
        if not asked.outputs:
            return whole
        self._predictor.expect_outputs([one.name for one in asked.outputs])
        own = asked.outputs[0].parameters
        return whole if own is None or own.binary_data is None else own.binary_data

    def _inferred(self, answered: Answered) -> Answer:
        values = [value for output in answered.outputs for value in output]
        body = self._response(answered, protocol.TensorOut(self._output, self._shape_of(answered), "FP64", values))
        return Answer(200, body, self._stamped(self._json_stamp, answered.id))

    def _inferred_in_binary(self, answered: Answered) -> Answer:
        tail = doubles([value for output in answered.outputs for value in output])
        size = {"binary_data_size": len(tail)}
        tensor = protocol.TensorOut(self._output, self._shape_of(answered), "FP64", parameters=size)
        head = self._response(answered, tensor)
        stamp = [("content-type", BINARY), (protocol.HEADER_LENGTH, str(len(head))), *self._stamp]
        return Answer(200, head + tail, self._stamped(stamp, answered.id))

    def _response(self, answered: Answered, tensor: protocol.TensorOut) -> bytes:
        flags = answered.flags_text
        return protocol.encode(
            protocol.InferResponse(
                self._config.name, self._config.version, answered.id, (tensor,), {"flags": flags} if flags else {}
            )
        )

    def _shape_of(self, answered: Answered) -> tuple[int, ...]:
        return (len(answered.outputs), *self._shape)

    def _predict(self, headers: Headers, body: bytes) -> Waiting:
        began = time.perf_counter()
        _expect_content(headers, binary=False)
        try:
            asked = protocol.decode_predict(body)
        except RequestError:
            _expect_plain(headers)
            raise
        count, columns = self._predictor.table.from_instances(asked.instances)
        return Waiting(self._predictor.prepare(count, columns, "", headers, began), "v1", self._predicted)

    def _predicted(self, answered: Answered) -> Answer:
        single = self._predictor.single
        answer = {"predictions": [one[0] if single else one for one in answered.outputs]}
        return Answer(200, protocol.encode(answer), self._stamped(self._json_stamp, answered.id))

    def _stamped(self, stamp: HeaderList, whole: str) -> HeaderList:
        # An id from a body may hold what no header can.
        if whole.isascii() and whole.isprintable():
            return [*stamp, ("mainspring-request-id", whole)]
        return stamp

    def _refusal(self, error: RequestError) -> Answer:
        stamp = self._json_stamp
        if isinstance(error, WrongMethod):
            stamp = [*stamp, ("allow", error.valid)]
        return Answer(error.status, protocol.encode({"error": error.text}), stamp)

    def _elsewhere(self, method: str, path: str) -> Answer:
        make = self._pages.get(path)
        if make is None:
            return self._refusal(self._unknown(path))
        if method not in ("GET", "HEAD"):
            return self._refusal(WrongMethod(f"{method} {path}", valid="GET, HEAD"))
        return make()

    def _unknown(self, path: str) -> RequestError:
        """What is wrong with a path that nothing is at: the model's name, its version, or all of it."""
        parts = path.removesuffix(":predict").strip("/").split("/")
        if len(parts) > 2 and parts[0] in ("v1", "v2") and parts[1] == "models":
            try:
                self._predictor.expect(parts[2], parts[4] if len(parts) > 4 and parts[3] == "versions" else "")
            except UnknownModel as error:
                return error
        return UnknownModel(f"there is nothing at {path[:200]}", valid=", ".join([*self._predicting, *self._pages]))

    def _make_pages(self, bases: list[str]) -> dict[str, Callable[[], Answer]]:
        predictor, config = self._predictor, self._config

        def page(content: object) -> Callable[[], Answer]:
            answer = Answer(200, protocol.encode(content), self._json_stamp)
            return lambda: answer

        def readiness() -> Answer:
            body = protocol.encode({"name": config.name, "ready": predictor.ready})
            return Answer(200 if predictor.ready else 503, body, self._json_stamp)

        def metrics() -> Answer:
            return Answer(200, predictor.exposition().encode(), [("content-type", CONTENT_TYPE)])

        metadata = protocol.model_metadata(config.name, config.version, predictor.card, predictor.table)
        pages = {
            "/": page({"status": "alive"}),
            "/v2": page(protocol.server_metadata()),
            "/v2/health/live": page({"live": True}),
            "/v2/health/ready": readiness,
            "/v1/models": page({"models": [config.name]}),
            f"/v1/models/{config.name}": readiness,
            "/metrics": metrics,
            "/openapi.json": page(document(config, predictor.card, predictor.table)),
        }
        for base in bases:
            pages |= {base: page(metadata), f"{base}/ready": readiness}
        return pages


def _expect_content(headers: Headers, *, binary: bool) -> None:
    """JSON, or the binary extension's type beside its header."""
    kind = headers.get("content-type", JSON)
    if kind == JSON:
        return
    plain = kind.partition(";")[0].strip().lower()
    if plain == BINARY and not binary:
        raise WrongContentType(
            f"content type {BINARY} without {protocol.HEADER_LENGTH}",
            where="content-type",
            valid=f"{JSON}, or for v2 {BINARY} with that header",
        )
    if plain not in (JSON, BINARY):
        raise WrongContentType(f"content type {kind[:100]}", where="content-type", valid=f"{JSON}, or for v2 {BINARY}")


def _expect_plain(headers: Headers) -> None:
    """A body that cannot be read may be one that is compressed."""
    encoding = headers.get("content-encoding", "")
    if encoding:
        raise WrongContentType(f"a body encoded as {encoding[:100]}", where="content-encoding", valid="none")
