"""The OpenAPI 3.1 document of one predictor: what it serves, with the model's own columns, from card and configuration.

What a schema cannot say is said in words: shapes and data belong together, and all inputs have the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mainspring import __version__
from mainspring.domain.model_card import ModelCard
from mainspring.serving.checks import Column
from mainspring.serving.columns import REQUEST_ID, ColumnTable
from mainspring.serving.config import ServeConfig
from mainspring.serving.errors import (
    LogFailed,
    ModelFailed,
    RequestError,
    TooLarge,
    Unanswerable,
    WrongContentType,
)
from mainspring.serving.protocol import BINARY, HEADER_LENGTH, JSON, output_name
from mainspring.telemetry.slots import CONTENT_TYPE

Schema = dict[str, Any]

_REFUSALS = {
    RequestError.status: "The request is not what the model takes; the error names the field.",
    TooLarge.status: "A body larger than what is taken.",
    WrongContentType.status: "A body that is neither JSON nor, for v2, JSON and tensors as bytes.",
    Unanswerable.status: "Features are missing, and the project says that then there is no answer.",
    ModelFailed.status: "The model failed; the failure is in the prediction log.",
    LogFailed.status: "Starting or ending, or the answer could not be logged.",
}


def document(config: ServeConfig, card: ModelCard, table: ColumnTable) -> Schema:
    """The document, as JSON to be. `config` gives names and limits, `table` the columns and what each of them takes.

    >>> from mainspring.domain.model_version import Feature, Signature
    >>> signature = Signature("regression", (Feature("wind", "float"),))
    >>> config = ServeConfig("power", "3", model="", segments="", port=8080)
    >>> made = document(config, ModelCard("power", "regression", "onnx", signature), ColumnTable(signature, [], max_rows=9))
    >>> made["info"]["title"], made["components"]["schemas"]["PredictResponse"]["properties"]["predictions"]["items"]
    ('power, version 3', {'type': 'number'})
    """
    name, version = config.name, config.version
    row = _example(card, table)
    tensors = [
        {"name": column.name, "shape": [1], "datatype": column.datatype, "data": [row[column.name]]}
        for column in (*table.entities, *table.features)
        if column.name in row
    ]
    inferring = {
        JSON: {"schema": _ref("InferRequest"), "example": {"inputs": tensors}},
        BINARY: {"schema": {"type": "string", "format": "binary"}},
    }
    predicting = {JSON: {"schema": _ref("PredictRequest"), "example": {"instances": [row]}}}
    infer = _predicting("infer", "Predictions by the Open Inference Protocol v2", inferring, "InferResponse", True)
    paths: Schema = {
        "/": _page("serverLiveV1", "Whether the server is alive, as KServe v1 asks", "Alive"),
        "/v2": _page("serverMetadata", "The server and its extensions", "ServerMetadata"),
        "/v2/health/live": _page("serverLive", "Whether the server is alive", "Live"),
        "/v2/health/ready": _page("serverReady", "Whether the server takes requests", "Ready", also_503=True),
        f"/v1/models/{name}:predict": _predicting(
            "predict", "Predictions by KServe v1", predicting, "PredictResponse", False
        ),
        "/v1/models": _page("models", "The models that are served", "Models"),
        f"/v1/models/{name}": _page("modelReadyV1", "Whether the model takes requests", "Ready", also_503=True),
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics in Prometheus' text format",
                "responses": {"200": {"description": "Metrics", "content": {CONTENT_TYPE: {"schema": _TEXT}}}},
            }
        },
        "/openapi.json": _page("openapi", "This document", "Document"),
    }
    for base, suffix in ((f"/v2/models/{name}", ""), (f"/v2/models/{name}/versions/{version}", "OfVersion")):
        paths[f"{base}/infer"] = _named(infer, suffix)
        paths[base] = _page(f"modelMetadata{suffix}", "Inputs and outputs of the model", "ModelMetadata")
        paths[f"{base}/ready"] = _page(
            f"modelReady{suffix}", "Whether the model takes requests", "Ready", also_503=True
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{name}, version {version}",
            "version": __version__,
            "description": f"Predictions of {card.signature.target or name} ({card.task}). At most {config.max_rows:,} "
            f"rows and {config.max_body_bytes:,} bytes a request.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": _schemas(config, card, table)},
    }


_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}


def _schemas(config: ServeConfig, card: ModelCard, table: ColumnTable) -> Schema:
    own = {"type": "array", "items": _TEXT}
    tensor = _object({"name": _TEXT, "datatype": _TEXT, "shape": {"type": "array", "items": _WHOLE}})
    single = card.task != "multiclass"
    one: Schema = {"type": "number"}
    classes = len(card.signature.classes)
    output = output_name(card)
    return {
        "Error": _object({"error": _TEXT}, description="What was wrong, where, and what would be taken"),
        "Alive": _object({"status": {"const": "alive"}}),
        "Live": _object({"live": {"type": "boolean"}}),
        "Ready": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
        "Models": _object({"models": own}),
        "Document": {"type": "object"},
        "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": own}),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": own,
                "platform": _TEXT,
                "inputs": {"type": "array", "items": tensor},
                "outputs": {"type": "array", "items": tensor},
                "parameters": {"type": "object"},
            }
        ),
        "InferRequest": _infer_request(config, card, table),
        "InferResponse": _object(
            {
                "model_name": {"const": config.name},
                "model_version": {"const": config.version},
                "id": _TEXT,
                "outputs": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": _object(
                        {
                            "name": {"const": output},
                            "datatype": {"const": "FP64"},
                            "shape": {"type": "array", "items": _WHOLE, "description": _output_shape(card)},
                        },
                        {"data": {"type": "array", "items": one}, "parameters": {"type": "object"}},
                    ),
                },
            },
            {
                "parameters": _object(
                    {}, {"flags": {**_TEXT, "description": "What was unusual, `missing:` or `stale:`"}}
                )
            },
        ),
        "PredictRequest": _object({"instances": _instances(config, card, table)}),
        "PredictResponse": _object(
            {
                "predictions": {
                    "type": "array",
                    "items": one if single else {"type": "array", "items": one, "minItems": classes},
                    "description": f"The {output} of each instance" + _of_classes(card),
                }
            }
        ),
    }


def _infer_request(config: ServeConfig, card: ModelCard, table: ColumnTable) -> Schema:
    every = [*table.entities, *table.features]
    inputs: list[Schema] = [_tensor(column) for column in every]
    inputs.append(_tensor_of(REQUEST_ID, ["BYTES"], _TEXT, "An id for each row"))
    if table.takes_matrix:
        width = len(table.features)
        matrix = _tensor_of(
            None, list(table.features[0].datatypes[1:]), _value(table.features[0]), "All features in order"
        )
        matrix["properties"]["shape"] = {
            "type": "array",
            "prefixItems": [_rows(config), {"const": width}],
            "minItems": 2,
            "maxItems": 2,
        }
        inputs.append(matrix)
    flag: Schema = {"type": ["boolean", "null"]}
    return _object(
        {
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": inputs},
                "description": "One for each column; needed are " + (", ".join(_required(card)) or "none"),
            }
        },
        {
            "id": {
                "type": ["string", "null"],
                "description": "Comes back with the answer; of several rows, `id#0` ...",
            },
            "parameters": _nullable(_object({}, {"binary_data_output": {"type": "boolean"}})),
            "outputs": {
                "type": ["array", "null"],
                "maxItems": 1,
                "items": _object(
                    {"name": {"const": output_name(card)}},
                    {"parameters": _nullable(_object({}, {"binary_data": flag}))},
                ),
            },
        },
    )


def _tensor(column: Column) -> Schema:
    said = "An entity's key" if column.key else "A feature"
    return _tensor_of(column.name, list(column.datatypes), _value(column), f"{said}, best as {column.datatype}")


def _tensor_of(name: str | None, datatypes: list[str], value: Schema, said: str) -> Schema:
    return _object(
        {
            "name": _TEXT if name is None else {"const": name},
            "datatype": {"enum": datatypes},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 2,
                "description": "[rows] or [rows, 1]",
            },
            "data": {"type": "array", "items": {"anyOf": [value, {"type": "array", "items": value}]}},
        },
        description=said,
    )


def _value(column: Column) -> Schema:
    if column.key:
        return {"type": ["string", "integer"]}
    none = ["null"] if column.nullable else []
    if column.text:
        return {"type": ["string", *none]}
    return {"type": ["number", "boolean", *none], "minimum": -column.largest, "maximum": column.largest}


def _instances(config: ServeConfig, card: ModelCard, table: ColumnTable) -> Schema:
    every = [*table.entities, *table.features]
    values = {column.name: _value(column) for column in every} | {REQUEST_ID: _TEXT}
    by_name: Schema = {"type": "object", "properties": values, "required": _required(card)}
    by_name["additionalProperties"] = False
    in_order: Schema = {
        "type": "array",
        "prefixItems": [_value(column) for column in table.features],
        "minItems": len(table.features),
        "maxItems": len(table.features),
    }
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": config.max_rows,
        "items": {"anyOf": [by_name, in_order]},
        "description": "Objects by column name, all with the same columns, or lists of all features in order",
    }


def _example(card: ModelCard, table: ColumnTable) -> dict[str, Any]:
    """A row that is answered: what callers have to send, and the entity keys."""
    row: dict[str, Any] = {column.name: "text" for column in table.entities}
    for column, feature in zip(table.features, card.signature.features, strict=True):
        if column.name in _required(card):
            number = {"BOOL": True, "INT64": 1}.get(column.datatype, 1.5)
            row[column.name] = (feature.categories or ("text",))[0] if column.text else number
    return row


def _required(card: ModelCard) -> list[str]:
    """Features that no store has and that training always saw."""
    return [one.name for one in card.signature.features if one.source == "request" and not one.nullable]


def _predicting(operation: str, summary: str, bodies: Mapping[str, Schema], answer: str, binary: bool) -> Schema:
    answers: Schema = {JSON: {"schema": _ref(answer)}}
    if binary:
        answers[BINARY] = {"schema": {"type": "string", "format": "binary"}}
    refusals = {
        str(status): {"description": said, "content": {JSON: {"schema": _ref("Error")}}}
        for status, said in _REFUSALS.items()
    }
    parameters = [
        _header("x-request-id", _TEXT, "The request's id where the body has none; a new one without it"),
        _header("mainspring-cohort", _TEXT, "The group of callers that the request belongs to; it is logged"),
    ]
    if binary:
        said = f"How many bytes of a body of {BINARY} are JSON; tensors as bytes follow"
        parameters.append(_header(HEADER_LENGTH, {"type": "integer", "minimum": 0}, said))
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": bodies},
            "responses": {"200": {"description": "Predictions", "content": answers}, **refusals},
        }
    }


def _named(operation: Schema, suffix: str) -> Schema:
    post = operation["post"]
    return {"post": {**post, "operationId": f"{post['operationId']}{suffix}"}}


def _page(operation: str, summary: str, schema: str, *, also_503: bool = False) -> Schema:
    content = {JSON: {"schema": _ref(schema)}}
    responses = {"200": {"description": summary, "content": content}}
    if also_503:
        responses["503"] = {"description": "Not ready: starting, or ending", "content": content}
    return {"get": {"operationId": operation, "summary": summary, "responses": responses}}


def _header(name: str, schema: Schema, said: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": said}


def _object(required: Schema, optional: Schema | None = None, description: str = "") -> Schema:
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        schema["required"] = list(required)
    if description:
        schema["description"] = description
    return schema


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _rows(config: ServeConfig) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": config.max_rows}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _of_classes(card: ModelCard) -> str:
    classes: Sequence[str] = card.signature.classes
    if card.task == "binary" and classes:
        return f": of class {classes[-1]}"
    return f": of the classes {', '.join(classes)}" if classes else ""


def _output_shape(card: ModelCard) -> str:
    return f"[rows, {len(card.signature.classes)}]" if card.task == "multiclass" else "[rows]"
