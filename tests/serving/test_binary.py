"""Tensors as bytes on REST: the binary tensor extension, in and out, and outputs by name."""

import json
import struct

import numpy as np
import pytest

from mainspring.domain.model_version import Feature, Signature
from mainspring.serving.checks import FLOAT32_LARGEST
from mainspring.serving.columns import ColumnTable
from mainspring.serving.errors import RequestError
from mainspring.serving.protocol import HEADER_LENGTH
from mainspring.serving.tensors import RawTensor, Tensor
from tests.serving.models import RAIN, tensor
from tests.serving.served import HEADERS

OCTETS = {"content-type": "application/octet-stream"}
DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "i1", "UINT64": "<u8", "INT32": "<i4", "BOOL": "?"}


def packed(*texts):
    return b"".join(struct.pack("<I", len(one.encode())) + one.encode() for one in texts)


def raw(name, datatype, data, rows=None):
    """An input whose bytes follow the JSON, and the bytes."""
    data = packed(*data) if datatype == "BYTES" else np.array(data, DTYPES[datatype]).tobytes()
    rows = rows if rows is not None else len(data) // np.dtype(DTYPES[datatype]).itemsize
    return {"name": name, "shape": [rows], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}, data


def framed(*inputs, **more):
    head = json.dumps({"inputs": [one for one, _ in inputs], **more}).encode()
    return head + b"".join(data for _, data in inputs), {HEADER_LENGTH: str(len(head)), **OCTETS}


TOWN = raw("town", "BYTES", ["Ulm"], 1)
WIND = raw("wind", "FP64", [7.5])


def ask(served, body, headers):
    return served.rest.answer("POST", "/v2/models/rain/infer", HEADERS | headers, body)


def test_bytes_in_are_answered_as_json_in_is(served):
    body, headers = framed(TOWN, WIND)
    assert json.loads(ask(served, body, headers).body) == served.ask()[1]
    assert len({row.output for row in served.logged()}) == 1


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_of_numbers_is_read(served, datatype):
    body, headers = framed(TOWN, raw("wind", datatype, [1]))
    assert ask(served, body, headers).status == 200
    assert served.logged()[0].features["wind"] == 1.0


def test_values_and_bytes_may_be_mixed(served):
    body, headers = framed((tensor("town", "BYTES", "Ulm"), b""), WIND)
    assert ask(served, body, headers).status == 200


