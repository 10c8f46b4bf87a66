"""gRPC: the Open Inference Protocol's service on one `Predictor`, in the predictor's own process and event loop.

What REST has in headers is metadata here: a caller's initial one, an answer's trailing one. Headers, message and status go
out at once: until then a proxy can ask another version, however this process ends, and a refusal is known by its only headers.
Inputs that come as bytes are answered with bytes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from mainspring.domain.errors import ConfigError, MainspringError
from mainspring.serving import open_inference_pb2 as oip
from mainspring.serving import protocol
from mainspring.serving.errors import NotReady, RequestError
from mainspring.serving.grpc_health import health_handlers
from mainspring.serving.predictor import Answered, Predictor
from mainspring.serving.tensors import AnyTensor, RawTensor, Tensor, doubles, texts

SERVICE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of `InferTensorContents` that holds each datatype; FP16 has none and comes as bytes."""

_Asked = TypeVar("_Asked", bound=Message)
Metadata = dict[str, str]
Handler = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]


class GrpcApi:
    """The service's six calls. A `RequestError` becomes its gRPC code, with the same text as over REST."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        config, card = predictor.config, predictor.card
        self._stamp = [("mainspring-version", config.version)]
        if config.build:
            self._stamp.append(("mainspring-build", config.build))
        self._metadata = protocol.model_metadata(config.name, config.version, card, predictor.table)
        self._shape = () if predictor.single else (len(card.signature.classes),)

    def handlers(self) -> Any:
        """The calls as gRPC takes them."""
        calls = {
            "ServerLive": self._handler(oip.ServerLiveRequest, self._server_live),
            "ServerReady": self._handler(oip.ServerReadyRequest, self._server_ready),
            "ModelReady": self._handler(oip.ModelReadyRequest, self._model_ready),
            "ServerMetadata": self._handler(oip.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": self._handler(oip.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": self._handler(oip.ModelInferRequest, self._model_infer, self._count),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name, {name: grpc.stream_unary_rpc_method_handler(call) for name, call in calls.items()}
        )

    def _handler(
        self,
        kind: type[_Asked],
        answer: Callable[[_Asked, Metadata], tuple[Message, str]],
        count: Callable[[str], None] = lambda code: None,
    ) -> Handler:
        """A call from bytes to bytes: gRPC itself would answer INTERNAL to bytes that are no message.

        It reads a stream of one: of a call that ends before its message is whole, gRPC would tell nobody, and never answer.
        """

        async def handle(messages: AsyncIterator[bytes], context: Any) -> bytes:
            metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            data = b""
            try:
                data = await anext(messages)
                asked = kind.FromString(data)
                answered, whole = answer(asked, metadata)
            except StopAsyncIteration:
                refusal = RequestError("no whole message", where="message", valid=f"one {kind.__name__}")
            except DecodeError:
                refusal = RequestError(f"{len(data)} bytes that are no {kind.__name__}", where="message")
            except RequestError as error:
                refusal = error
            except MainspringError as error:
                refusal = NotReady(error.what, where=error.where)
            else:
                # An id from a message may hold what no metadata can.
                own = [("mainspring-request-id", whole)] if whole and whole.isascii() and whole.isprintable() else []
                count("OK")
                context.set_trailing_metadata((*self._stamp, *own))
                message: bytes = answered.SerializeToString()
                return message
            count(refusal.grpc_code)
            await context.abort(grpc.StatusCode[refusal.grpc_code], refusal.text, tuple(self._stamp))
            raise AssertionError("unreachable")

        return handle

    def _count(self, code: str) -> None:
        self._predictor.metrics.answered("grpc", code)

    def _server_live(self, asked: oip.ServerLiveRequest, metadata: Metadata) -> tuple[Message, str]:
        return oip.ServerLiveResponse(live=True), ""

    def _server_ready(self, asked: oip.ServerReadyRequest, metadata: Metadata) -> tuple[Message, str]:
        return oip.ServerReadyResponse(ready=self._predictor.ready), ""

    def _model_ready(self, asked: oip.ModelReadyRequest, metadata: Metadata) -> tuple[Message, str]:
        self._predictor.expect(asked.name, asked.version)
        return oip.ModelReadyResponse(ready=self._predictor.ready), ""

    def _server_metadata(self, asked: oip.ServerMetadataRequest, metadata: Metadata) -> tuple[Message, str]:
        return oip.ServerMetadataResponse(**protocol.server_metadata()), ""

    def _model_metadata(self, asked: oip.ModelMetadataRequest, metadata: Metadata) -> tuple[Message, str]:
        self._predictor.expect(asked.name, asked.version)
        known = self._metadata
        tensor = oip.ModelMetadataResponse.TensorMetadata
        inputs, outputs = (
            [tensor(name=one["name"], datatype=one["datatype"], shape=one["shape"]) for one in known[side]]
            for side in ("inputs", "outputs")
        )
        return oip.ModelMetadataResponse(
            name=known["name"], versions=known["versions"], platform=known["platform"], inputs=inputs, outputs=outputs
        ), ""

    def _model_infer(self, asked: oip.ModelInferRequest, metadata: Metadata) -> tuple[Message, str]:
        began = time.perf_counter()
        self._predictor.expect_ready()
        self._predictor.expect(asked.model_name, asked.model_version)
        self._predictor.expect_outputs([one.name for one in asked.outputs])
        count, columns = self._predictor.table.from_tensors(_tensors(asked))
        answered = self._predictor.predict(count, columns, asked.id, metadata, began)
        return self._answer(answered, in_raw=_wants_raw(asked)), answered.id

    def _answer(self, answered: Answered, *, in_raw: bool) -> oip.ModelInferResponse:
        config, card = self._predictor.config, self._predictor.card
        values = [value for output in answered.outputs for value in output]
        answer = oip.ModelInferResponse(model_name=config.name, model_version=config.version, id=answered.id)
        shape = (len(answered.outputs), *self._shape)
        tensor = answer.outputs.add(name=protocol.output_name(card), datatype="FP64", shape=shape)
        if in_raw:
            answer.raw_output_contents.append(doubles(values))
        else:
            tensor.contents.fp64_contents.extend(values)
        if flags := answered.flags_text:
            answer.parameters["flags"].string_param = flags
        return answer


async def start(predictor: Predictor) -> Any:
    """A gRPC server for the predictor, at its configuration's port; a `ConfigError` when that cannot be used."""
    config = predictor.config
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", config.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Workers share the port, as they do REST's; nobody else's process gets it.
            ("grpc.so_reuseport", int(config.workers > 1)),
        ]
    )
    server.add_generic_rpc_handlers((GrpcApi(predictor).handlers(), health_handlers(predictor)))
    try:
        server.add_insecure_port(f"{config.host}:{config.grpc_port}")
    except RuntimeError as error:
        raise ConfigError(f"gRPC cannot listen at port {config.grpc_port}: {error}", valid="a free port") from error
    await server.start()
    return server


