"""A rollout's predictors as Envoy's clusters: pure functions that give resources as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring.domain.rollout import Endpoint, Rollout

TYPE = "type.googleapis.com/envoy"
# Envoy allows three retries at a time: a fourth caller of a failing candidate would see its error.
_MANY = 100_000


def cluster_name(version: str, build: str) -> str:
    """Name of a predictor's cluster."""
    return f"version-{version}{'-' + build if build else ''}"


def guarded_name(rollout: Rollout) -> str:
    """Name of the cluster in which stable stands behind the candidate."""
    candidate = cluster_name(rollout.candidate, rollout.candidate_build)
    return f"{candidate}-over-{cluster_name(rollout.stable, '')}"


def clusters(rollout: Rollout, endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """One cluster for each predictor, and during a split the candidate's with stable behind it."""
    found = [static(cluster_name(one.version, one.build), address(one.host, one.port), most=_MANY) for one in endpoints]
    if rollout.splits:
        behind = [cluster_name(rollout.candidate, rollout.candidate_build), cluster_name(rollout.stable, "")]
        found.append(
            {
                "@type": f"{TYPE}.config.cluster.v3.Cluster",
                "name": guarded_name(rollout),
                "connect_timeout": "1s",
                "circuit_breakers": _breaker(_MANY),
                "lb_policy": "CLUSTER_PROVIDED",
                "cluster_type": {
                    "name": "envoy.clusters.aggregate",
                    "typed_config": {
                        "@type": f"{TYPE}.extensions.clusters.aggregate.v3.ClusterConfig",
                        "clusters": behind,
                    },
                },
            }
        )
    return found


def static(name: str, at: dict[str, Any], *, most: int) -> dict[str, Any]:
    """A cluster of one address, with `most` requests and connections at a time."""
    return {
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


def _breaker(most: int) -> dict[str, Any]:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(limits, most)]}
