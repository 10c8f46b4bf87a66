"""A rollout as Envoy's routes: pure functions that give resources as plain data.

The weights' total is constant and the candidate comes first, so that a ramp never moves a caller back. What a request
was assigned to is stamped into its headers on the weighted cluster, before fail-over: a request that stable answers
after the candidate failed stays the candidate's. REST and gRPC have the same routes, each to clusters of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.adapters.envoy.access_log import ARM, COHORT, GRPC_FAULTS, ROLE, ROLLOUT, WEIGHT
from mainspring.adapters.envoy.clusters import TYPE, Wire, cluster_name, guarded_name
from mainspring.adapters.envoy.user_hash import USER, hashing_script
from mainspring.domain.rollout import Arm, Rollout

TOTAL_WEIGHT = 10_000
ROUTES = "callers"
LUA = "envoy.filters.http.lua"
SHADOWS = "shadows"
SHADOW_OF = "mainspring-shadow-cluster"
# A request can be asked again only while Envoy still has all of it. Predictors refuse larger ones.
_LARGEST_BODY = 9 * 1024 * 1024
_IS_GRPC: dict[str, Any] = {"grpc": {}}
# As gRPC asks for it; predictors' own gRPC would say INTERNAL, and the caller's mistake would be theirs.
_READ = {"safe_regex": {"regex": "identity|gzip|deflate"}}
_OTHER_ENCODING = [{"name": "grpc-encoding", "string_match": _READ, "invert_match": True}]


def routes(rollout: Rollout, wires: Sequence[Wire], *, timeout_seconds: float) -> dict[str, Any]:
    """Routes for each cohort, for users with a key, and for everybody else; the first that matches a request is its.

    `wires` are what predictors speak; who speaks gRPC and is not answered over it is told so.
    """
    wired = {wire: _Wired(rollout, wire, timeout_seconds) for wire in wires}
    if "grpc" in wired:
        text = "this grpc-encoding is not read here; valid: identity, gzip, deflate"
        found = [_unimplemented(text, _OTHER_ENCODING), *wired["grpc"].routes()]
    else:
        found = [_unimplemented("no gRPC here; valid: REST, or predictors that were started with serving.grpc: true")]
    return {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "request_headers_to_remove": [ROLE, SHADOW_OF],
        "virtual_hosts": [{"name": "callers", "domains": ["*"], "routes": [*found, *wired["rest"].routes()]}],
    }


def shadows_name(wire: Wire) -> str:
    """Name of the cluster that is Envoy's own listener for shadows."""
    return SHADOWS if wire == "rest" else f"{wire}-{SHADOWS}"


def weights(route: dict[str, Any]) -> dict[str, int]:
    """The arms' weights in percent, from a route configuration as Envoy reports it. Cohorts are not among them."""
    found = all_weights(route)
    return found[-1] if found else {}


def all_weights(route: dict[str, Any]) -> list[dict[str, int]]:
    """The same of each route that has arms, in their order: the last one is for everybody who has no other over REST."""
    every = [one for host in route.get("virtual_hosts", []) for one in host["routes"] if "route" in one]
    return [_percents(one["route"]["weighted_clusters"]["clusters"]) for one in every]


def _percents(clusters: Sequence[dict[str, Any]]) -> dict[str, int]:
    found = {}
    for arm in clusters:
        headers = {entry["header"]["key"]: entry["header"]["value"] for entry in arm["request_headers_to_add"]}
        found[headers[ARM]] = arm["weight"] * 100 // TOTAL_WEIGHT
    return found


def discovery(resources: Sequence[dict[str, Any]]) -> tuple[str, bytes]:
    """Resources as a discovery response, with a version that is a digest of them."""
    raw = json.dumps(list(resources), sort_keys=True).encode()
    version = hashlib.sha256(raw).hexdigest()[:16]
    return version, json.dumps({"version_info": version, "resources": list(resources)}, indent=1).encode()


