"""A rollout as Envoy's own configuration: pure functions that give resources as plain data.

The weights' total is constant and the candidate comes first, so that a ramp never moves a caller back. Each arm's header
is stamped on its weighted cluster, before fail-over: a request that stable answers after the candidate failed stays the
candidate's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mainspring.domain.rollout import Endpoint, Rollout

TOTAL_WEIGHT = 10_000
ROUTES = "callers"
_TYPE = "type.googleapis.com/envoy"
_ARM, _ROLLOUT, _ROLE = "mainspring-arm", "mainspring-rollout", "mainspring-role"
# Envoy allows three retries at a time: a fourth caller of a failing candidate would see its error.
_MANY = 100_000
_NO_BREAKER = {
    "thresholds": [
        {"max_connections": _MANY, "max_pending_requests": _MANY, "max_requests": _MANY, "max_retries": _MANY}
    ]
}
_ACCESS_LOG = {
    "at": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "arm": f"%REQ({_ARM})%",
    "rollout": f"%REQ({_ROLLOUT})%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "ms": "%DURATION%",
    "event_at": "%REQ(MAINSPRING-EVENT-AT)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
}


def cluster_name(version: str, build: str) -> str:
    """Name of a predictor's cluster."""
    return f"version-{version}{'-' + build if build else ''}"


def clusters(rollout: Rollout, endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """One cluster for each predictor, and during a rollout the candidate's with stable behind it."""
    found = [
        {
            "@type": f"{_TYPE}.config.cluster.v3.Cluster",
            "name": cluster_name(one.version, one.build),
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": _NO_BREAKER,
            "load_assignment": {
                "cluster_name": cluster_name(one.version, one.build),
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(one.host, one.port)}}]}],
            },
        }
        for one in endpoints
    ]
    if _split(rollout):
        found.append(
            {
                "@type": f"{_TYPE}.config.cluster.v3.Cluster",
                "name": guarded_name(rollout),
                "connect_timeout": "1s",
                "circuit_breakers": _NO_BREAKER,
                "lb_policy": "CLUSTER_PROVIDED",
                "cluster_type": {
                    "name": "envoy.clusters.aggregate",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.clusters.aggregate.v3.ClusterConfig",
                        "clusters": [
                            cluster_name(rollout.candidate, rollout.candidate_build),
                            cluster_name(rollout.stable, ""),
                        ],
                    },
                },
            }
        )
    return found


def guarded_name(rollout: Rollout) -> str:
    """Name of the cluster in which stable stands behind the candidate."""
    candidate = cluster_name(rollout.candidate, rollout.candidate_build)
    return f"{candidate}-over-{cluster_name(rollout.stable, '')}"


def routes(rollout: Rollout, *, timeout_seconds: float) -> dict[str, Any]:
    """The one route: all of it to stable, or split by a hash of the request id, salted by the rollout."""
    weight = rollout.weight_percent * TOTAL_WEIGHT // 100 if _split(rollout) else 0
    arms = [_arm("stable", cluster_name(rollout.stable, ""), TOTAL_WEIGHT - weight, rollout.id)]
    if weight:
        arms.insert(0, _arm("candidate", guarded_name(rollout), weight, rollout.id))
    action = {
        "weighted_clusters": {"clusters": arms, "use_hash_policy": True},
        "hash_policy": [
            {
                "header": {
                    "header_name": "x-request-id",
                    "regex_rewrite": {"pattern": {"regex": "^(.*)$"}, "substitution": f"{rollout.id}:\\1"},
                }
            }
        ],
        "timeout": f"{timeout_seconds}s",
        "retry_policy": {
            # A failure of the candidate is answered by stable; stable itself is asked again only when it did not get
            # the request, or lost it.
            "retry_on": "5xx,reset,connect-failure,refused-stream"
            if weight
            else "reset,connect-failure,refused-stream",
            "num_retries": 1,
            "per_try_timeout": f"{timeout_seconds / 2}s",
            **({"retry_priority": _PREVIOUS} if weight else {}),
        },
    }
    return {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "request_headers_to_remove": [_ROLE],
        "virtual_hosts": [
            {"name": "callers", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
        ],
    }


_PREVIOUS = {
    "name": "envoy.retry_priorities.previous_priorities",
    "typed_config": {
        "@type": f"{_TYPE}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency": 1,
    },
}


def weights(route: dict[str, Any]) -> dict[str, int]:
    """The arms' weights in percent, from a route configuration as Envoy reports it."""
    found = {}
    for host in route.get("virtual_hosts", []):
        for one in host["routes"]:
            for arm in one["route"].get("weighted_clusters", {}).get("clusters", []):
                headers = {entry["header"]["key"]: entry["header"]["value"] for entry in arm["request_headers_to_add"]}
                found[headers[_ARM]] = arm["weight"] * 100 // TOTAL_WEIGHT
    return found


def bootstrap(port: int, admin_port: int, clusters_file: str, routes_file: str, access_log: str) -> dict[str, Any]:
    """What Envoy starts with: the listener, where its routes and clusters come from, and the admin page."""
    folder = clusters_file.rsplit("/", 1)[0]

    def watched(path: str) -> dict[str, Any]:
        return {
            "path_config_source": {"path": path, "watched_directory": {"path": folder}},
            "resource_api_version": "V3",
        }

    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "rds": {"route_config_name": ROUTES, "config_source": watched(routes_file)},
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPE}.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                # Ids are the callers' own: not a bit of them is changed.
                "pack_trace_reason": False,
            }
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": access_log,
                    "log_format": {"json_format": _ACCESS_LOG},
                },
            }
        ],
    }
    return {
        "node": {"id": "mainspring", "cluster": "mainspring"},
        "admin": {"address": _address("127.0.0.1", admin_port)},
        "dynamic_resources": {"cds_config": watched(clusters_file)},
        "static_resources": {
            "listeners": [
                {
                    "name": "callers",
                    "address": _address("127.0.0.1", port),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ]
        },
    }


def discovery(resources: Sequence[dict[str, Any]]) -> tuple[str, bytes]:
    """Resources as a discovery response, with a version that is a digest of them."""
    raw = json.dumps(list(resources), sort_keys=True).encode()
    version = hashlib.sha256(raw).hexdigest()[:16]
    return version, json.dumps({"version_info": version, "resources": list(resources)}, indent=1).encode()


def _split(rollout: Rollout) -> bool:
    return bool(rollout.candidate and rollout.stable and rollout.weight_percent and rollout.phase == "canary")


def _arm(name: str, cluster: str, weight: int, rollout: str) -> dict[str, Any]:
    def stamp(key: str, value: str) -> dict[str, Any]:
        return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

    return {"name": cluster, "weight": weight, "request_headers_to_add": [stamp(_ARM, name), stamp(_ROLLOUT, rollout)]}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
