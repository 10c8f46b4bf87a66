"""`mainspring predict`: one question to the running service, through Envoy, as any caller would ask it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.domain.errors import ConfigError, NotFound, TemporaryError
from mainspring.platforms.opened import opened_source
from mainspring.platforms.telling import plain
from mainspring.settings.load import LoadedProject

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Predicted:
    """An answer: the model's outputs by name (a class each, where there are classes), and what was unusual."""

    request_id: str
    version: str
    outputs: dict[str, float]
    flags: tuple[str, ...]


def question(loaded: LoadedProject, data: str, file: Path | None, key: str) -> tuple[dict[str, Any], str, bool]:
    """What is asked, by columns; the request's id; and whether columns that are no input may be left out.

    Errors: `ConfigError` unless exactly one of the three is given and can be read, `NotFound` for an id that is not there.
    """
    given = [name for name, one in (("--data", data), ("--file", file), ("--id", key)) if one]
    if len(given) != 1:
        raise ConfigError(
            "one question is needed" + (f", not {', '.join(given)} at once" if given else ""),
            valid="""--data '{"column": value}', --file question.json, or --id of a row of the target's source""",
        )
    if key:
        return _row(loaded, key), key, True
    text = data if file is None else _text(file)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the question is no JSON: {error}", where=str(file or "--data")) from error
    if not isinstance(values, dict):
        raise ConfigError("the question is no JSON object", where=str(file or "--data"), valid='{"column": value}')
    return values, str(uuid.uuid4()), False


def predict_one(loaded: LoadedProject, values: Mapping[str, Any], request_id: str, whole_row: bool) -> Predicted:
    """Ask; what the service answered.

    Errors: `NotFound` when nothing is served, `ConfigError` with the service's words when it refuses the question,
    `TemporaryError` when it does not answer.
    """
    router = EnvoyRouter(loaded.settings, loaded.paths)
    if not router.observed():
        raise NotFound("nothing is served", where=str(loaded.paths.proxy), next_step="mainspring up")
    name, address = loaded.settings.name, router.address()
    status, model = _exchange(address, "GET", f"/v2/models/{name}", None, request_id)
    if status != 200:
        raise TemporaryError(f"the service does not say what it takes: {model}", where=address)
    kinds = {one["name"]: one["datatype"] for one in model["inputs"]}
    asked = [one["name"] for one in model["inputs"] if one["parameters"]["source"] in ("request", "entity")]
    wanted = {column: values[column] for column in asked if column in values} if whole_row else dict(values)
    inputs = [
        {
            "name": column,
            "shape": [1],
            "datatype": kinds.get(column, "BYTES"),
            "data": [_typed(value, kinds.get(column))],
        }
        for column, value in wanted.items()
    ]
    status, body = _exchange(
        address, "POST", f"/v2/models/{name}/infer", {"id": request_id, "inputs": inputs}, request_id
    )
    if status != 200:
        text = str(body.get("error", body))
        if 400 <= status < 500:
            raise ConfigError(
                f"the service refuses the question: {text}",
                where=f"{address}/v2/models/{name}",
                valid=_taken(model, asked),
            )
        raise TemporaryError(f"the service did not answer ({status}): {text}", next_step="mainspring logs --failed")
    (output,) = body["outputs"]
    classes = model.get("parameters", {}).get("classes", "").split(",") if len(output["data"]) > 1 else [output["name"]]
    flags = body.get("parameters", {}).get("flags", "")
    return Predicted(
        body["id"],
        body["model_version"],
        dict(zip(classes, output["data"], strict=True)),
        tuple(flags.split(",")) if flags else (),
    )


def _row(loaded: LoadedProject, key: str) -> dict[str, Any]:
    import pyarrow.compute as pc

    target = loaded.settings.target
    if target.id is None:
        raise ConfigError(
            "rows have no id by which one could be found", where="mainspring.yaml: target.id", valid="a column's name"
        )
    rows = opened_source(loaded, target.source).read(known_at=datetime.max)
    found = rows.filter(pc.equal(pc.cast(rows.column(target.id), "string"), key)).to_pylist()
    if not found:
        ids = ", ".join(str(one) for one in rows.column(target.id).slice(0, 3).to_pylist())
        raise NotFound(f"no row has the id {key!r}", where=f"sources.{target.source}: {target.id}", valid=f"{ids}, ...")
    return {name: plain(value) for name, value in found[-1].items()}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file cannot be read: {error}", where=str(file)) from error


def _typed(value: Any, datatype: str | None) -> Any:
    """Numbers that the model takes as text are sent as text; everything else is the service's to judge."""
    if datatype == "BYTES" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _taken(model: dict[str, Any], asked: list[str]) -> str:
    return ", ".join(f"{one['name']} ({one['datatype']})" for one in model["inputs"] if one["name"] in asked)


def _exchange(address: str, method: str, path: str, body: object, request_id: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
    headers = {"content-type": _JSON, "x-request-id": request_id}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        raw = answer.read()
    except (OSError, HTTPException) as error:
        raise TemporaryError(
            f"the service did not answer: {error}", where=address, next_step="mainspring status"
        ) from error
    finally:
        connection.close()
    try:
        found: dict[str, Any] = json.loads(raw)
    except ValueError:
        found = {"error": raw.decode(errors="replace")[:500]}
    return answer.status, found
