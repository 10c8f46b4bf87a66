"""Whatever bytes a caller sends, the answer is 200 or a 4xx that says where and what; never a 5xx, never an exception."""

import asyncio
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.serving import open_inference_pb2 as oip
from mainspring.serving.grpc_api import CONTENTS, GrpcApi
from mainspring.serving.protocol import HEADER_LENGTH
from tests.serving.models import RAIN, infer, tensor
from tests.serving.served import HEADERS, Served
from tests.serving.test_binary import OCTETS, TOWN, WIND, framed

INFER, PREDICT = "/v2/models/rain/infer", "/v1/models/rain:predict"
REFUSED = {400, 413, 415}
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def hostile(model, tmp_path_factory):
    return Served(model, tmp_path_factory.mktemp("hostile"))


def ask(served, body, path=INFER, **headers):
    answer = served.rest.answer("POST", path, HEADERS | headers, body)
    assert answer.status == 200 or answer.status in REFUSED, answer
    if answer.status != 200:
        where, _, what = json.loads(answer.body)["error"].partition(": ")
        assert where
        assert what
        assert len(answer.body) < 2000
    return answer.status


odd_numbers = st.one_of(
    st.floats(), st.integers(), st.sampled_from([1e39, -1e39, 1e308, 10**400, 2**64, 2**63, -(2**63) - 1, 0.1, True])
)
values = st.one_of(st.none(), st.booleans(), odd_numbers, st.text(max_size=20), st.just("x" * 5000))
json_values = st.recursive(
    values, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=8), one, max_size=4), max_leaves=20
)
names = st.sampled_from(["town", "wind", "temp", "request_id", "wnid", "", "\u0000", "ü" * 500])
datatypes = st.sampled_from(["BOOL", "BYTES", "FP16", "FP32", "FP64", "INT8", "INT64", "UINT64", "BF16", "", "x" * 500])
shapes = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 101, 2**31, 2**63, 2**64]), max_size=4) | st.just([1] * 5000)
datas = st.lists(json_values, max_size=3)
tensors = st.fixed_dictionaries(
    {"name": names, "datatype": datatypes, "shape": shapes, "data": datas},
    optional={"parameters": json_values, "binary_data_size": json_values},
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=4) | json_values},
    optional={"id": json_values, "outputs": json_values, "parameters": json_values},
)


def dumped(value):
    try:
        return json.dumps(value).encode()
    except ValueError:  # an integer of more digits than Python writes
        return b"{}"


@MANY
@given(body=st.binary(max_size=200), path=st.sampled_from([INFER, PREDICT]))
def test_bytes(hostile, body, path):
    assert ask(hostile, body, path) != 200


@MANY
@given(body=st.binary(max_size=200), length=st.text(max_size=5) | st.integers(0, 300).map(str), more=st.booleans())
def test_bytes_said_to_be_json_and_tensors(hostile, body, length, more):
    headers = {HEADER_LENGTH: length} | (OCTETS if more else {})
    ask(hostile, (RAIN if more else b"") + body, **headers)


@MANY
@given(request=requests)
def test_json_that_is_almost_a_request(hostile, request):
    ask(hostile, dumped(request))


@MANY
@given(request=st.fixed_dictionaries({"instances": st.lists(json_values, max_size=3) | json_values}))
def test_json_that_is_almost_kserve_v1(hostile, request):
    ask(hostile, dumped(request), PREDICT)


@MANY
@given(
    wind=odd_numbers | st.lists(odd_numbers, max_size=2),
    temp=st.none() | odd_numbers,
    datatype=st.sampled_from(["FP32", "FP64", "INT64", "UINT8", "BOOL"]),
    town=st.text(max_size=30),
)
def test_what_is_answered_has_finite_numbers(hostile, wind, temp, datatype, town):
    one = infer(tensor("town", "BYTES", town), tensor("wind", datatype, wind), tensor("temp", datatype, temp))
    answered = ask(hostile, one) == 200
    sound = type(wind) is not list and -3.5e38 < wind < 3.5e38
    assert not (answered and not sound)
    instances = json.dumps({"instances": [{"town": town, "wind": wind, "temp": temp}]}).encode()
    assert not (ask(hostile, instances, PREDICT) == 200 and not sound)


