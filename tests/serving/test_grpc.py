"""The Open Inference Protocol over gRPC, against a predictor's own process."""

import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mainspring.serving import open_inference_pb2 as oip
from mainspring.serving.errors import RequestError
from mainspring.serving.grpc_api import CONTENTS, SERVICE
from mainspring.serving.grpc_health import HEALTH
from tests.serving.models import RAIN
from tests.serving.real import body_of, free_port, running
from tests.serving.test_binary import packed
from tests.serving.test_workers import eventually

ROOT = Path(__file__).parents[2]
PROTO = "mainspring/serving/open_inference.proto"
FP64 = np.array([7.5], "<f8").tobytes()


class Client:
    """The service's calls by name, with code, answer, and metadata."""

    def __init__(self, port, options=()):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)

    def bytes(self, method, data, *metadata):
        call = self._channel.unary_unary(f"/{SERVICE.full_name}/{method}")
        answer, made = call.with_call(data, metadata=metadata, timeout=10)
        assert not list(made.initial_metadata())  # a proxy can ask another version while nothing was sent
        return answer, dict(made.trailing_metadata())

    def ask(self, method, message, *metadata):
        answer, back = self.bytes(method, message.SerializeToString(), *metadata)
        return getattr(oip, f"{method}Response").FromString(answer), back

    def refused(self, method, message, *metadata):
        data = message if isinstance(message, bytes) else message.SerializeToString()
        with pytest.raises(grpc.RpcError) as refused:
            self.bytes(method, data, *metadata)
        error = refused.value
        assert not list(error.initial_metadata())
        return error.code().name, error.details()

    def close(self):
        self._channel.close()


@pytest.fixture
def client(process):
    one = Client(process.config.grpc_port)
    yield one
    one.close()


def given(name, datatype, *values, shape=None):
    values = [one.encode() if isinstance(one, str) else one for one in values]
    contents = oip.InferTensorContents(**({CONTENTS[datatype]: values} if values else {}))
    shape = [len(values)] if shape is None else shape
    return oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)


def bare(name, datatype, *shape):
    return oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def infer(*inputs, **more):
    return oip.ModelInferRequest(**{"model_name": "rain", "inputs": inputs, **more})


TOWN, WIND = given("town", "BYTES", "Ulm"), given("wind", "FP64", 7.5)
ASKED = infer(TOWN, WIND)
RAW = infer(bare("town", "BYTES", 1), bare("wind", "FP64", 1), raw_input_contents=[packed("Ulm"), FP64])


def test_health_and_metadata(client):
    assert client.ask("ServerLive", oip.ServerLiveRequest())[0].live
    assert client.ask("ServerReady", oip.ServerReadyRequest())[0].ready
    assert client.ask("ModelReady", oip.ModelReadyRequest(name="rain", version="1"))[0].ready
    assert client.ask("ServerMetadata", oip.ServerMetadataRequest())[0].name == "mainspring"
    found, _ = client.ask("ModelMetadata", oip.ModelMetadataRequest(name="rain"))
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("town", "BYTES", [-1]), ("wind", "FP64", [-1]), ("temp", "FP64", [-1])
    ]  # fmt: skip
    assert (list(found.versions), found.outputs[0].name) == (["1"], "probability")
    for method in ("ModelReady", "ModelMetadata"):
        assert client.refused(method, getattr(oip, f"{method}Request")(name="snow"))[0] == "NOT_FOUND"


def test_an_answer_is_that_of_rest_and_logged_before_it_goes_out(process, client):
    metadata = [("mainspring-arm", "candidate"), ("mainspring-role", "shadow"), ("mainspring-cohort", "south")]
    answer, back = client.ask("ModelInfer", ASKED, *metadata, ("x-request-id", "by-grpc"))
    (output,) = answer.outputs
    rest = body_of(process.ask("POST", "/v2/models/rain/infer", RAIN, {"content-type": "application/json"}))
    assert list(output.contents.fp64_contents) == rest["outputs"][0]["data"]
    assert (answer.id, answer.model_version, list(output.shape), output.datatype) == ("by-grpc", "1", [1], "FP64")
    assert answer.parameters["flags"].string_param == rest["parameters"]["flags"] == "missing:temp"
    assert (back["mainspring-version"], back["mainspring-request-id"]) == ("1", "by-grpc")
    (row,) = [one for one in process.logged() if one.request_id == "by-grpc"]
    assert (row.arm, row.role, row.cohort, row.outcome) == ("candidate", "shadow", "south", "answered")


def test_bytes_are_answered_with_bytes(client):
    values = list(client.ask("ModelInfer", ASKED)[0].outputs[0].contents.fp64_contents)
    answer, _ = client.ask("ModelInfer", RAW)
    assert np.frombuffer(answer.raw_output_contents[0], "<f8").tolist() == values
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize(("way", "raw"), [("request", True), ("output", False)])
def test_an_output_comes_as_it_is_asked_for(client, way, raw):
    asked = oip.ModelInferRequest.FromString(ASKED.SerializeToString())
    asked.parameters["binary_data_output"].bool_param = True
    if way == "output":
        asked.outputs.add(name="probability").parameters["binary_data"].bool_param = False
    assert bool(client.ask("ModelInfer", asked)[0].raw_output_contents) is raw


