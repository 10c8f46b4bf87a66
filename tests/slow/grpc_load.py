"""`python -m tests.slow.grpc_load HOST:PORT`: eight callers ask over gRPC until standard input ends, then say what they saw.

As JSON: `answered` by version, and `failed` by code.
"""

import asyncio
import json
import sys
from collections import Counter

import grpc
import grpc.aio

from mainspring.serving import open_inference_pb2 as oip
from mainspring.serving.grpc_api import SERVICE

CALLERS = 8


def question(name):
    """A row that the model of `tests.serving.models` takes."""
    asked = oip.ModelInferRequest(model_name="rain", id=name)
    asked.inputs.add(name="town", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"Ulm")
    asked.inputs.add(name="wind", datatype="FP64", shape=[1]).contents.fp64_contents.append(7.5)
    return asked.SerializeToString()


async def call(channel, caller, stopping, seen):
    """One caller."""
    ask, place = channel.unary_unary(f"/{SERVICE.full_name}/ModelInfer"), 0
    while not stopping.is_set():
        place += 1
        try:
            answer = oip.ModelInferResponse.FromString(await ask(question(f"{caller}-{place}"), timeout=20))
            seen["answered", answer.model_version] += 1
        except grpc.aio.AioRpcError as error:
            seen["failed", f"{error.code().name} {error.details()}"] += 1
        await asyncio.sleep(0.005)


async def main(address):
    """Ask until told to stop."""
    stopping, seen = asyncio.Event(), Counter()
    async with grpc.aio.insecure_channel(address) as channel:
        callers = [asyncio.create_task(call(channel, name, stopping, seen)) for name in range(CALLERS)]
        await asyncio.to_thread(sys.stdin.read)
        stopping.set()
        await asyncio.gather(*callers)
    told = {
        kind: {name: count for (had, name), count in seen.items() if had == kind} for kind in ("answered", "failed")
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