@MANY
@given(cut=st.integers(0, 400), flip=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_request_of_bytes_that_was_cut_or_changed(hostile, cut, flip, byte):
    body, headers = framed(TOWN, WIND)
    changed = bytearray(body)
    changed[flip % len(changed)] = byte
    ask(hostile, bytes(changed), **headers)
    ask(hostile, body[: cut % (len(body) + 1)], **headers)


@MANY
@given(
    names=st.dictionaries(
        st.sampled_from([
            "x-request-id", "mainspring-arm", "mainspring-role", "mainspring-cohort", "mainspring-event-at", HEADER_LENGTH,
            "content-type", "content-encoding",
        ]),
        st.text(max_size=30) | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "²"]),
    )
)  # fmt: skip
def test_headers(hostile, names):
    ask(hostile, RAIN, **names)


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        (RAIN.replace(b"7.5", b"[" * 100_000), INFER, "body: JSON that is nested too deep; valid: lists as deep"),
        (b'{"instances":' + b"[" * 100_000, PREDICT, "body: JSON that is nested too deep"),
        (infer({**tensor("wind", "FP64"), "data": json.loads("[" * 900 + "]" * 900)}), INFER, "wind: no rows"),
        (
            infer({"name": "wind", "shape": [1], "datatype": "FP64", "data": json.loads("[" * 900 + "]" * 900)}), INFER,
            "wind: a list is not a number; valid: a number",
        ),
        (RAIN.replace(b"Ulm", b"\xff"), INFER, "body: JSON that is not UTF-8"),
        (RAIN.replace(b"7.5", b"NaN"), INFER, "wind: null or NaN, which training never saw here; valid: a number"),
        (RAIN.replace(b"7.5", b"-Infinity"), INFER, "inputs[1].data[0] (wind): Number out of range; valid: a finite"),
        (RAIN.replace(b"[7.5]", b"7.5"), INFER, "inputs[1].data (wind): Expected `array`, got `float`"),
        (RAIN.replace(b"7.5", b"1e39"), INFER, "wind: an infinite number, or one that the model cannot hold; valid: a"),
        (RAIN.replace(b"7.5", b"1" * 400), INFER, "wind: an infinite number, or one that the model cannot hold"),
        (RAIN.replace(b"[1]", b"[]"), INFER, "town: no rows; valid: at least one row"),
        (RAIN.replace(b"[1]", b"[0]"), INFER, "town: no rows; valid: at least one row"),
        (RAIN.replace(b"[1]", b"[101]"), INFER, "town: 101 rows; valid: at most 100 rows"),
        (RAIN.replace(b"[1]", b"[4611686018427387904, 4]"), INFER, "town: 4611686018427387904 rows"),
        (RAIN.replace(b"[1]", b"[1, 2]"), INFER, "town: shape [1, 2]; valid: [1] or [1, 1]"),
        (RAIN.replace(b"[1]", b"[1, -1, -1]"), INFER, "town: shape [1, -1, -1]; valid: [1] or [1, 1]"),
        (RAIN.replace(b'"FP64"', b'"FP65"'), INFER, "wind: datatype 'FP65'; valid: BOOL, INT8"),
        (RAIN.replace(b'"FP64"', b'"INT64"'), INFER, "wind: 7.5 under INT64; valid: integers from"),
        (RAIN.replace(b'"FP64"', b'"BOOL"'), INFER, "wind: 7.5 under BOOL; valid: true or false"),
        (RAIN.replace(b'"inputs"', b'"input"'), INFER, "body: Object missing required field `inputs`"),
        (RAIN.replace(b'"Ulm"', b"5"), INFER, "town: 5 is not text; valid: text"),
        (RAIN.replace(b'"Ulm"', b"null"), INFER, "town: null, which training never saw here; valid: text"),
        (infer(tensor("wind", "FP64", 1.0), tensor("wind", "FP64", 1.0)), INFER, "wind: this input is there twice"),
        (b'{"instances": [{"town": "Ulm", "wind": NaN}]}', PREDICT, "wind: null or NaN"),
        (b'{"instances": [5]}', PREDICT, "instances[0]: an instance is neither an object nor a list"),
        (b'{"instances": [{"town": "a"}, {"wind": 1}]}', PREDICT, "instances[1]: has other columns than the first"),
        (b'{"instances": [["Ulm", 1]]}', PREDICT, "instances[0]: is not a list of all features in order; valid: 3"),
        (b'{"instances": [{"town": "a", "wind": 1, "rain": 1}]}', PREDICT, "rain: the model has no such column"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_field_and_what_would_be_taken(hostile, body, path, says):
    answer = hostile.rest.answer("POST", path, HEADERS, body)
    assert answer.status == 400
    assert says in json.loads(answer.body)["error"]


def test_nan_as_python_writes_it_is_missing_where_training_saw_nulls(hostile):
    body = infer(tensor("town", "BYTES", "NaN"), tensor("wind", "FP64", 1.0), tensor("temp", "FP64", math.nan))
    status, answer = hostile.ask(body)
    assert (status, answer["parameters"]) == (200, {"flags": "missing:temp"})


def test_a_body_that_is_compressed_is_another_encoding(hostile):
    status, answer = hostile.ask(b"\x1f\x8b\x08\x00", **{"content-encoding": "gzip"})
    assert (status, answer["error"]) == (415, "content-encoding: a body encoded as gzip; valid: none")


class Refused(Exception):
    """What `abort` raises."""


class Context:
    """As much of gRPC's own as a call needs."""

    def invocation_metadata(self):
        return (("mainspring-cohort", "a"), ("trace-bin", b"\xff"))

    def set_trailing_metadata(self, metadata):
        pass

    async def abort(self, code, details, trailing_metadata):
        raise Refused(code.name, details)


async def one(message):
    yield message


def call(served, method, data):
    api = GrpcApi(served.predictor)
    answers = {"ModelInfer": api._model_infer, "ModelMetadata": api._model_metadata, "ModelReady": api._model_ready}
    handler = api._handler(getattr(oip, f"{method}Request"), answers[method])
    try:
        return asyncio.run(handler(one(data), Context()))
    except Refused as refused:
        code, details = refused.args
        assert code in ("INVALID_ARGUMENT", "NOT_FOUND")
        assert details.partition(": ")[2] or "valid" in details
        return None


@MANY
@given(data=st.binary(max_size=200), method=st.sampled_from(["ModelInfer", "ModelMetadata", "ModelReady"]))
def test_bytes_over_grpc(hostile, data, method):
    call(hostile, method, data)


small = st.integers(0, 127)
contents = st.dictionaries(
    st.sampled_from(sorted(set(CONTENTS.values()) - {"bytes_contents"})), st.lists(small, max_size=3)
)


@MANY
@given(
    inputs=st.lists(
        st.tuples(names, datatypes, st.lists(st.sampled_from([-1, 0, 1, 2, 2**62]), max_size=3), contents), max_size=4
    ),
    raw=st.lists(st.binary(max_size=9), max_size=4),
    outputs=st.lists(st.sampled_from(["probability", "label"]), max_size=2),
    whole=st.text(max_size=5),
)
def test_messages_that_are_almost_a_request(hostile, inputs, raw, outputs, whole):
    asked = oip.ModelInferRequest(model_name="rain", id=whole, raw_input_contents=raw)
    for name, datatype, shape, data in inputs:
        typed = {field: [bool(one) for one in some] if "bool" in field else some for field, some in data.items()}
        held = oip.InferTensorContents(**typed) if typed else None
        asked.inputs.add(name=name, datatype=datatype, shape=shape, contents=held)
    for name in outputs:
        asked.outputs.add(name=name)
    call(hostile, "ModelInfer", asked.SerializeToString())
