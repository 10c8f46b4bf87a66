"""`grpc.health.v1.Health`: the health of a predictor as Kubernetes' probes and load balancers ask for it over gRPC.

`Check` alone; a client that would rather `Watch` is told UNIMPLEMENTED, and then takes the server for healthy. The
service's two messages are those of protobuf's wrappers on the wire, so that no generated module of ours takes their names.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from mainspring.serving import open_inference_pb2 as oip
from mainspring.serving.predictor import Predictor

HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
_SERVICES = ("", oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name, HEALTH)


def health_handlers(predictor: Predictor) -> Any:
    """The service's calls as gRPC takes them: SERVING while the predictor is ready."""

    async def check(data: bytes, context: Any) -> bytes:
        try:
            service = StringValue.FromString(data).value
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "message: no HealthCheckRequest")
        if service not in _SERVICES:
            text = f"no service {service[:100]!r} here; valid: {', '.join(one or 'none' for one in _SERVICES)}"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        status: bytes = Int32Value(value=SERVING if predictor.ready else NOT_SERVING).SerializeToString()
        return status

    return grpc.method_handlers_generic_handler(HEALTH, {"Check": grpc.unary_unary_rpc_method_handler(check)})