@dataclass(frozen=True, slots=True)
class _Wired:
    """A rollout's routes for callers over one wire."""

    rollout: Rollout
    wire: Wire
    timeout_seconds: float

    def routes(self) -> list[dict[str, Any]]:
        return [*self._cohorts(), *self._splits()]

    def _cohorts(self) -> list[dict[str, Any]]:
        rollout, found = self.rollout, []
        for value, arm in sorted(rollout.cohorts.items()) if rollout.splits else ():
            match = [{"name": rollout.cohort_header, "string_match": {"exact": value}}]
            one = self._route([self._weighted(arm, TOTAL_WEIGHT, {COHORT: value})], match)
            found.append({**one, "request_headers_to_remove": [WEIGHT, USER]})
        return found

    def _splits(self) -> list[dict[str, Any]]:
        """By the user's key; and by the request's id, which every request has, where the key is missing or empty."""
        rollout, name = self.rollout, self.rollout.sticky_header
        there = {"name": name, "present_match": True}
        keyed = [there, {"name": name, "string_match": {"exact": ""}, "invert_match": True}]
        removed = [COHORT] if rollout.cohorts and rollout.splits else []
        found = []
        if name and rollout.splits:
            one = self._route(self._shares(), keyed, name)
            # A stamp that is removed would be in no log: what the caller wrote there, the script replaces.
            found.append({**one, **_hashed(rollout), "request_headers_to_remove": removed})
        rest = self._route(self._shares(), [])
        return [*found, {**rest, "request_headers_to_remove": [*removed, USER]}]

    def _shares(self) -> list[dict[str, Any]]:
        percent = self.rollout.weight_percent if self.rollout.splits else 0
        weight = percent * TOTAL_WEIGHT // 100
        stamps = {WEIGHT: str(percent)}
        shares = [self._weighted("stable", TOTAL_WEIGHT - weight, stamps)]
        if weight:
            shares.insert(0, self._weighted("candidate", weight, stamps))
        return shares

    def _weighted(self, arm: Arm, weight: int, stamps: dict[str, str]) -> dict[str, Any]:
        rollout, wire = self.rollout, self.wire
        return {
            "name": guarded_name(rollout, wire) if arm == "candidate" else cluster_name(rollout.stable, "", wire),
            "weight": weight,
            "request_headers_to_add": _stamped({ARM: arm, ROLLOUT: rollout.id, **stamps}),
        }

    def _route(
        self, weighted: list[dict[str, Any]], headers: list[dict[str, Any]], key: str = "x-request-id"
    ) -> dict[str, Any]:
        salted = {"pattern": {"regex": "^(.*)$"}, "substitution": _literal(self.rollout.id) + ":\\1"}
        action = {
            "weighted_clusters": {"clusters": weighted, "use_hash_policy": True},
            "hash_policy": [{"header": {"header_name": key, "regex_rewrite": salted}}],
            "timeout": f"{self.timeout_seconds}s",
            "retry_policy": self._retries(),
        }
        if self.rollout.mirrors:
            action["request_mirror_policies"] = [self._mirror()]
        return {
            "match": {"prefix": "/", "headers": headers, **(_IS_GRPC if self.wire == "grpc" else {})},
            "request_body_buffer_limit": _LARGEST_BODY,
            "route": action,
        }

    def _retries(self) -> dict[str, Any]:
        # A failure of the candidate is answered by stable; stable itself is asked again only when it did not get the
        # request, or lost it.
        policy = {
            "retry_on": "reset,connect-failure,refused-stream",
            "num_retries": 1,
            "per_try_timeout": f"{self.timeout_seconds / 2}s",
        }
        if not self.rollout.splits:
            return policy
        previous = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{TYPE}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        }
        policy |= {"retry_on": "5xx,reset,connect-failure,refused-stream", "retry_priority": previous}
        if self.wire == "grpc":
            # Envoy has no word for UNKNOWN and DATA_LOSS, so that the header itself is looked at.
            policy["retry_on"] = f"{policy['retry_on']},retriable-headers"
            policy["retriable_headers"] = [
                {"name": "grpc-status", "string_match": {"exact": str(one)}} for one in sorted(GRPC_FAULTS)
            ]
        return policy

    def _mirror(self) -> dict[str, Any]:
        """Copies go to Envoy's own listener for shadows, which logs how they end and sends them on."""
        candidate = cluster_name(self.rollout.candidate, self.rollout.candidate_build, self.wire)
        stamps = {ROLE: "shadow", ARM: "candidate", SHADOW_OF: candidate}
        return {
            "cluster": shadows_name(self.wire),
            "disable_shadow_host_suffix_append": True,
            "runtime_fraction": {"default_value": {"numerator": self.rollout.mirror_percent, "denominator": "HUNDRED"}},
            "request_headers_mutations": [{"append": one} for one in _stamped(stamps)],
        }


def _unimplemented(text: str, headers: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A route that refuses a caller over gRPC; Envoy makes UNIMPLEMENTED of 404."""
    return {
        "match": {"prefix": "/", "headers": list(headers), **_IS_GRPC},
        "direct_response": {"status": 404, "body": {"inline_string": text}},
    }


def _hashed(rollout: Rollout) -> dict[str, Any]:
    script = hashing_script(rollout.salt or rollout.id, rollout.sticky_header)
    per_route = {
        "@type": f"{TYPE}.extensions.filters.http.lua.v3.LuaPerRoute",
        "source_code": {"inline_string": script},
    }
    return {"typed_per_filter_config": {LUA: per_route}}


def _stamped(stamps: dict[str, str]) -> list[dict[str, Any]]:
    # A percent sign would begin one of Envoy's commands.
    return [
        {"header": {"key": key, "value": value.replace("%", "%%")}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in stamps.items()
    ]


def _literal(text: str) -> str:
    """Text that stands for itself in a substitution."""
    return text.replace("\\", "\\\\")
