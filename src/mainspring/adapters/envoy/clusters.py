"""A rollout's predictors as Envoy's clusters: pure functions that give resources as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mainspring.domain.rollout import Endpoint, Rollout

TYPE = "type.googleapis.com/envoy"
# Envoy allows three retries at a time: a fourth caller of a failing candidate would see its error.
_MANY = 100_000

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

Wire = Literal["grpc", "rest"]
WIRES: tuple[Wire, ...] = ("grpc", "rest")


def cluster_name(version: str, build: str, wire: Wire = "rest") -> str:
    """Name of a predictor's cluster.

    >>> cluster_name("7", ""), cluster_name("7", "broken", "grpc")
    ('version-7', 'grpc-version-7-broken')
    """
    return f"{'grpc-' if wire == 'grpc' else ''}version-{version}{'-' + build if build else ''}"


def guarded_name(rollout: Rollout, wire: Wire = "rest") -> str:
    """Name of the cluster in which stable stands behind the candidate."""
    return "-over-".join(_guarded(rollout, wire))


def needed(rollout: Rollout) -> list[tuple[str, str]]:
    """Version and build of each predictor that gets requests."""
    candidate = [(rollout.candidate, rollout.candidate_build)] if rollout.splits or rollout.mirrors else []
    return [(rollout.stable, ""), *candidate]


def wires(rollout: Rollout, endpoints: Sequence[Endpoint]) -> tuple[Wire, ...]:
    """What callers can speak: gRPC, too, where every predictor that gets requests does."""
    speak = {(one.version, one.build) for one in endpoints if one.grpc_port}
    return WIRES if speak.issuperset(needed(rollout)) else ("rest",)


def clusters(rollout: Rollout, endpoints: Sequence[Endpoint], *, workers: int = 1) -> list[dict[str, Any]]:
    """One cluster for each predictor and wire, and during a split the candidate's with stable behind it.

    `workers` are the processes behind a predictor's port: the kernel divides connections among them, so that with several
    each request over gRPC takes a connection, as over REST. With one, requests that share one are answered faster.
    """
    found = []
    for one in endpoints:
        ports: dict[Wire, int] = {"grpc": one.grpc_port, "rest": one.port}
        for wire, port in ports.items():
            if port:
                name = cluster_name(one.version, one.build, wire)
                found.append(static(name, address(one.host, port), wire, most=_MANY, alone=workers > 1))
    if rollout.splits:
        found += [_guard(rollout, wire) for wire in wires(rollout, endpoints)]
    return found


def static(name: str, at: dict[str, Any], wire: Wire, *, most: int, alone: bool = False) -> dict[str, Any]:
    """A cluster of one address, with `most` requests and connections at a time; `alone`: no two share a connection."""
    found = {
        "@type": f"{TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _breaker(most),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}],
        },
    }
    if wire == "grpc":
        http_2 = {"http2_protocol_options": {"max_concurrent_streams": 1} if alone else {}}
        options = {"@type": f"{TYPE}.{_HTTP.removeprefix('envoy.')}", "explicit_http_config": http_2}
        found["typed_extension_protocol_options"] = {_HTTP: options}
    return found


def address(host: str, port: int) -> dict[str, Any]:
    """An address as Envoy writes it."""
    return {"socket_address": {"address": host, "port_value": port}}


def destinations(found: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Where each cluster sends its requests, from clusters as written or as Envoy reports them."""
    places = {}
    for one in found:
        if "load_assignment" in one:
            places[one["name"]] = str(one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"])
        else:
            places[one["name"]] = str(one["cluster_type"]["typed_config"]["clusters"])
    return places


def _guarded(rollout: Rollout, wire: Wire) -> list[str]:
    return [cluster_name(rollout.candidate, rollout.candidate_build, wire), cluster_name(rollout.stable, "", wire)]


def _guard(rollout: Rollout, wire: Wire) -> dict[str, Any]:
    return {
        "@type": f"{TYPE}.config.cluster.v3.Cluster",
        "name": guarded_name(rollout, wire),
        "connect_timeout": "1s",
        "circuit_breakers": _breaker(_MANY),
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": f"{TYPE}.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": _guarded(rollout, wire),
            },
        },
    }


def _breaker(most: int) -> dict[str, Any]:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(limits, most)]}
