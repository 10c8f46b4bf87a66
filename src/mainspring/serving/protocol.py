"""The wire of REST: Open Inference Protocol v2, with its binary tensor extension, and KServe v1; typed, no decisions."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Any, TypeVar

import msgspec

from mainspring import __version__
from mainspring.domain.model_card import ModelCard
from mainspring.serving.columns import ColumnTable
from mainspring.serving.errors import RequestError
from mainspring.serving.tensors import AnyTensor, RawTensor, Tensor

SERVER = "mainspring"
EXTENSIONS = ("binary_tensor_data",)
JSON, BINARY = "application/json", "application/octet-stream"
HEADER_LENGTH = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON; tensors as bytes follow."""


class OutputParameters(msgspec.Struct, gc=False):
    """`binary_data`: whether this output comes as bytes behind the JSON; None: as the whole request says."""

    binary_data: bool | None = None


class RequestedOutput(msgspec.Struct, gc=False):
    """An output that the caller wants."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(msgspec.Struct, gc=False):
    """`binary_data_output`: whether outputs come as bytes behind the JSON."""

    binary_data_output: bool = False


class InferRequest(msgspec.Struct, gc=False):
    """The body of `POST /v2/models/{model}/infer`."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


class BinaryParameters(msgspec.Struct, gc=False):
    """`binary_data_size`: how many of the bytes behind the JSON are this tensor's."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None


class BinaryTensor(msgspec.Struct, gc=False):
    """An input whose data may lie behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: BinaryParameters | None = None


class BinaryRequest(msgspec.Struct, gc=False):
    """The JSON of a body that holds bytes, too."""

    inputs: list[BinaryTensor]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


class PredictRequest(msgspec.Struct, gc=False):
    """The body of `POST /v1/models/{model}:predict`."""

    instances: list[Any]


class TensorOut(msgspec.Struct, gc=False, omit_defaults=True):
    """An output of OIP v2: its data, or in `parameters` how many of the bytes behind the JSON are its own."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] = {}


class InferResponse(msgspec.Struct, gc=False, omit_defaults=True):
    """The answer of OIP v2. `parameters["flags"]` lists what was unusual, `3:missing:temp` for the fourth row of several."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[TensorOut, ...]
    parameters: dict[str, str] = {}


_Body = TypeVar("_Body")
_infer_decoder = msgspec.json.Decoder(InferRequest)
_binary_decoder = msgspec.json.Decoder(BinaryRequest)
_predict_decoder = msgspec.json.Decoder(PredictRequest)
encode = msgspec.json.Encoder().encode

_INPUT = re.compile(r"inputs\[(\d+)\]\.")
_PYTHONS_NUMBERS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|NaN|-?Infinity')
"""A JSON string, or what Python's own `json` writes for numbers that JSON does not have."""


def decode_infer(body: bytes) -> InferRequest:
    """An OIP v2 body of nothing but JSON; a `RequestError` names the field that does not fit."""
    try:
        return _infer_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _not_valid(error, body) from error
    except (ValueError, RecursionError):
        return _again(_infer_decoder, body)


def decode_predict(body: bytes) -> PredictRequest:
    """A KServe v1 body; a `RequestError` names the field that does not fit."""
    try:
        return _predict_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _not_valid(error, body) from error
    except (ValueError, RecursionError):
        return _again(_predict_decoder, body)