def _tensors(asked: oip.ModelInferRequest) -> Sequence[AnyTensor]:
    raw = asked.raw_input_contents
    if not raw:
        return [_from_contents(one) for one in asked.inputs]
    if len(raw) != len(asked.inputs):
        raise RequestError(
            f"{len(raw)} entries for {len(asked.inputs)} inputs", where="raw_input_contents", valid="one for each input"
        )
    for one in asked.inputs:
        if one.HasField("contents"):
            raise RequestError(
                "has contents beside raw_input_contents", where=one.name[:100], valid="one of the two for all inputs"
            )
    return [
        RawTensor(one.name, list(one.shape), one.datatype, data) for one, data in zip(asked.inputs, raw, strict=True)
    ]


def _from_contents(one: oip.ModelInferRequest.InferInputTensor) -> Tensor:
    """An input's values; a datatype of which there is no field is refused later, as on every wire."""
    field = CONTENTS.get(one.datatype, "")
    filled = [found.name for found, _ in one.contents.ListFields()]
    if filled and filled != [field]:
        raise RequestError(
            f"datatype {one.datatype[:20]} with {', '.join(filled)}",
            where=one.name[:100],
            valid=field or "raw_input_contents for FP16, or another datatype",
        )
    data = list(getattr(one.contents, field)) if field else []
    return Tensor(one.name, list(one.shape), one.datatype, texts(data, one.name) if one.datatype == "BYTES" else data)


def _wants_raw(asked: oip.ModelInferRequest) -> bool:
    """As the output's parameter says, else the request's, else as the inputs came."""
    for holder, name in ((asked.outputs[0] if asked.outputs else None, "binary_data"), (asked, "binary_data_output")):
        if holder is not None and name in holder.parameters:
            return bool(holder.parameters[name].bool_param)
    return bool(asked.raw_input_contents)
