"""KServe's own clients against a predictor; runs in KServe's environment and prints what they were answered as JSON."""

import asyncio
import json
import logging
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as oip
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

TOWNS, WINDS = np.array(["Ulm", "Bonn"], object), np.array([7.5, 2.5])


def request(binary=False, wind=WINDS, **more):
    town = InferInput("town", list(TOWNS.shape), "BYTES")
    town.set_data_from_numpy(TOWNS, binary_data=binary)
    speed = InferInput("wind", list(wind.shape), "FP64")
    speed.set_data_from_numpy(wind, binary_data=binary)
    return InferRequest("rain", [town, speed], request_id="kserve", **more)


def told(response):
    (output,) = response.outputs
    return [response.id, output.name, output.shape, output.as_numpy().tolist()]


async def rest(url, found):
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    found["v2"] = told(await v2.infer(url, request(), "rain"))
    found["v2 bytes in"] = told(await v2.infer(url, request(binary=True), "rain"))
    found["v2 bytes both"] = told(
        await v2.infer(url, request(binary=True, parameters={"binary_data_output": True}), "rain")
    )
    wanted = [RequestedOutput("probability", {"binary_data": True})]
    found["v2 output as bytes"] = told(await v2.infer(url, request(request_outputs=wanted), "rain"))
    found["v2 health"] = [
        await v2.is_server_live(url), await v2.is_server_ready(url), await v2.is_model_ready(url, "rain"),
        await v2.is_model_ready(url, "snow"),
    ]  # fmt: skip
    try:
        await v2.infer(url, request(wind=np.array([1.0])), "rain")
    except httpx.HTTPStatusError as error:
        found["v2 refused"] = str(error)
    await v2.close()
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    instances = [{"town": town, "wind": wind} for town, wind in zip(TOWNS, WINDS.tolist(), strict=True)]
    found["v1"] = (await v1.infer(url, {"instances": instances}, "rain"))["predictions"]
    found["v1 health"] = [await v1.is_server_live(url), await v1.is_model_ready(url, "rain")]
    await v1.close()


async def over_grpc(address, found):
    client = InferenceGRPCClient(address)
    found["grpc"] = told(await client.infer(request(), headers=[("mainspring-cohort", "kserve")]))
    found["grpc bytes"] = told(await client.infer(request(binary=True)))
    found["grpc health"] = [
        await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("rain")
    ]  # fmt: skip
    try:
        await client.infer(request(wind=np.array([1.0])))
    except grpc.RpcError as error:
        found["grpc refused"] = [error.code().name, error.details()]
    await client.close()


def stub(address, found):
    with grpc.insecure_channel(address) as channel:
        generated = GRPCInferenceServiceStub(channel)
        found["stub"] = [
            generated.ServerMetadata(oip.ServerMetadataRequest()).name,
            [one.name for one in generated.ModelMetadata(oip.ModelMetadataRequest(name="rain")).inputs],
        ]


if __name__ == "__main__":
    logging.disable()
    answers = {}
    asyncio.run(rest(sys.argv[1], answers))
    asyncio.run(over_grpc(sys.argv[2], answers))
    stub(sys.argv[2], answers)
    print(json.dumps(answers))