def decode_binary(body: bytes, header_length: str) -> tuple[list[AnyTensor], BinaryRequest]:
    """An OIP v2 body whose first `header_length` bytes are JSON: its inputs, and what else the JSON says.

    Errors: `RequestError` when lengths do not add up or an input has no data, or has it twice.

    >>> json = b'{"inputs":[{"name":"x","shape":[1],"datatype":"BOOL","parameters":{"binary_data_size":1}}]}'
    >>> bytes(decode_binary(json + b"\\x01", str(len(json)))[0][0].data)
    b'\\x01'
    """
    if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:20]) > len(body):
        raise RequestError(
            f"{header_length[:20]!r} is not the length of the JSON in {len(body)} bytes",
            where=HEADER_LENGTH,
            valid=f"0 to {len(body)}",
        )
    position = int(header_length[:20])
    try:
        asked = _binary_decoder.decode(body[:position])
    except msgspec.ValidationError as error:
        raise _not_valid(error, body[:position]) from error
    except (ValueError, RecursionError):
        asked = _again(_binary_decoder, body[:position])
    view = memoryview(body)
    tensors: list[AnyTensor] = []
    for one in asked.inputs:
        size = one.parameters.binary_data_size if one.parameters else None
        if (size is None) == (one.data is None):
            raise RequestError(
                "has neither data nor binary_data_size" if size is None else "has both data and binary_data_size",
                where=one.name,
                valid="one of the two",
            )
        if size is None:
            tensors.append(Tensor(one.name, one.shape, one.datatype, one.data or []))
            continue
        if position + size > len(body):
            raise RequestError(
                f"binary_data_size {size} where {len(body) - position} bytes are left",
                where=one.name,
                valid="together as many bytes as follow the JSON",
            )
        tensors.append(RawTensor(one.name, one.shape, one.datatype, view[position : position + size]))
        position += size
    if position != len(body):
        raise RequestError(
            f"{len(body) - position} bytes behind the last tensor",
            where="body",
            valid="the JSON, and then the bytes that binary_data_size promises",
        )
    return tensors, asked


def output_name(card: ModelCard) -> str:
    """Name of the model's one output."""
    return card.output


def server_metadata() -> dict[str, Any]:
    """`GET /v2`."""
    return {"name": SERVER, "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(name: str, version: str, card: ModelCard, table: ColumnTable) -> dict[str, Any]:
    """`GET /v2/models/{model}`: entity keys first, then features; all but the request's own are optional."""
    columns = [(column, "entity") for column in table.entities]
    columns += [
        (column, feature.source) for column, feature in zip(table.features, card.signature.features, strict=True)
    ]
    width = [] if card.task != "multiclass" else [len(card.signature.classes)]
    return {
        "name": name,
        "versions": [version],
        "platform": f"mainspring_{card.format}",
        "inputs": [
            {"name": column.name, "datatype": column.datatype, "shape": [-1], "parameters": {"source": source}}
            for column, source in columns
        ],
        "outputs": [{"name": output_name(card), "datatype": "FP64", "shape": [-1, *width]}],
        "parameters": {"classes": ",".join(card.signature.classes)} if card.signature.classes else {},
    }


def _again(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Decode with Python's NaN as null and its Infinity as a number out of range, so that the field can be named."""

    def plain(found: re.Match[bytes]) -> bytes:
        text = found[0]
        return text if text[:1] == b'"' else b"null" if text == b"NaN" else b"1e999"

    body = _PYTHONS_NUMBERS.sub(plain, body)
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise RequestError(
            "JSON that is nested too deep", where="body", valid="lists as deep as a shape is long"
        ) from error
    except UnicodeDecodeError as error:
        raise RequestError("JSON that is not UTF-8", where="body", valid="JSON in UTF-8") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _not_valid(error, body) from error


class _Named(msgspec.Struct, gc=False):
    name: str = ""


class _Names(msgspec.Struct, gc=False):
    inputs: list[_Named] = []


def _not_valid(error: Exception, body: bytes) -> RequestError:
    text, _, path = str(error).partition(" - at `$")
    where = path.strip("`").lstrip(".") or "body"
    if found := _INPUT.match(where):
        # The caller knows the tensor by its name; whether that can be read depends on what else is wrong.
        with contextlib.suppress(msgspec.DecodeError, RecursionError, IndexError):
            where += f" ({msgspec.json.decode(body, type=_Names).inputs[int(found[1])].name[:100]})"
    if not isinstance(error, msgspec.ValidationError):
        return RequestError(text, where=where, valid="JSON in UTF-8")
    return RequestError(text, where=where, valid="a finite number" if "out of range" in text else "")