def test_many_rows_of_bytes_with_nan_where_training_saw_nulls(served):
    body, headers = framed(
        raw("town", "BYTES", ["Ulm", "Bonn", "Köln"], 3),
        raw("wind", "FP32", [1, 2, 3]),
        raw("temp", "FP64", [float("nan"), 5, 6]),
    )
    assert json.loads(ask(served, body, headers).body)["parameters"] == {"flags": "0:missing:temp"}
    assert [row.features["temp"] for row in served.logged()] == [None, 5.0, 6.0]


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "probability", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "outputs": [{"name": "probability", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            False,
        ),
        ({"outputs": [{"name": "probability"}], "parameters": {"binary_data_output": True}}, True),
        ({"outputs": []}, False),
        ({"outputs": None, "parameters": None, "id": None}, False),
    ],
)
def test_an_output_comes_as_bytes_when_that_is_asked_for(served, more, binary):
    answer = ask(served, json.dumps(json.loads(RAIN) | more).encode(), {})
    headers = dict(answer.headers)
    values = served.ask()[1]["outputs"][0]["data"]
    if not binary:
        assert headers["content-type"] == "application/json"
        assert json.loads(answer.body)["outputs"][0]["data"] == values
        return
    assert headers["content-type"] == "application/octet-stream"
    length = int(headers[HEADER_LENGTH])
    (output,) = json.loads(answer.body[:length])["outputs"]
    assert output == {"name": "probability", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
    assert np.frombuffer(answer.body[length:], "<f8").tolist() == values


@pytest.mark.parametrize(
    ("inputs", "more", "headers", "says"),
    [
        ([TOWN, WIND], {}, {HEADER_LENGTH: "-1"}, "inference-header-content-length: '-1' is not the length"),
        ([TOWN, WIND], {}, {HEADER_LENGTH: "9" * 99}, "is not the length"),
        ([TOWN, WIND], {}, {HEADER_LENGTH: "²"}, "is not the length"),
        ([TOWN, WIND], {}, {HEADER_LENGTH: "5"}, "body: "),
        ([TOWN, (WIND[0], b"1234")], {}, {}, "wind: binary_data_size 8 where 4 bytes are left"),
        ([TOWN, (WIND[0], WIND[1] * 2)], {}, {}, "body: 8 bytes behind the last tensor"),
        ([TOWN, ({**WIND[0], "shape": [2]}, WIND[1])], {}, {}, "wind: shape [2]; valid: [1] or [1, 1]"),
        ([TOWN, ({**WIND[0], "datatype": "FP32"}, WIND[1])], {}, {}, "wind: 8 bytes for shape [1] of FP32; valid: 4"),
        ([TOWN, ({**WIND[0], "datatype": "BF16"}, WIND[1])], {}, {}, "wind: datatype 'BF16'; valid: BOOL, INT8"),
        ([TOWN, ({**WIND[0], "datatype": "BYTES"}, WIND[1])], {}, {}, "wind: datatype BYTES"),
        ([TOWN, ({**WIND[0], "data": [1.0]}, WIND[1])], {}, {}, "wind: has both data and binary_data_size"),
        ([TOWN, ({**WIND[0], "parameters": {}}, b"")], {}, {}, "wind: has neither data nor binary_data_size"),
        (
            [TOWN, ({**WIND[0], "parameters": {"binary_data_size": -1}}, b"")],
            {},
            {},
            "inputs[1].parameters.binary_data_size (wind): Expected",
        ),
        ([TOWN, raw("wind", "FP64", [float("nan")])], {}, {}, "wind: null or NaN, which training never saw"),
        ([TOWN, raw("wind", "FP64", [float("-inf")])], {}, {}, "wind: an infinite number"),
        ([TOWN, raw("wind", "FP64", [1e39])], {}, {}, "valid: a number up to 3.40282e+38"),
        ([TOWN, ({**raw("wind", "BOOL", [1])[0]}, b"\x02")], {}, {}, "wind: a byte that is neither 0 nor 1"),
        ([(TOWN[0], b"\x04\0\0\0Ulm"), WIND], {}, {}, "town: 7 bytes do not hold the elements of shape [1]"),
        ([(TOWN[0], b"\x01\0\0\0Ulm"), WIND], {}, {}, "town: 7 bytes do not hold the elements"),
        ([(TOWN[0], b"\x03\0\0\0U\xff\xff"), WIND], {}, {}, "town: value 0 is not UTF-8; valid: text in UTF-8"),
        ([TOWN, WIND], {"outputs": [{"name": "label"}]}, {}, "label: the model has no such output; valid: probability"),
        ([TOWN, WIND], {"outputs": [{"name": "probability"}] * 2}, {}, "probability: this output is asked for twice"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_by_field(served, inputs, more, headers, says):
    body, framing = framed(*inputs, **more)
    answer = ask(served, body, framing | headers)
    assert answer.status == 400
    assert says in json.loads(answer.body)["error"]
    assert served.logged() == []


def test_bytes_without_the_header_are_another_content_type(served):
    answer = ask(served, framed(TOWN, WIND)[0], OCTETS)
    assert answer.status == 415
    assert "without inference-header-content-length" in json.loads(answer.body)["error"]


NUMBERS = ColumnTable(
    Signature("regression", (Feature("a", "float"), Feature("b", "int", nullable=True))),
    ["plane"],
    max_rows=5,
    largest=FLOAT32_LARGEST,
)


def test_a_matrix_is_all_features_in_order_as_values_or_bytes():
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    data = np.array(rows, "<f4").tobytes()
    taken = [
        Tensor("input-0", [3, 2], "FP32", rows),
        Tensor("input-0", [3, 2], "FP32", [value for row in rows for value in row]),
        RawTensor("input-0", [3, 2], "FP32", data),
    ]
    for one in taken:
        assert NUMBERS.from_tensors([one]) == (3, {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]})


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "says"),
    [
        ([1, 3], "FP32", [1, 2, 3], "x: shape [1, 3]; valid: [rows, 2]"),
        ([2, 2], "FP32", [1, 2, 3], "x: 3 values for shape"),
        ([2**62, 2], "FP32", [1, 2], "at most 5 rows"),
        ([-1, 2], "FP32", [1, 2], "x: no rows"),
        ([1, 2], "BYTES", ["a", "b"], "x: datatype 'BYTES'"),
        ([2, 2], "FP32", [[1, 2], 3], "x: data is nested in some places only"),
        ([1, 2], "FP32", [[[1], [2]]], "a: a list is not a number"),
        ([1, 2], "FP32", [None, None], "a: null or NaN"),
        ([1, 2], "FP32", b"1234", "x: 4 bytes for shape"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(shape, datatype, data, says):
    kind = RawTensor if isinstance(data, bytes) else Tensor
    with pytest.raises(RequestError) as refused:
        NUMBERS.from_tensors([kind("x", shape, datatype, data)])
    assert says in refused.value.text


def test_entity_keys_stay_integers():
    keys = RawTensor("plane", [2], "INT64", np.array([7, 2**62 + 1], "<i8").tobytes())
    assert NUMBERS.from_tensors([keys]) == (2, {"plane": [7, 2**62 + 1]})
    with pytest.raises(RequestError, match="18446744073709551615 is no entity key"):
        NUMBERS.from_tensors([Tensor("plane", [1], "UINT64", [2**64 - 1])])
