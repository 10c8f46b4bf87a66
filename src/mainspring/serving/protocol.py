"""The wire: Open Inference Protocol v2 and KServe v1 bodies, typed; no decisions."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring import __version__
from mainspring.domain.model_card import ModelCard
from mainspring.serving.columns import ColumnTable
from mainspring.serving.errors import RequestError


class TensorIn(msgspec.Struct, gc=False):
    """An input of OIP v2: one column."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferRequest(msgspec.Struct, gc=False):
    """The body of `POST /v2/models/{model}/infer`."""

    inputs: list[TensorIn]
    id: str = ""


class PredictRequest(msgspec.Struct, gc=False):
    """The body of `POST /v1/models/{model}:predict`."""

    instances: list[Any]


class TensorOut(msgspec.Struct, gc=False):
    """An output of OIP v2."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float]


class InferResponse(msgspec.Struct, gc=False, omit_defaults=True):
    """The answer of OIP v2. `parameters["flags"]` lists what was unusual, `3:missing:temp` for the fourth row of several."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[TensorOut, ...]
    parameters: dict[str, str] = {}


_infer_decoder = msgspec.json.Decoder(InferRequest)
_predict_decoder = msgspec.json.Decoder(PredictRequest)
encode = msgspec.json.Encoder().encode


def decode_infer(body: bytes) -> InferRequest:
    """An OIP v2 body; a `RequestError` names the field that does not fit."""
    try:
        return _infer_decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_valid(error) from error


def decode_predict(body: bytes) -> PredictRequest:
    """A KServe v1 body; a `RequestError` names the field that does not fit."""
    try:
        return _predict_decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_valid(error) from error


def output_name(card: ModelCard) -> str:
    """Name of the model's one output."""
    return card.output


def server_metadata() -> bytes:
    """`GET /v2`."""
    return encode({"name": "mainspring", "version": __version__, "extensions": []})


def model_metadata(name: str, version: str, card: ModelCard, table: ColumnTable) -> bytes:
    """`GET /v2/models/{model}`: entity keys first, then features; all but the request's own are optional."""
    columns = [(column, "entity") for column in table.entities]
    columns += [
        (column, feature.source) for column, feature in zip(table.features, card.signature.features, strict=True)
    ]
    width = [] if card.task != "multiclass" else [len(card.signature.classes)]
    return encode(
        {
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
    )


def _not_valid(error: Exception) -> RequestError:
    text, _, where = str(error).partition(" - at `$")
    return RequestError(text, where=where.strip("`").lstrip(".") or "body")
