"""The access log: what Envoy writes of each request, and what such a line means.

An error over gRPC is HTTP status 200 with a gRPC status behind it, in the trailers or, where there is no answer, in the only
headers. A gRPC status that is the server's fault counts as a 5xx of REST does, and one that is the caller's as a 4xx does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mainspring.adapters.envoy.user_hash import USER

ACCESS_LOG = "access.log"
ARM, ROLLOUT, ROLE = "mainspring-arm", "mainspring-rollout", "mainspring-role"
WEIGHT, COHORT = "mainspring-weight", "mainspring-cohort"
GRPC_FAULTS = {1: "CANCELLED", 2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS"}
"""gRPC statuses that are the server's fault. UNIMPLEMENTED is none: it is what gRPC makes of 404."""
GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"
"""The one call over gRPC that asks for a prediction."""

_GRPC_TYPE = "application/grpc([+].*)?"
_REQUEST = {
    "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "arm": f"%REQ({ARM})%",
    "rollout": f"%REQ({ROLLOUT})%",
    "role": f"%REQ({ROLE})%",
    "weight": f"%REQ({WEIGHT})%",
    "cohort": f"%REQ({COHORT})%",
    "user": f"%REQ({USER})%",
    "code": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "upstream": "%UPSTREAM_CLUSTER_RAW%",
    "event_at": "%REQ(MAINSPRING-EVENT-AT)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "type": "%REQ(CONTENT-TYPE):40%",
}
# One line for each request, as its caller saw it, and before it one for each attempt at it that failed.
ANSWER = {
    **_REQUEST,
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
}
ATTEMPT = {**_REQUEST, "failed_attempt": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}


def attempt_failed() -> dict[str, Any]:
    """Envoy's filter for attempts that failed: 5xx, no answer, or a fault over gRPC."""
    failed = {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "mainspring.failed"}}}
    # Of a request over REST Envoy makes up a gRPC status, from its HTTP status.
    kind = {"name": "content-type", "string_match": {"safe_regex": {"regex": _GRPC_TYPE}}}
    is_grpc = {"header_filter": {"header": kind}}
    fault = {"grpc_status_filter": {"statuses": sorted(GRPC_FAULTS)}}
    faults = {"and_filter": {"filters": [is_grpc, fault]}}
    return {"or_filter": {"filters": [{"status_code_filter": failed}, {"response_flag_filter": {}}, faults]}}


def is_prediction(line: Mapping[str, Any]) -> bool:
    """Whether the request asked for a prediction; health, metadata and whatever else is no evidence.

    >>> live = {"method": "POST", "path": "/inference.GRPCInferenceService/ServerLive", "type": "application/grpc"}
    >>> is_prediction(live), is_prediction({**live, "path": GRPC_INFER})
    (False, True)
    """
    if line["method"] != "POST":
        return False
    # A line of an earlier Mainspring has no type, and is of REST.
    return line["path"] == GRPC_INFER or not re.fullmatch(_GRPC_TYPE, line.get("type") or "")


def user_error(line: Mapping[str, Any]) -> bool:
    """Whether the caller got an error, or no answer.

    >>> [user_error({"code": 200, "grpc": status}) for status in (0, 3, 13)]
    [False, False, True]
    """
    code = line["code"] or 0
    return bool(code == 0 or code >= 500 or line.get("grpc") in GRPC_FAULTS)


def failure(line: Mapping[str, Any]) -> str:
    """How a request failed: the gRPC status, the HTTP status, or "" where there was no answer.

    >>> failure({"code": 200, "grpc": 14}), failure({"code": 503, "grpc": None}), failure({"code": 0})
    ('UNAVAILABLE', '503', '')
    """
    return GRPC_FAULTS.get(line.get("grpc") or 0, "") or str(line["code"] or "")


def flags(line: Mapping[str, Any]) -> str:
    """Envoy's response flags, "" for none."""
    return "" if line["flags"] in (None, "-") else str(line["flags"])
