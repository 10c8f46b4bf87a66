"""Every router there is, each with what counts its requests, in front of two backends, asked over each wire."""

import time

import pytest
from tests.adapters.traffic.backends import SETTINGS, Backend, ask, at_once
from tests.adapters.traffic.grpc_side import GrpcCaller

from mainspring.adapters.envoy.evidence import EnvoyEvidence
from mainspring.adapters.envoy.router import EnvoyRouter
from mainspring.settings.paths import ProjectPaths


class Routed:
    """A router, its evidence, and the backends of versions 1 (stable) and 2 (candidate); `wire` is what its callers speak."""

    def __init__(self, router, evidence, wire):
        self.router, self.evidence, self.wire = router, evidence, wire
        self.stable, self.candidate = Backend("1", wire), Backend("2", wire)
        self.caller = GrpcCaller(router) if wire == "grpc" else None

    def ask(self, name, body=b"{}", **headers):
        """Ask one question; the status (of gRPC: as REST would have it), and what the predictor said it got."""
        return self.caller.ask(name, body, **headers) if self.caller else ask(self.router, name, body, **headers)

    def many(self, count, prefix="q", **headers):
        """Ask so many, eight at a time; each has its own id."""
        return at_once(lambda name: self.ask(name, **headers), count, prefix)

    def close(self):
        """End all of it."""
        if self.caller:
            self.caller.close()
        self.router.close()
        self.stable.close()
        self.candidate.close()

    def apply(self, rollout, *, without=""):
        """Apply it with the endpoints of all backends, but for one."""
        backends = [one for one in (self.stable, self.candidate) if one.name != without]
        self.router.apply(rollout, [one.endpoint() for one in backends])

    def counts(self, rollout, requests):
        """The evidence once it has so many requests."""
        return self.settled(
            lambda: self.evidence.counts(rollout),
            lambda counts: sum(one.requests for one in counts.values()) >= requests,
        )

    def settled(self, ask, enough):
        """What `ask` says once it is enough: logs are written a moment later."""
        until = time.monotonic() + 8
        while time.monotonic() < until:
            found = ask()
            if enough(found):
                return found
            time.sleep(0.02)
        raise AssertionError(found)


def _envoy(folder):
    paths = ProjectPaths(folder)
    return EnvoyRouter(SETTINGS, paths), EnvoyEvidence(paths)


ROUTERS = {"envoy": _envoy}


@pytest.fixture(params=sorted(ROUTERS))
def make(request, tmp_path):
    """Routers in front of backends that speak a wire."""
    made = []

    def one(wire):
        made.append(Routed(*ROUTERS[request.param](tmp_path), wire))
        return made[-1]

    yield one
    for found in made:
        found.close()


@pytest.fixture(params=["rest", "grpc"])
def routed(request, make):
    return make(request.param)
