"""The OpenAPI document says what is served, and a real predictor does nothing that it does not say."""

import json
import subprocess
import sys
from pathlib import Path

from mainspring.domain.model_card import ModelCard
from mainspring.domain.model_version import Feature, Signature
from mainspring.serving.columns import ColumnTable
from mainspring.serving.config import ServeConfig
from mainspring.serving.openapi import document
from tests.serving.models import SIGNATURE


def made(signature, entities=()):
    card = ModelCard("rain", signature.task, "onnx", signature)
    return document(ServeConfig("rain", "1", "", "", 1), card, ColumnTable(signature, entities, max_rows=10))


def test_it_names_the_models_columns_datatypes_and_limits():
    schemas = made(SIGNATURE, ["station"])["components"]["schemas"]
    tensors = schemas["InferRequest"]["properties"]["inputs"]["items"]["anyOf"]
    names = [one["properties"]["name"]["const"] for one in tensors]
    assert names == ["station", "town", "wind", "temp", "request_id"]
    assert tensors[1]["properties"]["datatype"]["enum"] == ["BYTES"]
    assert tensors[3]["properties"]["data"]["items"]["anyOf"][0]["type"] == ["number", "boolean", "null"]
    instances = schemas["PredictRequest"]["properties"]["instances"]
    assert (instances["maxItems"], instances["items"]["anyOf"][0]["required"]) == (10_000, ["town", "wind"])


def test_a_model_of_numbers_takes_a_matrix_and_classes_have_names():
    features = (Feature("a", "float"), Feature("b", "int"))
    schemas = made(Signature("multiclass", features, classes=("x", "y", "z")))["components"]["schemas"]
    matrix = schemas["InferRequest"]["properties"]["inputs"]["items"]["anyOf"][-1]["properties"]
    assert matrix["shape"]["prefixItems"][1] == {"const": 2}
    assert "x, y, z" in schemas["PredictResponse"]["properties"]["predictions"]["description"]


def test_every_path_but_no_other_is_in_it(served):
    paths = served.ask(b"", "/openapi.json", "GET")[1]["paths"]
    assert set(paths) == {*served.rest._pages, *served.rest._predicting}
    for path, operations in paths.items():
        (method,) = operations
        assert served.rest.answer(method.upper(), path, {}, b"").status in (200, 400)


def test_its_examples_are_answered(served):
    for path, operations in served.ask(b"", "/openapi.json", "GET")[1]["paths"].items():
        if "post" in operations:
            example = operations["post"]["requestBody"]["content"]["application/json"]["example"]
            assert served.ask(json.dumps(example).encode(), path)[0] == 200


def test_schemathesis_finds_no_5xx_and_no_status_that_is_not_written(process):
    # Accepting all that fits the schema is left out: no schema says that a shape and its data belong together.
    told = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{process.url}/openapi.json", "--no-color",
            "--exclude-checks", "positive_data_acceptance", "--max-examples", "20", "--seed", "7",
        ],
        capture_output=True, text=True, timeout=120, check=False, cwd=Path(process.config.segments).parent,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Tested: 14" in told.stdout, told.stdout
