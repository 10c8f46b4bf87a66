"""A rollout as Envoy's routes: pure functions that give resources as plain data.

The weights' total is constant and the candidate comes first, so that a ramp never moves a caller back. What a request
was assigned to is stamped into its headers on the weighted cluster, before fail-over: a request that stable answers
after the candidate failed stays the candidate's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mainspring.adapters.envoy.clusters import TYPE, cluster_name, guarded_name
from mainspring.adapters.envoy.user_hash import USER, hashing_script
from mainspring.domain.rollout import Arm, Rollout

TOTAL_WEIGHT = 10_000
ROUTES = "callers"
LUA = "envoy.filters.http.lua"
SHADOWS = "shadows"
ARM, ROLLOUT, ROLE = "mainspring-arm", "mainspring-rollout", "mainspring-role"
WEIGHT, COHORT, SHADOW_OF = "mainspring-weight", "mainspring-cohort", "mainspring-shadow-cluster"
# A request can be asked again only while Envoy still has all of it. Predictors refuse larger ones.
_LARGEST_BODY = 9 * 1024 * 1024


def routes(rollout: Rollout, *, timeout_seconds: float) -> dict[str, Any]:
    """Routes for each cohort, for users with a key, and for everybody else; the first that matches a request is its."""
    found = [*_cohorts(rollout, timeout_seconds), *_splits(rollout, timeout_seconds)]
    return {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "request_headers_to_remove": [ROLE, SHADOW_OF],
        "virtual_hosts": [{"name": "callers", "domains": ["*"], "routes": found}],
    }


def weights(route: dict[str, Any]) -> dict[str, int]:
    """The arms' weights in percent, from a route configuration as Envoy reports it. Cohorts are not among them."""
    found = {}
    for host in route.get("virtual_hosts", []):
        for arm in host["routes"][-1]["route"]["weighted_clusters"]["clusters"]:
            headers = {entry["header"]["key"]: entry["header"]["value"] for entry in arm["request_headers_to_add"]}
            found[headers[ARM]] = arm["weight"] * 100 // TOTAL_WEIGHT
    return found


def discovery(resources: Sequence[dict[str, Any]]) -> tuple[str, bytes]:
    """Resources as a discovery response, with a version that is a digest of them."""
    raw = json.dumps(list(resources), sort_keys=True).encode()
    version = hashlib.sha256(raw).hexdigest()[:16]
    return version, json.dumps({"version_info": version, "resources": list(resources)}, indent=1).encode()


def _cohorts(rollout: Rollout, timeout_seconds: float) -> list[dict[str, Any]]:
    found = []
    for value, arm in sorted(rollout.cohorts.items()) if rollout.splits else ():
        match = [{"name": rollout.cohort_header, "string_match": {"exact": value}}]
        one = _route(rollout, [_weighted(rollout, arm, TOTAL_WEIGHT, {COHORT: value})], timeout_seconds, match)
        found.append({**one, "request_headers_to_remove": [WEIGHT, USER]})
    return found


def _splits(rollout: Rollout, timeout_seconds: float) -> list[dict[str, Any]]:
    """By the user's key; and by the request's id, which every request has, where the key is missing or empty."""
    name = rollout.sticky_header
    keyed = [{"name": name, "present_match": True}, {"name": name, "string_match": {"exact": ""}, "invert_match": True}]
    removed = [COHORT] if rollout.cohorts and rollout.splits else []
    found = []
    if name and rollout.splits:
        one = _route(rollout, _shares(rollout), timeout_seconds, keyed, name)
        # A stamp that is removed would be in no log: what the caller wrote there, the script replaces.
        found.append({**one, **_hashed(rollout), "request_headers_to_remove": removed})
    rest = _route(rollout, _shares(rollout), timeout_seconds, [])
    return [*found, {**rest, "request_headers_to_remove": [*removed, USER]}]


def _hashed(rollout: Rollout) -> dict[str, Any]:
    script = hashing_script(rollout.salt or rollout.id, rollout.sticky_header)
    per_route = {
        "@type": f"{TYPE}.extensions.filters.http.lua.v3.LuaPerRoute",
        "source_code": {"inline_string": script},
    }
    return {"typed_per_filter_config": {LUA: per_route}}


def _shares(rollout: Rollout) -> list[dict[str, Any]]:
    percent = rollout.weight_percent if rollout.splits else 0
    weight = percent * TOTAL_WEIGHT // 100
    stamps = {WEIGHT: str(percent)}
    shares = [_weighted(rollout, "stable", TOTAL_WEIGHT - weight, stamps)]
    if weight:
        shares.insert(0, _weighted(rollout, "candidate", weight, stamps))
    return shares


def _weighted(rollout: Rollout, arm: Arm, weight: int, stamps: dict[str, str]) -> dict[str, Any]:
    return {
        "name": guarded_name(rollout) if arm == "candidate" else cluster_name(rollout.stable, ""),
        "weight": weight,
        "request_headers_to_add": _stamped({ARM: arm, ROLLOUT: rollout.id, **stamps}),
    }


def _stamped(stamps: dict[str, str]) -> list[dict[str, Any]]:
    # A percent sign would begin one of Envoy's commands.
    return [
        {"header": {"key": key, "value": value.replace("%", "%%")}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in stamps.items()
    ]


def _route(
    rollout: Rollout,
    weighted: list[dict[str, Any]],
    timeout_seconds: float,
    headers: list[dict[str, Any]],
    key: str = "x-request-id",
) -> dict[str, Any]:
    salted = {"pattern": {"regex": "^(.*)$"}, "substitution": _literal(rollout.id) + ":\\1"}
    action = {
        "weighted_clusters": {"clusters": weighted, "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": key, "regex_rewrite": salted}}],
        "timeout": f"{timeout_seconds}s",
        "retry_policy": _retries(rollout, timeout_seconds),
    }
    if rollout.mirrors:
        action["request_mirror_policies"] = [_mirror(rollout)]
    return {
        "match": {"prefix": "/", "headers": headers},
        "request_body_buffer_limit": _LARGEST_BODY,
        "route": action,
    }


def _literal(text: str) -> str:
    """Text that stands for itself in a substitution."""
    return text.replace("\\", "\\\\")


def _retries(rollout: Rollout, timeout_seconds: float) -> dict[str, Any]:
    # A failure of the candidate is answered by stable; stable itself is asked again only when it did not get the
    # request, or lost it.
    policy = {
        "retry_on": "reset,connect-failure,refused-stream",
        "num_retries": 1,
        "per_try_timeout": f"{timeout_seconds / 2}s",
    }
    if not rollout.splits:
        return policy
    previous = {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": f"{TYPE}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    }
    return {**policy, "retry_on": "5xx,reset,connect-failure,refused-stream", "retry_priority": previous}


def _mirror(rollout: Rollout) -> dict[str, Any]:
    """Copies go to Envoy's own listener for shadows, which logs how they end and sends them on."""
    candidate = cluster_name(rollout.candidate, rollout.candidate_build)
    stamps = {ROLE: "shadow", ARM: "candidate", SHADOW_OF: candidate}
    return {
        "cluster": SHADOWS,
        "disable_shadow_host_suffix_append": True,
        "runtime_fraction": {"default_value": {"numerator": rollout.mirror_percent, "denominator": "HUNDRED"}},
        "request_headers_mutations": [{"append": one} for one in _stamped(stamps)],
    }