@pytest.mark.parametrize(
    ("datatype", "value"), [(one, 1) for one in sorted(CONTENTS) if one not in ("BYTES", "BOOL")] + [("BOOL", True)]
)
def test_every_datatype_of_numbers_is_read_from_its_field(client, datatype, value):
    answer, _ = client.ask("ModelInfer", infer(TOWN, given("wind", datatype, value)))
    assert len(answer.outputs[0].contents.fp64_contents) == 1


def test_fp16_comes_as_bytes(client):
    raw = [packed("Ulm", "Bonn"), np.array([1, 2], "<f2").tobytes()]
    asked = infer(bare("town", "BYTES", 2), bare("wind", "FP16", 2, 1), raw_input_contents=raw)
    assert list(client.ask("ModelInfer", asked)[0].outputs[0].shape) == [2]


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "message: 2 bytes that are no ModelInferRequest"),
        (infer(TOWN, WIND, model_name="snow"), "NOT_FOUND", "no model 'snow' here; valid: rain"),
        (infer(TOWN, WIND, model_version="2"), "NOT_FOUND", "no version '2' of rain here; valid: 1"),
        (infer(), "INVALID_ARGUMENT", "inputs: no input"),
        (infer(TOWN), "INVALID_ARGUMENT", "wind: this column is not there"),
        (infer(TOWN, WIND, WIND), "INVALID_ARGUMENT", "wind: this input is there twice"),
        (infer(TOWN, given("wnid", "FP64", 1)), "INVALID_ARGUMENT", "wnid: the model has no such column; valid: did"),
        (infer(TOWN, given("wind", "BYTES", "x")), "INVALID_ARGUMENT", "wind: datatype BYTES; valid: BOOL"),
        (infer(TOWN, given("wind", "FP64", float("nan"))), "INVALID_ARGUMENT", "wind: null or NaN"),
        (infer(TOWN, given("wind", "FP64", float("inf"))), "INVALID_ARGUMENT", "wind: an infinite number"),
        (infer(TOWN, given("wind", "INT8", 300)), "INVALID_ARGUMENT", "wind: 300 under INT8; valid: integers from"),
        (infer(TOWN, given("wind", "FP64", 1, shape=[2])), "INVALID_ARGUMENT", "wind: shape [2]; valid: [1]"),
        (infer(TOWN, given("wind", "FP64", 1, shape=[])), "INVALID_ARGUMENT", "wind: shape []"),
        (infer(given("town", "BYTES", shape=[2**62])), "INVALID_ARGUMENT", "town: 4611686018427387904 rows; valid"),
        (infer(given("town", "BYTES", b"\xff"), WIND), "INVALID_ARGUMENT", "town: value 0 is not UTF-8"),
        (infer(TOWN, bare("wind", "FP64", 1)), "INVALID_ARGUMENT", "wind: 0 values for shape [1]"),
        (infer(TOWN, bare("wind", "FP16", 1)), "INVALID_ARGUMENT", "wind: 0 values for shape [1]"),
        (
            infer(TOWN, oip.ModelInferRequest.InferInputTensor(
                name="wind", datatype="FP64", shape=[1], contents=oip.InferTensorContents(fp32_contents=[1])
            )),
            "INVALID_ARGUMENT", "wind: datatype FP64 with fp32_contents; valid: fp64_contents",
        ),
        (infer(TOWN, WIND, raw_input_contents=[b""]), "INVALID_ARGUMENT", "raw_input_contents: 1 entries for 2 inputs"),
        (infer(TOWN, WIND, raw_input_contents=[b"", b""]), "INVALID_ARGUMENT", "town: has contents beside"),
        (
            infer(bare("town", "BYTES", 1), bare("wind", "FP64", 1), raw_input_contents=[packed("Ulm"), b"123"]),
            "INVALID_ARGUMENT", "wind: 3 bytes for shape [1] of FP64; valid: 8 bytes",
        ),
        (
            infer(TOWN, WIND, outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="label")]),
            "INVALID_ARGUMENT", "label: the model has no such output; valid: probability",
        ),
        (infer(given("town", "BYTES", "x" * 9_000_000)), "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)  # fmt: skip
def test_a_callers_mistake_has_its_code_and_names_the_field(process, client, message, code, says):
    rows = len(process.logged())
    found, text = client.refused("ModelInfer", message)
    assert (found, says in text) == (code, True), text
    assert len(process.logged()) == rows


def test_a_refusal_says_which_version_refuses(client):
    with pytest.raises(grpc.RpcError) as refused:
        client.bytes("ModelInfer", b"\xff")
    assert ("mainspring-version", "1") in list(refused.value.trailing_metadata())


def test_a_call_that_ends_without_a_message_is_refused_at_once(client):
    empty = client._channel.stream_unary(f"/{SERVICE.full_name}/ModelInfer")
    with pytest.raises(grpc.RpcError) as refused:
        empty(iter(()), timeout=5)
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert refused.value.details() == "message: no whole message; valid: one ModelInferRequest"


def check_health(client, data):
    return client._channel.unary_unary(f"/{HEALTH}/Check")(data, timeout=5)


@pytest.mark.parametrize("service", ["", SERVICE.full_name, HEALTH])
def test_health_as_probes_ask_for_it(client, service):
    asked = StringValue(value=service).SerializeToString()
    assert check_health(client, asked) == b"\x08\x01"


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (StringValue(value="snow").SerializeToString(), "NOT_FOUND", "no service 'snow' here; valid: none, inference"),
        (b"\xff", "INVALID_ARGUMENT", "no HealthCheckRequest"),
    ],
)
def test_health_of_what_is_not_here(client, data, code, says):
    with pytest.raises(grpc.RpcError) as refused:
        check_health(client, data)
    assert refused.value.code().name == code
    assert says in refused.value.details()


