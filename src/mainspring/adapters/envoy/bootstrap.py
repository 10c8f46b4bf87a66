"""What Envoy starts with: the listeners, where routes and clusters come from, what is logged, and the admin page.

Copies of requests (shadows) take a second listener, inside Envoy: nobody waits for it, and what it logs is the only word on
how they ended, since Envoy forgets a copy as soon as it is sent. At most `MOST_SHADOWS` of each wire are under way; more are
dropped. Each listener answers REST and gRPC: HTTP/2 is told from HTTP/1.1 by its first bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainspring.adapters.envoy.access_log import ACCESS_LOG, ANSWER, ATTEMPT, attempt_failed
from mainspring.adapters.envoy.clusters import TYPE, WIRES, address, static
from mainspring.adapters.envoy.routes import LUA, ROUTES, SHADOW_OF, SHADOWS, shadows_name

MOST_SHADOWS = 256
# Without a script of its own: the route of users with a key brings it.
_HASHING = {
    "name": LUA,
    "typed_config": {"@type": f"{TYPE}.extensions.filters.http.lua.v3.Lua", "clear_route_cache": False},
}


def bootstrap(folder: Path, *, port: int, admin_port: int, timeout_seconds: float) -> dict[str, Any]:
    """Envoy's bootstrap for callers on `port`, its files in `folder`, and shadows that end as an attempt would."""
    answers = _log(folder, ANSWER)
    routed = {"rds": {"route_config_name": ROUTES, "config_source": _watched(folder, "routes")}}
    callers = _manager("callers", answers, routed, [_HASHING, _router(folder)])
    onwards = {
        "match": {"prefix": "/"},
        "route": {"cluster_header": SHADOW_OF, "timeout": f"{timeout_seconds / 2}s"},
        "request_headers_to_remove": [SHADOW_OF],
    }
    to_candidate = {
        "name": SHADOWS,
        "virtual_hosts": [{"name": SHADOWS, "domains": ["*"], "routes": [onwards]}],
    }
    shadows = _manager(SHADOWS, answers, {"route_config": to_candidate, "skip_xff_append": True}, [_router(None)])
    internal = {"envoy_internal_address": {"server_listener_name": SHADOWS}}
    return {
        "node": {"id": "mainspring", "cluster": "mainspring"},
        "admin": {"address": address("127.0.0.1", admin_port)},
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {"@type": f"{TYPE}.extensions.bootstrap.internal_listener.v3.InternalListener"},
            }
        ],
        "dynamic_resources": {"cds_config": _watched(folder, "clusters")},
        "static_resources": {
            "listeners": [
                {"name": "callers", "address": address("127.0.0.1", port), **_chain(callers)},
                {"name": SHADOWS, "internal_listener": {}, **_chain(shadows)},
            ],
            "clusters": [
                {k: v for k, v in static(shadows_name(wire), internal, wire, most=MOST_SHADOWS).items() if k != "@type"}
                for wire in WIRES
            ],
        },
    }


def _watched(folder: Path, name: str) -> dict[str, Any]:
    watched = {"path": str(folder / f"{name}.json"), "watched_directory": {"path": str(folder)}}
    return {"path_config_source": watched, "resource_api_version": "V3"}


def _chain(manager: dict[str, Any]) -> dict[str, Any]:
    name = "envoy.filters.network.http_connection_manager"
    return {"filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}]}


def _manager(name: str, log: dict[str, Any], more: dict[str, Any], filters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{TYPE}.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                # Ids are the callers' own: not a bit of them is changed.
                "pack_trace_reason": False,
            }
        },
        "http_filters": filters,
        "access_log": [log],
        **more,
    }


def _router(folder: Path | None) -> dict[str, Any]:
    """The filter that sends a request on; with a folder it also logs attempts that failed."""
    router: dict[str, Any] = {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}
    if folder is not None:
        router["upstream_log"] = [_log(folder, ATTEMPT) | {"filter": attempt_failed()}]
    return {"name": "envoy.filters.http.router", "typed_config": router}


def _log(folder: Path, line: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(folder / ACCESS_LOG),
            "log_format": {"json_format": line},
        },
    }