def test_a_predictor_that_ends_is_not_serving_and_answers_who_still_comes(model, tmp_path):
    with running(model[0], tmp_path, grpc_port=free_port(), drain_seconds=2.0) as one:
        client = Client(one.config.grpc_port)
        assert check_health(client, b"") == b"\x08\x01"
        one.child.terminate()
        until = time.monotonic() + 1.5
        while check_health(client, b"") != b"\x08\x02":
            assert time.monotonic() < until
        assert client.ask("ModelInfer", ASKED)[0].outputs
        client.close()


def test_workers_share_the_port(model, tmp_path):
    with running(model[0], tmp_path, grpc_port=free_port(), workers=2) as one:
        eventually(lambda: one.count("mainspring_predictor_ready") == 2)
        for _ in range(60):
            client = Client(one.config.grpc_port, [("grpc.use_local_subchannel_pool", 1)])
            client.ask("ModelInfer", ASKED)
            client.close()
        written = [path for path in Path(one.config.segments).iterdir() if path.stat().st_size > 1000]
        assert (len(written), len(one.logged())) == (2, 60)


def test_an_id_that_no_metadata_can_hold_comes_back_in_the_message_only(client):
    answer, back = client.ask("ModelInfer", infer(TOWN, WIND, id="a\nb"))
    assert answer.id == "a\nb"
    assert "mainspring-request-id" not in back


def test_answers_are_counted_by_code(process, client):
    name = 'mainspring_predictor_requests_total{{protocol="grpc",status="{}"}}'
    before = {code: process.count(name.format(code)) for code in ("OK", "NOT_FOUND")}
    client.ask("ModelInfer", ASKED)
    client.refused("ModelInfer", infer(TOWN, WIND, model_name="snow"))
    for code, found in before.items():
        assert process.count(name.format(code)) == found + 1


def test_every_refusal_has_a_code_that_grpc_knows():
    kinds = RequestError.__subclasses__()
    assert {one.grpc_code for one in (RequestError, *kinds)} <= {one.name for one in grpc.StatusCode}


def test_sigterm_ends_an_idle_server_with_a_client_connected(model, tmp_path):
    with running(model[0], tmp_path, grpc_port=free_port()) as one:
        client = Client(one.config.grpc_port)
        client.ask("ModelInfer", ASKED)
    client.close()


def test_a_taken_port_is_told(model, tmp_path, process):
    with (
        pytest.raises(AssertionError, match=f"port {process.config.grpc_port} cannot be used"),
        running(model[0], tmp_path, grpc_port=process.config.grpc_port),
    ):
        pytest.fail("it started")


def generate(source, name, folder, *more):
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", source, f"--python_out={folder}", *more, name]
    subprocess.run(command, check=True)


def test_the_generated_messages_are_those_of_the_protocol(tmp_path):
    generate(ROOT / "src", PROTO, tmp_path, f"--pyi_out={tmp_path}")
    for name in ("open_inference_pb2.py", "open_inference_pb2.pyi"):
        made = tmp_path / "mainspring" / "serving" / name
        assert made.read_bytes() == (ROOT / "src" / "mainspring" / "serving" / name).read_bytes(), "type: make proto"


def test_a_generated_client_works_unchanged(process, tmp_path):
    """As a caller makes one: from the protocol's file alone, in a process without mainspring."""
    folder = (ROOT / "src" / PROTO).parent
    generate(folder, "open_inference.proto", tmp_path, f"--grpc_python_out={tmp_path}")
    script = f"""
import grpc, open_inference_pb2 as oip, open_inference_pb2_grpc
with grpc.insecure_channel("127.0.0.1:{process.config.grpc_port}") as channel:
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    assert stub.ServerReady(oip.ServerReadyRequest()).ready
    answer = stub.ModelInfer(oip.ModelInferRequest.FromString(bytes.fromhex("{ASKED.SerializeToString().hex()}")))
    print(answer.outputs[0].name)
"""
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (told.stdout, told.returncode) == ("probability\n", 0), told.stderr
